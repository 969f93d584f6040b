"""The arrays that pictures travel in. A name ends in its axes: `_HW3`, `_K2`."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB, 0..255."""
Array = NDArray[np.floating]
"""Numbers of either precision: coordinates, opacities, colours (0..1 where painted, 0..255 where forged)."""


def to_image(picture_HW3: Array) -> Image:
    """Rounded, and clipped to 0..255."""
    return np.clip(picture_HW3 + 0.5, 0, 255).astype(np.uint8)


def encoded(picture_HW3: Image, suffix: str, flags: list[int]) -> Image:
    """The picture after it was written as a file of the kind that `suffix` names, with cv2's flags, and read again."""
    _, data = cv2.imencode(suffix, cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2BGR), flags)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def save_as_jpeg(picture_HW3: Image, quality: int) -> Image:
    """The picture after JPEG compression of quality 1 to 100."""
    return encoded(picture_HW3, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
