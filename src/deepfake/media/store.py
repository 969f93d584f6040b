"""Crops as files: how their pixels are encoded, and the folder that holds those of one medium."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deepfake.media.medium import UnreadableError

SUFFIXES = {"png": ".png", "webp_lossless": ".webp", "jpeg": ".jpg"}


def encode(crop_HWC: np.ndarray, *, image_format: str, quality: int) -> bytes:
    """The bytes of an RGB crop's file. image_format: a key of SUFFIXES. quality: 1 to 100, of JPEG alone.

    UnreadableError where the crop is too large for the format.
    """
    flags = {
        "png": png_flags(),
        "webp_lossless": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 = lossless
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
    }
    done, encoded = cv2.imencode(SUFFIXES[image_format], crop_HWC[..., ::-1], flags[image_format])
    if not done:
        height, width = crop_HWC.shape[:2]
        came = f"a crop of {width} x {height} px cannot be stored as {image_format}"
        raise UnreadableError("too_large", f"{came}: choose another crop.format, or crop.size")
    return encoded.tobytes()


def png_flags() -> list[int]:
    """Differences of rows with run lengths: half the time of OpenCV's own choice, to write and to read, at its size."""
    flags = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12 and later
        flags += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return flags


def decode(encoded: bytes) -> np.ndarray:
    """Pixels of an encoded crop in OpenCV's order of colours, BGR, as cv2.imread gives those of a file."""
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)


def empty_folder(folder: Path) -> None:
    """Make the folder, or remove the files that an earlier attempt left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
