"""Four forgeries of a face in an ordinary picture.

Each is a pure function of a uint8 RGB frame, its `FacePoints` and a frozen set of parameters that a forger would
keep for a whole clip; `sample_*` draws such a set. Nothing outside the soft mask changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forge.blend import FaceGrid, Image, MaskParams, Patch, match_colour, paste, sample_mask, soft_mask
from deepfake.forge.fields import Array
from deepfake.forge.points import FacePoints, apply_affine


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
    patch = _face_patch(frame_HW3, points, params.mask)
    if patch is None:
        return frame_HW3.copy()
    grid = FaceGrid(params.bottleneck_px)
    donor, target = grid.cut(donor_HW3, donor_points), grid.cut(frame_HW3, points)
    middle = cv2.getGaussianKernel(grid.size, grid.size / 5)
    donor = match_colour(donor, target, middle @ middle.T, strength=params.colour_strength)
    donor += np.asarray(params.colour_shift_rgb, np.float32)
    return paste(frame_HW3, patch, grid.lay(donor, points, patch))


def _face_patch(frame_HW3: Image, points: FacePoints, mask: MaskParams) -> Patch | None:
    """The mask of the inner face in the frame."""
    return soft_mask(points.outline_K2, points.px_per_unit, frame_HW3.shape[:2], mask)


@dataclass(frozen=True)
class UpsampledParams:
    """The face through the convolutions of an encoder and a decoder, stride 2 each."""

    mask: MaskParams
    grid_px: int = 112
    kernels: tuple[tuple[float, ...], ...] = ((0.5, 1.0, 0.5),)  # of the decoder, separable, deepest stage first
    skip: float = 0.5  # share of the fine detail that a skip connection carries round the bottleneck


def sample_upsampled(rng: np.random.Generator) -> UpsampledParams:
    """Draw a decoder: kernels near the linear one, whose weights do not quite add up alike on even and odd pixels."""
    kernels = []
    for _ in range(2):
        uneven = float(rng.choice([-1, 1]) * rng.uniform(0.01, 0.03))
        lean = float(rng.normal(0, 0.04))
        kernels.append((0.5 - uneven / 2 + lean, 1.0 + uneven, 0.5 - uneven / 2 - lean))
    return UpsampledParams(
        mask=sample_mask(rng, scale=(0.98, 1.08), softness=(0.05, 0.1)),
        grid_px=int(rng.integers(26, 34)) * 4,
        kernels=tuple(kernels),
        skip=float(rng.uniform(0.4, 0.7)),
    )


def upsampled(frame_HW3: Image, points: FacePoints, params: UpsampledParams) -> Image:
    """The frame with its face re-synthesised by an up-sampling decoder."""
    patch = _face_patch(frame_HW3, points, params.mask)
    if patch is None:
        return frame_HW3.copy()
    grid = FaceGrid(params.grid_px)
    face = decode(grid.cut(frame_HW3, points), params.kernels, skip=params.skip)
    return paste(frame_HW3, patch, grid.lay(face, points, patch))


def decode(face_HW3: Array, kernels: tuple[tuple[float, ...], ...], *, skip: float) -> Array:
    """Strided convolutions down, transposed convolutions up: one stage of stride 2 a kernel.

    Height and width must be divisible by 2 ** len(kernels). Shape: (H, W, 3), 0..255.
    """
    small = face_HW3
    for _ in kernels:
        small = cv2.GaussianBlur(small, (5, 5), 0.9)[::2, ::2]
    plain = cv2.resize(small, face_HW3.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    for kernel in kernels:
        small = transposed_convolution(small, kernel)
    return small + skip * (face_HW3 - plain)


def transposed_convolution(image_HW3: Array, kernel: tuple[float, ...]) -> Array:
    """Zeros between the pixels, then a separable kernel of overall gain 1: stride 2. Shape: (2H, 2W, 3)."""
    height, width = image_HW3.shape[:2]
    sparse = np.zeros((2 * height, 2 * width, 3), np.float32)
    sparse[::2, ::2] = image_HW3
    row = np.asarray(kernel, np.float32)
    row *= 2.0 / row.sum()
    return cv2.sepFilter2D(sparse, -1, row, row, borderType=cv2.BORDER_REFLECT_101)


@dataclass(frozen=True)
class SelfBlendParams:
    """A slightly changed copy of the same face."""

    mask: MaskParams
    gain_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bias: float = 0.0  # levels of 255
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


def self_blend(frame_HW3: Image, points: FacePoints, params: SelfBlendParams) -> Image:
    """The frame with a changed copy of its own face blended over it."""
    patch = _face_patch(frame_HW3, points, params.mask)
    if patch is None:
        return frame_HW3.copy()
    copy = _move(frame_HW3, points, patch, params).astype(np.float32)
    copy = copy * np.asarray(params.gain_rgb, np.float32) + params.bias
    blurred = cv2.GaussianBlur(copy, (0, 0), 0.02 * points.px_per_unit)
    amount = 1.35 * params.sharpness if params.sharpness > 0 else params.sharpness
    return paste(frame_HW3, patch, copy + amount * (copy - blurred))


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
    face = _talk(grid.cut(frame_HW3, points), params, grid, time_s)
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
    maps = [((part + grid.half_units) * to_px - 0.5).astype(np.float32) for part in (source_u, source_v)]
    return cv2.remap(face_SS3, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
