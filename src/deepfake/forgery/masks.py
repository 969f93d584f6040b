"""Putting a forged patch into a picture: soft masks that end, and what is pasted through them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.points import FacePoints

SHIFT_BITS = 4  # cv2 draws polygons in sixteenths of a pixel
LEAST_PX = 4.0  # of a face unit: brows to chin are about 1.35


@dataclass(frozen=True)
class MaskParams:
    """A soft mask as a deformed copy of an outline. Constant over a clip."""

    scale: float = 1.0  # size of the outline about its middle
    softness: float = 0.06  # standard deviation of the edge, in face units
    ripple: tuple[float, ...] = ()  # waves round the outline, 1, 2, …: cosine and sine, as shares of the radius
    strength: float = 1.0  # opacity in the middle
    steps: bool = True  # opacity has 256 steps, as in a mask that was stored; without them it is made faster


@dataclass(frozen=True, eq=False)
class Patch:
    """The part of a picture that a mask covers; outside it the mask is exactly zero."""

    rows: slice
    cols: slice
    mask_HW: Array  # 0..1

    def full(self, shape_HW: tuple[int, int]) -> Array:
        """The mask of the whole picture. Shape: (H, W)."""
        mask = np.zeros(shape_HW, np.float32)
        mask[self.rows, self.cols] = np.minimum(self.mask_HW, 1)
        return mask

    def shift(self, matrix_23: Array) -> Array:
        """The affine map into the patch that corresponds to one into the picture. Shape: (2, 3)."""
        moved = matrix_23.copy()
        moved[:, 2] -= (self.cols.start, self.rows.start)
        return moved


def sample_mask(
    rng: np.random.Generator, *, scale: tuple[float, float], softness: tuple[float, float], ripple: float = 0.03
) -> MaskParams:
    """Draw a mask: size and softness from the ranges, and an edge that ripples by that share of the radius."""
    waves = tuple((rng.normal(0, ripple, size=6) / np.repeat([1.0, 1.5, 2.0], 2)).tolist())
    return MaskParams(scale=float(rng.uniform(*scale)), softness=float(rng.uniform(*softness)), ripple=waves)


def soft_mask(outline_K2: Array, px_per_unit: float, shape_HW: tuple[int, int], params: MaskParams) -> Patch | None:
    """The mask of an outline inside a picture; None when the picture does not show it."""
    polygon = _deform(outline_K2, params)
    sigma = max(params.softness * px_per_unit, 0.5)
    reach = int(np.ceil(3 * sigma)) + 2
    low = np.maximum(np.floor(polygon.min(0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(polygon.max(0)).astype(int) + reach, (shape_HW[1], shape_HW[0]))
    if np.any(high - low < 2):
        return None
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillPoly(mask, [np.round((polygon - low) * 2**SHIFT_BITS).astype(np.int32)], 255, cv2.LINE_AA, SHIFT_BITS)
    size = 2 * int(np.ceil(3 * sigma)) + 1
    sharp = mask if params.steps else mask.astype(np.float32)
    soft = cv2.GaussianBlur(sharp, (size, size), sigma).astype(np.float32) * (params.strength / 255.0)
    return Patch(slice(low[1], high[1]), slice(low[0], high[0]), soft)


def face_patch(frame_HW3: Image, points: FacePoints, mask: MaskParams) -> Patch | None:
    """The mask of the inner face in the frame; None when the frame does not show it, or it is a few pixels large."""
    if points.px_per_unit < LEAST_PX:
        return None
    return soft_mask(points.outline_K2, points.px_per_unit, frame_HW3.shape[:2], mask)


def _deform(outline_K2: Array, params: MaskParams) -> Array:
    """The outline with its radius scaled and rippled."""
    centre = outline_K2.mean(0)
    arm = outline_K2 - centre
    angle = np.arctan2(arm[:, 1], arm[:, 0])
    swell = np.full(len(arm), params.scale)
    for index, share in enumerate(params.ripple):
        turn = index // 2 + 1
        swell += share * (np.cos(turn * angle) if index % 2 == 0 else np.sin(turn * angle))
    return centre + arm * swell[:, None]


def paste(frame_HW3: Image, patch: Patch, forged_HW3: Array) -> Image:
    """A copy of the frame with `forged` (0..255, of the patch's size) blended in; unchanged where the mask is 0."""
    out = frame_HW3.copy()
    real = out[patch.rows, patch.cols].astype(np.float32)
    mixed = real + (forged_HW3 - real) * patch.mask_HW[..., None]
    out[patch.rows, patch.cols] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return out
