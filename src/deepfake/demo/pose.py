"""Where the turned head lands in the picture: its smooth depth, the map from picture to texture and its inverse."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.demo.fields import Canvas
from deepfake.demo.motion import HeadState
from deepfake.forgery.arrays import Array
from deepfake.forgery.points import apply_affine

JAW_FALL = 0.07  # face units of a wide open mouth, beside the opening that `paint_mouth` draws
MAP_STEP_PX = 6  # the bending is smooth: it is computed on every sixth pixel and interpolated


@dataclass(frozen=True)
class Camera:
    """Where the head stands in the picture."""

    height: int
    width: int
    px_per_unit: float  # a face is about 1.8 units tall for a detector
    centre_xy: tuple[float, float]  # pixel of the face's origin, between eyes and nose


def _depth(u: Array, v: Array) -> Array:
    """Distance of the head's surface from the axis it turns about, in face units; smooth beyond its edge too."""
    dome = 0.72 * np.exp(-((u / 0.95) ** 2) - (v / 1.25) ** 2)
    nose = 0.14 * np.exp(-((u / 0.14) ** 2) - ((v - 0.2) / 0.18) ** 2)
    return dome + nose - 0.25


def _jaw(u: Array, v: Array) -> Array:
    """Share of the jaw's fall that each point of the texture follows."""
    start, end = np.clip((v - 0.5) / 0.3, 0, 1), np.clip((v - 1.1) / 0.35, 0, 1)
    return start * start * (3 - 2 * start) * np.exp(-((u / 0.65) ** 2)) * (1.0 - end)


def pose_matrix(camera: Camera, state: HeadState) -> Array:
    """Roll, scale and place: face units (after yaw and pitch) to pixels. Shape: (2, 3)."""
    cos, sin = np.cos(state.roll_rad), np.sin(state.roll_rad)
    scale, (x, y) = camera.px_per_unit, camera.centre_xy
    shift = (x + state.shift_uv[0] * scale, y + state.shift_uv[1] * scale)
    # The head rolls about the neck, so that the chin stays over it.
    linear, pivot = scale * np.array([[cos, -sin], [sin, cos]]), np.array([0.0, 1.0])
    offset = np.array(shift) + scale * pivot - linear @ pivot
    return np.hstack([linear, offset[:, None]]).astype(np.float32)


def texture_map(camera: Camera, canvas: Canvas, state: HeadState) -> tuple[slice, slice, Array, Array]:
    """The rows and columns of the picture that the head may cover, and for each pixel there x and y in the texture."""
    matrix = pose_matrix(camera, state)
    corners = apply_affine(matrix, np.array([(u, v) for u in (-1.4, 1.4) for v in (-1.8, 1.8)], np.float32))
    low = np.clip(np.floor(corners.min(0)), 0, None).astype(int)
    high = np.minimum(np.ceil(corners.max(0)), (camera.width, camera.height)).astype(int)
    width, height = high - low
    coarse = (width // MAP_STEP_PX + 2, height // MAP_STEP_PX + 2)
    x, y = np.meshgrid(np.linspace(low[0], high[0] - 1, coarse[0]), np.linspace(low[1], high[1] - 1, coarse[1]))
    posed_u, posed_v = apply_affine(cv2.invertAffineTransform(matrix), np.stack([x, y], axis=-1).reshape(-1, 2)).T
    u, v = _unbend(posed_u, posed_v, state)
    map_x = ((u - canvas.u_range[0]) * canvas.px_per_unit - 0.5).reshape(x.shape)
    map_y = ((v - canvas.v_range[0]) * canvas.px_per_unit - 0.5).reshape(x.shape)
    full_x, full_y = (_spread(part.astype(np.float32), int(width), int(height)) for part in (map_x, map_y))
    return slice(low[1], high[1]), slice(low[0], high[0]), full_x, full_y


def _spread(coarse: Array, width: int, height: int) -> Array:
    """Interpolate a coarse field whose corners lie on the corners of the fine one. Shape: (height, width)."""
    step_x, step_y = (coarse.shape[1] - 1) / (width - 1), (coarse.shape[0] - 1) / (height - 1)
    matrix = np.array([[step_x, 0, 0], [0, step_y, 0]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(coarse, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _unbend(posed_u: Array, posed_v: Array, state: HeadState) -> tuple[Array, Array]:
    """Texture coordinates seen at positions of the turned head: a fixed point, as the depth is gentle."""
    u, v = posed_u, posed_v
    for _ in range(3):
        depth = _depth(u, v)
        u = (posed_u - depth * np.sin(state.yaw_rad)) / np.cos(state.yaw_rad)
        v = (posed_v + depth * np.sin(state.pitch_rad)) / np.cos(state.pitch_rad)
    fall = JAW_FALL * state.mouth_open
    return u, v - fall * _jaw(u, v - 0.5 * fall)


def bend(points_K2: Array, state: HeadState) -> Array:
    """Positions of texture points on the turned head; the inverse of `_unbend`. Shape: (K, 2)."""
    u, v = points_K2.T
    v = v + JAW_FALL * state.mouth_open * _jaw(u, v)
    depth = _depth(u, v)
    posed_u = u * np.cos(state.yaw_rad) + depth * np.sin(state.yaw_rad)
    posed_v = v * np.cos(state.pitch_rad) - depth * np.sin(state.pitch_rad)
    return np.stack([posed_u, posed_v], axis=1).astype(np.float32)
