"""How much of a picture is in which frequencies, and giving one picture the amounts of another.

Pictures are taken as three planes: brightness, and two of colour at half of the size. Colour has little detail of its
own, and transforms are what costs.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.forge.arrays import Array, Image

BANDS = 40  # rings from the constant to the finest diagonal
SECTORS = 3  # of a ring: along the rows, across, along the columns
LEAST = 1e-6  # energy that counts as none
MOST = 12.0  # the largest gain, and the inverse of the smallest

Planes = list[Array]
"""Brightness, (H, W), and OpenCV's Cr and Cb, (⌈H / 2⌉, ⌈W / 2⌉); or a transform of each. float32."""


def planes_of(picture_HW3: Array | Image) -> Planes:
    """The planes of a picture, 0..255."""
    height, width = picture_HW3.shape[:2]
    picture = picture_HW3.astype(np.float32, copy=False)
    small = cv2.resize(picture, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
    return [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *(cv2.extractChannel(colours, channel) for channel in (1, 2))]


def with_planes(picture_HW3: Image, old: Planes, new: Planes) -> Image:
    """The picture, whose planes are the old ones, with new ones; what planes do not hold of its colours, it keeps."""
    height, width = picture_HW3.shape[:2]
    change = [one - other for one, other in zip(new, old, strict=True)]
    for channel in (1, 2):  # 0.5 is what OpenCV takes for no colour
        change[channel] = cv2.resize(change[channel] + 0.5, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.add(picture_HW3, cv2.cvtColor(cv2.merge(change), cv2.COLOR_YCrCb2RGB), dtype=cv2.CV_8U)


def cosines(planes: Planes) -> Planes:
    """The cosine transform (type II, orthonormal) of each plane."""
    from scipy.fft import dctn

    return [dctn(plane, norm="ortho", workers=1) for plane in planes]


def from_cosines(planes: Planes) -> Planes:
    """The inverse of cosines."""
    from scipy.fft import idctn

    return [idctn(plane, norm="ortho", workers=1) for plane in planes]


@cache
def _places(height: int, width: int) -> tuple[Array, Array, NDArray[np.intp], Array]:
    """Where each coefficient of a cosine transform lies: sector and ring in units of cells, 0 = the first's middle,
    shapes (H, W); the number of its cell, (H * W,); and how many lie in each cell, (BANDS * SECTORS,)."""
    rows, columns = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    ring = BANDS * np.hypot(rows, columns) / np.sqrt(2)  # 1 = Nyquist
    sector = SECTORS * np.arctan2(rows, columns) / (np.pi / 2)
    cell = ring.astype(np.intp) * SECTORS + sector.astype(np.intp)
    counts = np.maximum(np.bincount(cell.ravel(), minlength=BANDS * SECTORS), 1)
    middle = (sector - 0.5).astype(np.float32), (ring - 0.5).astype(np.float32)
    return *middle, cell.ravel(), counts


def energies(parts: Planes) -> Array:
    """Mean square of cosines' coefficients in each ring, coarse to fine, and each sector of it. Two by two neighbours
    count as one. Shape: (3, BANDS, SECTORS)."""
    return np.stack([_energies(part) for part in parts])


def _energies(coefficients_HW: Array) -> Array:
    height, width = coefficients_HW.shape
    squares = np.square(coefficients_HW)
    pooled = cv2.resize(squares, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    _, _, cell, counts = _places(*pooled.shape)
    return (np.bincount(cell, pooled.ravel(), len(counts)) / counts).reshape(BANDS, SECTORS)


def give_energies(parts: Planes, have: Array, wanted: Array, *, coarsest: float = 0.0) -> None:
    """Change cosines by what takes energies that they have to the wanted ones; gains run smoothly from one cell to the
    next, and are 1 / MOST to MOST. coarsest: exponent of the gain on the first ring; 0 = brightness and the coarsest
    shading stay.

    So a forgery is as sharp as the real picture that it was made from: a detector that is taught on the two cannot go
    by blur alone, only by how the energy lies within a cell (replicas, grids) and by what hangs together with what.
    """
    gains = (0.5 * np.log((wanted + LEAST) / (have + LEAST))).clip(-np.log(MOST), np.log(MOST))
    gains[:, 0] *= coarsest
    for part, table in zip(parts, np.exp(gains).astype(np.float32), strict=True):
        height, width = part.shape
        sector, ring, _, _ = _places((height + 1) // 2, (width + 1) // 2)
        small = cv2.remap(table, sector, ring, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        part *= cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def as_sharp(forged_HW3: Image, real_HW3: Image, weight_HW: Array, *, colour: float = 0.0) -> Image:
    """The forgery with the real picture's energies; both are measured under the weight, 0..1. Shape: (H, W, 3).

    colour: how much of the way colours and the coarsest contrasts go to the real picture's, 0..1.
    """
    from scipy.fft import next_fast_len

    height, width = weight_HW.shape
    sides = [2 * next_fast_len((side + 1) // 2, real=True) for side in (height, width)]
    beyond = (0, sides[0] - height, 0, sides[1] - width)
    forged_HW3, real_HW3 = (cv2.copyMakeBorder(one, *beyond, cv2.BORDER_REFLECT) for one in (forged_HW3, real_HW3))
    weight = cv2.copyMakeBorder(weight_HW, *beyond, cv2.BORDER_CONSTANT, value=0)
    small = cv2.resize(weight, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    forged, real, weights = planes_of(forged_HW3), planes_of(real_HW3), [weight, small, small]
    means = [[_mean(plane, one) for plane, one in zip(planes, weights, strict=True)] for planes in (forged, real)]
    centred = [
        [plane - mean for plane, mean in zip(planes, side, strict=True)]
        for planes, side in zip((forged, real), means, strict=True)
    ]
    have, wanted = (
        energies(cosines([plane * one for plane, one in zip(planes, weights, strict=True)])) for planes in centred
    )
    parts = cosines(centred[0])
    give_energies(parts, have, wanted, coarsest=colour)
    new = [
        plane + own + colour * (other - own) for plane, own, other in zip(from_cosines(parts), *means, strict=True)
    ]
    return with_planes(forged_HW3, forged, new)[:height, :width]


def _mean(plane_HW: Array, weight_HW: Array) -> float:
    return float(np.vdot(plane_HW, weight_HW)) / max(float(weight_HW.sum()), 1e-6)
