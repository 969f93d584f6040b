"""The forgeries that training makes out of real crops, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepfake.forge.arrays import Array, Image
from deepfake.forge.points import FacePoints
from deepfake.forge.self_blend import sample_self_blend, self_blend
from deepfake.forge.upsample import sample_upsample, upsample


@dataclass(frozen=True)
class Kind:
    """How a real crop becomes a fake."""

    about: str
    needs_face: bool
    """Whether it has to know the five landmarks."""
    forge: Callable[[Image, Array, np.random.Generator], Image]
    """(crop_HW3, five landmarks (5, 2) in px of the crop or NaN, rng) → the forged crop, of the same shape."""


def _self_blend(crop_HW3: Image, five_52: Array, rng: np.random.Generator) -> Image:
    forged = self_blend(crop_HW3, FacePoints.from_five(five_52), sample_self_blend(rng))
    if (forged == crop_HW3).all():  # the crop does not show the face
        return _upsample(crop_HW3, five_52, rng)
    return forged


def _upsample(crop_HW3: Image, five_52: Array, rng: np.random.Generator) -> Image:
    return upsample(crop_HW3, sample_upsample(rng), rng)


KINDS = {
    "self_blend": Kind("a changed copy of the face, blended over itself", True, _self_blend),
    "upsample": Kind("the whole crop, shrunk and enlarged as generators enlarge", False, _upsample),
}


def forge(kind: str, crop_HW3: Image, five_52: Array, rng: np.random.Generator) -> Image:
    """A fake of one of KINDS from a real crop; the same for the same state of `rng`."""
    return KINDS[kind].forge(crop_HW3, five_52, rng)
