"""What happens to pictures on their way: resized, compressed, blurred, sharpened, in chains of random strength."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import cv2
import numpy as np

from deepfake.forgery.arrays import Image, encoded, motion_blur, to_image

ENCODERS = {  # with the options that make a few frames cheap: x265 would start threads, and other presets take 30 ms
    "libx264": {"preset": "veryfast", "tune": "zerolatency"},
    "libx265": {
        **{"preset": "ultrafast", "tune": "zerolatency"},
        "x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0",
    },
}
LEAST_PX = 32  # of a side, for x265; sides are even for either
DOWN = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
UP = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def damage(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """The picture after one to three steps, drawn anew each time. The same state of `rng` gives the same steps and
    strengths, so that a real picture and its forgery can go the same way. Shape: (H, W, 3)."""
    steps = rng.choice(len(STEPS), size=int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])), replace=False, p=CHANCES)
    seeds = rng.integers(2**32, size=len(steps))
    for step, seed in zip(steps, seeds, strict=True):  # a stream for each: what one draws does not move the next
        picture_HW3 = STEPS[step](picture_HW3, np.random.default_rng(seed))
    return picture_HW3


def rescaled(picture_HW3: Image, factor: float, rng: np.random.Generator, *, least: int = 1) -> Image:
    """The picture at that share of its size, by one of several filters; the shorter side stays at `least` px or above,
    where it was. Shape: (h, w, 3)."""
    height, width = picture_HW3.shape[:2]
    factor = max(factor, min(1.0, least / min(height, width)))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(picture_HW3, size, interpolation=int(rng.choice(DOWN if factor < 1 else UP)))


def shrink_and_enlarge(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Down to 0.4 to 0.95 of the size, and up again."""
    height, width = picture_HW3.shape[:2]
    scale, down, up = rng.uniform(0.4, 0.95), rng.choice(DOWN), rng.choice(UP)
    small = (max(8, round(width * scale)), max(8, round(height * scale)))
    return cv2.resize(cv2.resize(picture_HW3, small, interpolation=int(down)), (width, height), interpolation=int(up))


def zoom(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Enlarged by 1.05 to 1.7, the middle cut out: what a larger copy of the picture shows in a window."""
    height, width = picture_HW3.shape[:2]
    scale, up = rng.uniform(1.05, 1.7), rng.choice(UP)
    rows, columns = max(8, round(height / scale)), max(8, round(width / scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    window = picture_HW3[top : top + rows, left : left + columns]
    return cv2.resize(window, (width, height), interpolation=int(up))


def jpeg(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Quality 40 to 98, most often high; chroma subsampled or not."""
    quality = int(98 - 58 * rng.beta(1, 1.5))
    sampling = int(rng.choice([cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]))
    return encoded(picture_HW3, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])


def webp(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Quality 40 to 98."""
    return encoded(picture_HW3, ".webp", [cv2.IMWRITE_WEBP_QUALITY, int(98 - 58 * rng.beta(1, 1.5))])


def video(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """The last of one to three frames of a still clip in H.264 or, a quarter of them, H.265; constant rate factor 18 to
    40. As it is where this PyAV has no such encoder (see missing_encoders)."""
    draw, count = rng.random(), int(rng.integers(1, 4))
    return filmed(picture_HW3, "libx265" if draw < 0.25 else "libx264", int(rng.integers(18, 41)), count)


def filmed(picture_HW3: Image, encoder: str, crf: int, count: int) -> Image:
    """The last of `count` equal frames after encoding by one of ENCODERS and decoding. Shape: (H, W, 3)."""
    import av

    if encoder in missing_encoders():
        return picture_HW3
    height, width = picture_HW3.shape[:2]
    below, beside = (max(side + side % 2, LEAST_PX) - side for side in (height, width))
    even = cv2.copyMakeBorder(picture_HW3, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    into = av.CodecContext.create(encoder, "w")
    into.width, into.height = width + beside, height + below
    into.pix_fmt, into.time_base = "yuv420p", Fraction(1, 25)
    into.thread_count = 1
    into.options = {"crf": str(crf), **ENCODERS[encoder]}
    out_of = av.CodecContext.create("h264" if encoder == "libx264" else "hevc", "r")
    out_of.thread_count = 1
    frame = av.VideoFrame.from_ndarray(even, "rgb24")
    packets = []
    for number in range(count):
        frame.pts = number
        packets += into.encode(frame)
    decoded = [frame for packet in [*packets, *into.encode(None), None] for frame in out_of.decode(packet)]
    return np.ascontiguousarray(decoded[-1].to_ndarray(format="rgb24")[:height, :width])


@cache
def missing_encoders() -> tuple[str, ...]:
    """Those of ENCODERS that PyAV lacks here."""
    import av

    return tuple(name for name in ENCODERS if name not in av.codecs_available)


def blur(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Gaussian, σ 0.3 to 2 px."""
    return cv2.GaussianBlur(picture_HW3, (0, 0), float(0.3 + 1.7 * rng.beta(1, 2)))


def motion(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Along a line of 3 to 7 px in any direction."""
    return motion_blur(picture_HW3, rng.uniform(3, 7), rng.uniform(0, np.pi))


def noise(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Of a sensor: σ 1 to 10 levels, half of the time the same in all channels."""
    channels = int(rng.choice([1, 3]))
    grain = rng.standard_normal((*picture_HW3.shape[:2], channels), np.float32) * (1 + 9 * rng.beta(1, 2))
    return to_image(picture_HW3 + grain)


def sharpen(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Unsharp mask of σ 0.7 to 2 px."""
    picture = picture_HW3.astype(np.float32)
    soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.7, 2)))
    return to_image(picture + float(rng.uniform(0.2, 1)) * (picture - soft))


def chroma(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Colours at half or a quarter of the resolution, as video and messengers keep them."""
    height, width = picture_HW3.shape[:2]
    ycc = cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2YCrCb)
    step = int(rng.choice([2, 4]))
    small = cv2.resize(ycc[..., 1:], (max(1, width // step), max(1, height // step)), interpolation=cv2.INTER_AREA)
    ycc[..., 1:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def tone(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Gamma 0.7 to 1.4, contrast and brightness by up to a fifth, a cast of colour by up to a twentieth."""
    levels = (np.arange(256) / 255) ** np.exp(rng.uniform(np.log(0.7), np.log(1.4)))
    levels = (levels - 0.5) * rng.uniform(0.8, 1.2) + 0.5 + rng.uniform(-0.1, 0.1)
    tables = 255 * levels[:, None] * rng.uniform(0.95, 1.05, 3)
    return cv2.LUT(picture_HW3, to_image(tables).reshape(1, 256, 3))


def grey(picture_HW3: Image, rng: np.random.Generator) -> Image:
    """Without colour."""
    return cv2.cvtColor(cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


Step = Callable[[Image, np.random.Generator], Image]
_WEIGHTS: dict[Step, float] = {
    **{shrink_and_enlarge: 3, zoom: 1.5, jpeg: 4, webp: 1, video: 1, blur: 1.5, motion: 0.5},
    **{noise: 1.5, sharpen: 1, chroma: 0.5, tone: 1.5, grey: 0.3},
}
STEPS: tuple[Step, ...] = tuple(_WEIGHTS)
CHANCES = np.array(list(_WEIGHTS.values())) / sum(_WEIGHTS.values())
