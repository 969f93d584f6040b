"""Hair on the head, brows and beard, painted as strands over the lit skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.demo.fields import Canvas, bump, colour, cover, fractal_noise, ramp, strand_noise
from deepfake.demo.identity import HairStyle, Identity
from deepfake.demo.skin import CROWN_V, skull_radius
from deepfake.forgery.arrays import Array


@dataclass(frozen=True)
class Haircut:
    """Shape of a haircut in face units."""

    lift: float  # above the skull
    width: float  # beyond the skull at the sides
    end_v: float  # where the sides end
    ragged: float  # how uneven the edge is
    wave: float  # how much the strands meander


HAIRCUTS: dict[HairStyle, Haircut] = {
    "buzz": Haircut(lift=0.03, width=0.015, end_v=-0.2, ragged=0.01, wave=0.0),
    "short": Haircut(lift=0.16, width=0.05, end_v=-0.12, ragged=0.02, wave=0.03),
    "parted": Haircut(lift=0.2, width=0.07, end_v=-0.08, ragged=0.02, wave=0.02),
    "bob": Haircut(lift=0.17, width=0.2, end_v=0.75, ragged=0.014, wave=0.02),
    "long": Haircut(lift=0.15, width=0.17, end_v=1.5, ragged=0.012, wave=0.005),
    "wavy": Haircut(lift=0.2, width=0.26, end_v=1.25, ragged=0.025, wave=0.1),
    "curly": Haircut(lift=0.3, width=0.26, end_v=0.25, ragged=0.045, wave=0.3),
    "bun": Haircut(lift=0.08, width=0.03, end_v=-0.1, ragged=0.01, wave=0.01),
    "beanie": Haircut(lift=0.16, width=0.035, end_v=-0.45, ragged=0.0, wave=0.0),
}


def hair_alpha(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """Opacity of the hair, 0..1. Shape: (H, W)."""
    style = identity.hair.style
    if style == "bald":
        return np.zeros(canvas.shape_HW, np.float32)
    u, v = canvas.grid()
    haircut, soft = HAIRCUTS[style], 2.5 / canvas.px_per_unit
    edge = haircut.ragged * fractal_noise(rng, canvas.shape_HW, cell_px=0.12 * canvas.px_per_unit, octaves=3)
    outer = _outer_distance(identity, haircut, u, v) + edge
    face = _face_window(identity, haircut, u, v) + 0.7 * edge
    ends = haircut.end_v - v + 1.5 * edge - 0.25 * np.clip(np.abs(u) - 0.6, 0, 1)
    alpha = ramp(outer, soft) * ramp(-face, 2 * soft) * ramp(ends, 0.12)
    if style == "bun":
        bun = 0.27 - np.hypot(u, (v - CROWN_V - 0.1 + haircut.lift) * 1.1) + edge
        alpha = np.maximum(alpha, ramp(bun, soft) * ramp(-face, 2 * soft))
    return alpha.astype(np.float32)


def _outer_distance(identity: Identity, haircut: Haircut, u: Array, v: Array) -> Array:
    """Distance to the outer contour of the hair, positive inside."""
    half = identity.skull.half_width + haircut.width + identity.hair.volume
    top = CROWN_V - haircut.lift - identity.hair.volume
    drop = np.clip(v + 0.3, 0, None)
    cap = 1.0 - np.sqrt((u / half) ** 2 + (np.minimum(v + 0.3, 0) / (top + 0.3)) ** 2)
    return half * cap - 0.06 * drop**2 * (haircut.end_v < 1)


def _face_window(identity: Identity, haircut: Haircut, u: Array, v: Array) -> Array:
    """Distance to the edge of the opening in the hair that shows the face, positive inside the opening."""
    hair = identity.hair
    half: Array | float = identity.skull.half_width + 0.02
    if haircut.end_v > 0.3:
        half = (half - 0.06) * (1.0 - 0.3 * ramp(v - 0.6, 0.9))
    top: Array | float = hair.hairline_v
    if hair.style in ("parted", "bob", "long", "wavy"):
        top = top + 0.12 * np.clip(np.abs(u - hair.part_u) / 0.5, 0, 1.6) ** 1.5 - 0.06
    if hair.style == "beanie":
        return np.minimum(v + 0.5 + 0.12 * u**2, 0.3)
    centre_v = 0.1
    up = np.clip((centre_v - v) / (centre_v - top), 0, None)
    window = (1.0 - (up**3.2 + (np.abs(u) / half) ** 3.2) ** (1 / 3.2)) * half
    # Above the ears hair begins where the skull ends, or the backdrop would show between the two.
    beside = (1.0 - skull_radius(identity.skull, u, v)) * identity.skull.half_width - 1.5 * haircut.ragged
    return np.where(v < 0.3, np.minimum(window, beside), window)


def paint_hair(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """Lit hair (or hat) everywhere on the canvas, 0..1; mask it with `hair_alpha`. Shape: (H, W, 3)."""
    u, v = canvas.grid()
    if identity.hair.style == "beanie":
        return _paint_beanie(identity, canvas, rng)
    part_u = identity.hair.part_u if identity.hair.style in ("parted", "bob", "long", "wavy") else 0.0
    du, dv = u - part_u, v - CROWN_V + 0.12
    length = np.hypot(du, dv)
    tone = _strand_tone(identity, canvas, rng, np.arctan2(dv, du) / (2 * np.pi), length)
    half = identity.skull.half_width + 0.2
    roundness = np.sqrt(np.clip(1.0 - (u / half) ** 2, 0.02, 1)) * (0.85 + 0.15 * np.clip(-v, -1, 1))
    light_u, light_v, _ = identity.scene.light_uvz
    lit = 0.45 + 0.4 * roundness + 0.22 * np.clip(u * light_u + v * light_v * 0.7, -0.8, 1)
    band = np.exp(-(((length - 0.45 - 0.1 * tone) / 0.16) ** 2)) * np.clip(0.6 + u * light_u, 0, 1)
    base = colour(identity.hair.rgb)
    strands = np.clip(lit * (1.0 + 0.24 * tone), 0.12, 1.6)[..., None] * base
    return strands + (0.16 * band * np.clip(0.8 + 0.5 * tone, 0, 2))[..., None] * (0.5 * base + 0.3)


def _strand_tone(identity: Identity, canvas: Canvas, rng: np.random.Generator, angle: Array, length: Array) -> Array:
    """Brightness of the strands about 0, in standard deviations."""
    wave = HAIRCUTS[identity.hair.style].wave if identity.hair.style != "bald" else 0.0
    drift = fractal_noise(rng, canvas.shape_HW, cell_px=0.3 * canvas.px_per_unit, octaves=2)
    strand = angle + 0.002 * drift + 0.1 * wave * np.sin(9 * length + drift)
    fine = sum(
        share * strand_noise(rng, strand, num_strands=num) for share, num in ((0.9, 900), (0.6, 420), (0.25, 170))
    )
    if identity.hair.style not in ("curly", "buzz"):
        return 0.65 * fine + 0.25 * drift
    cell_px = (0.07 if identity.hair.style == "curly" else 0.025) * canvas.px_per_unit
    curls = fractal_noise(rng, canvas.shape_HW, cell_px=cell_px, octaves=3)
    return 0.6 * np.sin(3.2 * curls) + 0.35 * curls + 0.25 * drift


def _paint_beanie(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """A knitted cap with a folded brim."""
    u, v = canvas.grid()
    ribs = np.sin(u * (46 + 10 * (v + 1)) + 0.6 * np.sin(v * 120))
    knit = 0.06 * ribs + 0.05 * fractal_noise(rng, canvas.shape_HW, cell_px=0.03 * canvas.px_per_unit, octaves=2)
    fold = 0.16 * ramp(v + 0.8 + 0.12 * u**2, 0.03)
    fold = fold - 0.25 * np.exp(-(((v + 0.81 + 0.12 * u**2) / 0.02) ** 2))
    lit = 0.5 + 0.45 * np.sqrt(np.clip(1 - (u / 0.95) ** 2, 0, 1)) + 0.2 * u * identity.scene.light_uvz[0]
    return (np.clip(lit + knit + fold - 0.08, 0.1, 1.3))[..., None] * colour(identity.hair.hat_rgb)


def hair_shadow(alpha_HW: Array, canvas: Canvas, *, strength: float = 0.4) -> Array:
    """Gain (up to 1) of the soft shadow that hair casts downwards on the face. Shape: (H, W)."""
    sigma = 0.05 * canvas.px_per_unit
    moved = np.roll(alpha_HW, int(0.05 * canvas.px_per_unit), axis=0)
    return 1.0 - strength * cv2.GaussianBlur(moved, (0, 0), sigma)


def paint_brows(head_HW3: Array, identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """The head with eyebrows. Shape: (H, W, 3)."""
    u, v = canvas.grid()
    eyes = identity.eyes
    along = (np.abs(u) - 0.1) / 0.42
    arch_v = eyes.brow_v + 0.03 - eyes.brow_arch * np.sin(np.pi * np.clip(along, 0, 1) * 0.75 + 0.35)
    thickness = eyes.brow_thickness * (1.15 - 0.75 * np.clip(along, 0, 1) ** 1.5)
    edge = 0.14 * fractal_noise(rng, canvas.shape_HW, cell_px=0.02 * canvas.px_per_unit, octaves=2)
    mask = ramp(1.0 - np.abs(v - arch_v) / thickness + edge, 0.9) * ramp(along, 0.16) * ramp(1.0 - along, 0.12)
    hairs = strand_noise(rng, (u + 1.2 * np.sign(u) * (v - arch_v)) * 0.5, num_strands=90)
    rgb = 0.7 * colour(identity.hair.rgb) * np.clip(1.0 + 0.3 * hairs, 0.2, 2)[..., None]
    return cover(head_HW3, np.minimum(rgb, 0.45), 0.85 * mask)


def paint_beard(head_HW3: Array, identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """The head with stubble, beard and moustache where the person has them. Shape: (H, W, 3)."""
    hair = identity.hair
    if hair.beard == 0 and hair.moustache == 0:
        return head_HW3
    u, v = canvas.grid()
    mouth = identity.mouth
    edge = fractal_noise(rng, canvas.shape_HW, cell_px=0.06 * canvas.px_per_unit, octaves=3)
    cheek_line = v - 0.32 - 0.35 * np.clip(0.62 - np.abs(u), 0, 1) + 0.025 * edge
    jaw = ramp(cheek_line, 0.12) * ramp(skull_radius(identity.skull, u, v) - 0.42 + 0.02 * edge, 0.15)
    lip_gap = np.hypot(u / (mouth.half_width * 1.1), (v - mouth.v - 0.02) / 0.13)
    jaw = jaw * ramp(lip_gap - 1.1, 0.3)
    upper_v = mouth.v - mouth.upper - 0.055 + 0.12 * u**2 / 0.09 * 0.5
    moustache = ramp(1.0 - np.abs(v - upper_v) / 0.052 + 0.2 * edge, 0.9) * ramp(0.3 - np.abs(u), 0.1)
    hairs = fractal_noise(rng, canvas.shape_HW, cell_px=0.02 * canvas.px_per_unit, octaves=1)
    flow = strand_noise(rng, u * 0.5 + 0.04 * edge, num_strands=200)
    amount = np.clip(hair.beard * jaw + hair.moustache * moustache, 0, 1)
    alpha = np.clip(amount * (0.82 + 0.2 * hairs), 0, 0.94)
    lit = 0.75 + 0.25 * bump(u, v, (0, 0.6), (0.5, 0.5)) + 0.18 * hairs + 0.18 * flow
    return cover(head_HW3, colour(hair.rgb) * np.clip(lit, 0.1, 2)[..., None], alpha)
