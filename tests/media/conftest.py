"""Tiny videos, written here with PyAV."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_mp4() -> Callable[..., Path]:
    """`write_mp4(path, frames, fps=10)`: H.264 of uint8 RGB frames of even sides; further arguments are the muxer's."""

    def write(path: Path, frames: list[np.ndarray], fps: int = 10, **muxer: str) -> Path:
        with av.open(str(path), "w", options=muxer) as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast"})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write
