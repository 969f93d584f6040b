"""What moves inside a face, painted into its texture frame by frame: eyes and mouth; and the glasses above them."""

from __future__ import annotations

import numpy as np

from deepfake.demo.fields import Canvas, bump, colour, cover, fractal_noise, ramp
from deepfake.demo.identity import Identity
from deepfake.demo.motion import HeadState
from deepfake.forgery.arrays import Array

EYE_V = -0.12


def paint_eye(skin_HW3: Array, identity: Identity, state: HeadState, u: Array, v: Array, *, side: int) -> Array:
    """One eye over a patch of lit skin. `side` is -1 for the eye at the left of the picture. Shape: (H, W, 3)."""
    eyes = identity.eyes
    x = (u - side * eyes.half_gap) * side / eyes.half_width
    bow = np.clip(1.0 - x**2, 0, None)
    corner_v = EYE_V - eyes.tilt * x
    lower_v = corner_v + 0.55 * eyes.half_height * bow**0.8
    rest_v = corner_v - eyes.half_height * bow**0.65
    upper_v = rest_v + (lower_v - rest_v) * min(1.0, state.blink + 0.05)
    soft = 0.022
    inside = ramp(v - upper_v, soft) * ramp(lower_v - v, soft) * ramp(1.0 - np.abs(x), 0.12)
    ball = _eyeball(identity, state, u - side * eyes.half_gap, v - EYE_V)
    lid_shadow = 1.0 - 0.45 * np.exp(-np.clip(v - upper_v, 0, None) / 0.03)
    light = np.clip(skin_HW3.mean() / 0.55, 0.35, 1.1)
    out = cover(skin_HW3, ball * lid_shadow[..., None] * light, inside)
    within = ramp(1.05 - np.abs(x), 0.15)
    lash = np.exp(-(((v - upper_v + 0.004) / (0.011 + 0.007 * eyes.makeup)) ** 2)) * within
    crease = np.exp(-(((v - rest_v + 0.045) / 0.012) ** 2)) * within * (1.0 - 0.5 * state.blink)
    rim = np.exp(-(((v - lower_v) / 0.01) ** 2)) * within
    out = cover(out, out * colour((0.55, 0.45, 0.43)), 0.6 * crease)
    out = cover(out, out * colour((0.75, 0.5, 0.48)), 0.6 * rim)
    return cover(out, np.broadcast_to(colour((0.07, 0.05, 0.05)), out.shape), (0.7 + 0.3 * eyes.makeup) * lash)


def _eyeball(identity: Identity, state: HeadState, x: Array, y: Array) -> Array:
    """White, iris, pupil and the reflected light around the eye's centre, 0..1."""
    gaze_u, gaze_v = state.gaze_uv
    iris_radius = 0.074
    radius = np.hypot(x - gaze_u, y - gaze_v + 0.012)
    white = (0.9 - 0.28 * np.abs(x / identity.eyes.half_width) ** 3)[..., None] * colour((1.0, 0.965, 0.945))
    spokes = 0.12 * np.sin(np.arctan2(y - gaze_v, x - gaze_u) * 17) + 0.08 * np.sin(np.arctan2(y, x) * 31)
    depth = 0.75 + 0.7 * np.clip(y / iris_radius, -0.3, 0.8) + spokes
    tone = np.clip(depth * (1.0 - 0.6 * ramp(radius - 0.064, 0.02)), 0.05, 1.6)
    out = cover(white, tone[..., None] * colour(identity.eyes.iris_rgb), ramp(iris_radius - radius, 0.016))
    out = cover(out, np.full_like(out, 0.02), ramp(0.033 - radius, 0.014))
    light_u, light_v, _ = identity.scene.light_uvz
    glint = np.hypot(x - gaze_u - 0.035 * light_u, y - gaze_v + 0.012 - 0.045 * light_v)
    return cover(out, np.full_like(out, 0.97), 0.9 * ramp(0.014 - glint, 0.014))


def mouth_corner_v(identity: Identity, state: HeadState) -> float:
    """Height of the mouth's corners in the texture; a smile lifts them."""
    return identity.mouth.v - 0.05 * state.smile


