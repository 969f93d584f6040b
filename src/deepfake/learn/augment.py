"""Training-time augmentation of uint8 RGB crops, with albumentations."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import numpy as np

Augment = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def build_augment(
    *,
    hflip: float,
    shift_scale_rotate: float,
    scale: float,
    rotate_deg: float,
    colour: float,
    jpeg: float,
    jpeg_quality_range: tuple[int, int],
    blur: float,
    noise: float,
) -> Augment:
    """A function (crop_HWC uint8, seed) → crop_HWC of the same shape, the same for the same seed.

    hflip, shift_scale_rotate, colour, jpeg, blur, noise: probabilities. scale: largest relative change.
    rotate_deg: largest turn. The damage that re-uploading does (blur, noise, JPEG) comes last, as it does in the world.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for updates on import
    import albumentations as A

    compose = A.Compose(
        [
            A.HorizontalFlip(p=hflip),
            A.Affine(
                scale=(1 - scale, 1 + scale),
                rotate=(-rotate_deg, rotate_deg),
                translate_percent=(-0.05, 0.05),
                p=shift_scale_rotate,
            ),
            A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03, p=colour),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 1.5), p=blur),
            A.GaussNoise(std_range=(0.005, 0.04), p=noise),
            A.ImageCompression(quality_range=jpeg_quality_range, p=jpeg),
        ]
    )

    def augment(crop_HWC: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        # One stream for all transforms: Compose.set_random_seed gives each the same seed, and so the same draws.
        word = int(np.random.SeedSequence(seed).generate_state(1)[0])
        compose.set_random_state(np.random.default_rng(word), random.Random(word))
        return compose(image=crop_HWC)["image"]

    return augment
