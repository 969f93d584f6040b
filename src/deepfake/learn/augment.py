"""Training-time augmentation of uint8 RGB crops, with albumentations, and black patches by the face's landmarks."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from deepfake.forgery.arrays import save_as_jpeg
from deepfake.forgery.damage import damage
from deepfake.learn.frequency import mask_frequencies

Augment = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]

# Landmarks of a frontal face, from the middle between the eyes, in distances between the eyes (x right, y down).
FRONTAL_XY = np.array([[-0.5, 0], [0.5, 0], [0, 0.57], [-0.41, 1.16], [0.41, 1.16]])
BLACK = (0, 0, 0)


def build_augment(
    *,
    hflip: float,
    shift_scale_rotate: float,
    scale: float,
    rotate_deg: float,
    colour: float,
    blur: float,
    blur_sigma_range: tuple[float, float],
    noise: float,
    jpeg: float,
    jpeg_quality_range: tuple[int, int],
    min_area: float = 1.0,
    grey: float = 0.0,
    clahe: float = 0.0,
    contrast: float = 0.0,
    rescale: float = 0.0,
    damage: float = 0.0,
    frequency_mask: float = 0.0,
) -> Augment:
    """A function (crop_HWC uint8, seed) → crop_HWC of the same shape, the same for the same seed.

    hflip, shift_scale_rotate, colour, grey, clahe, contrast, rescale, blur, noise, jpeg: probabilities. scale: largest
    relative change of size. rotate_deg: largest turn. min_area: the smallest share of the area that a random window
    shows; 1 = off. blur_sigma_range: px. Geometry comes first, then colour, and last the damage that re-uploading does:
    rescale, blur, noise, with probability `damage` the chain of forgery.damage, JPEG. With probability `frequency_mask`
    mask_frequencies comes at the end.
    """
    A = _albumentations()
    sigma_range = tuple(max(0.01, sigma) for sigma in blur_sigma_range)  # its kernel for 0 is not a number
    changes = [
        A.HorizontalFlip(p=hflip),
        A.Affine(
            scale=(1 - scale, 1 + scale),
            rotate=(-rotate_deg, rotate_deg),
            translate_percent=(-0.05, 0.05),
            p=shift_scale_rotate,
        ),
        A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03, p=colour),
        A.ToGray(p=grey),
        A.CLAHE(clip_limit=2, p=clahe),
        A.Lambda(name="stretch", image=stretch, p=contrast),
        _rescale(rescale),
        A.GaussianBlur(blur_limit=0, sigma_limit=sigma_range, p=blur),
        A.GaussNoise(std_range=(0.005, 0.04), p=noise),
    ]
    compose = A.Compose([change for change in changes if change.p > 0])
    return _Augment(compose, min_area, damage, jpeg, jpeg_quality_range, frequency_mask)


@dataclass
class _Augment:
    """What build_augment gives: a class, as a function within one cannot be sent to a loader's processes."""

    compose: Any
    min_area: float
    damage: float
    jpeg: float
    jpeg_quality_range: tuple[int, int]
    frequency_mask: float

    def __call__(self, crop_HWC: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        # One stream for all transforms: Compose.set_random_seed gives each the same seed, and so the same draws.
        word = int(np.random.SeedSequence(seed).generate_state(1)[0])
        rng = np.random.default_rng(word)
        if self.min_area < 1:
            crop_HWC = zoom(crop_HWC, self.min_area, rng)
        self.compose.set_random_state(rng, random.Random(word))
        crop_HWC = self.compose(image=crop_HWC)["image"]
        if rng.random() < self.damage:
            crop_HWC = damage(crop_HWC, np.random.default_rng((*seed, word)))
        if rng.random() < self.jpeg:  # not albumentations' own: it takes red for blue, and so spares other detail
            crop_HWC = save_as_jpeg(crop_HWC, int(rng.integers(*self.jpeg_quality_range, endpoint=True)))
        masks = np.random.default_rng((*seed, word, 1))  # of its own: a crop is the same but for the mask
        if masks.random() < self.frequency_mask:
            crop_HWC = mask_frequencies(crop_HWC, masks)
        return crop_HWC


def _albumentations() -> ModuleType:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for updates on import
    import albumentations

    return albumentations


def _rescale(probability: float) -> Any:
    """Down to 0.5 to 0.9 of the size and up again, by one of three pairs of interpolations."""
    A = _albumentations()
    pairs = (
        (cv2.INTER_AREA, cv2.INTER_CUBIC),
        (cv2.INTER_AREA, cv2.INTER_LINEAR),
        (cv2.INTER_LINEAR, cv2.INTER_LINEAR),
    )
    ways = [{"downscale": down, "upscale": up} for down, up in pairs]
    return A.OneOf([A.Downscale((0.5, 0.9), interpolation_pair=way, p=1) for way in ways], p=probability)


def zoom(crop_HWC: np.ndarray, min_area: float, rng: np.random.Generator) -> np.ndarray:
    """A random window of `min_area` to 1 of the area, its sides' ratio changed by up to 3:4, at the crop's own size."""
    height, width = crop_HWC.shape[:2]
    side, stretch = np.sqrt(rng.uniform(min_area, 1)), np.sqrt(np.exp(rng.uniform(-1, 1) * np.log(4 / 3)))
    rows, columns = min(height, round(height * side / stretch)), min(width, round(width * side * stretch))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    window = crop_HWC[top : top + rows, left : left + columns]
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)


