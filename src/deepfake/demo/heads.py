"""A parametric talking head: an identity is painted once as a lit texture, then posed, placed and photographed.

The texture lies in face units (see `fields.Canvas`); a frame paints eyes and mouth into it, bends it over a smooth
depth for yaw and pitch, lays it over body and backdrop, and adds the lens and the grain of a camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.demo.features import EYE_V, glasses_layer, mouth_corner_v, paint_eye, paint_mouth
from deepfake.demo.fields import Canvas, cover
from deepfake.demo.hair import hair_alpha, hair_shadow, paint_beard, paint_brows, paint_hair
from deepfake.demo.identity import Identity
from deepfake.demo.motion import HeadState
from deepfake.demo.pose import Camera, bend, pose_matrix, texture_map
from deepfake.demo.scene import paint_backdrop, paint_body
from deepfake.demo.skin import paint_skin, skull_alpha
from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.points import FacePoints, apply_affine, outline_template

TEXTURE_OVER_PICTURE = 1.4  # the texture is finer than the picture, so that bending it does not blur
HEAD_U, HEAD_V = (-1.2, 1.2), (-1.75, 1.75)
BODY_TOP_V = 0.3  # the neck begins behind the chin
GRAIN_MARGIN_PX = 64


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A painted person in front of a camera; `render_head` turns it into frames."""

    identity: Identity
    camera: Camera
    canvas: Canvas
    head_HW3: Array  # lit head with hair, without eyes and mouth, 0..1
    texture_HW4: Image  # the same, premultiplied by its opacity
    glasses_HW4: Array | None
    body_HW4: Image
    backdrop_HW3: Image
    gain_HW3: Array  # white balance and vignette
    grain_HW3: Array  # noise of standard deviation about 1, larger than the picture on each side


@dataclass(frozen=True, eq=False)
class RenderedHead:
    """A frame and where its face is."""

    image_HW3: Image
    points: FacePoints


def build_head(identity: Identity, camera: Camera) -> HeadModel:
    """Paint a person once, at the size the camera needs."""
    rng = np.random.default_rng(identity.seed)
    canvas = Canvas(camera.px_per_unit * TEXTURE_OVER_PICTURE, HEAD_U, HEAD_V)
    head, alpha = _paint_head(identity, canvas, rng)
    body = paint_body(identity, _body_canvas(camera), rng)
    return HeadModel(
        identity=identity,
        camera=camera,
        canvas=canvas,
        head_HW3=head,
        texture_HW4=_to_bytes(np.dstack([head * alpha[..., None], alpha])),
        glasses_HW4=glasses_layer(identity, canvas, rng),
        body_HW4=_to_bytes(body),
        backdrop_HW3=_to_bytes(paint_backdrop(identity, camera.height, camera.width, rng)),
        gain_HW3=_lens_gain(identity, camera),
        grain_HW3=_grain_tile(camera, rng),
    )


def _body_canvas(camera: Camera) -> Canvas:
    """As much of the body as the picture shows, with room for the head's shifts."""
    half = max(camera.centre_xy[0], camera.width - camera.centre_xy[0]) / camera.px_per_unit + 0.2
    bottom = (camera.height - camera.centre_xy[1]) / camera.px_per_unit + 0.2
    return Canvas(camera.px_per_unit, (-half, half), (BODY_TOP_V, max(bottom, BODY_TOP_V + 0.5)))


def _paint_head(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """Lit skin with brows, beard and hair, 0..1, and its opacity. Shapes: (H, W, 3), (H, W)."""
    hair = hair_alpha(identity, canvas, rng)
    hair_HW3 = paint_hair(identity, canvas, rng)
    skin: Array = paint_skin(identity, canvas, rng) * hair_shadow(hair, canvas)[..., None]
    skin = paint_brows(skin, identity, canvas, rng)
    skin = paint_beard(skin, identity, canvas, rng)
    return np.clip(cover(skin, hair_HW3, hair), 0, 1), np.maximum(hair, skull_alpha(identity, canvas))


def _to_bytes(image: Array) -> Image:
    """0..1 to 0..255."""
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)


def _lens_gain(identity: Identity, camera: Camera) -> Array:
    """White balance and vignette as a gain about 1. Shape: (height, width, 3)."""
    y, x = np.mgrid[-1 : 1 : camera.height * 1j, -1 : 1 : camera.width * 1j].astype(np.float32)
    vignette = 1.0 - 0.09 * (x**2 + y**2)
    return vignette[..., None] * np.asarray(identity.scene.tint_rgb, np.float32)


