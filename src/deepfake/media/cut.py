"""One medium from file to crops on disk: the work that extraction's processes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deepfake.media.align import centre_square, crop_face, shrink_whole
from deepfake.media.likeness import likeness
from deepfake.media.medium import Frame, Limits, Medium, UnreadableError
from deepfake.media.sharpness import sharpness
from deepfake.media.tracks import choose_tracks, link_faces
from deepfake.media.video import open_medium
from deepfake.tables import BOX, LANDMARK_COLUMNS

if TYPE_CHECKING:
    from deepfake.media.detect import FaceDetector

SUFFIXES = {"png": ".png", "webp_lossless": ".webp", "jpeg": ".jpg"}
SAME_FOOTAGE = 0.9  # likeness of two crops; another face moves it little, another moment or place much
MOST_ORIGINALS = 3  # that a forgery is compared with; each costs a decoding
HELD_BYTES = 256_000_000  # of decoded frames at once, in each process; more are worked off in parts


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
    faces: str
    min_track: float
    min_track_prob: float
    limits: Limits


@dataclass(frozen=True)
class Face:
    """A place to be cut: whether a face was found there, how certainly, where (px of the frame), and whose."""

    found: bool
    prob: float | None
    box_xyxy: np.ndarray
    landmarks_xy: np.ndarray | None
    track_id: int = 0


@dataclass(frozen=True)
class Crop:
    """A crop as its file's bytes, and how sharp it was before it was stored."""

    encoded: bytes
    sharpness: float


@dataclass(frozen=True)
class CutFrame:
    """What is left of a frame when its pixels are gone: number, time, size, faces, and each one's crop."""

    frame_idx: int
    pts_s: float
    height: int
    width: int
    faces: list[Face]
    crops: list[Crop]


@dataclass(frozen=True)
class Cut:
    """What a medium gave: its rows of the faces table, and its row of the extracted table without the medium's name."""

    rows: list[dict[str, Any]]
    facts: dict[str, Any]


FindFaces = Callable[[list[Frame]], list[list[Face]]]


def cut_medium(
    media_id: str,
    path: Path,
    kind: str,
    crops: Path,
    *,
    detector: FaceDetector | None,
    settings: CutSettings,
    originals: Sequence[Cut] = (),
) -> Cut:
    """Decode, detect, crop and write one medium; paths of crops are relative to `crops`' parent.

    detector is None for settings.mode=whole. originals: cuts of media that this one may be forged from; where one
    proves to be it, its boxes are taken instead of a detection. UnreadableError when the medium cannot be decoded.
    """
    medium = open_medium(path, kind, settings.num_frames, settings.limits)
    original, dropped = None, 0
    if detector is None:
        boxes, frames = "whole", _cut_frames(medium, _whole, settings)
    elif like := _cut_like_original(medium, originals, crops, settings):
        boxes, (original, frames) = "original", like
    else:
        boxes, frames = "detector", _cut_frames(medium, partial(_detected, detector), settings)
        frames, dropped = _choose(frames, settings)
        if not any(frame.faces for frame in frames):  # rare, so that a second decoding costs less than keeping frames
            boxes, frames = "centre", _cut_frames(medium, _centre, settings)
    rows = _write(media_id, frames, crops, settings)
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
    return Cut(rows, facts)


def _cut_frames(medium: Medium, find_faces: FindFaces, settings: CutSettings) -> list[CutFrame]:
    """All frames of a medium with the crops of their faces, in parts of HELD_BYTES."""
    done = []
    for part in _parts(medium):
        for frame, faces in zip(part, find_faces(part), strict=True):
            height, width = frame.image_HWC.shape[:2]
            crops = [_cut_crop(frame.image_HWC, face, settings) for face in faces]
            done.append(CutFrame(frame.frame_idx, frame.pts_s, height, width, faces, crops))
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


def _choose(frames: list[CutFrame], settings: CutSettings) -> tuple[list[CutFrame], int]:
    """Frames with the faces that are wanted, their tracks numbered; and how many tracks were dropped as false finds."""
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


def _keep(frame: CutFrame, which: np.ndarray, track_ids: np.ndarray) -> CutFrame:
    faces = [replace(frame.faces[number], track_id=int(track_ids[number])) for number in which]
    return replace(frame, faces=faces, crops=[frame.crops[number] for number in which])


def _cut_like_original(
    medium: Medium, originals: Sequence[Cut], crops: Path, settings: CutSettings
) -> tuple[str, list[CutFrame]] | None:
    """The first original that has as many frames, of the same size, and looks alike; and frames cut at its places."""
    likely = [
        cut for cut in originals if cut.facts["boxes"] == "detector" and cut.facts["num_frames"] == medium.num_frames
    ]
    if likely:
        size = next(iter(medium)).image_HWC.shape[:2]
        likely = [cut for cut in likely if (cut.facts["height"], cut.facts["width"]) == size]
    for original in likely[:MOST_ORIGINALS]:
        frames = _cut_frames(medium, partial(_as_in, original), settings)
        if _same_footage(frames, original, crops):
            return original.rows[0]["media_id"], frames
    return None


