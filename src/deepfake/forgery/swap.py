"""Another person's face in place of a face."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image, motion_blur
from deepfake.forgery.grid import FaceGrid, match_colour
from deepfake.forgery.masks import MaskParams, Patch, face_patch, paste, sample_mask
from deepfake.forgery.points import Face, FacePoints


@dataclass(frozen=True)
class SwapParams:
    """Another person's inner face, through a generator of low resolution."""

    mask: MaskParams
    bottleneck_px: int = 64
    colour_strength: float = 0.9  # 1 moves the donor's colours wholly to the target's
    colour_shift_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)  # levels of 255
    motion: tuple[float, float] | None = None  # of the generator's picture: px of it, and angle (rad)
    poisson: bool = False  # blended by gradients within the mask's half, not through the mask


def sample_swap(rng: np.random.Generator) -> SwapParams:
    """Draw a forger of swapped faces."""
    return SwapParams(
        mask=sample_mask(rng, scale=(0.92, 1.02), softness=(0.03, 0.07)),
        colour_strength=float(rng.uniform(0.8, 1.0)),
        colour_shift_rgb=tuple(rng.normal(0, 3.5, size=3).tolist()),
    )


def sample_wide_swap(rng: np.random.Generator) -> SwapParams:
    """Draw a forger of a wider kind: generators of 64 to 128 px, motion at times, either way to blend."""
    mask = sample_mask(rng, scale=(0.85, 1.08), softness=(0.03, 0.1), ripple=0.04)
    return SwapParams(
        mask=replace(mask, steps=False),
        bottleneck_px=int(rng.integers(64, 129)),
        colour_strength=float(rng.uniform(0.7, 1.0)),
        colour_shift_rgb=tuple(rng.normal(0, 3.5, size=3).tolist()),
        motion=(float(rng.uniform(1.5, 4)), float(rng.uniform(0, np.pi))) if rng.random() < 0.2 else None,
        poisson=rng.random() < 0.12,  # it takes longer than all the rest
    )


def swap(frame_HW3: Image, points: FacePoints, donor_HW3: Image, donor_points: FacePoints, params: SwapParams) -> Image:
    """The frame with the donor's inner face laid over its own by the five points."""
    patch = face_patch(frame_HW3, points, params.mask)
    if patch is None:
        return frame_HW3.copy()
    grid = FaceGrid(params.bottleneck_px)
    donor, target = grid.crop(donor_HW3, donor_points), grid.crop(frame_HW3, points)
    middle = cv2.getGaussianKernel(grid.size, grid.size / 5)
    donor = match_colour(donor, target, middle @ middle.T, strength=params.colour_strength)
    donor += np.asarray(params.colour_shift_rgb, np.float32)
    return paste(frame_HW3, patch, grid.lay(donor, points, patch))


def donor_face(real: Face, patch: Patch, donor: Face, params: SwapParams) -> Array:
    """What is to be pasted over a patch of the real crop: the donor's face, in the colours that the crop has where the
    mask is more than a half. Shape: (H, W, 3) of the patch."""
    grid = FaceGrid(params.bottleneck_px)
    small = grid.crop(donor.crop_HW3, donor.points)
    if params.motion is not None:
        small = motion_blur(small, *params.motion)
    face, own = grid.lay(small, real.points, patch), real.crop_HW3[patch.rows, patch.cols]
    inner = (patch.mask_HW > 0.5).astype(np.uint8)
    (mean, spread), (own_mean, own_spread) = (
        np.stack(cv2.meanStdDev(picture, mask=inner))[..., 0] for picture in (face, own)
    )
    gain = 1 + params.colour_strength * (np.clip(own_spread / (spread + 1e-6), 0.5, 2) - 1)
    level = mean + params.colour_strength * (own_mean - mean) + params.colour_shift_rgb
    return face * gain.astype(np.float32) + (level - gain * mean).astype(np.float32)
