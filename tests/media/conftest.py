"""Tiny videos, written here with PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pipeline import usual_scheduling


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """`write_video(path, frames)`: uint8 RGB frames of one size in the container that the path's suffix names.

    pts: their times in frames, their numbers unless given. options: the encoder's. Further arguments are the muxer's.
    """

    def write(
        path: Path,
        frames: Sequence[np.ndarray],
        *,
        codec: str = "libx264",
        fps: int = 10,
        pix_fmt: str = "yuv420p",
        pts: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
        **muxer: str,
    ) -> Path:
        with usual_scheduling(), av.open(str(path), "w", options=muxer) as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pix_fmt
            for number, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, picture.time_base = (pts or range(len(frames)))[number], Fraction(1, fps)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def write_mp4(write_video) -> Callable[..., Path]:
    """`write_mp4(path, frames, fps=10)`: H.264 of uint8 RGB frames of even sides; further arguments are the muxer's."""

    def write(path: Path, frames: list[np.ndarray], fps: int = 10, **muxer: str) -> Path:
        return write_video(path, frames, fps=fps, options={"crf": "10", "preset": "ultrafast"}, **muxer)

    return write
