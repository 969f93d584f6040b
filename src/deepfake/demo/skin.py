"""The bare head as a relief under a light: outline, bumps, pores, colour of the skin."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake.demo.fields import Canvas, bump, colour, cover, fractal_noise, pair, ramp
from deepfake.demo.identity import Identity, Skull
from deepfake.forgery.arrays import Array

CROWN_V = -1.13  # top of the bare skull
CHIN_V = 1.0
EAR_V = -0.02


def skull_radius(skull: Skull, u: Array, v: Array) -> Array:
    """0 in the middle of the face, 1 on its outline, growing about evenly in between."""
    below = v > 0
    height = np.where(below, CHIN_V, -CROWN_V)
    power = np.where(below, skull.jaw, 2.2)
    narrowing = 1.0 - skull.taper * np.clip(v, 0, 1.2) ** 2
    across = np.abs(u) / (skull.half_width * narrowing)
    return (across**power + np.abs(v / height) ** power) ** (1.0 / power)


def skull_alpha(identity: Identity, canvas: Canvas) -> Array:
    """Opacity of face and ears, with soft edges. Shape: (H, W)."""
    u, v = canvas.grid()
    soft = 2.0 / canvas.px_per_unit
    face = ramp((1.0 - skull_radius(identity.skull, u, v)) * identity.skull.half_width, soft)
    return np.maximum(face, ramp((1.0 - _ear_radius(identity.skull, u, v)) * 0.1, soft))


def _ear_radius(skull: Skull, u: Array, v: Array) -> Array:
    """1 on the outline of either ear."""
    at_u = skull.half_width + 0.02
    return np.hypot((np.abs(u) - at_u - 0.06 * (EAR_V - v)) / 0.11, (v - EAR_V) / 0.2)


def skin_relief(identity: Identity, u: Array, v: Array) -> Array:
    """Height of the skin towards the viewer in face units. Shape: (H, W)."""
    skull, mouth_v = identity.skull, identity.mouth.v
    radius = np.clip(skull_radius(skull, u, v), 0, 1)
    dome = 0.8 * np.sqrt(1.0 - radius**2.3 + 0.02)
    sockets = -0.085 * pair(u, v, (identity.eyes.half_gap, -0.13), (0.15, 0.09))
    brows = 0.05 * pair(u, v, (0.27, identity.eyes.brow_v), (0.22, 0.06))
    cheeks = 0.07 * skull.cheek * pair(u, v, (0.42, 0.16), (0.17, 0.14))
    chin = 0.06 * bump(u, v, (0, 0.87), (0.15, 0.09)) - 0.035 * bump(u, v, (0, mouth_v + 0.19), (0.17, 0.04))
    lips = 0.05 * bump(u, v, (0, mouth_v), (0.24, 0.1)) - 0.02 * bump(u, v, (0, mouth_v - 0.13), (0.03, 0.05))
    return dome + sockets + brows + cheeks + chin + lips + _nose(skull, u, v) - _folds(identity, u, v)


def _nose(skull: Skull, u: Array, v: Array) -> Array:
    """Height of the nose over the face."""
    wide, tip_v = skull.nose_width, skull.nose_tip_v
    ridge = 0.1 * bump(u, v, (0, tip_v - 0.3), (0.06, 0.16)) + 0.13 * bump(u, v, (0, tip_v - 0.13), (0.075, 0.13))
    tip = 0.17 * bump(u, v, (0, tip_v), (0.1 * wide, 0.075))
    wings = 0.1 * pair(u, v, (0.125 * wide, tip_v + 0.03), (0.055 * wide, 0.05))
    return skull.nose_height * (ridge + tip + wings)


def _folds(identity: Identity, u: Array, v: Array) -> Array:
    """Depth of the lines that age draws: nose to mouth, forehead, under the eyes."""
    age = identity.age
    slanted = np.abs(u) - 0.2 - 0.42 * (v - 0.3)
    nasolabial = np.exp(-((slanted / 0.03) ** 2)) * bump(v, v, (0.45, 0.45), (0.13, 0.13))
    waves = np.sin((v + 0.04 * np.cos(3 * u)) * 70) * bump(u, v, (0, -0.58), (0.3, 0.08))
    bags = pair(u, v, (identity.eyes.half_gap, 0.03), (0.1, 0.02))
    return (0.01 + 0.03 * age) * nasolabial + 0.006 * max(0.0, age - 0.4) * waves + (0.006 + 0.014 * age) * bags


def skin_albedo(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """Colour of the skin before light, 0..1: blush, blotches, freckles, lids, nostrils. Shape: (H, W, 3)."""
    u, v = canvas.grid()
    tip_v, gap = identity.skull.nose_tip_v, identity.eyes.half_gap
    base = colour(identity.skin_rgb)
    skin = np.broadcast_to(base, (*canvas.shape_HW, 3)).copy()
    blush = 0.5 * pair(u, v, (0.42, 0.25), (0.16, 0.14)) + 0.5 * bump(u, v, (0, tip_v), (0.1, 0.08))
    blush += 0.8 * pair(u, v, (identity.skull.half_width + 0.04, EAR_V), (0.07, 0.18))
    skin = cover(skin, base * colour((1.02, 0.82, 0.78)), 0.6 * blush)
    lids = pair(u, v, (gap, -0.13), (0.16, 0.08))
    skin = cover(skin, base * colour((0.78, 0.66, 0.68)), lids * (0.3 + 0.3 * identity.eyes.makeup))
    blotches = fractal_noise(rng, canvas.shape_HW, cell_px=0.25 * canvas.px_per_unit, octaves=4)
    skin *= 1.0 + 0.02 * blotches[..., None] * colour((0.6, 1.0, 1.1))
    skin = cover(skin, base * colour((0.7, 0.52, 0.42)), identity.freckles * _freckles(u, v, canvas, rng))
    nostrils = pair(u, v, (0.068 * identity.skull.nose_width, tip_v + 0.075), (0.034, 0.017))
    return cover(skin, base * colour((0.3, 0.18, 0.16)), 0.85 * nostrils)


def _freckles(u: Array, v: Array, canvas: Canvas, rng: np.random.Generator) -> Array:
    """Small spots, dense over nose and cheeks, 0..1."""
    spots = fractal_noise(rng, canvas.shape_HW, cell_px=0.035 * canvas.px_per_unit, octaves=1)
    return ramp(spots - 1.3, 0.6) * np.clip(bump(u, v, (0, 0.15), (0.4, 0.16)), 0, 1)


def shade(relief: Array, identity: Identity, px_per_unit: float, *, gloss: Array | float = 0.0) -> Array:
    """Light on a relief as an RGB gain about 1: key light, fill, darker hollows, gloss, a warm edge of the shadow.

    Shape: (H, W, 3).
    """
    scene = identity.scene
    dz_dv, dz_du = np.gradient(relief * px_per_unit)
    norm = 1.0 / np.sqrt(dz_du**2 + dz_dv**2 + 1.0)
    light_u, light_v, light_z = scene.light_uvz
    facing = (light_z - dz_du * light_u - dz_dv * light_v) * norm
    key = np.clip((facing + 0.2) / 1.2, 0, 1)
    sky = 0.75 + 0.25 * norm + 0.15 * dz_dv * norm * np.sign(light_v)
    hollow = cv2.GaussianBlur(relief, (0, 0), 0.06 * px_per_unit) - relief
    gain = scene.fill * sky + (1.2 - scene.fill) * key - np.clip(2.2 * hollow, -0.06, 0.25)
    half_way = np.array([light_u, light_v, light_z + 1.0]) / np.sqrt(2.0 + 2.0 * light_z)
    mirror = (half_way[2] - dz_du * half_way[0] - dz_dv * half_way[1]) * norm
    shine = gloss * np.clip(mirror, 0, 1) ** 24
    warm = np.clip(1.0 - gain, 0, 1)[..., None] * colour((0.10, -0.02, -0.05))
    return np.clip(gain, 0.08, 1.4)[..., None] * (1.0 + warm) + shine[..., None]


def paint_skin(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """The lit bare head, 0..1. Shape: (H, W, 3)."""
    u, v = canvas.grid()
    pores = fractal_noise(rng, canvas.shape_HW, cell_px=0.022 * canvas.px_per_unit, octaves=2)
    coarse = fractal_noise(rng, canvas.shape_HW, cell_px=0.07 * canvas.px_per_unit, octaves=2)
    relief = skin_relief(identity, u, v) + (0.0008 + 0.0009 * identity.age) * pores + 0.0007 * coarse
    ear = _ear_radius(identity.skull, u, v)
    relief = np.where(np.abs(u) > identity.skull.half_width, 0.05 * np.cos(np.clip(ear, 0, 1) * 6), relief)
    oily = bump(u, v, (0, -0.5), (0.3, 0.2)) + bump(u, v, (0, 0.1), (0.12, 0.25)) + pair(u, v, (0.4, 0.1), (0.15, 0.1))
    gloss = 0.05 + 0.12 * np.clip(oily, 0, 1) * (1.0 + 0.25 * pores)
    light = shade(relief.astype(np.float32), identity, canvas.px_per_unit, gloss=gloss)
    return skin_albedo(identity, canvas, rng) * light
