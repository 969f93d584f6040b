"""Another person's face in place of a face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forge.arrays import Image
from deepfake.forge.grid import FaceGrid, match_colour
from deepfake.forge.masks import MaskParams, face_patch, paste, sample_mask
from deepfake.forge.points import FacePoints


@dataclass(frozen=True)
class SwapParams:
    """Another person's inner face, through a generator of low resolution."""

    mask: MaskParams
    bottleneck_px: int = 64
    colour_strength: float = 0.9  # 1 moves the donor's colours wholly to the target's
    colour_shift_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)  # levels of 255


def sample_swap(rng: np.random.Generator) -> SwapParams:
    """Draw a forger of swapped faces."""
    return SwapParams(
        mask=sample_mask(rng, scale=(0.92, 1.02), softness=(0.03, 0.07)),
        colour_strength=float(rng.uniform(0.8, 1.0)),
        colour_shift_rgb=tuple(rng.normal(0, 3.5, size=3).tolist()),
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
