"""One medium from file to crops on disk: the work that extraction's processes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deepfake.media.crop_face import centre_square, crop_face, shrink_whole
from deepfake.media.likeness import likeness
from deepfake.media.medium import Frame, Limits, Medium
from deepfake.media.sharpness import sharpness
from deepfake.media.store import Crop, CroppedFrame, Face, decode, encode, write_crops
from deepfake.media.tracks import choose_tracks, link_faces
from deepfake.media.video import open_medium

if TYPE_CHECKING:
    from deepfake.media.detect import FaceDetector

SAME_FOOTAGE = 0.9  # likeness of two crops: another face lowers it little, another moment or place much
MOST_ORIGINALS = 3  # that a forgery is compared with; each costs a decoding
HELD_BYTES = 256_000_000  # of decoded frames that a process holds; more are cropped in parts


@dataclass(frozen=True)
class CropSettings:
    """How media are cropped; the meaning of each is in the configuration's `crop` and `extract` sections."""

    num_frames: int
    mode: str
    align: str
    margin: float
    size: int
    format: str
    quality: int
    faces: str
    min_track: float
    min_track_prob: float
    limits: Limits


@dataclass(frozen=True)
class CroppedMedium:
    """What a medium gave."""

    rows: list[dict[str, Any]]
    """Its rows of the faces table."""
    facts: dict[str, Any]
    """Its row of the extracted table without media_id."""


FindFaces = Callable[[list[Frame]], list[list[Face]]]


def crop_medium(
    media_id: str,
    path: Path,
    kind: str,
    crops: Path,
    *,
    detector: FaceDetector | None,
    settings: CropSettings,
    originals: Sequence[CroppedMedium] = (),
) -> CroppedMedium:
    """Decode, detect, crop and write one medium; paths of crops are relative to `crops`' parent.

    detector: None for settings.mode=whole. originals: media that this one may be forged from, their crops beside its
    own; where one proves to be it, its boxes are taken instead of a detection. UnreadableError when the medium cannot
    be decoded.
    """
    medium = open_medium(path, kind, settings.num_frames, settings.limits)
    original, dropped = None, 0
    if detector is None:
        boxes, frames = "whole", _crop_frames(medium, _whole, settings)
    elif like := _crop_like_original(medium, originals, crops, settings):
        boxes, (original, frames) = "original", like
    else:
        boxes, frames = "detector", _crop_frames(medium, partial(_detected, detector), settings)
        frames, dropped = _choose(frames, settings)
        if not any(frame.faces for frame in frames):  # rare, so that a second decoding costs less than keeping frames
            boxes, frames = "centre", _crop_frames(medium, _centre, settings)
    rows = write_crops(media_id, frames, crops, image_format=settings.format)
    facts = {
        "width": frames[0].width,
        "height": frames[0].height,
        "num_frames": medium.num_frames,
        "frames_read": len(frames),
        "boxes": boxes,
        "original": original,
        "tracks": len({row["track_id"] for row in rows if row["prob"] is not None}),
        "tracks_dropped": dropped,
        "note": medium.note or None,
    }
    return CroppedMedium(rows, facts)


def _crop_frames(medium: Medium, find_faces: FindFaces, settings: CropSettings) -> list[CroppedFrame]:
    """All frames of a medium, the faces that find_faces gives cropped. No more than HELD_BYTES are held at once."""
    done = []
    for part in _parts(medium):
        for frame, faces in zip(part, find_faces(part), strict=True):
            height, width = frame.image_HWC.shape[:2]
            crops = [_stored_crop(frame.image_HWC, face, settings) for face in faces]
            done.append(CroppedFrame(frame.frame_idx, frame.pts_s, height, width, faces, crops))
    return done


def _parts(medium: Medium) -> Iterator[list[Frame]]:
    part, held = [], 0
    for frame in medium:
        part.append(frame)
        held += frame.image_HWC.nbytes
        if held > HELD_BYTES:
            yield part
            part.clear()  # or the frames would live on while the next are read
            held = 0
    if part:
        yield part


def _whole(frames: list[Frame]) -> list[list[Face]]:
    sizes = [frame.image_HWC.shape[:2] for frame in frames]
    return [[Face(True, None, np.array([0, 0, width, height], np.float32), None)] for height, width in sizes]


def _centre(frames: list[Frame]) -> list[list[Face]]:
    return [[Face(False, None, centre_square(*frame.image_HWC.shape[:2]), None)] for frame in frames]