def _as_in(original: Cut, frames: list[Frame]) -> list[list[Face]]:
    faces: dict[int, list[Face]] = {}
    for row in original.rows:
        box_xyxy = np.array([row[name] for name in BOX], np.float32)
        landmarks_xy = np.array([row[name] for name in LANDMARK_COLUMNS], np.float32).reshape(5, 2)
        faces.setdefault(row["frame_idx"], []).append(Face(True, row["prob"], box_xyxy, landmarks_xy, row["track_id"]))
    return [faces.get(frame.frame_idx, []) for frame in frames]


def _same_footage(frames: list[CutFrame], original: Cut, crops: Path) -> bool:
    """Whether frames have the original's size and their first and last crops look like the original's."""
    size = {"width": original.facts["width"], "height": original.facts["height"]}
    ours = [crop for frame in frames for crop in frame.crops]
    if len(ours) != len(original.rows) or any({"width": one.width, "height": one.height} != size for one in frames):
        return False
    theirs = [crops.parent / original.rows[end]["path"] for end in (0, -1)]
    if not all(path.is_file() for path in theirs):
        return False
    pairs = zip((ours[0], ours[-1]), theirs, strict=True)
    return all(_alike(_decode(crop.encoded), cv2.imread(str(path))) for crop, path in pairs)


def _alike(crop_HWC: np.ndarray, other_HWC: np.ndarray | None) -> bool:
    """Whether a crop looks like another one, which is None where its file is damaged."""
    return other_HWC is not None and likeness(crop_HWC, other_HWC) >= SAME_FOOTAGE


def _cut_crop(frame_HWC: np.ndarray, face: Face, settings: CutSettings) -> Crop:
    crop_HWC = _crop(frame_HWC, face, settings)
    return Crop(_encode(crop_HWC, settings), sharpness(crop_HWC))


def _crop(frame_HWC: np.ndarray, face: Face, settings: CutSettings) -> np.ndarray:
    if settings.mode == "whole":
        return shrink_whole(frame_HWC, settings.size)
    margin = settings.margin if face.found else 0.0
    return crop_face(
        frame_HWC, face.box_xyxy, face.landmarks_xy, align=settings.align, margin=margin, size=settings.size
    )


def _encode(crop_HWC: np.ndarray, settings: CutSettings) -> bytes:
    flags = {
        "png": png_flags(),
        "webp_lossless": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 = lossless
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, settings.quality],
    }
    done, encoded = cv2.imencode(SUFFIXES[settings.format], crop_HWC[..., ::-1], flags[settings.format])
    if not done:
        height, width = crop_HWC.shape[:2]
        came = f"a crop of {width} x {height} px cannot be stored as {settings.format}"
        raise UnreadableError("too_large", f"{came}: choose another crop.format, or crop.size")
    return encoded.tobytes()


def png_flags() -> list[int]:
    """Differences of rows with run lengths: half the time of OpenCV's own choice, to write and to read, at its size."""
    flags = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12 and later
        flags += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return flags


def _decode(encoded: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)


def _write(media_id: str, frames: list[CutFrame], crops: Path, settings: CutSettings) -> list[dict[str, Any]]:
    """Write the crops in place of what an earlier attempt left, and give their rows of the faces table."""
    folder = crops / media_id
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
    rows = []
    for frame in frames:
        for face_idx, (face, crop) in enumerate(zip(frame.faces, frame.crops, strict=True)):
            target = folder / f"{frame.frame_idx:06d}_{face_idx}{SUFFIXES[settings.format]}"
            target.write_bytes(crop.encoded)  # no rename: a medium counts once its rows are kept, after its last crop
            place = {"media_id": media_id, "frame_idx": frame.frame_idx, "face_idx": face_idx, "pts_s": frame.pts_s}
            stored = {"sharpness": crop.sharpness, "path": target.relative_to(crops.parent).as_posix()}
            rows.append(place | _face_columns(face) | stored)
    return rows


def _face_columns(face: Face) -> dict[str, Any]:
    landmarks = [None] * len(LANDMARK_COLUMNS) if face.landmarks_xy is None else face.landmarks_xy.ravel().tolist()
    own = {"track_id": face.track_id, "found": face.found, "prob": face.prob}
    return own | dict(zip(BOX, face.box_xyxy.tolist())) | dict(zip(LANDMARK_COLUMNS, landmarks))
