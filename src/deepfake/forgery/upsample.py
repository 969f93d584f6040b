"""A picture as the last layers of a generator would have made it: shrunk, and enlarged by convolutions of stride 2.

Whatever a generator draws, its last layers enlarge it, and each way to enlarge leaves replicas of the coarse spectrum
behind (Odena et al. 2016; Zhang et al. 2019, whose simulator AutoGAN this follows without training). Real pictures that
went this way are fakes to learn from: same content, same sharpness (see spectrum.with_energies), other traces.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.history import resaved
from deepfake.forgery.spectrum import cosines, energies, from_cosines, give_energies, light_of, with_light

# One-dimensional kernels that enlarge twofold, applied to a signal with zeros between its samples.
KERNELS = {
    "nearest": (1.0, 1.0),
    "linear": (0.25, 0.75, 0.75, 0.25),
    "corners": (0.5, 1.0, 0.5),
    "cubic": (-0.0352, -0.1055, 0.2930, 0.8477, 0.8477, 0.2930, -0.1055, -0.0352),
}


@dataclass(frozen=True)
class Stage:
    """One enlargement by two: a kernel, then a convolution of the decoder."""

    kernel: str
    uneven: tuple[float, float, float, float]
    """Gains on even and odd rows, even and odd columns, near 1, as transposed convolutions have them."""
    taps: tuple[float, ...]
    """The 3 × 3 convolution that follows, near a single 1."""
    skip: float
    """Share of the detail which the shrinking took that comes back: generators draw detail anew at each size."""


@dataclass(frozen=True)
class UpsampleParams:
    """How a picture is shrunk and enlarged again."""

    stages: tuple[Stage, ...]
    """The coarsest first."""
    sigma: float = 0.9
    """Of the low pass before each halving, px."""
    offset_xy: tuple[int, int] = (0, 0)
    """Where the coarse grid begins, px."""
    noise: float = 0.5
    """Deviation of what the decoder adds to brightness, levels of 255."""
    share: float = 1.0
    """Of the forgery, where it is mixed with the real picture."""


def sample_upsample(rng: np.random.Generator) -> UpsampleParams:
    """Draw a decoder of one to three stages; only the last may lose much of the detail."""
    count = int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))
    return UpsampleParams(
        stages=tuple(_sample_stage(rng, is_last=number == count - 1) for number in range(count)),
        sigma=float(rng.uniform(0.5, 1.1)),
        offset_xy=tuple(rng.integers(0, 2**count, 2).tolist()),
        noise=float(rng.uniform(0, 1.5)),
        share=float(rng.choice([1.0, rng.uniform(0.4, 1.0)], p=[0.7, 0.3])),
    )


def _sample_stage(rng: np.random.Generator, *, is_last: bool) -> Stage:
    strength = (0.02 if is_last else 0.004) * rng.choice([0.0, 0.25, 1.0])
    taps = rng.normal(0, 0.04, 9)
    taps[4] += 1.0
    return Stage(
        kernel=str(rng.choice(list(KERNELS), p=[0.35, 0.25, 0.2, 0.2])),
        uneven=tuple((1 + rng.normal(0, strength, 4)).tolist()),
        taps=tuple((taps / taps.sum()).tolist()),
        skip=float(rng.uniform(0.0, 0.9) if is_last else rng.uniform(0.7, 1.0)),
    )


def upsample(picture_HW3: Image, params: UpsampleParams, rng: np.random.Generator) -> Image:
    """The picture, its brightness sent through a decoder: as sharp as it was, at the same place, and saved as the JPEG
    that it was, if it was one. rng: of the noise. Shape: (H, W, 3)."""
    real = light_of(picture_HW3)
    real_parts = cosines(real)
    wanted = energies(real_parts)
    forged = _decoded(real, params)
    forged += params.noise * 12**0.5 * (rng.random(real.shape, np.float32) - 0.5)
    parts = cosines(forged)
    give_energies(parts, energies(parts), wanted)
    if params.share < 1:  # which takes some of the finest detail again
        parts = real_parts + params.share * (parts - real_parts)
        give_energies(parts, energies(parts), wanted)
    return with_light(picture_HW3, resaved(from_cosines(parts), real) - real)


def _decoded(light_HW: Array, params: UpsampleParams) -> Array:
    """Shrunk and enlarged. Shape: (H, W)."""
    height, width = light_HW.shape
    step = 2 ** len(params.stages)
    left, top = params.offset_xy
    bottom, right = -(height + top) % step, -(width + left) % step
    levels = [cv2.copyMakeBorder(light_HW, top, bottom, left, right, cv2.BORDER_REFLECT_101)]
    for stage in reversed(params.stages):
        levels.append(halve(levels[-1], params.sigma, stage))
    forged = levels.pop()
    for stage in params.stages:
        detail = levels.pop()
        detail -= cv2.pyrUp(cv2.pyrDown(detail))
        forged = cv2.scaleAdd(detail, stage.skip, enlarge(forged, stage))
    return forged[top : top + height, left : left + width]


def halve(light_HW: Array, sigma: float, stage: Stage) -> Array:
    """Half the size, with the pixels where the stage's kernel will have them: between two of the larger ones, or, for a
    kernel of odd length, on every second. Sides must be even. Shape: (H / 2, W / 2)."""
    smooth = cv2.GaussianBlur(light_HW, (5, 5), sigma)
    if len(KERNELS[stage.kernel]) % 2:
        return smooth[::2, ::2]
    return cv2.resize(smooth, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def enlarge(light_HW: Array, stage: Stage) -> Array:
    """Twice the size by the stage's convolutions. Shape: (2H, 2W)."""
    large = transposed_convolution(light_HW, KERNELS[stage.kernel])
    if any(gain != 1 for gain in stage.uneven):
        rows, columns = np.array(stage.uneven, np.float32).reshape(2, 2)
        large *= np.outer(np.tile(rows, light_HW.shape[0]), np.tile(columns, light_HW.shape[1]))
    return cv2.filter2D(large, -1, np.array(stage.taps, np.float32).reshape(3, 3), borderType=cv2.BORDER_REFLECT_101)


def transposed_convolution(image: Array, kernel: tuple[float, ...]) -> Array:
    """Twice the size: zeros between the pixels, then a separable kernel of overall gain 1. Channels, if any, come
    last."""
    height, width = image.shape[:2]
    sparse = np.zeros((2 * height, 2 * width, *image.shape[2:]), np.float32)
    sparse[::2, ::2] = image
    row = np.asarray(kernel, np.float32)
    row *= 2.0 / row.sum()
    return cv2.sepFilter2D(sparse, -1, row, row, borderType=cv2.BORDER_REFLECT_101)
