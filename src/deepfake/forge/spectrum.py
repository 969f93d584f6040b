"""How much of a picture is in which frequencies, and giving one picture the amounts of another."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.forge.arrays import Array, Image

BANDS = 40  # rings from the constant to the finest diagonal
SECTORS = 3  # of a ring: along the rows, across, along the columns
LEAST = 1e-6  # energy that counts as none


@cache
def _places(height: int, width: int) -> tuple[Array, Array, NDArray[np.intp], Array]:
    """Where each coefficient of a cosine transform lies: sector and ring in units of cells, 0 = the first's middle,
    shapes (H, W); the number of its cell, (H * W,); and how many lie in each cell, (BANDS * SECTORS,)."""
    rows, columns = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")  # 1 = Nyquist
    ring = BANDS * np.hypot(rows, columns) / np.sqrt(2)
    sector = SECTORS * np.arctan2(rows, columns) / (np.pi / 2 * (1 + 1e-6))
    cell = ring.astype(np.intp) * SECTORS + sector.astype(np.intp)
    counts = np.maximum(np.bincount(cell.ravel(), minlength=BANDS * SECTORS), 1)
    middle = (sector - 0.5).astype(np.float32), (ring - 0.5).astype(np.float32)
    return *middle, cell.ravel(), counts


def energies(picture_HW3: Array | Image) -> Array:
    """Mean square of the cosine transform's coefficients (type II, orthonormal) of each channel, in each ring, coarse
    to fine, and each sector of it. Shape: (3, BANDS, SECTORS)."""
    return np.stack([_energies(part) for part in _coefficients(picture_HW3)])


def _energies(coefficients_HW: Array) -> Array:
    _, _, cell, counts = _places(*coefficients_HW.shape)
    return (np.bincount(cell, np.square(coefficients_HW).ravel(), len(counts)) / counts).reshape(BANDS, SECTORS)


def with_energies(picture_HW3: Array | Image, wanted: Array, *, most: float = 12.0) -> Array:
    """The picture with the wanted energies (see energies); gains run smoothly from one cell to the next.

    So a forgery is as sharp as the real picture that it was made from: a detector that is taught on the two cannot go
    by blur alone, only by how the energy lies within a cell (replicas, grids) and by what hangs together with what.
    most: largest gain. Shape: (H, W, 3), 0..255, not clipped.
    """
    from scipy.fft import idctn

    parts = _coefficients(picture_HW3)
    sector, ring, _, _ = _places(*parts.shape[1:])
    for part, want in zip(parts, wanted, strict=True):
        gains = (0.5 * np.log((want + LEAST) / (_energies(part) + LEAST))).clip(-np.log(most), np.log(most))
        gains[0] = 0.0  # brightness and the coarsest shading stay
        table = np.exp(gains).astype(np.float32)
        part *= cv2.remap(table, sector, ring, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(idctn(parts, axes=(1, 2), norm="ortho", workers=1).transpose(1, 2, 0))


def _coefficients(picture_HW3: Array | Image) -> Array:
    """The cosine transform of each channel. Shape: (3, H, W), float32."""
    from scipy.fft import dctn

    channels = np.ascontiguousarray(picture_HW3.transpose(2, 0, 1), np.float32)
    return dctn(channels, axes=(1, 2), norm="ortho", overwrite_x=True, workers=1)
