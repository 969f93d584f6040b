"""Whether two pictures may show the same scene, by their thumbnails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

SAME_SCENE = 0.7  # correlation of two frames' thumbnails: pans and gestures lie above, cuts below


def scenes(images_HWC: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """First and last frame of each stretch in which a frame looks much like the one before it."""
    thumbs = [_thumbnail(image) for image in images_HWC]
    starts = [number for number, pair in enumerate(pairwise(thumbs), 1) if (pair[0] * pair[1]).sum() < SAME_SCENE]
    yield from ((first, after - 1) for first, after in pairwise([0, *starts, len(thumbs)]))


def likeness(image_HWC: np.ndarray, other_HWC: np.ndarray) -> float:
    """Correlation of two pictures' thumbnails, -1 to 1; 0 where one of them is flat."""
    return float((_thumbnail(image_HWC) * _thumbnail(other_HWC)).sum())


def _thumbnail(image_HWC: np.ndarray) -> np.ndarray:
    """(16, 16) float32 brightness less its mean, of length 1 or, for a flat picture, 0."""
    step = max(1, min(image_HWC.shape[:2]) // 128)  # reads each such row and column alone
    thumb = cv2.resize(image_HWC[::step, ::step], (16, 16), interpolation=cv2.INTER_AREA).mean(2, dtype=np.float32)
    thumb -= thumb.mean()
    return thumb / max(1e-6, float(np.linalg.norm(thumb)))