def stretch(crop_HWC: np.ndarray, **_: Any) -> np.ndarray:  # albumentations adds arguments of its own
    """The crop, its values stretched so that all but the darkest and brightest hundredth span 0 to 255; hues stay."""
    counts = np.bincount(crop_HWC.ravel(), minlength=256).cumsum()
    low, high = np.searchsorted(counts, [0.01 * counts[-1], 0.99 * counts[-1]])
    if low == high:
        return crop_HWC
    values = (np.arange(256) - low) * (255 / (high - low))
    return cv2.LUT(crop_HWC, values.round().clip(0, 255).astype(np.uint8))


def erase_part(crop_HWC: np.ndarray, landmarks_xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with its eyes, nose or mouth under a black ellipse or rectangle.

    landmarks_xy: (5, 2), px of the crop: left eye, right eye, nose, left and right corner of the mouth. Where one of
    them is not known (NaN), the crop is returned unchanged.
    """
    if not np.isfinite(landmarks_xy).all():
        return crop_HWC
    eyes_px, angle_deg = _pose(landmarks_xy)
    left_eye, right_eye, nose, *mouth = landmarks_xy.astype(float)
    eyes = (left_eye + right_eye) / 2
    middle, size = (
        (eyes, (1.9, 0.7)),
        (nose + 0.25 * (eyes - nose), (0.8, 0.9)),
        (np.mean(mouth, 0), (1.3, 0.7)),
    )[rng.integers(3)]
    width_px, height_px = rng.uniform(0.85, 1.15, 2) * size * eyes_px
    patch = (tuple(middle), (width_px, height_px), angle_deg)
    erased = np.array(crop_HWC)
    if rng.random() < 0.5:
        return cv2.ellipse(erased, patch, BLACK, cv2.FILLED)
    return cv2.fillPoly(erased, [cv2.boxPoints(patch).round().astype(np.int32)], BLACK)


def erase_half(crop_HWC: np.ndarray, landmarks_xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with the left, right, upper or lower half of the face black: of an ellipse from brows to chin.

    landmarks_xy: as for erase_part.
    """
    if not np.isfinite(landmarks_xy).all():
        return crop_HWC
    eyes_px, angle_deg = _pose(landmarks_xy)
    eyes, mouth = landmarks_xy[:2].mean(0), landmarks_xy[3:].mean(0)
    middle = np.rint(eyes + 0.63 * (mouth - eyes)).astype(int).tolist()
    axes = (round(1.1 * eyes_px), round(1.25 * eyes_px))
    start_deg = 90 * int(rng.integers(4))
    return cv2.ellipse(np.array(crop_HWC), middle, axes, angle_deg, start_deg, start_deg + 180, BLACK, cv2.FILLED)


def _pose(landmarks_xy: np.ndarray) -> tuple[float, float]:
    """The face's size, as the distance between its eyes if it were seen from the front, px; and its turn, degrees.

    Both are those of the similarity that brings a frontal face nearest (least squares over complex numbers): the eyes
    alone say too little of a face that is seen from the side.
    """
    here, frontal = ((points - points.mean(0)) @ [1, 1j] for points in (landmarks_xy, FRONTAL_XY))
    factor = np.vdot(frontal, here) / np.vdot(frontal, frontal)
    return float(abs(factor)), float(np.degrees(np.angle(factor)))
