"""How much of a picture is in which frequencies, and giving one picture the amounts of another."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepfake.forge.arrays import Array, Image

BANDS = 40  # rings from the constant to the finest diagonal
FINE = 512  # steps of the radius between which a gain does not change


@cache
def _radius_HW(height: int, width: int) -> NDArray[np.intp]:
    """How fine each coefficient of a cosine transform is, 0 to FINE - 1. Shape: (H, W)."""
    rows, columns = np.arange(height) / height, np.arange(width) / width  # 1 = Nyquist
    return (FINE * np.hypot(rows[:, None], columns) / np.sqrt(2)).astype(np.intp)


@cache
def _counts(height: int, width: int) -> NDArray[np.intp]:
    radius = _radius_HW(height, width).ravel()
    return np.bincount(radius * BANDS // FINE, minlength=BANDS)


def band_energies(coefficients_HW: Array) -> Array:
    """Mean square of the coefficients (type-II cosine transform) of each ring, coarse to fine. Shape: (BANDS,)."""
    fine = np.bincount(_radius_HW(*coefficients_HW.shape).ravel(), (coefficients_HW**2).ravel(), FINE)
    sums = np.bincount(np.arange(FINE) * BANDS // FINE, fine, BANDS)
    return sums / np.maximum(_counts(*coefficients_HW.shape), 1)


def match_bands(forged_HW3: Array, real_HW3: Array | Image, *, most: float = 12.0) -> Array:
    """The forged picture with the energy of the real one in each ring of frequencies, channel by channel.

    So the two are as sharp as each other: a detector that is taught on them cannot go by blur alone, only by how the
    energy lies within a ring (replicas, grids) and by what hangs together with what. most: largest gain of a ring.
    Shapes: (H, W, 3), 0..255.
    """
    from scipy.fft import dctn, idctn

    forged, real = (
        dctn(picture.astype(np.float32), axes=(0, 1), norm="ortho", workers=1) for picture in (forged_HW3, real_HW3)
    )
    radius, middles = _radius_HW(*forged.shape[:2]), (np.arange(BANDS) + 0.5) / BANDS * FINE
    for channel in range(3):
        have, want = (band_energies(part[..., channel]) for part in (forged, real))
        gains = (0.5 * np.log((want + 1e-6) / (have + 1e-6))).clip(-np.log(most), np.log(most))
        gains[0] = 0.0  # brightness and the coarsest shading stay
        forged[..., channel] *= np.exp(np.interp(np.arange(FINE), middles, gains)).astype(np.float32)[radius]
    return idctn(forged, axes=(0, 1), norm="ortho", workers=1)
