"""Where a face is: the five points every detector gives, and the outline of the inner face around them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deepfake.forgery.arrays import Array, Image

# Eyes, nose, mouth corners of an average face; the eye at the left of the picture comes first. Face units.
FIVE_TEMPLATE = np.array([(-0.33, -0.12), (0.33, -0.12), (0.0, 0.25), (-0.26, 0.54), (0.26, 0.54)], np.float32)


def outline_template(num_points: int = 32) -> Array:
    """The inner face (brows to just above the chin, inside the cheeks) in face units. Shape: (num_points, 2)."""
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False, dtype=np.float32)
    u = 0.58 * np.cos(angle) * (1.0 - 0.14 * np.sin(angle))
    v = 0.2 + np.where(np.sin(angle) > 0, 0.64, 0.67) * np.sin(angle)
    return np.stack([u, v], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FacePoints:
    """Landmarks of one face in pixels of its picture."""

    five_52: Array
    outline_K2: Array

    def __post_init__(self) -> None:
        if self.five_52.shape != (5, 2) or self.outline_K2.ndim != 2 or self.outline_K2.shape[1] != 2:
            raise ValueError(f"five_52 {self.five_52.shape}, outline_K2 {self.outline_K2.shape}; need (5, 2), (K, 2)")

    @classmethod
    def from_five(cls, five_52: Array) -> FacePoints:
        """Points of a real face: the outline is the average one, moved by the similarity of the five points. Where the
        nose points to a side, there is less of a face on that side."""
        five_52 = np.asarray(five_52, np.float32)
        matrix, outline = similarity(FIVE_TEMPLATE, five_52), outline_template()
        nose_u = float(normalised(five_52)[2, 0])
        outline[:, 0] *= np.where(outline[:, 0] * nose_u > 0, max(0.45, 1 - abs(nose_u)), 1)
        return cls(five_52, apply_affine(matrix, outline))

    @cached_property
    def matrix_23(self) -> Array:
        """Similarity from face units to pixels of the picture."""
        return similarity(FIVE_TEMPLATE, self.five_52)

    @property
    def px_per_unit(self) -> float:
        """Scale of the face; brows to chin are about 1.35 units."""
        matrix = self.matrix_23
        return float(np.hypot(matrix[0, 0], matrix[1, 0]))


@dataclass(frozen=True, eq=False)
class Face:
    """A crop that shows a real face."""

    crop_HW3: Image
    five_52: Array
    """The five landmarks in px of the crop, or NaN."""

    @cached_property
    def points(self) -> FacePoints:
        """With the average outline."""
        return FacePoints.from_five(self.five_52)


def similarity(source_K2: Array, target_K2: Array) -> Array:
    """Least-squares rotation, scale and shift that takes `source` to `target`. Shape: (2, 3)."""
    source, target = source_K2 - source_K2.mean(0), target_K2 - target_K2.mean(0)
    power = float((source**2).sum())
    a = float((source * target).sum()) / power
    b = float((source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum()) / power
    linear = np.array([[a, -b], [b, a]])
    shift = target_K2.mean(0) - linear @ source_K2.mean(0)
    return np.hstack([linear, shift[:, None]]).astype(np.float32)


def normalised(five_52: Array) -> Array:
    """The five points in face units: what is left of them is the pose. Shape: (..., 5, 2), as given."""
    points, frontal = (five @ np.array([1, 1j]) for five in (five_52, FIVE_TEMPLATE))
    points = points - points.mean(-1, keepdims=True)
    factor = (points.conj() * (frontal - frontal.mean())).sum(-1) / np.maximum((np.abs(points) ** 2).sum(-1), 1e-12)
    moved = factor[..., None] * points + frontal.mean()
    return np.stack([moved.real, moved.imag], -1)


def apply_affine(matrix_23: Array, points_K2: Array) -> Array:
    """Points moved by an affine map. Shape: (K, 2)."""
    return (points_K2 @ matrix_23[:, :2].T + matrix_23[:, 2]).astype(np.float32)


def compose(outer_23: Array, inner_23: Array) -> Array:
    """The affine map that applies `inner`, then `outer`. Shape: (2, 3)."""
    linear = outer_23[:, :2] @ inner_23[:, :2]
    return np.hstack([linear, outer_23[:, :2] @ inner_23[:, 2:] + outer_23[:, 2:]]).astype(np.float32)
