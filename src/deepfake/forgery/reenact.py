"""A mouth that moves by another's speech."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.grid import FaceGrid
from deepfake.forgery.masks import MaskParams, paste, sample_mask, soft_mask
from deepfake.forgery.points import FacePoints, apply_affine


@dataclass(frozen=True)
class ReenactParams:
    """A lower face that moves by another's speech."""

    mask: MaskParams
    grid_px: int = 44
    stretch: float = 0.12  # how far the lips part at most, in face units
    widen: float = 0.06
    period_s: float = 0.4
    phase_rad: float = 0.0
    sharpen: float = 0.6


def sample_reenact(rng: np.random.Generator) -> ReenactParams:
    """Draw a puppeteer."""
    return ReenactParams(
        mask=sample_mask(rng, scale=(0.95, 1.1), softness=(0.04, 0.07)),
        grid_px=int(rng.integers(40, 52)),
        stretch=float(rng.uniform(0.05, 0.1)),
        widen=float(rng.uniform(-0.08, 0.1)),
        period_s=float(rng.uniform(0.3, 0.6)),
        phase_rad=float(rng.uniform(0, 2 * np.pi)),
        sharpen=float(rng.uniform(0.5, 0.9)),
    )


def reenact(frame_HW3: Image, points: FacePoints, params: ReenactParams, *, time_s: float) -> Image:
    """The frame with its mouth and chin warped to another expression, re-sampled and blended back."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ellipse = np.stack([0.46 * np.cos(angle), 0.58 + 0.3 * np.sin(angle)], axis=1).astype(np.float32)
    outline = apply_affine(points.matrix_23, ellipse)
    patch = soft_mask(outline, points.px_per_unit, frame_HW3.shape[:2], params.mask)
    if patch is None:
        return frame_HW3.copy()
    grid = FaceGrid(params.grid_px, half_units=0.6, centre_v=0.58)
    face = _talk(grid.crop(frame_HW3, points), params, grid, time_s)
    face += params.sharpen * (face - cv2.GaussianBlur(face, (0, 0), 1.2))
    return paste(frame_HW3, patch, grid.lay(face, points, patch, flags=cv2.INTER_LINEAR))


def _talk(face_SS3: Array, params: ReenactParams, grid: FaceGrid, time_s: float) -> Array:
    """Pull the lips apart (or together) about the mouth's line and widen them."""
    size = grid.size
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 * grid.half_units - grid.half_units
    u, v = np.meshgrid(axis, axis)
    near = np.exp(-((u / 0.28) ** 2) - (v / 0.2) ** 2)
    wave = 0.6 + 0.4 * np.sin(2 * np.pi * time_s / params.period_s + params.phase_rad)
    source_u = u * (1.0 - params.widen * near)
    source_v = v - params.stretch * wave * near * np.tanh(v / 0.06)
    to_px = size / (2 * grid.half_units)
    map_x, map_y = (((part + grid.half_units) * to_px - 0.5).astype(np.float32) for part in (source_u, source_v))
    return cv2.remap(face_SS3, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
