"""A changed copy of a face blended over itself (Shiohara and Yamasaki, "Self-blended images", CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.masks import MaskParams, Patch, face_patch, paste, sample_mask
from deepfake.forgery.points import FacePoints


@dataclass(frozen=True)
class SelfBlendParams:
    """A slightly changed copy of the same face."""

    mask: MaskParams
    gain_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bias: float = 0.0  # levels of 255
    shift_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)  # levels of 255
    shrink: float = 1.0  # how many times coarser the copy is
    sharpness: float = 0.0  # above 0 sharpens, below 0 blurs; about -1..1
    move: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # shift u, shift v, turn (rad), log scale
    elastic: tuple[tuple[float, ...], ...] = ((0.0,) * 16, (0.0,) * 16)  # displacement u, v on a 4 × 4 grid


def sample_self_blend(rng: np.random.Generator) -> SelfBlendParams:
    """Draw a change of colour, sharpness and place."""
    sign = rng.choice([-1.0, 1.0])
    return SelfBlendParams(
        mask=sample_mask(rng, scale=(0.85, 1.02), softness=(0.02, 0.06)),
        gain_rgb=tuple((1.0 + sign * rng.uniform(0.04, 0.09) + rng.normal(0, 0.025, size=3)).tolist()),
        bias=float(rng.normal(0, 3.0)),
        sharpness=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.0)),
        move=tuple(rng.normal(0, (0.02, 0.02, 0.015, 0.02)).tolist()),
        elastic=tuple(tuple(rng.normal(0, 0.016, size=16).tolist()) for _ in range(2)),
    )


def sample_wide_self_blend(rng: np.random.Generator) -> SelfBlendParams:
    """Draw a change with the ranges and chances of the paper's code, shares of the copy included. Its change of hue and
    saturation is left out: by at most 0.3 of 255 levels, it is none."""
    coarser = rng.random() < 0.5
    mask = sample_mask(rng, scale=(0.75, 1.08), softness=(0.02, 0.1), ripple=0.05)
    return SelfBlendParams(
        mask=replace(mask, steps=False, strength=float(rng.choice([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]))),
        gain_rgb=(float(rng.uniform(0.9, 1.1)),) * 3,
        bias=float(rng.uniform(-25, 25)),
        shift_rgb=tuple(rng.uniform(-20, 20, 3).tolist()) if rng.random() < 0.3 else (0.0, 0.0, 0.0),
        shrink=float(rng.uniform(1.5, 4)) if coarser else 1.0,
        sharpness=0.0 if coarser else float(rng.uniform(0.3, 1.0)),
        move=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.04, 0.04)), 0.0, float(rng.uniform(-0.05, 0.05))),
        elastic=tuple(tuple(rng.normal(0, 0.016, size=16).tolist()) for _ in range(2)),
    )


def self_blend(frame_HW3: Image, points: FacePoints, params: SelfBlendParams) -> Image:
    """The frame with a changed copy of its own face blended over it."""
    patch = face_patch(frame_HW3, points, params.mask)
    if patch is None:
        return frame_HW3.copy()
    return paste(frame_HW3, patch, changed_copy(frame_HW3, points, patch, params))


def changed_copy(frame_HW3: Image, points: FacePoints, patch: Patch, params: SelfBlendParams) -> Array:
    """What is to be pasted through the patch's mask. Shape: (H, W, 3) of the patch."""
    copy = _move(frame_HW3, points, patch, params).astype(np.float32)
    if params.shrink > 1:
        height, width = copy.shape[:2]
        small = (max(1, round(width / params.shrink)), max(1, round(height / params.shrink)))
        copy = cv2.resize(cv2.resize(copy, small, interpolation=cv2.INTER_AREA), (width, height))
    copy = copy * np.asarray(params.gain_rgb, np.float32) + params.bias + np.asarray(params.shift_rgb, np.float32)
    if not params.sharpness:
        return copy
    blurred = cv2.GaussianBlur(copy, (0, 0), 0.02 * points.px_per_unit)
    amount = 1.35 * params.sharpness if params.sharpness > 0 else params.sharpness
    return copy + amount * (copy - blurred)


def _move(frame_HW3: Image, points: FacePoints, patch: Patch, params: SelfBlendParams) -> Image:
    """The patch with its content shifted, turned, scaled and bent by a few hundredths of a face."""
    height, width = patch.mask_HW.shape
    shift_u, shift_v, turn, log_scale = params.move
    centre = points.five_52.mean(0) - (patch.cols.start, patch.rows.start)
    warp = cv2.getRotationMatrix2D(centre.tolist(), float(np.degrees(turn)), float(np.exp(log_scale)))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved_x = warp[0, 0] * x + warp[0, 1] * y + warp[0, 2] + shift_u * points.px_per_unit
    moved_y = warp[1, 0] * x + warp[1, 1] * y + warp[1, 2] + shift_v * points.px_per_unit
    bend = [
        cv2.resize(np.array(part, np.float32).reshape(4, 4), (width, height), interpolation=cv2.INTER_CUBIC)
        * points.px_per_unit
        for part in params.elastic
    ]
    map_x = (moved_x + bend[0] + patch.cols.start).astype(np.float32)
    map_y = (moved_y + bend[1] + patch.rows.start).astype(np.float32)
    return cv2.remap(frame_HW3, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