def _grain_tile(camera: Camera, rng: np.random.Generator) -> Array:
    """Sensor noise after demosaicking: mostly brightness, some colour, neighbouring pixels slightly alike."""
    shape = (camera.height + GRAIN_MARGIN_PX, camera.width + GRAIN_MARGIN_PX)
    brightness = rng.standard_normal((*shape, 1), dtype=np.float32)
    rgb = 0.45 * cv2.GaussianBlur(rng.standard_normal((*shape, 3), dtype=np.float32), (0, 0), 0.8)
    return 1.15 * cv2.GaussianBlur(brightness, (3, 3), 0.45)[..., None] + 1.6 * rgb


def render_head(model: HeadModel, state: HeadState, rng: np.random.Generator | None = None) -> RenderedHead:
    """Photograph the head in one state; `rng` draws the grain of this frame, None leaves the frame without grain."""
    camera = model.camera
    frame = model.backdrop_HW3.astype(np.float32)
    _lay_body(frame, model, state)
    rows, cols, map_x, map_y = texture_map(camera, model.canvas, state)
    texture = _animated_texture(model, state)
    head = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT).astype(np.float32)
    frame[rows, cols] = frame[rows, cols] * (1.0 - head[..., 3:] / 255.0) + head[..., :3]
    frame = cv2.GaussianBlur(frame, (3, 3), 0.5) * model.gain_HW3
    if rng is not None:
        top, left = rng.integers(0, GRAIN_MARGIN_PX, size=2)
        grain = model.grain_HW3[top : top + camera.height, left : left + camera.width]
        frame += grain * (model.identity.scene.grain * (0.55 + 0.45 / 128 * frame))
    image = np.clip(frame + 0.5, 0, 255).astype(np.uint8)
    return RenderedHead(image, _project_points(model, state))


def _lay_body(frame_HW3: Array, model: HeadModel, state: HeadState) -> None:
    """Paint neck and clothes into the frame; they follow half of the head's shift."""
    camera = model.camera
    scale = camera.px_per_unit
    x = camera.centre_xy[0] - model.body_HW4.shape[1] / 2 + 0.5 * state.shift_uv[0] * scale
    y = camera.centre_xy[1] + (BODY_TOP_V + 0.5 * state.shift_uv[1]) * scale
    top = max(int(y), 0)
    matrix = np.array([[1, 0, x], [0, 1, y - top]], np.float32)
    size = (camera.width, camera.height - top)
    body = cv2.warpAffine(model.body_HW4, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32)
    frame_HW3[top:] = frame_HW3[top:] * (1.0 - body[..., 3:] / 255.0) + body[..., :3]


def _animated_texture(model: HeadModel, state: HeadState) -> Image:
    """The head's texture with eyes, mouth and glasses of this moment, premultiplied."""
    texture, identity, canvas = model.texture_HW4.copy(), model.identity, model.canvas
    u, v = canvas.grid()
    gap, mouth_v = identity.eyes.half_gap, identity.mouth.v
    for side in (-1, 1):
        at = canvas.window((side * gap - 0.24, side * gap + 0.24), (EYE_V - 0.2, EYE_V + 0.14))
        patch = paint_eye(model.head_HW3[at], identity, state, u[at], v[at], side=side)
        _set_patch(texture[at], patch)
    at = canvas.window((-0.45, 0.45), (mouth_v - 0.16, mouth_v + 0.36))
    _set_patch(texture[at], paint_mouth(model.head_HW3[at], identity, state, u[at], v[at]))
    if model.glasses_HW4 is not None:
        at = canvas.window((-0.95, 0.95), (EYE_V - 0.3, EYE_V + 0.35))
        glasses = model.glasses_HW4[at]
        texture[at][..., :3] = _to_bytes(texture[at][..., :3] / 255.0 * (1.0 - glasses[..., 3:]) + glasses[..., :3])
    return texture


def _set_patch(texture_HW4: Image, patch_HW3: Array) -> None:
    """Replace the colour of a part of a premultiplied texture, keeping its opacity."""
    texture_HW4[..., :3] = _to_bytes(patch_HW3 * (texture_HW4[..., 3:] / 255.0))


def _project_points(model: HeadModel, state: HeadState) -> FacePoints:
    """The five points and the outline of the inner face in pixels."""
    identity, matrix = model.identity, pose_matrix(model.camera, state)
    gap, mouth, tip_v = identity.eyes.half_gap, identity.mouth, identity.skull.nose_tip_v
    corner_v = mouth_corner_v(identity, state)
    five = [(-gap, EYE_V), (gap, EYE_V), (0, tip_v), (-mouth.half_width, corner_v), (mouth.half_width, corner_v)]
    outline = outline_template() * np.array((identity.skull.half_width / 0.72, 1.0), np.float32)
    five_52 = apply_affine(matrix, bend(np.array(five, np.float32), state))
    return FacePoints(five_52, apply_affine(matrix, bend(outline, state)))
