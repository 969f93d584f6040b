"""The arrays that pictures travel in. A name ends in its axes: `_HW3`, `_K2`."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB, 0..255."""
Array = NDArray[np.floating]
"""Numbers of either precision: coordinates, opacities, colours (0..1 where painted, 0..255 where forged)."""
Picture = TypeVar("Picture", Array, Image)


def to_image(picture_HW3: Array) -> Image:
    """Rounded, and clipped to 0..255."""
    return np.clip(picture_HW3 + 0.5, 0, 255).astype(np.uint8)


def encoded(picture_HW3: Image, suffix: str, flags: list[int]) -> Image:
    """The picture after it was written as a file of the kind that `suffix` names, with cv2's flags, and read again."""
    _, data = cv2.imencode(suffix, cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2BGR), flags)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def motion_blur(picture_HW3: Picture, length_px: float, angle_rad: float) -> Picture:
    """Along a line of 1 to 7 px, of the picture's type."""
    down, right = np.mgrid[-4:5, -4:5]
    along = down * np.sin(angle_rad) + right * np.cos(angle_rad)
    beside = down * np.cos(angle_rad) - right * np.sin(angle_rad)
    kernel = np.clip(length_px / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(beside), 0, 1)
    return cv2.filter2D(picture_HW3, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def save_as_jpeg(picture_HW3: Image, quality: int) -> Image:
    """The picture after JPEG compression of quality 1 to 100."""
    return encoded(picture_HW3, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
