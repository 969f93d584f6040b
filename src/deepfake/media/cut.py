"""One medium from file to crops on disk: the work that extraction's processes do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfake.media.align import centre_square, crop_face, shrink_whole
from deepfake.media.mtcnn import Detections, FaceDetector
from deepfake.media.video import Frames, UnreadableError, read_frames
from deepfake.tables import BOX, LANDMARK_COLUMNS

SUFFIXES = {"png": ".png", "webp_lossless": ".webp", "jpeg": ".jpg"}


@dataclass(frozen=True)
class CutSettings:
    """How media are cut; the meaning of each is in the configuration's `crop` and `extract` sections."""

    num_frames: int
    mode: str
    align: str
    margin: float
    size: int
    format: str
    quality: int


@dataclass(frozen=True)
class Face:
    """One crop to be made: where, how certain, and whether anything was found there."""

    found: bool
    prob: float | None
    box_xyxy: np.ndarray
    landmarks_xy: np.ndarray | None


def cut_medium(
    media_id: str, path: Path, kind: str, crops: Path, *, detector: FaceDetector | None, settings: CutSettings
) -> list[dict]:
    """Decode, detect, crop and write one medium; its rows of the faces table, paths relative to `crops`' parent.

    detector is None for settings.mode=whole. UnreadableError when the medium cannot be decoded.
    """
    frames = read_frames(path, kind, settings.num_frames)
    faces = find_faces(frames, detector)
    rows = []
    for number, (frame_idx, pts_s) in enumerate(zip(frames.frame_idx, frames.pts_s, strict=True)):
        for face_idx, face in enumerate(faces[number]):
            target = crops / media_id / f"{frame_idx:06d}_{face_idx}{SUFFIXES[settings.format]}"
            _write_crop(_crop(frames.images_NHWC[number], face, settings), target, settings)
            place = {"media_id": media_id, "frame_idx": int(frame_idx), "face_idx": face_idx, "pts_s": float(pts_s)}
            rows.append(place | _face_columns(face) | {"path": target.relative_to(crops.parent).as_posix()})
    return rows


def find_faces(frames: Frames, detector: FaceDetector | None) -> list[list[Face]]:
    """The crops that each frame gives: its faces; where the whole medium shows none, each frame's centre square.

    Without a detector, every frame whole.
    """
    height, width = frames.images_NHWC.shape[1:3]
    if detector is None:
        whole = Face(True, None, np.array([0, 0, width, height], np.float32), None)
        return [[whole]] * len(frames.frame_idx)
    found = [list(_faces(detections)) for detections in detector.detect(frames.images_NHWC)]
    if any(found):
        return found
    return [[Face(False, None, centre_square(height, width), None)]] * len(found)


def _faces(detections: Detections) -> Iterator[Face]:
    for box_xyxy, prob, points in zip(detections.boxes_xyxy, detections.probs, detections.landmarks_xy, strict=True):
        yield Face(True, float(prob), box_xyxy, points)


def _crop(frame_HWC: np.ndarray, face: Face, settings: CutSettings) -> np.ndarray:
    if settings.mode == "whole":
        return shrink_whole(frame_HWC, settings.size)
    margin = settings.margin if face.found else 0.0
    return crop_face(
        frame_HWC, face.box_xyxy, face.landmarks_xy, align=settings.align, margin=margin, size=settings.size
    )


def _face_columns(face: Face) -> dict:
    landmarks = [None] * len(LANDMARK_COLUMNS) if face.landmarks_xy is None else face.landmarks_xy.ravel().tolist()
    box = face.box_xyxy.tolist()
    return {"found": face.found, "prob": face.prob} | dict(zip(BOX, box)) | dict(zip(LANDMARK_COLUMNS, landmarks))


def _write_crop(crop_HWC: np.ndarray, target: Path, settings: CutSettings) -> None:
    flags = {
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
        "webp_lossless": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 = lossless
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, settings.quality],
    }
    done, encoded = cv2.imencode(SUFFIXES[settings.format], crop_HWC[..., ::-1], flags[settings.format])
    if not done:
        height, width = crop_HWC.shape[:2]
        raise UnreadableError("too_large", f"a crop of {width} x {height} px cannot be stored as {settings.format}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(encoded.tobytes())  # no rename: a medium counts once its rows are kept, after its last crop
