"""Everything behind the head: backdrop, neck, clothes."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake.demo.fields import Canvas, bump, colour, cover, fractal_noise, ramp
from deepfake.demo.identity import Identity, Pattern
from deepfake.forgery.arrays import Array


def paint_backdrop(identity: Identity, height: int, width: int, rng: np.random.Generator) -> Array:
    """A place out of focus, 0..1. Shape: (height, width, 3)."""
    scene = identity.scene
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    light = 1.0 + 0.25 * scene.light_uvz[0] * (x * height / width - 0.5) - 0.25 * (y - 0.4)
    wall = light[..., None] * colour(scene.wall_rgb)
    place = PLACES[scene.backdrop](wall, x, y, identity, rng)
    blurred = cv2.GaussianBlur(place, (0, 0), height * float(rng.uniform(0.008, 0.025)))
    texture = fractal_noise(rng, (height, width), cell_px=height / 12, octaves=4)
    return np.clip(blurred * (1.0 + 0.015 * texture[..., None]), 0, 1).astype(np.float32)


def _box(x: Array, y: Array, x_range: tuple[float, float], y_range: tuple[float, float]) -> Array:
    """1 inside a rectangle, 0 outside."""
    return ((x > x_range[0]) & (x < x_range[1]) & (y > y_range[0]) & (y < y_range[1])).astype(np.float32)


def _wall(wall: Array, x: Array, y: Array, identity: Identity, rng: np.random.Generator) -> Array:
    """A wall with a picture on it."""
    left, top = rng.uniform(-0.1, 1.0), rng.uniform(0.0, 0.3)
    frame = _box(x, y, (left, left + 0.35), (top, top + 0.3))
    inner = _box(x, y, (left + 0.03, left + 0.32), (top + 0.03, top + 0.27))
    out = cover(wall, np.broadcast_to(colour((0.2, 0.17, 0.15)), wall.shape), frame)
    return cover(out, np.broadcast_to(colour(identity.scene.second_rgb) * 0.9, wall.shape), inner)


def _window(wall: Array, x: Array, y: Array, identity: Identity, rng: np.random.Generator) -> Array:
    """A bright window at one side."""
    left = rng.choice([-0.1, 0.8]) + rng.uniform(-0.05, 0.1)
    pane = _box(x, y, (left, left + 0.5), (-1.0, 0.72))
    sky = (0.95 - 0.25 * y)[..., None] * colour((0.9, 0.96, 1.0))
    out = cover(wall, sky, 0.92 * pane)
    bars = _box((x - left) % 0.25, y, (0.0, 0.03), (-1.0, 0.74)) * _box(x, y, (left - 0.03, left + 0.53), (-1, 0.74))
    return cover(out, np.broadcast_to(colour((0.75, 0.73, 0.7)), wall.shape), bars)


def _shelves(wall: Array, x: Array, y: Array, identity: Identity, rng: np.random.Generator) -> Array:
    """Book shelves."""
    out = wall * 0.55
    edges = np.cumsum(rng.uniform(0.03, 0.07, size=60))
    for row in range(4):
        top = row * 0.3 - 0.06
        books = np.searchsorted(edges, x[0] + 0.3 * row + 0.05)
        tone = rng.uniform(0.65, 1.0, size=(61, 3)) + np.array((0.1, 0.03, -0.05))
        rgb = rng.uniform(0.12, 0.7, size=(61, 1)) * tone
        tall = rng.uniform(0.17, 0.25, size=61)[books]
        inside = (y > top + 0.27 - tall[None, :]) & (y < top + 0.27)
        out = cover(out, np.broadcast_to(rgb[books].astype(np.float32)[None], wall.shape), inside.astype(np.float32))
        out = cover(out, wall * 0.9, _box(x, y, (-1, 9), (top + 0.27, top + 0.3)))
    return out


def _outdoors(wall: Array, x: Array, y: Array, identity: Identity, rng: np.random.Generator) -> Array:
    """Trees and lights far out of focus."""
    leaves = fractal_noise(rng, x.shape, cell_px=x.shape[0] / 4, octaves=3)
    green = (0.42 + 0.13 * leaves)[..., None] * colour((0.75, 1.0, 0.55))
    sky = np.broadcast_to(colour((0.78, 0.87, 0.95)), wall.shape)
    out = cover(green, sky, ramp(0.22 - y + 0.12 * leaves, 0.15))
    for _ in range(14):
        disc = 0.03 + 0.03 * rng.random() - np.hypot(x - rng.uniform(0, 1.6), y - rng.uniform(0, 0.7))
        rgb = colour((0.95, 0.93, 0.75)) * float(rng.uniform(0.7, 1.0))
        out = cover(out, np.broadcast_to(rgb, wall.shape), 0.4 * ramp(disc, 0.01))
    return cover(out, wall * 0.6, ramp(y - 0.8, 0.1))


def _curtain(wall: Array, x: Array, y: Array, identity: Identity, rng: np.random.Generator) -> Array:
    """Folds of cloth."""
    phase, bend = rng.uniform(0, 6), rng.uniform(0.1, 0.3)
    folds = np.sin(26 * x + bend * np.sin(5 * y) + phase) + 0.5 * np.sin(61 * x + 2 * phase)
    return wall * (0.85 + 0.14 * folds)[..., None]


PLACES = {"wall": _wall, "window": _window, "shelves": _shelves, "outdoors": _outdoors, "curtain": _curtain}


def paint_body(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> Array:
    """Neck and clothes as premultiplied RGBA, 0..1. Shape: (H, W, 4)."""
    u, v = canvas.grid()
    soft = 2.0 / canvas.px_per_unit
    neck_half = 0.36 + 0.1 * ramp(v - 1.15, 0.5) + 0.1 * (identity.skull.half_width - 0.72) * 4
    neck = ramp(neck_half + 1.2 * np.clip(v - 1.2, 0, 1) ** 1.3 - np.abs(u), soft) * ramp(v - 0.3, soft)
    along = np.clip((np.abs(u) - 0.36) / (identity.scene.shoulder - 0.36), 0, None)
    shoulder_v = 1.2 + 0.3 * along**0.8 + 1.6 * np.clip(along - 0.72, 0, None) ** 1.7
    cloth = ramp(v - shoulder_v, soft) * ramp(_neckline(identity, u, v), soft)
    skin = _neck_skin(identity, canvas, neck_half, rng)
    rgb = cover(skin, _paint_cloth(identity, canvas, shoulder_v, rng), cloth)
    body = np.maximum(neck, ramp(v - shoulder_v, soft))
    return np.dstack([np.clip(rgb, 0, 1) * body[..., None], body]).astype(np.float32)


def _neckline(identity: Identity, u: Array, v: Array) -> Array:
    """Positive where cloth covers the chest."""
    garment = identity.scene.garment
    if garment in ("vneck", "blazer"):
        return np.abs(u) * 1.25 - (1.85 - v) * 0.62 if garment == "vneck" else np.abs(u) - (2.3 - v) * 0.3
    depth = {"tee": 1.42, "shirt": 1.3, "hoodie": 1.34}[garment]
    return v - depth + 1.1 * u**2 * (garment != "shirt")


def _neck_skin(identity: Identity, canvas: Canvas, neck_half: Array, rng: np.random.Generator) -> Array:
    """Lit skin of neck and chest with the shadow of the chin."""
    u, v = canvas.grid()
    across = np.clip(u / (neck_half + 0.15), -1, 1)
    light_u = identity.scene.light_uvz[0]
    lit = 0.5 + 0.36 * np.sqrt(1.0 - across**2) + 0.22 * across * light_u
    sinews = 0.06 * np.exp(-(((np.abs(u) - 0.2 + 0.25 * (v - 1)) / 0.04) ** 2)) * ramp(v - 1.0, 0.3)
    chin = 0.5 * bump(u, v, (-0.1 * light_u, 0.93), (0.42, 0.2))
    spots = 0.02 * fractal_noise(rng, canvas.shape_HW, cell_px=0.1 * canvas.px_per_unit, octaves=4)
    gain = np.clip(lit + sinews + spots, 0.1, 1.2) * (1.0 - chin)
    return gain[..., None] * colour(identity.skin_rgb) * colour((1.0, 0.96, 0.94))


def _paint_cloth(identity: Identity, canvas: Canvas, shoulder_v: Array, rng: np.random.Generator) -> Array:
    """Lit fabric with folds, pattern, collar or lapels."""
    scene = identity.scene
    u, v = canvas.grid()
    folds = fractal_noise(rng, canvas.shape_HW, cell_px=0.5 * canvas.px_per_unit, octaves=2)
    weave = fractal_noise(rng, canvas.shape_HW, cell_px=1.5, octaves=1)
    edge = np.exp(-np.clip(v - shoulder_v, 0, None) / 0.12)
    lit = 0.78 + 0.2 * u / scene.shoulder * scene.light_uvz[0] + 0.05 * folds - 0.2 * edge + 0.03 * weave
    rgb = np.broadcast_to(colour(scene.fabric_rgb), (*u.shape, 3))
    rgb = cover(rgb, colour(scene.second_rgb), _pattern(scene.pattern, u, v, folds))
    if scene.garment == "blazer":
        shirt = ramp(0.62 - np.abs(u) - (v - 1.3) * 0.45, 0.02)
        rgb = cover(rgb, np.broadcast_to(colour((0.88, 0.88, 0.9)), rgb.shape), shirt)
    seam = _seam(scene.garment, u, v)
    return np.clip(lit * (1.0 - 0.3 * seam), 0.1, 1.3)[..., None] * rgb


def _pattern(pattern: Pattern, u: Array, v: Array, folds: Array) -> Array:
    """Where the second colour shows, 0..1."""
    bent_u, bent_v = u + 0.015 * folds, v + 0.015 * folds
    if pattern == "stripes":
        return 0.8 * ramp(np.sin(bent_v * 42), 0.6)
    if pattern == "check":
        return 0.4 * ramp(np.sin(bent_v * 36), 0.6) + 0.4 * ramp(np.sin(bent_u * 36), 0.6)
    if pattern == "knit":
        return 0.3 + 0.25 * np.sin(bent_u * 90) * np.sin(bent_v * 70)
    return np.zeros_like(u)


def _seam(garment: str, u: Array, v: Array) -> Array:
    """Dark lines of collar, zip or lapels, 0..1."""
    if garment == "shirt":
        collar = np.abs(np.abs(u) - 0.12 - 0.5 * (1.62 - v)) / 0.014
        return np.exp(-(collar**2)) * (v < 1.64) + np.exp(-((u / 0.012) ** 2)) * (v > 1.5)
    if garment == "hoodie":
        return np.exp(-((u / 0.015) ** 2)) + np.exp(-(((v - 1.48 + 0.5 * u**2) / 0.03) ** 2))
    if garment == "blazer":
        return np.exp(-(((np.abs(u) - 0.62 + (v - 1.3) * 0.45) / 0.02) ** 2))
    return np.exp(-(((v - 1.47 + 1.1 * u**2) / 0.012) ** 2)) * (garment == "tee")