def paint_mouth(skin_HW3: Array, identity: Identity, state: HeadState, u: Array, v: Array) -> Array:
    """The mouth over a patch of lit skin. Shape: (H, W, 3)."""
    mouth = identity.mouth
    x = u / (mouth.half_width * (1.0 + 0.12 * state.smile - 0.12 * state.mouth_open))
    bow = np.clip(1.0 - x**2, 0, None)
    centre_v = mouth.v + (mouth_corner_v(identity, state) - mouth.v) * x**2 + 0.006 * np.cos(2 * np.pi * x) * bow
    inner_v = centre_v + 0.13 * state.mouth_open * bow**0.7
    dip = 1.0 - 0.3 * np.exp(-((x / 0.14) ** 2)) + 0.12 * np.exp(-(((np.abs(x) - 0.32) / 0.2) ** 2))
    upper_v = centre_v - mouth.upper * bow**0.7 * dip
    lower_v = inner_v + mouth.lower * bow**0.55
    soft, within = 0.02, ramp(1.0 - np.abs(x), 0.1)
    lips = ramp(v - upper_v, 1.6 * soft) * ramp(lower_v - v, 2.2 * soft) * within
    out: Array = skin_HW3 * _lip_gain(mouth.redness, lips)
    out = out * (1.0 - 0.22 * lips * ramp(centre_v - v, 0.02))[..., None]
    gloss = bump(x, v - inner_v, (0.12, 0.45 * mouth.lower), (0.4, 0.3 * mouth.lower + 1e-3)) * ramp(v - inner_v, soft)
    out = out + (0.12 * gloss * lips)[..., None]
    shadow = np.exp(-(((v - lower_v - 0.035) / 0.03) ** 2)) * within
    out = out * (1.0 - 0.16 * shadow)[..., None]
    hole = ramp(v - centre_v, soft) * ramp(inner_v - v, soft) * within
    out = cover(out, _inside_mouth(u, v, centre_v, inner_v), hole)
    line = np.exp(-(((v - centre_v) / 0.011) ** 2)) * within * (1.0 - hole)
    return cover(out, out * colour((0.4, 0.26, 0.26)), 0.85 * line)


def _lip_gain(redness: float, lips: Array) -> Array:
    """How lips tint the lit skin below them."""
    return 1.0 + lips[..., None] * redness * (colour((0.92, 0.52, 0.56)) - 1.0)


def _inside_mouth(u: Array, v: Array, centre_v: Array, inner_v: Array) -> Array:
    """Teeth above, tongue below, dark between."""
    dark = np.broadcast_to(colour((0.17, 0.06, 0.06)), (*u.shape, 3))
    gaps = 1.0 - 0.12 * np.exp(-(((u * 17) % 1.0 - 0.5) ** 2) / 0.006)
    white = (gaps * (0.82 - 1.2 * np.abs(u)))[..., None] * colour((1.0, 0.97, 0.92))
    teeth = ramp(centre_v + 0.055 - v, 0.02) * ramp(0.2 - np.abs(u), 0.1)
    tongue = ramp(v - inner_v + 0.03, 0.03) * ramp(0.12 - np.abs(u), 0.1)
    out = cover(dark, np.broadcast_to(colour((0.62, 0.28, 0.28)), dark.shape), 0.8 * tongue)
    return cover(out, white, teeth)


def glasses_layer(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array | None:
    """Rims and a faint reflection as premultiplied RGBA, 0..1; None without glasses. Shape: (H, W, 4)."""
    if identity.glasses == 0:
        return None
    u, v = canvas.grid()
    gap, power = identity.eyes.half_gap, identity.lens_power
    across, down = np.abs(np.abs(u) - gap - 0.01) / 0.255, np.abs(v - EYE_V - 0.02) / 0.2
    lens = (across**power + down**power) ** (1 / power)
    rim = ramp(identity.glasses / 0.22 * 0.5 - np.abs(lens - 1.0), 0.06)
    bridge = ramp(0.014 - np.abs(v - EYE_V + 0.03 - 0.1 * u**2), 0.015) * ramp(gap - 0.24 - np.abs(u), 0.02)
    temple = ramp(0.016 - np.abs(v - EYE_V + 0.04), 0.015) * ramp(np.abs(u) - gap - 0.25, 0.02)
    temple = temple * ramp(identity.skull.half_width + 0.03 - np.abs(u), 0.02)
    frame = np.clip(rim + bridge + temple, 0, 1)
    streak = ramp(np.sin(6 * (u + 0.8 * v) + rng.uniform(0, 6)) - 0.6, 0.8) * ramp(1.0 - lens, 0.1)
    texture = 1.0 + 0.1 * fractal_noise(rng, canvas.shape_HW, cell_px=0.08 * canvas.px_per_unit)
    shine = 0.25 * np.exp(-(((lens - 1.0 + 0.02) / 0.03) ** 2)) * (v < EYE_V)
    rgb = colour(identity.glasses_rgb) * texture[..., None] + shine[..., None]
    glare = 0.07 * streak * (1.0 - frame)
    return np.dstack([rgb * frame[..., None] + glare[..., None], frame + glare]).astype(np.float32)
