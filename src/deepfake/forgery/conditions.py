"""What a picture meets on its way, at fixed strengths: the conditions under which a model is scored again."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import av
import cv2
import numpy as np

from deepfake.forgery.arrays import Image, save_as_jpeg, to_image

Condition = Callable[[Image, np.random.Generator], Image]


def jpeg(picture_HW3: Image, rng: np.random.Generator, *, quality: int) -> Image:
    """Saved as JPEG once more, chroma at half the resolution."""
    return save_as_jpeg(picture_HW3, quality)


def blur(picture_HW3: Image, rng: np.random.Generator, *, sigma: float) -> Image:
    """Gaussian, σ in px."""
    return cv2.GaussianBlur(picture_HW3, (0, 0), sigma)


def resize(picture_HW3: Image, rng: np.random.Generator, *, scale: float) -> Image:
    """Shrunk by areas, and left small."""
    height, width = picture_HW3.shape[:2]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture_HW3, small, interpolation=cv2.INTER_AREA)


def noise(picture_HW3: Image, rng: np.random.Generator, *, sigma: float) -> Image:
    """Gaussian, σ in levels of 255, each channel its own."""
    return to_image(picture_HW3 + sigma * rng.standard_normal(picture_HW3.shape, np.float32))


def h264(picture_HW3: Image, rng: np.random.Generator, *, crf: int) -> Image:
    """As the key frame of an H.264 video of that constant rate factor (x264, 4:2:0)."""
    height, width = picture_HW3.shape[:2]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {"crf": str(crf), "x264-params": "mbtree=0"}  # with it, bytes differ from run to run
        even_HW3 = cv2.copyMakeBorder(picture_HW3, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(even_HW3, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        frame = next(container.decode(video=0))
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:height, :width])


CONDITIONS: dict[str, Condition] = {
    **{f"jpeg {quality}": partial(jpeg, quality=quality) for quality in (90, 70, 50, 30)},
    **{f"blur {sigma}": partial(blur, sigma=sigma) for sigma in (1, 2)},
    **{f"resize {scale:g}": partial(resize, scale=scale) for scale in (0.75, 0.5)},
    **{f"noise {sigma}": partial(noise, sigma=sigma) for sigma in (4, 8)},
    **{f"h264 {crf}": partial(h264, crf=crf) for crf in (23, 32)},
}
