"""How much of a picture is in which frequencies, and giving one picture the amounts of another.

It is brightness that is measured and matched. Fine colours are left as they are in the real picture: in a JPEG they are
next to nothing, and what only re-computes and rounds them gives a forgery away.
"""

from __future__ import annotations

from functools import cache, reduce

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.forgery.arrays import Array, Image

BANDS = 40  # rings from the constant to the finest diagonal
SECTORS = 3  # of a ring: along the rows, across, along the columns
LEAST = 1e-6  # energy that counts as none
MOST = 12.0  # the largest gain, and the inverse of the smallest
ROUNDING = 1 / 12  # energy that rounding to whole levels adds
COARSE_SIGMA_PX = 3.0  # what is coarser is not measured under a weight
COLOUR_STEP_PX = 4  # what of a change of colours is finer is left out


def light_of(picture_HW3: Array | Image) -> Array:
    """Brightness, 0..255, float32. Shape: (H, W)."""
    return cv2.cvtColor(picture_HW3.astype(np.float32, copy=False), cv2.COLOR_RGB2GRAY)


def with_light(picture_HW3: Image, change_HW: Array) -> Image:
    """The picture brighter by whole levels, the same for R, G and B, as far as there is room: colours stay."""
    channels = cv2.split(picture_HW3)
    darkest, lightest = (reduce(pick, channels) for pick in (cv2.min, cv2.max))
    change = np.rint(change_HW).clip(-darkest.astype(np.float32), 255 - lightest.astype(np.float32))
    return cv2.add(picture_HW3, cv2.cvtColor(change, cv2.COLOR_GRAY2RGB), dtype=cv2.CV_8U)


def cosines(plane_HW: Array) -> Array:
    """The cosine transform (type II, orthonormal). Shape: (H, W)."""
    from scipy.fft import dctn

    return dctn(plane_HW, norm="ortho", workers=1)


def from_cosines(coefficients_HW: Array) -> Array:
    """The inverse of cosines."""
    from scipy.fft import idctn

    return idctn(coefficients_HW, norm="ortho", workers=1)


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


def energies(coefficients_HW: Array) -> Array:
    """Mean square of cosines' coefficients in each ring, coarse to fine, and each sector of it. Two by two neighbours
    count as one. Shape: (BANDS, SECTORS)."""
    height, width = coefficients_HW.shape
    squares = np.square(coefficients_HW)
    pooled = cv2.resize(squares, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    _, _, cell, counts = _places(*pooled.shape)
    return (np.bincount(cell, pooled.ravel(), len(counts)) / counts).reshape(BANDS, SECTORS)


def give_energies(coefficients_HW: Array, have: Array, wanted: Array, *, rounding: float = ROUNDING) -> None:
    """Change cosines by what takes energies that they have to the wanted ones, after rounding; gains run smoothly from
    one cell to the next, and are 1 / MOST to MOST. Brightness and the coarsest shading stay. rounding: what rounding
    adds to each.

    So a forgery is as sharp as the real picture that it was made from: a detector that is taught on the two cannot go
    by blur alone, only by how the energy lies within a cell (replicas, grids) and by what hangs together with what.
    """
    gains = 0.5 * np.log(((wanted - rounding).clip(0) + LEAST) / (have + LEAST))
    gains[0] = 0.0
    height, width = coefficients_HW.shape
    sector, ring, _, _ = _places((height + 1) // 2, (width + 1) // 2)
    table = np.exp(gains.clip(-np.log(MOST), np.log(MOST))).astype(np.float32)
    small = cv2.remap(table, sector, ring, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coefficients_HW *= cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def as_sharp(forged_HW3: Array | Image, real_HW3: Image, weight_HW: Array) -> Image:
    """The real picture, and as far as the weight says, 0..1, the forgery, 0..255: with the real energies under the
    weight, and with the real fine colours. Shape: (H, W, 3)."""
    from scipy.fft import next_fast_len

    height, width = weight_HW.shape
    beyond = (0, next_fast_len(height, real=True) - height, 0, next_fast_len(width, real=True) - width)
    colours = _coarse_colours(cv2.subtract(forged_HW3, real_HW3, dtype=cv2.CV_32F))
    forged, real = (cv2.copyMakeBorder(light_of(one), *beyond, cv2.BORDER_REFLECT) for one in (forged_HW3, real_HW3))
    weight = cv2.copyMakeBorder(weight_HW, *beyond, cv2.BORDER_CONSTANT, value=0)
    have, wanted = (energies(cosines(_under(light, weight))) for light in (forged, real))
    coefficients, kept = cosines(forged), float(np.square(weight).mean())
    lost = 2 * (float(weight.mean()) - kept)  # of the area's detail, where two unlike pictures are mixed
    give_energies(coefficients, have, wanted * (1 + lost / max(kept, 1e-6)), rounding=ROUNDING * kept)
    change = weight * (from_cosines(coefficients) - real)
    return cv2.add(with_light(real_HW3, change[:height, :width]), weight_HW[..., None] * colours, dtype=cv2.CV_8U)


def _coarse_colours(change_HW3: Array) -> Array:
    """What a change does to colours, without brightness and what is fine. Shape: (H, W, 3)."""
    height, width = change_HW3.shape[:2]
    size = (-(-width // COLOUR_STEP_PX), -(-height // COLOUR_STEP_PX))
    small = cv2.GaussianBlur(cv2.resize(change_HW3, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    small -= light_of(small)[..., None]
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _under(light_HW: Array, weight_HW: Array) -> Array:
    """Detail times the weight: what is coarse would spread over all frequencies at the weight's edge."""
    return (light_HW - cv2.GaussianBlur(light_HW, (0, 0), COARSE_SIGMA_PX)) * weight_HW
