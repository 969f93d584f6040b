"""Writing pictures and clips so that the same frames always give the same bytes, and never half a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake.forgery.arrays import Image

PART_SUFFIX = ".part"  # of files that are still being written
FIXED_MTIME_S = 1_700_000_000  # one date for all files: the order of writing says nothing


@dataclass(frozen=True)
class ClipFormat:
    """Size of a clip (both even) and how it is encoded."""

    height: int
    width: int
    fps: int
    crf: int
    preset: str = "veryfast"


@dataclass(frozen=True)
class StillFormat:
    """How a still is encoded; quality None means lossless PNG."""

    jpeg_quality: int | None


def write_clip(path: Path, frames_HW3: Iterable[Image], form: ClipFormat) -> None:
    """Encode RGB frames as H.264 in MP4, one thread, without sound."""
    part = path.with_name(path.name + PART_SUFFIX)
    with av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=form.fps)
        stream.height, stream.width = form.height, form.width
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        # Without the macroblock tree, as x264's AVX-512 code for it gives other bytes from run to run.
        stream.options = {"crf": str(form.crf), "preset": form.preset, "x264-params": "mbtree=0"}
        for frame in frames_HW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    finish(part, path)


def write_still(path: Path, frame_HW3: Image, form: StillFormat) -> None:
    """Encode one RGB frame as JPEG or PNG."""
    flags = [] if form.jpeg_quality is None else [cv2.IMWRITE_JPEG_QUALITY, form.jpeg_quality]
    ok, data = cv2.imencode(path.suffix, np.ascontiguousarray(frame_HW3[..., ::-1]), flags)
    assert ok, f"cv2 could not encode {path.suffix}"
    write_bytes(path, data.tobytes())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    part = path.with_name(path.name + PART_SUFFIX)
    part.write_bytes(data)
    finish(part, path)


def finish(part: Path, path: Path) -> None:
    """Give a finished file its date and its name."""
    os.utime(part, (FIXED_MTIME_S, FIXED_MTIME_S))
    part.replace(path)
