"""What is kept of a medium: faces as rows, and their crops as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deepfake.media.medium import UnreadableError
from deepfake.tables import BOX, LANDMARK_COLUMNS

SUFFIXES = {"png": ".png", "webp_lossless": ".webp", "jpeg": ".jpg"}


@dataclass(frozen=True)
class Face:
    """A place to be cropped."""

    found: bool
    """False = the centre of a frame in which no face was found."""
    prob: float | None
    """The detector's, None where it did not look."""
    box_xyxy: np.ndarray
    """Px of the frame. Shape: (4,)."""
    landmarks_xy: np.ndarray | None
    """Px of the frame, in the order of tables.LANDMARKS. Shape: (5, 2)."""
    track_id: int = 0
    """The person, by falling area of the faces."""

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Face:
        """A found face from its row of the faces table."""
        box_xyxy = np.array([row[name] for name in BOX], np.float32)
        landmarks_xy = np.array([row[name] for name in LANDMARK_COLUMNS], np.float32).reshape(5, 2)
        return cls(True, row["prob"], box_xyxy, landmarks_xy, row["track_id"])

    def columns(self) -> dict[str, Any]:
        """Its columns of the faces table."""
        landmarks = [None] * len(LANDMARK_COLUMNS) if self.landmarks_xy is None else self.landmarks_xy.ravel().tolist()
        own = {"track_id": self.track_id, "found": self.found, "prob": self.prob}
        return own | dict(zip(BOX, self.box_xyxy.tolist())) | dict(zip(LANDMARK_COLUMNS, landmarks))


@dataclass(frozen=True)
class Crop:
    """A crop ready to be written."""

    encoded: bytes
    """The file's bytes."""
    sharpness: float
    """As sharpness.sharpness measures it before the crop is encoded."""


@dataclass(frozen=True)
class CroppedFrame:
    """What is left of a frame when its pixels are gone."""

    frame_idx: int
    pts_s: float
    """Seconds from the first frame."""
    height: int
    """Px."""
    width: int
    """Px."""
    faces: list[Face]
    crops: list[Crop]
    """One for each of the faces."""


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
    """Row differences and run lengths: written and read in half the time of OpenCV's own choice, files as large."""
    flags = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12 and later
        flags += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return flags


def decode(encoded: bytes) -> np.ndarray:
    """The pixels of what `encode` gave: BGR, as cv2.imread gives those of a file."""
    crop_HWC = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert crop_HWC is not None, "what encode gave"
    return crop_HWC


def write_crops(media_id: str, frames: list[CroppedFrame], crops: Path, *, image_format: str) -> list[dict[str, Any]]:
    """Write a medium's crops in place of what an earlier attempt left, and give their rows of the faces table."""
    folder = crops / media_id
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
    rows = []
    for frame in frames:
        for face_idx, (face, crop) in enumerate(zip(frame.faces, frame.crops, strict=True)):
            target = folder / f"{frame.frame_idx:06d}_{face_idx}{SUFFIXES[image_format]}"
            target.write_bytes(crop.encoded)  # no rename: a medium counts once its rows are kept, after its last crop
            place = {"media_id": media_id, "frame_idx": frame.frame_idx, "face_idx": face_idx, "pts_s": frame.pts_s}
            stored = {"sharpness": crop.sharpness, "path": target.relative_to(crops.parent).as_posix()}
            rows.append(place | face.columns() | stored)
    return rows