def _detected(detector: FaceDetector, frames: list[Frame]) -> list[list[Face]]:
    found = detector.follow([frame.image_HWC for frame in frames])
    columns = [(one.probs.tolist(), one.boxes_xyxy, one.landmarks_xy) for one in found]
    return [[Face(True, *face) for face in zip(*parts, strict=True)] for parts in columns]


def _choose(frames: list[CroppedFrame], settings: CropSettings) -> tuple[list[CroppedFrame], int]:
    """Frames with the wanted faces alone, their tracks numbered; and how many tracks were dropped as false finds."""
    boxes = [np.array([face.box_xyxy for face in frame.faces]).reshape(-1, 4) for frame in frames]
    landmarks = [np.array([face.landmarks_xy for face in frame.faces]).reshape(-1, 5, 2) for frame in frames]
    probs = [np.array([face.prob for face in frame.faces], np.float32) for frame in frames]
    tracks = link_faces(boxes, landmarks)
    kept = choose_tracks(
        tracks,
        probs,
        boxes,
        faces=settings.faces,
        min_track=settings.min_track,
        min_track_prob=settings.min_track_prob,
    )
    numbers = np.unique(np.concatenate([ids[mask] for ids, mask in zip(tracks, kept.masks)]))
    return [
        _keep(frame, np.flatnonzero(mask), np.searchsorted(numbers, ids))
        for frame, ids, mask in zip(frames, tracks, kept.masks, strict=True)
    ], kept.short + kept.weak


def _keep(frame: CroppedFrame, which: np.ndarray, track_ids: np.ndarray) -> CroppedFrame:
    faces = [replace(frame.faces[number], track_id=int(track_ids[number])) for number in which]
    return replace(frame, faces=faces, crops=[frame.crops[number] for number in which])


def _crop_like_original(
    medium: Medium, originals: Sequence[CroppedMedium], crops: Path, settings: CropSettings
) -> tuple[str, list[CroppedFrame]] | None:
    """The first original with as many frames of the same size that looks alike; and frames cropped at its places."""
    likely = [
        one for one in originals if one.facts["boxes"] == "detector" and one.facts["num_frames"] == medium.num_frames
    ]
    if likely:
        size = next(iter(medium)).image_HWC.shape[:2]
        likely = [one for one in likely if (one.facts["height"], one.facts["width"]) == size]
    for original in likely[:MOST_ORIGINALS]:
        frames = _crop_frames(medium, partial(_as_in, original), settings)
        if _same_footage(frames, original, crops):
            return original.rows[0]["media_id"], frames
    return None


def _as_in(original: CroppedMedium, frames: list[Frame]) -> list[list[Face]]:
    faces: dict[int, list[Face]] = {}
    for row in original.rows:
        faces.setdefault(row["frame_idx"], []).append(Face.of_row(row))
    return [faces.get(frame.frame_idx, []) for frame in frames]


def _same_footage(frames: list[CroppedFrame], original: CroppedMedium, crops: Path) -> bool:
    """Whether all frames have the original's size, and the first and the last crop look like the original's."""
    size = {"width": original.facts["width"], "height": original.facts["height"]}
    ours = [crop for frame in frames for crop in frame.crops]
    if len(ours) != len(original.rows) or any({"width": one.width, "height": one.height} != size for one in frames):
        return False
    theirs = [crops.parent / original.rows[end]["path"] for end in (0, -1)]
    if not all(path.is_file() for path in theirs):
        return False
    pairs = zip((ours[0], ours[-1]), theirs, strict=True)
    return all(_alike(decode(crop.encoded), cv2.imread(str(path))) for crop, path in pairs)


def _alike(crop_HWC: np.ndarray, other_HWC: np.ndarray | None) -> bool:
    """Whether a crop looks like another one, which is None where its file is damaged."""
    return other_HWC is not None and likeness(crop_HWC, other_HWC) >= SAME_FOOTAGE


def _stored_crop(frame_HWC: np.ndarray, face: Face, settings: CropSettings) -> Crop:
    crop_HWC = _pixels(frame_HWC, face, settings)
    encoded = encode(crop_HWC, image_format=settings.format, quality=settings.quality)
    return Crop(encoded, sharpness(crop_HWC))


def _pixels(frame_HWC: np.ndarray, face: Face, settings: CropSettings) -> np.ndarray:
    if settings.mode == "whole":
        return shrink_whole(frame_HWC, settings.size)
    margin = settings.margin if face.found else 0.0
    return crop_face(
        frame_HWC, face.box_xyxy, face.landmarks_xy, align=settings.align, margin=margin, size=settings.size
    )
