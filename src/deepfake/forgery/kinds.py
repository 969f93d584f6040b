"""The forgeries that training makes out of real crops, by name.

Each forgery is as sharp as the real crop that it was made from (see spectrum.give_energies).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image, to_image
from deepfake.forgery.history import resaved
from deepfake.forgery.masks import Patch, face_patch, paste
from deepfake.forgery.points import Face
from deepfake.forgery.reconstruct import mixed
from deepfake.forgery.self_blend import changed_copy, sample_wide_self_blend
from deepfake.forgery.spectrum import as_sharp, cosines, energies, from_cosines, give_energies, light_of, with_light
from deepfake.forgery.swap import donor_face, sample_wide_swap
from deepfake.forgery.upsample import sample_upsample, upsample

GRAIN = 4.0  # levels between the least and the most noise of a face that no camera took, before it is made as sharp
WHOLE = 5.0  # a fifth of a mask's highest opacity counts as changed wholly


@dataclass(frozen=True, eq=False)
class Forgery:
    """A fake made from a real crop."""

    crop_HW3: Image
    mask_HW: Array
    """How much of each pixel is forged, 0..1. Where it is 0, the pixel is the real crop's."""


@dataclass(frozen=True)
class Kind:
    """How a real crop becomes a fake."""

    about: str
    needs_face: bool
    """Whether it has to know the five landmarks."""
    needs_donor: bool
    """Whether it needs another person's face, with landmarks."""
    forge: Callable[[Face, Face | None, np.random.Generator], Forgery | None]
    """(real, donor or copy, rng) → the fake, or None where the crop does not show the face, or the donor is missing."""
    needs_copy: bool = False
    """Whether it needs what an autoencoder made of the crop."""


def _self_blend(real: Face, donor: Face | None, rng: np.random.Generator) -> Forgery | None:
    params = sample_wide_self_blend(rng)
    patch = face_patch(real.crop_HW3, real.points, params.mask)
    if patch is None:
        return None
    forged = paste(real.crop_HW3, patch, changed_copy(real.crop_HW3, real.points, patch, params))
    # Blending takes detail from both, so it is the blend that is made sharp.
    changed = replace(patch, mask_HW=np.minimum(patch.mask_HW * (WHOLE / params.mask.strength), 1))
    return Forgery(_within(real.crop_HW3, changed, forged[patch.rows, patch.cols]), patch.full(forged.shape[:2]))


def _swap(real: Face, donor: Face | None, rng: np.random.Generator) -> Forgery | None:
    if donor is None:
        return None
    params = sample_wide_swap(rng)
    patch = face_patch(real.crop_HW3, real.points, params.mask)
    if patch is None:
        return None
    face = donor_face(real, patch, donor, params)
    face += (rng.random(patch.mask_HW.shape, np.float32)[..., None] - 0.5) * GRAIN
    if params.poisson:
        cloned, patch = _cloned(real.crop_HW3, patch, to_image(face))
        return Forgery(_within(real.crop_HW3, patch, cloned), patch.full(real.crop_HW3.shape[:2]))
    return Forgery(_within(real.crop_HW3, patch, face), patch.full(real.crop_HW3.shape[:2]))


def _upsample(real: Face, donor: Face | None, rng: np.random.Generator) -> Forgery:
    forged = upsample(real.crop_HW3, sample_upsample(rng), rng)
    return Forgery(forged, np.ones(forged.shape[:2], np.float32))


def _reconstruct(real: Face, copy: Face | None, rng: np.random.Generator) -> Forgery:
    assert copy is not None
    made = mixed(copy.crop_HW3, real.crop_HW3, rng)
    light, wanted = light_of(made), light_of(real.crop_HW3)
    parts = cosines(light)  # mixing and saving took detail, and what a JPEG had left
    give_energies(parts, energies(parts), energies(cosines(wanted)))
    forged = with_light(made, resaved(from_cosines(parts), wanted) - light)
    return Forgery(forged, np.ones(forged.shape[:2], np.float32))


def _within(crop_HW3: Image, patch: Patch, face_HW3: Array | Image) -> Image:
    """The crop with a face, of the patch's size, seen through its mask, as sharp as the crop was there."""
    forged, place = crop_HW3.copy(), np.s_[patch.rows, patch.cols]
    forged[place] = as_sharp(face_HW3, crop_HW3[place], patch.mask_HW)
    return forged


def _cloned(crop_HW3: Image, patch: Patch, face_HW3: Image) -> tuple[Image, Patch]:
    """The patch's picture with a face whose gradients are kept (Pérez et al., "Poisson image editing", 2003) where the
    mask is more than a half, and the mask that this is. As it was where the crop shows next to nothing of it."""
    hard = (patch.mask_HW > 0.5).astype(np.uint8)
    hard[[0, -1]] = hard[:, [0, -1]] = 0  # OpenCV needs a border
    x, y, width, height = cv2.boundingRect(hard)
    own = crop_HW3[patch.rows, patch.cols]
    if min(width, height) > 2:
        own = cv2.seamlessClone(face_HW3, own, 255 * hard, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return own, replace(patch, mask_HW=hard.astype(np.float32))


KINDS = {
    "self_blend": Kind("a changed copy of the face, blended over itself", True, False, _self_blend),
    "swap": Kind("another person's face of near pose, blended over the face", True, True, _swap),
    "upsample": Kind("the whole crop, shrunk and enlarged as generators enlarge", False, False, _upsample),
    "reconstruct": Kind("what an autoencoder makes of the whole crop", False, False, _reconstruct, needs_copy=True),
}


def need_copies(kinds: Iterable[str]) -> bool:
    """Whether one of the kinds needs what an autoencoder made of the crops."""
    return any(KINDS[kind].needs_copy for kind in kinds)


def forge(kind: str, real: Face, rng: np.random.Generator, other: Face | None = None) -> Forgery:
    """A fake of one of KINDS from a real crop, and the donor or copy that the kind needs; the same for the same state
    of `rng`. What cannot be made of a crop is left for `upsample`."""
    return KINDS[kind].forge(real, other, rng) or _upsample(real, other, rng)
