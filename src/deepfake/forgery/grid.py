"""A square grid laid over a face: cropping the face to it, laying it back, matching two faces' colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.masks import Patch
from deepfake.forgery.points import FacePoints, compose


@dataclass(frozen=True)
class FaceGrid:
    """A square of `size` pixels laid upright over a face: the picture a generator would see and return."""

    size: int
    half_units: float = 1.0  # from its centre to its edge, in face units
    centre_v: float = 0.2

    def to_picture(self, points: FacePoints) -> Array:
        """Affine map from grid pixels to picture pixels. Shape: (2, 3)."""
        unit = 2 * self.half_units / self.size
        corner = (0.5 * unit - self.half_units, 0.5 * unit - self.half_units + self.centre_v)
        return compose(points.matrix_23, np.array([[unit, 0, corner[0]], [0, unit, corner[1]]], np.float32))

    def crop(self, frame_HW3: Image, points: FacePoints) -> Array:
        """The face on the grid, 0..255, without aliasing. Shape: (size, size, 3)."""
        step = points.px_per_unit * 2 * self.half_units / self.size
        finer = max(1, int(np.ceil(step)))
        fine = FaceGrid(self.size * finer, self.half_units, self.centre_v)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        face = cv2.warpAffine(
            frame_HW3, fine.to_picture(points), (fine.size, fine.size), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        if finer > 1:
            face = cv2.resize(face, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return face.astype(np.float32)

    def lay(self, face_SS3: Array, points: FacePoints, patch: Patch, *, flags: int = cv2.INTER_CUBIC) -> Array:
        """The grid's picture moved to where the patch lies. Shape: (H, W, 3) of the patch."""
        height, width = patch.mask_HW.shape
        matrix = patch.shift(self.to_picture(points))
        return cv2.warpAffine(face_SS3, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def match_colour(source_HW3: Array, target_HW3: Array, weight_HW: Array, *, strength: float = 1.0) -> Array:
    """`source` with each channel's mean and contrast moved towards the target's; both are measured under the weight.

    `strength`: 0 leaves the source as it is, 1 matches it wholly.
    """
    weight = (weight_HW / max(float(weight_HW.sum()), 1e-6))[..., None]
    means = [(image * weight).sum((0, 1)) for image in (source_HW3, target_HW3)]
    spreads = [
        np.sqrt((((image - mean) ** 2) * weight).sum((0, 1)))
        for image, mean in zip((source_HW3, target_HW3), means, strict=True)
    ]
    matched = (source_HW3 - means[0]) * np.clip(spreads[1] / (spreads[0] + 1e-6), 0.5, 2.0) + means[1]
    return source_HW3 + strength * (matched - source_HW3)
