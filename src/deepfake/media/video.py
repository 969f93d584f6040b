"""Frames of a video or an image as RGB arrays. An image is a one-frame video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


class UnreadableError(Exception):
    """A medium that cannot be decoded. `error` is its kind, for the problems table."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = " ".join(detail.split())[:300]


@dataclass(frozen=True)
class Frames:
    """Sampled frames of one medium, upright, all of one size.

    images_NHWC: uint8 RGB. frame_idx: their numbers in the video. pts_s: their times from the start, seconds.
    """

    images_NHWC: np.ndarray
    frame_idx: np.ndarray
    pts_s: np.ndarray


def spread_indices(num_available: int, num_wanted: int) -> np.ndarray:
    """The middles of `num_wanted` equal stretches of 0 … num_available - 1; every index when there are fewer.

    Shape: (min(num_wanted, num_available),), int64, strictly rising.
    """
    count = min(num_wanted, num_available)
    return ((np.arange(count) + 0.5) * num_available / count).astype(np.int64) if count else np.empty(0, np.int64)


def read_frames(path: Path, kind: str, num_frames: int) -> Frames:
    """`num_frames` evenly spread frames of a video, or the one frame of an image (kind: video or image).

    UnreadableError when nothing can be decoded.
    """
    if not path.is_file():
        raise UnreadableError("missing", f"{path} is not there")
    if path.stat().st_size == 0:
        raise UnreadableError("empty", "the file has no bytes")
    return _read_video(path, num_frames) if kind == "video" else _read_image(path)


def _read_video(path: Path, num_frames: int) -> Frames:
    import decord

    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        frame_idx = spread_indices(len(reader), num_frames)
        if not len(frame_idx):
            raise UnreadableError("corrupt", "the video has no frames")
        images_NHWC = reader.get_batch(frame_idx).asnumpy()
        pts_s = reader.get_frame_timestamp(frame_idx)[:, 0] - reader.get_frame_timestamp(0)[0]
    except (decord.DECORDError, RuntimeError) as error:
        if _turn_deg(path):
            return _read_turned(path, num_frames)
        raise UnreadableError("corrupt", str(error)) from error
    return Frames(images_NHWC, frame_idx, pts_s.astype(np.float32))


def _turn_deg(path: Path) -> int:
    """How far a video is to be turned counter-clockwise to stand upright, 0 also where that cannot be read."""
    import av

    try:
        with av.open(str(path)) as container:
            return next(container.decode(video=0)).rotation
    except (av.FFmpegError, IndexError, StopIteration):
        return 0


def _read_turned(path: Path, num_frames: int) -> Frames:
    """Footage of phones held upright, of which decord 0.6 makes four channels of the wrong shape."""
    import av

    try:
        with av.open(str(path)) as container:
            times = [float(frame.time) for frame in container.decode(video=0)]
        frame_idx = spread_indices(len(times), num_frames)
        with av.open(str(path)) as container:
            wanted = set(frame_idx.tolist())
            frames = [frame for number, frame in enumerate(container.decode(video=0)) if number in wanted]
            images_NHWC = np.stack(
                [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]
            )
    except (av.FFmpegError, TypeError, ValueError) as error:  # the last two: frames without a time, of unlike sizes
        raise UnreadableError("corrupt", str(error)) from error
    pts_s = np.array(times, np.float32)[frame_idx] - np.float32(times[0])
    return Frames(images_NHWC, frame_idx, pts_s)


def _read_image(path: Path) -> Frames:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which convert() would cut off at 255
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            upright = np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableError("corrupt", str(error)) from error
    return Frames(upright[None], np.zeros(1, np.int64), np.zeros(1, np.float32))
