"""Small scalar fields and colour helpers that the renderer paints with: ramps, bumps, noise, layers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forgery.arrays import Array

Rgb = tuple[float, float, float]


def ramp(x: Array, width: float = 1.0) -> Array:
    """0 below -width/2, 1 above width/2, smooth in between (a soft edge at x = 0)."""
    t = np.clip(x / width + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(u: Array, v: Array, at_uv: tuple[float, float], size_uv: tuple[float, float]) -> Array:
    """A Gaussian hill of height 1 at `at_uv` with the standard deviations `size_uv`."""
    return np.exp(-0.5 * (((u - at_uv[0]) / size_uv[0]) ** 2 + ((v - at_uv[1]) / size_uv[1]) ** 2))


def pair(u: Array, v: Array, at_uv: tuple[float, float], size_uv: tuple[float, float]) -> Array:
    """The same hill on both sides of the face's middle line."""
    return bump(np.abs(u), v, at_uv, size_uv)


def fractal_noise(rng: np.random.Generator, shape_HW: tuple[int, int], *, cell_px: float, octaves: int = 3) -> Array:
    """Smooth noise of standard deviation about 1: each octave has half the cell and 0.6 of the strength.

    Shape: (H, W).
    """
    height, width = shape_HW
    total, power = np.zeros(shape_HW, np.float32), 0.0
    for octave in range(octaves):
        cell = max(cell_px / 2**octave, 1.0)
        coarse = rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32)
        total += 0.6**octave * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        power += 0.36**octave
    return total / np.float32(0.75 * np.sqrt(power))


def strand_noise(rng: np.random.Generator, strand: Array, *, num_strands: int) -> Array:
    """Noise that is constant along a strand: a random table, read at the strand's coordinate (any number, period 1)."""
    table = rng.standard_normal(num_strands).astype(np.float32)
    at = (strand % 1.0) * num_strands
    low = at.astype(np.int32) % num_strands
    share = ramp(at - np.floor(at) - 0.5)
    return table[low] * (1.0 - share) + table[(low + 1) % num_strands] * share


def colour(rgb: Rgb) -> Array:
    """An RGB triple in 0..1 as an array of shape (3,)."""
    return np.asarray(rgb, np.float32)


def cover(below_HW3: Array, above_HW3: Array, alpha_HW: Array) -> Array:
    """`above` painted over `below` with opacity `alpha` (0..1)."""
    return below_HW3 + (above_HW3 - below_HW3) * alpha_HW[..., None]


@dataclass(frozen=True)
class Canvas:
    """A pixel grid laid over face coordinates.

    One unit is about half a face's height: u to the right, v down, eyes near v = -0.12, chin near v = 1.
    """

    px_per_unit: float
    u_range: tuple[float, float]
    v_range: tuple[float, float]

    @property
    def shape_HW(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = (round((hi - lo) * self.px_per_unit) for lo, hi in (self.v_range, self.u_range))
        return height, width

    def grid(self) -> tuple[Array, Array]:
        """u and v of every pixel centre, each of shape (H, W)."""
        height, width = self.shape_HW
        u = self.u_range[0] + (np.arange(width, dtype=np.float32) + 0.5) / self.px_per_unit
        v = self.v_range[0] + (np.arange(height, dtype=np.float32) + 0.5) / self.px_per_unit
        return tuple(np.meshgrid(u, v))

    def window(self, u_range: tuple[float, float], v_range: tuple[float, float]) -> tuple[slice, slice]:
        """Rows and columns of a part of the canvas."""
        height, width = self.shape_HW
        rows = [int(np.clip((v - self.v_range[0]) * self.px_per_unit, 0, height)) for v in v_range]
        cols = [int(np.clip((u - self.u_range[0]) * self.px_per_unit, 0, width)) for u in u_range]
        return slice(*rows), slice(*cols)
