"""Odd and damaged media, made here: what a folder of downloads may hold, with what is to come of each file."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from PIL import Image
from pipeline import usual_scheduling

from deepfake.sources.tree import IMAGE_SUFFIXES, VIDEO_SUFFIXES, kind_of

ODD_LIMITS = {"max_megapixels": 100, "max_minutes": 60}  # the limits that `Odd.error` speaks of
HOUR_S = 3600


@dataclass(frozen=True)
class Odd:
    """One file, and what is to come of it.

    readable: True, a frame must come; False, it must be a problem; None, either is right.
    error: the kind of the problem, where only one is right.
    """

    path: Path
    readable: bool | None
    error: str = ""

    @property
    def kind(self) -> str:
        """As the index calls it: `video` or `image`."""
        return kind_of(self.path.name)


@dataclass(frozen=True)
class Made:
    """What makers yield: a file's name and bytes, and the two expectations of Odd."""

    name: str
    content: bytes
    readable: bool | None = True
    error: str = ""


def make_oddities(folder: Path) -> dict[str, Odd]:
    """Write one file or a few of every odd kind; file name → Odd. The same bytes every time."""
    makers = (_codecs, _sizes, _times, _containers, _streams, _turned, _tracks, _animations, _stills, _exif)
    makers += (_wrong_suffixes, _frameless, _no_media, _bombs, _names)
    oddities = {}
    for made in (made for maker in makers for made in maker()):
        assert made.name not in oddities, f"two files are called {made.name}"
        path = folder / made.name
        path.write_bytes(made.content)
        oddities[made.name] = Odd(path, made.readable, made.error)
    return oddities


# --- pictures, films and their parts


def picture(number: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """A coloured slope with a block that moves as `number` grows, and weak noise. Shape: (height, width, 3), uint8."""
    rows, columns = np.mgrid[:height, :width]
    image_HW3 = np.stack([rows * 200 // height, columns * 200 // width, np.full_like(rows, 40 + 7 * number % 180)], -1)
    image_HW3 += np.random.default_rng((1, number)).integers(0, 24, image_HW3.shape)
    left = 5 * number % max(1, width - 16)
    image_HW3[height // 3 : height // 3 + 16, left : left + 16] = 255
    return image_HW3.astype(np.uint8)


# Fast, on one thread, and the same bytes from run to run.
_ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "18", "x264-params": "mbtree=0"},
    "libx265": {"preset": "ultrafast", "crf": "20", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "400k"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "5", "b": "400k"},
    "prores_ks": {"profile": "0"},
    "dnxhd": {"profile": "dnxhr_lb"},
}


@dataclass(frozen=True)
class Video:
    """A track of pictures. `params` are x264's or x265's own; pts count in frames, by default 0, 1, 2, …"""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    height: int = 96
    width: int = 128
    num_frames: int = 12
    fps: int = 12
    params: str = ""
    options: dict[str, str] = field(default_factory=dict)
    pts: Sequence[int] = ()

    def add(self, container: av.container.OutputContainer) -> av.VideoStream:
        os.environ["SVT_LOG"] = "1"  # errors only, of the encoder of AV1
        options = _ENCODERS.get(self.codec, {"qscale": "4"}) | self.options
        if self.params:
            key = self.codec.removeprefix("lib") + "-params"
            options[key] += f":{self.params}"
        stream = container.add_stream(self.codec, rate=self.fps, options=options)
        stream.height, stream.width, stream.pix_fmt = self.height, self.width, self.pix_fmt
        stream.thread_count = 1
        return stream

    def packets(self, stream: av.VideoStream) -> Iterator[av.Packet]:
        for number in range(self.num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number, self.height, self.width), format="rgb24")
            frame.pts = self.pts[number] if self.pts else number
            frame.time_base = Fraction(1, self.fps)
            yield from stream.encode(frame)
        yield from stream.encode()


@dataclass(frozen=True)
class Sound:
    """A track of one second of a tone."""

    codec: str = "aac"
    rate_hz: int = 16000

    def add(self, container: av.container.OutputContainer) -> av.AudioStream:
        return container.add_stream(self.codec, rate=self.rate_hz, layout="mono")

    def packets(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        tone = np.sin(np.arange(self.rate_hz) * 0.2) * 8000
        frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = self.rate_hz, 0
        yield from stream.encode(frame)
        yield from stream.encode()


@dataclass(frozen=True)
class Cover:
    """The picture on a music file."""

    codec: str = "mjpeg"

    def add(self, container: av.container.OutputContainer) -> av.VideoStream:
        stream = container.add_stream(self.codec, rate=1)
        stream.height, stream.width, stream.pix_fmt = 96, 96, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        return stream

    def packets(self, stream: av.VideoStream) -> Iterator[av.Packet]:
        frame = av.VideoFrame.from_ndarray(picture(0, 96, 96), format="rgb24")
        yield from stream.encode(frame)
        yield from stream.encode()


def film(suffix: str, *tracks: Video | Sound | Cover, format: str = "", **muxer: str) -> bytes:
    """The bytes of a file of these tracks; by its suffix, or in a named format. Further arguments are the muxer's."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        options = {"fflags": "bitexact"} | muxer
        with usual_scheduling(), av.open(str(path), "w", format=format or None, options=options) as container:
            streams = [track.add(container) for track in tracks]
            for track, stream in zip(tracks, streams):
                for packet in track.packets(stream):
                    container.mux(packet)
            container.start_encoding()
        return path.read_bytes()


def still(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    """An image in one of Pillow's formats."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def box(kind: bytes, content: bytes = b"") -> bytes:
    """A box of an mp4."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def boxes(content: bytes) -> dict[bytes, bytes]:
    """The outer boxes of an mp4, whole, in their order."""
    found, start = {}, 0
    while start < len(content):
        (size,) = struct.unpack_from(">I", content, start)
        found[content[start + 4 : start + 8]] = content[start : start + size]
        start += size
    return found


def patched(content: bytes, offset: int, new: bytes) -> bytes:
    """`content` with `new` in the place of as many bytes at `offset`."""
    return content[:offset] + new + content[offset + len(new) :]


def turned(content: bytes, degrees: int) -> bytes:
    """An mp4 that is marked to be shown turned clockwise by 90, 180 or 270 degrees."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    return patched(content, content.index(b"tkhd") + 44, matrix)


@cache
def plain_mp4() -> bytes:
    return film(".mp4", Video())


@cache
def faststart_mp4() -> bytes:
    return film(".mp4", Video(), movflags="faststart")


@cache
def raw_h264(height: int = 96, width: int = 128) -> bytes:
    return film(".h264", Video(height=height, width=width, params="keyint=8"))


# --- the kinds of oddity


def _codecs() -> Iterator[Made]:
    """Codecs and pixel formats."""
    for pix_fmt in ("yuv444p", "yuv422p", "yuv420p10le", "yuv444p10le", "yuvj420p", "gray", "nv12"):
        yield Made(f"h264_{pix_fmt}.mp4", film(".mp4", Video(pix_fmt=pix_fmt)))
    yield Made("h264_rgb.mkv", film(".mkv", Video("libx264rgb", "rgb24", options={"x264-params": "mbtree=0"})))
    yield Made("h264_lossless.mp4", film(".mp4", Video(pix_fmt="yuv444p", options={"qp": "0", "crf": "0"})))
    yield Made("h264_interlaced.mp4", film(".mp4", Video(params="tff=1")))
    yield Made("h264_anamorphic.mp4", film(".mp4", Video(params="sar=4/3")))
    yield Made("h264_open_gop.mp4", film(".mp4", _OPEN_GOP))
    yield Made("h264_open_gop.ts", film(".ts", _OPEN_GOP))
    yield Made("h264_intra_refresh.mp4", film(".mp4", Video(num_frames=24, params="intra-refresh=1:keyint=8")))
    for pix_fmt in ("yuv420p", "yuv444p", "yuv420p10le", "yuv420p12le", "gray"):
        yield Made(f"hevc_{pix_fmt}.mp4", film(".mp4", Video("libx265", pix_fmt)))
    for pix_fmt in ("yuv420p", "yuv444p", "yuva420p"):
        yield Made(f"vp9_{pix_fmt}.webm", film(".webm", Video("libvpx-vp9", pix_fmt)))
    for pix_fmt in ("yuv420p", "yuv420p10le"):
        yield Made(f"av1_{pix_fmt}.mp4", film(".mp4", Video("libsvtav1", pix_fmt)))
    yield Made("av1.webm", film(".webm", Video("libsvtav1")))
    yield Made("vp8.webm", film(".webm", Video("libvpx")))
    for name, codec, pix_fmt in _OLD_CODECS:
        size = {"height": 480, "width": 720, "num_frames": 2} if codec == "dvvideo" else {}
        yield Made(name, film(Path(name).suffix, Video(codec, pix_fmt, fps=25, **size)))
    yield Made("mpeg4_b_frames.avi", film(".avi", Video("mpeg4", options={"bf": "2"})))
    yield Made("mpeg4_packed_b_frames.avi", _packed_b_frames())
    yield Made("dnxhd.mov", film(".mov", Video("dnxhd", "yuv422p", height=144, width=256)))


_OPEN_GOP = Video(num_frames=40, params="open-gop=1:bframes=3:keyint=8:b-adapt=0:scenecut=0")

_OLD_CODECS = (
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("mpeg4.mp4", "mpeg4", "yuv420p"),
    ("mpeg4.m4v", "mpeg4", "yuv420p"),
    ("divx3.avi", "msmpeg4", "yuv420p"),
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("mjpeg.mov", "mjpeg", "yuvj444p"),
    ("mpeg1.mpg", "mpeg1video", "yuv420p"),
    ("mpeg2.mpeg", "mpeg2video", "yuv420p"),
    ("mpeg2.ts", "mpeg2video", "yuv422p"),
    ("wmv2.wmv", "wmv2", "yuv420p"),
    ("h263.3gp", "h263", "yuv420p"),
    ("sorenson.flv", "flv", "yuv420p"),
    ("prores_422.mov", "prores_ks", "yuv422p10le"),
    ("prores_4444_alpha.mov", "prores_ks", "yuva444p10le"),
    ("ffv1.mkv", "ffv1", "yuv420p"),
    ("ffv1_rgb.mkv", "ffv1", "bgr0"),
    ("ffv1_16_bit.mkv", "ffv1", "gray16le"),
    ("huffyuv.avi", "huffyuv", "yuv422p"),
    ("utvideo.avi", "utvideo", "gbrp"),
    ("magicyuv.avi", "magicyuv", "gbrap"),
    ("raw_yuv.avi", "rawvideo", "yuv420p"),
    ("raw_rgb.avi", "rawvideo", "bgr24"),
    ("qtrle_grey.mov", "qtrle", "gray"),
    ("qtrle_alpha.mov", "qtrle", "argb"),
    ("png.mov", "png", "rgba"),
    ("jpeg2000.mov", "jpeg2000", "rgb24"),
    ("cinepak.avi", "cinepak", "rgb24"),
    ("dv.avi", "dvvideo", "yuv411p"),
)


def _packed_b_frames() -> bytes:
    """MPEG-4 in AVI as DivX 5 wrote it: a B-frame in the packet of the frame before it, a stand-in in its own place."""
    buffer, video = io.BytesIO(), Video("mpeg4", options={"bf": "1", "b_strategy": "0"})
    with av.open(buffer, "w", format="avi", options={"fflags": "bitexact"}) as container:
        stream = video.add(container)
        chunks = [bytes(packet) for packet in video.packets(stream)]
        start = chunks[0].index(b"\0\0\1\xb6")
        chunks[0] = chunks[0][:start] + b"\0\0\1\xb2DivX503b1393p" + chunks[0][start:]
        pairs = [chunk for p, b in zip(chunks[1::2], chunks[2::2]) for chunk in (p + b, b"\0\0\1\xb6\x50\0\0")]
        for number, chunk in enumerate([chunks[0], *pairs]):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base = stream, Fraction(1, video.fps)
            packet.pts = packet.dts = number
            packet.is_keyframe = number == 0
            container.mux(packet)
    return buffer.getvalue()


def _sizes() -> Iterator[Made]:
    """Odd, tiny and long frames."""
    for height, width in ((97, 131), (5, 5), (1, 1), (2, 600), (131, 2)):
        yield Made(f"ffv1_{width}x{height}.mkv", film(".mkv", Video("ffv1", "yuv444p", height=height, width=width)))
    for height, width in ((97, 131), (5, 5)):
        video = Video(pix_fmt="yuv444p", height=height, width=width)
        yield Made(f"h264_444_{width}x{height}.mp4", film(".mp4", video))
    yield Made("h264_98x130.mp4", film(".mp4", Video(height=130, width=98)))
    yield Made("vp9_131x97.webm", film(".webm", Video("libvpx-vp9", height=97, width=131)))
    yield Made("av1_131x97.mp4", film(".mp4", Video("libsvtav1", height=97, width=131)))
    yield Made("mpeg4_131x97.avi", film(".avi", Video("mpeg4", height=97, width=131)))
    yield Made("mjpeg_131x97.avi", film(".avi", Video("mjpeg", "yuvj420p", height=97, width=131)))
    yield Made("h264_2x2.mp4", film(".mp4", Video(height=2, width=2)))
    yield Made("h264_wide.mp4", film(".mp4", Video(height=16, width=2000, num_frames=4)))
    for number in (1, 2, 3):
        for suffix, codec in ((".mp4", "libx264"), (".webm", "libvpx-vp9"), (".h264", "libx264"), (".avi", "mpeg4")):
            yield Made(f"frames_{number}{suffix}", film(suffix, Video(codec, num_frames=number)))


_UNEVEN = (0, 1, 2, 3, 9, 10, 30, 31, 33, 60, 61, 90)


def _times() -> Iterator[Made]:
    """Uneven, late, early, double and missing times."""
    for suffix in (".mp4", ".mkv", ".ts"):
        yield Made(f"uneven{suffix}", film(suffix, Video(pts=_UNEVEN)))
    yield Made("uneven.webm", film(".webm", Video("libvpx-vp9", pts=_UNEVEN)))
    yield Made("late.mp4", film(".mp4", Video(pts=range(600, 612))))
    yield Made("late.mkv", film(".mkv", Video(pts=range(12_000, 12_012))))
    yield Made("late.ts", film(".ts", Video(pts=range(1_000_000, 1_000_012))))
    yield Made("early.mp4", film(".mp4", Video(pts=range(-6, 6)), avoid_negative_ts="disabled"))
    yield Made("thousand_fps.mp4", film(".mp4", Video(fps=1000)))
    yield Made("one_frame_a_minute.mp4", film(".mp4", Video(fps=1, pts=range(0, 720, 60))))
    for suffix in (".h264", ".ts"):
        frames = film(suffix, Video(params="bframes=0"))
        yield Made(f"twice{suffix}", frames + frames)  # the times start again in the middle


def _containers() -> Iterator[Made]:
    """The same pictures in other containers, and containers written in other ways."""
    for suffix in (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts"):
        yield Made(f"h264_in{suffix}", film(suffix, Video()))
    yield Made("hevc_in.ts", film(".ts", Video("libx265")))
    yield Made("hevc_in.mkv", film(".mkv", Video("libx265")))
    yield Made("hevc_tagged_hvc1.mov", film(".mov", Video("libx265")).replace(b"hev1", b"hvc1"))
    yield Made("fragmented.mp4", film(".mp4", Video(params="keyint=4"), movflags="frag_keyframe+empty_moov"))
    yield Made("fragmented_dash.mp4", film(".mp4", Video(), movflags="frag_every_frame+empty_moov+default_base_moof"))
    yield Made("faststart.mp4", faststart_mp4())
    yield Made("live.mkv", film(".mkv", Video(), live="1"))
    yield Made("no_index.avi", _renamed_box(film(".avi", Video("mpeg4")), b"idx1"))
    yield Made("no_cues.mkv", film(".mkv", Video()).replace(b"\x1c\x53\xbb\x6b", b"\xec\x53\xbb\x6b"))
    yield Made("edit_list_cuts_the_head.mp4", _edited(plain_mp4(), skipped_share=0.5))
    yield Made("edit_list_cuts_all.mp4", _edited(plain_mp4(), skipped_share=9), None)
    wide = boxes(plain_mp4())
    yield Made("free_boxes.mp4", wide[b"ftyp"] + box(b"free", bytes(900)) * 3 + _moov_first())
    yield Made("unknown_boxes.mp4", plain_mp4() + box(b"uuid", bytes(64)) + box(b"abcd", b"text"))
    yield Made("moov_twice.mp4", plain_mp4() + wide[b"moov"])


def _moov_first() -> bytes:
    """The fast-start file without its ftyp, its chunk offsets moved on by the 2724 bytes of three free boxes."""
    content = faststart_mp4()
    start = content.index(b"stco") + 12
    (offset,) = struct.unpack_from(">I", content, start)
    moved = patched(content, start, struct.pack(">I", offset + 3 * 908))
    return moved[len(boxes(content)[b"ftyp"]) :]


def _renamed_box(content: bytes, kind: bytes) -> bytes:
    """With the last box of a kind called JUNK, so that no reader finds it."""
    return patched(content, content.rindex(kind), b"JUNK")


def _edited(content: bytes, skipped_share: float) -> bytes:
    """An mp4 whose edit list starts late in the track, by a share of its length."""
    scale, length = struct.unpack_from(">II", content, content.index(b"mdhd") + 16)
    assert scale and length
    return patched(content, content.index(b"elst") + 16, struct.pack(">i", int(length * skipped_share)))


def _streams() -> Iterator[Made]:
    """Raw streams, and streams that change or start in the middle."""
    yield Made("raw.h264", raw_h264())
    yield Made("raw.h265", film(".h265", Video("libx265"), format="hevc"))
    yield Made("raw_h264_named.h265", raw_h264())
    yield Made("raw_h264_named.mp4", raw_h264())
    small, large = raw_h264(), raw_h264(112, 144)
    yield Made("grows.h264", small + large)
    yield Made("shrinks.h264", large + small)
    yield Made("grows.ts", film(".ts", Video(params="bframes=0")) + film(".ts", Video(height=112, width=144)))
    yield Made("turns.h264", small + raw_h264(128, 96))
    deep = film(".h264", Video(pix_fmt="yuv444p10le"))
    yield Made("deepens.h264", small + deep)
    middle = film(".h264", Video(num_frames=24, params="keyint=12:bframes=0"))
    starts = [start for start in range(len(middle)) if middle[start : start + 3] == b"\0\0\1"]
    yield Made("starts_in_the_middle.h264", middle[starts[8] :], None)
    transport = film(".ts", _OPEN_GOP)
    yield Made("starts_in_the_middle.ts", transport[188 * 40 :], None)
    yield Made("ts_off_by_a_few_bytes.ts", b"\x47abc" + transport)
    yield Made(
        "ts_lost_packets.ts", b"".join(transport[at : at + 188] for at in range(0, len(transport), 188) if at % 11)
    )
    yield Made("garbage_before.h264", bytes(range(1, 200)) + small, None)
    yield Made("zeros_before.mpg", bytes(5000) + film(".mpg", Video("mpeg1video", fps=25)))


def _turned() -> Iterator[Made]:
    """Marked to be turned, as phones do."""
    for degrees in (90, 180, 270):
        yield Made(f"turned_{degrees}.mp4", turned(plain_mp4(), degrees))
        yield Made(f"turned_{degrees}.mov", turned(film(".mov", Video("libx265")), degrees))
    skewed = struct.pack(">9i", 50_000, 30_000, 0, -30_000, 50_000, 0, 0, 0, 1 << 30)
    at = plain_mp4().index(b"tkhd") + 44
    yield Made("turned_30.mp4", patched(plain_mp4(), at, skewed))
    yield Made(
        "flipped.mp4", patched(plain_mp4(), at, struct.pack(">9i", -1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    )
    yield Made("matrix_of_zeros.mp4", patched(plain_mp4(), at, bytes(36)))
    yield Made("matrix_of_noise.mp4", patched(plain_mp4(), at, np.random.default_rng(1).bytes(36)))


def _tracks() -> Iterator[Made]:
    """Sound, covers and several tracks."""
    yield Made("with_sound.mp4", film(".mp4", Video(), Sound()))
    yield Made("sound_first.mp4", film(".mp4", Sound(), Video()))
    yield Made("with_sound.mkv", film(".mkv", Video(), Sound("flac")))
    yield Made("with_sound.webm", film(".webm", Sound("libopus", 48000), Video("libvpx-vp9")))
    yield Made("with_sound.avi", film(".avi", Video("mpeg4"), Sound("libmp3lame")))
    yield Made("two_videos.mp4", film(".mp4", Video(height=48, width=64), Video()))
    yield Made("two_videos.mkv", film(".mkv", Video(), Video("ffv1", height=48, width=64)))
    yield Made("video_with_cover.mp4", film(".mp4", Video(), Cover()))
    for name, track in (("aac.mp4", Sound()), ("flac.mkv", Sound("flac")), ("mp3.avi", Sound("libmp3lame"))):
        yield Made(f"only_sound_{name}", film(Path(name).suffix, track), False, "no_video_stream")
    for suffix, track in ((".m4a", Sound()), (".wav", Sound("pcm_s16le")), (".mp3", Sound("libmp3lame"))):
        yield Made(f"{suffix[1:]}_named.mp4", film(suffix, track), False, "no_video_stream")
    yield Made("music_with_cover.mp4", film(".m4a", Sound(), Cover(), format="mp4"), None)
    yield Made("music_with_cover.mkv", film(".mp3", Sound("libmp3lame"), Cover()), None)


def _animations() -> Iterator[Made]:
    """Pictures that move; as images their first frame counts."""
    frames = [Image.fromarray(picture(number)) for number in range(12)]
    moving = {"save_all": True, "append_images": frames[1:]}
    gif = still(frames[0], "GIF", **moving, duration=80, loop=0)
    yield Made("moving.gif", gif)
    yield Made("gif_named.mp4", gif)
    yield Made("gif_named.png", gif)
    uneven = [10, 20, 500, 0, 0, 70, 80, 10, 2000, 30, 40, 50]
    yield Made("uneven.gif", still(frames[0], "GIF", **moving, duration=uneven))
    yield Made("one_frame.gif", still(frames[0], "GIF"))
    clear = [frame.convert("RGBA") for frame in frames]
    for number, frame in enumerate(clear):
        frame.putalpha(Image.fromarray((picture(number)[..., 0] > 90).astype(np.uint8) * 255))
    yield Made("transparent.gif", still(clear[0], "GIF", save_all=True, append_images=clear[1:], disposal=2))
    yield Made("moving.webp", still(frames[0], "WEBP", **moving))
    yield Made("moving_alpha.webp", still(clear[0], "WEBP", save_all=True, append_images=clear[1:], lossless=True))
    yield Made("webp_named.mp4", still(frames[0], "WEBP", **moving), None)
    yield Made("moving_apng.png", still(frames[0], "PNG", **moving))
    yield Made("apng_named.mp4", still(frames[0], "PNG", **moving))
    yield Made("pages.tif", still(frames[0], "TIFF", **moving))
    yield Made("unlike_pages.tif", still(frames[0], "TIFF", save_all=True, append_images=[frames[1].resize((30, 20))]))
    yield Made("mpo.jpg", still(frames[0], "MPO", save_all=True, append_images=frames[1:2]))


def _stills() -> Iterator[Made]:
    """Modes, depths and sizes of single pictures."""
    image = Image.fromarray(picture())
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        converted = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
        yield Made(f"mode_{mode.replace(';', '_')}.png", still(converted, "PNG"))
    yield Made("palette_transparent.png", still(image.convert("P"), "PNG", transparency=3))
    yield Made("palette_transparent_bytes.png", still(image.convert("P"), "PNG", transparency=bytes(range(256))))
    yield Made("grey_transparent.png", still(image.convert("L"), "PNG", transparency=40))
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "LAB", "YCbCr", "I", "F"):
        converted = image.convert("L").convert(mode) if mode in "IF" else _in_mode(image, mode)
        yield Made(f"mode_{mode}.tif", still(converted, "TIFF"))
    for compression in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"):
        yield Made(f"{compression}.tiff", still(image, "TIFF", compression=compression))
    yield Made("group4.tiff", still(image.convert("1"), "TIFF", compression="group4"))
    deep = picture().astype(np.uint16) * 257
    yield Made("rgb_16_bit.png", cv2.imencode(".png", deep)[1].tobytes())
    yield Made("rgba_16_bit.png", cv2.imencode(".png", np.dstack([deep, deep[..., 0]]))[1].tobytes())
    yield Made("rgb_16_bit.tif", cv2.imencode(".tiff", deep)[1].tobytes())
    yield Made("grey_16_bit.tif", still(deep[..., 0], "TIFF"))
    yield Made("grey_big_endian.tif", _big_endian_tiff(deep[..., 0]))
    yield Made("float_nan.tif", still(np.full((20, 30), np.nan, np.float32), "TIFF"))
    yield Made("interlaced.png", _interlaced_png(picture()))
    for name, options in _JPEGS.items():
        yield Made(f"{name}.jpg", still(image, "JPEG", **options))
    yield Made("grey.jpg", still(image.convert("L"), "JPEG"))
    yield Made("cmyk.jpg", still(image.convert("CMYK"), "JPEG"))
    yield Made("lossless.webp", still(image, "WEBP", lossless=True))
    yield Made("alpha.webp", still(image.convert("RGBA"), "WEBP"))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield Made(f"mode_{mode}.bmp", still(image.convert(mode), "BMP"))
    for height, width in ((1, 1), (1, 5000), (5000, 1), (3, 2)):
        for suffix, form in ((".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP")):
            yield Made(f"size_{width}x{height}{suffix}", still(picture(0, height, width), form))
    for suffix in (".jfif", ".jpe", ".jpeg", ".JPG"):
        yield Made(f"suffix{suffix}", still(image, "JPEG"))
    jpeg = still(image, "JPEG")
    yield Made("jpeg_garbage_after.jpg", jpeg + b"garbage" * 99)
    yield Made("jpeg_garbage_before.jpg", b"\0\0\0\0" + jpeg, None)
    yield Made("jpeg_without_end_mark.jpg", jpeg[:-2], None)
    yield Made("jpeg_twice.jpg", jpeg + jpeg)


_JPEGS = {
    "plain": {},
    "progressive": {"progressive": True},
    "chroma_444": {"subsampling": 0},
    "chroma_422": {"subsampling": 1},
    "rgb": {"keep_rgb": True},
    "restarts": {"restart_marker_blocks": 4},
    "comment": {"comment": b"\xff\xfe\0 no text"},
    "broken_profile": {"icc_profile": b"no profile"},
}


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Pillow converts to LAB by its colour management alone; any three channels will do here."""
    return Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)


def _big_endian_tiff(grey_HW: np.ndarray) -> bytes:
    """A grey 16-bit TIFF in the byte order of old Macintoshes."""
    height, width = grey_HW.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 16 << 16), (259, 3, 1 << 16), (262, 3, 1 << 16)]
    tags += [(273, 4, 8 + 2 + 8 * 12 + 4), (278, 4, height), (279, 4, 2 * grey_HW.size)]
    directory = struct.pack(">H", len(tags)) + b"".join(
        struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags
    )
    return b"MM\0*" + struct.pack(">I", 8) + directory + bytes(4) + grey_HW.astype(">u2").tobytes()


def _png(header: tuple[int, ...], pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of an IHDR (width, height, bits, colour type, 0, 0, interlace), further chunks, and compressed pixels."""
    chunks = [(b"IHDR", struct.pack(">II5B", *header)), *more, (b"IDAT", pixels), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _interlaced_png(image_HW3: np.ndarray) -> bytes:
    """A PNG in the seven passes of Adam7."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = (row for top, left, down, right in passes for row in image_HW3[top::down, left::right])
    height, width = image_HW3.shape[:2]
    return _png((width, height, 8, 2, 0, 0, 1), zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))


def _exif(orientation_tag: int = 0x0112) -> Iterator[Made]:
    """Turned by EXIF, and EXIF that says nonsense."""
    image = Image.fromarray(picture())
    for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9):
        exif = Image.Exif()
        exif[orientation_tag] = orientation
        yield Made(f"exif_{orientation}.jpg", still(image, "JPEG", exif=exif))
    exif = Image.Exif()
    exif[orientation_tag] = 6
    for suffix, form in ((".png", "PNG"), (".webp", "WEBP"), (".tif", "TIFF")):
        yield Made(f"exif_6{suffix}", still(image, form, exif=exif))
    broken = exif.tobytes()
    yield Made("exif_cut_off.jpg", still(image, "JPEG", exif=broken[: len(broken) // 2]))
    yield Made("exif_noise.jpg", still(image, "JPEG", exif=b"Exif\0\0" + np.random.default_rng(2).bytes(200)))
    yield Made("exif_noise.png", still(image, "PNG", exif=b"Exif\0\0" + np.random.default_rng(3).bytes(200)))
    words = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, orientation_tag, 2, 4, b"six", 0)
    yield Made("exif_in_words.jpg", still(image, "JPEG", exif=words))


def _wrong_suffixes() -> Iterator[Made]:
    """Files that are called what they are not."""
    image = picture()
    png, jpeg, bmp = (still(image, form) for form in ("PNG", "JPEG", "BMP"))
    for name, content in (("png", png), ("jpeg", jpeg), ("bmp", bmp)):
        for suffix in (".tif", ".webp", ".mp4", ".avi"):
            yield Made(f"{name}_named{suffix}", content, None if suffix in VIDEO_SUFFIXES else True)
    for suffix in (".avi", ".mkv", ".mov", ".webm", ".wmv", ".ts", ".gif"):
        yield Made(f"mp4_named{suffix}", plain_mp4())
    for suffix in (".jpg", ".png"):
        yield Made(f"mp4_named{suffix}", plain_mp4(), None)
    yield Made("png_named.jpg", png)
    yield Made("jpeg_named.png", jpeg)
    yield Made("webm_named.mp4", film(".webm", Video("libvpx-vp9")))
    yield Made("avi_named.mp4", film(".avi", Video("mpeg4")))
    yield Made("mp4_named.h264", plain_mp4(), None)
    yield Made("avif_named.jpg", still(image, "AVIF"), None)
    yield Made("jpeg2000_named.jpg", still(image, "JPEG2000"), None)
    yield Made("ico_named.png", still(image, "ICO"), None)
    yield Made("pdf_named.jpg", still(image, "PDF", creationDate=None, modDate=None), False, "corrupt")


def _frameless() -> Iterator[Made]:
    """Containers without a picture in them."""
    parts = boxes(plain_mp4())
    yield Made("no_frames.mp4", film(".mp4", Video(num_frames=0)), False)
    yield Made("no_frames.mkv", film(".mkv", Video(num_frames=0)), False)
    yield Made("no_frames.avi", film(".avi", Video("mpeg4", num_frames=0)), False)
    yield Made("no_moov.mp4", parts[b"ftyp"] + parts[b"mdat"], False, "corrupt")
    yield Made("only_ftyp.mp4", parts[b"ftyp"], False, "corrupt")
    yield Made("only_moov.mp4", parts[b"ftyp"] + parts[b"moov"], False, "corrupt")
    yield Made("only_mdat.mp4", parts[b"mdat"], False, "corrupt")
    yield Made(
        "mdat_of_zeros.mp4", parts[b"ftyp"] + box(b"mdat", bytes(len(parts[b"mdat"]) - 8)) + parts[b"moov"], False
    )
    yield Made("mdat_of_noise.mp4", patched(plain_mp4(), 60, np.random.default_rng(4).bytes(4000)), None)
    yield Made("unknown_codec.mp4", plain_mp4().replace(b"avc1", b"zzzz"), False)
    yield Made("header_only.gif", still(picture(), "GIF")[:13], False, "corrupt")
    yield Made("header_only.png", still(picture(), "PNG")[:33], False, "corrupt")
    yield Made("header_only.jpg", still(picture(), "JPEG")[:300], False, "corrupt")
    yield Made("header_only.webp", still(picture(), "WEBP")[:30], False, "corrupt")


def _no_media() -> Iterator[Made]:
    """No medium at all: nothing, text, lists of other files, noise."""
    text = b"This is a note about a video, and no video.\n" * 20
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\nfaststart.mp4\n#EXT-X-ENDLIST\n"
    for suffix in (".mp4", ".avi", ".mkv", ".gif", ".png", ".jpg", ".h264"):
        yield Made(f"empty{suffix}", b"", False, "empty")
        yield Made(f"text{suffix}", text, False, "corrupt")
        yield Made(f"one_byte{suffix}", b"\0", False, "corrupt")
        yield Made(f"zeros{suffix}", bytes(5000), False, "corrupt")
    yield Made("playlist.mp4", playlist, False)
    # ffmpeg follows this one: the frames of another file would stand under this one's name
    yield Made("concat_list.mp4", b"ffconcat version 1.0\nfile faststart.mp4\n", False)
    yield Made("subtitles.mp4", b"WEBVTT\n\n00:00.000 --> 00:01.000\nwords\n", False)
    yield Made("page.mp4", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", False, "corrupt")
    yield Made("page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", False, "corrupt")
    yield Made("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", False, "corrupt")
    yield Made("pointer.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", False, "corrupt")
    for number, suffix in enumerate(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES)):
        yield Made(f"noise{suffix}", np.random.default_rng((5, number)).bytes(4000), False)


def _bombs() -> Iterator[Made]:
    """Small files that claim, or hold, more than a machine should take on."""
    header = (60_000, 60_000, 8, 2, 0, 0, 0)
    yield Made("claims_to_be_large.png", _png(header, zlib.compress(bytes(500))), False, "too_large")
    rows = zlib.compressobj(9)
    one_bit = b"".join(rows.compress(bytes(2501 * 1000)) for _ in range(20)) + rows.flush()
    yield Made("is_large.png", _png((20_000, 20_000, 1, 0, 0, 0, 0), one_bit), False, "too_large")
    for suffix, form, offset, claim in (
        (".gif", "GIF", 6, struct.pack("<HH", 60_000, 60_000)),
        (".bmp", "BMP", 18, struct.pack("<ii", 60_000, 60_000)),
        (".webp", "WEBP", 26, struct.pack("<HH", 16_383, 16_383)),
    ):
        yield Made(f"claims_to_be_large{suffix}", patched(still(picture(), form), offset, claim), False)
    jpeg = _huge_jpegs(still(picture(), "JPEG"))
    yield Made("claims_to_be_large.jpg", jpeg, False, "too_large")
    yield Made("frames_claim_to_be_large.avi", _huge_jpegs(film(".avi", Video("mjpeg", "yuvj420p"))), False)
    note = (b"zTXt", b"note\0\0" + zlib.compress(bytes(90_000_000), 9))
    yield Made("large_note.png", _png((4, 4, 8, 0, 0, 0, 0), zlib.compress(bytes(20)), note), None)
    far = (0, 20 * HOUR_S)
    for suffix in (".mp4", ".mkv"):
        yield Made(f"hours_apart{suffix}", film(suffix, Video(num_frames=2, fps=1, pts=far)), False, "too_long")
    yield Made("hours_late.mp4", film(".mp4", Video(num_frames=2, fps=1, pts=(20 * HOUR_S, 20 * HOUR_S + 1))), None)
    claims = patched(plain_mp4(), plain_mp4().index(b"mvhd") + 20, b"\x7f\xff\xff\xff")
    yield Made("claims_to_be_long.mp4", claims, None)
    yield Made("counts_many_frames.mp4", _many_samples(plain_mp4()), None)


def _huge_jpegs(content: bytes) -> bytes:
    """With 60 000 × 60 000 in the header of each JPEG in it."""
    start = content.find(b"\xff\xc0\0\x11\x08")
    while start >= 0:
        content = patched(content, start + 5, struct.pack(">HH", 60_000, 60_000))
        start = content.find(b"\xff\xc0\0\x11\x08", start + 9)
    return content


def _many_samples(content: bytes) -> bytes:
    """An mp4 whose table of sizes counts two thousand million frames."""
    return patched(content, content.index(b"stsz") + 12, b"\x7f\xff\xff\xff")


def _names() -> Iterator[Made]:
    """Names that a shell, a URL or a pattern would take amiss; descriptions that are no UTF-8."""
    for name in ("wörld 视频", "two  spaces", 'it\'s "quoted"', "-dash", "50% %d", "semi;colon&", "a#b?c=d", "x" * 200):
        yield Made(f"{name}.mp4", plain_mp4())
        yield Made(f"{name}.png", still(picture(), "PNG"))
    for name in ("file:a.mp4", "concat:a.mp4|b.mp4", "http:b.mp4", "A.MP4", "two.dots.mp4"):
        yield Made(name, plain_mp4())
    note = "TITLETITLETITLE"
    yield Made("note_no_utf8.mp4", _with_note(".mp4", note).replace(note.encode(), b"\xff\xfe\xfd" * 5))
    yield Made("note_no_utf8.mkv", _with_note(".mkv", note).replace(note.encode(), b"\xff\xfe\xfd" * 5))
    yield Made("note_no_utf8.avi", _with_note(".avi", note).replace(note.encode(), b"\xff\xfe\xfd" * 5))


def _with_note(suffix: str, title: str) -> bytes:
    buffer, video = io.BytesIO(), Video("mpeg4")
    names = {".mp4": "mp4", ".mkv": "matroska", ".avi": "avi"}
    with av.open(buffer, "w", format=names[suffix], options={"fflags": "bitexact"}) as container:
        container.metadata["title"] = title
        stream = video.add(container)
        for packet in video.packets(stream):
            container.mux(packet)
    return buffer.getvalue()


# --- damage


def make_damaged(folder: Path, count: int, seed: int) -> list[str]:
    """Write `count` damaged copies of good files and give their names, which say what was done to what."""
    pairs = [*product(_good_files(), DAMAGES)]
    order = np.random.default_rng((seed, 0)).permutation(len(pairs))
    names = []
    for number in range(count):
        source, damage = pairs[order[number % len(pairs)]]
        rng = np.random.default_rng((seed, 1, number))
        others = [name for name in _good_files() if name != source]
        other = _good_files()[others[rng.integers(len(others))]]
        stem, _, suffix = source.partition(".")
        names.append(f"{number:03d}_{stem}_{damage}.{suffix}")
        (folder / names[-1]).write_bytes(DAMAGES[damage](_good_files()[source], other, rng))
    return names


@cache
def _good_files() -> dict[str, bytes]:
    frames = [Image.fromarray(picture(number)) for number in range(8)]
    return {
        "late_index.mp4": plain_mp4(),
        "faststart.mp4": faststart_mp4(),
        "fragmented.mp4": film(".mp4", Video(params="keyint=4"), movflags="frag_keyframe+empty_moov"),
        "h264.mkv": film(".mkv", Video()),
        "vp9.webm": film(".webm", Video("libvpx-vp9")),
        "mpeg4.avi": film(".avi", Video("mpeg4")),
        "hevc.mp4": film(".mp4", Video("libx265")),
        "av1.mp4": film(".mp4", Video("libsvtav1")),
        "sound.mp4": film(".mp4", Video(), Sound()),
        "open_gop.ts": film(".ts", _OPEN_GOP),
        "raw.h264": raw_h264(),
        "moving.gif": still(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "still.png": still(frames[0], "PNG"),
        "still.jpg": still(frames[0], "JPEG"),
        "progressive.jpg": still(frames[0], "JPEG", progressive=True),
        "still.webp": still(frames[0], "WEBP"),
        "still.tif": still(frames[0], "TIFF", compression="tiff_lzw"),
    }


Damage = Callable[[bytes, bytes, np.random.Generator], bytes]
HEAD_BYTES = 512


def _flipped(content: bytes, rng: np.random.Generator, count: int, low: int = 0, high: int | None = None) -> bytes:
    """With `count` random bits of the bytes from `low` to `high` turned over."""
    damaged = bytearray(content)
    high = min(high or len(content), len(content))
    for place in rng.integers(min(low, high - 1), high, count):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def _stretch(content: bytes, rng: np.random.Generator) -> slice:
    """Some stretch of up to a quarter of the file."""
    start = rng.integers(len(content))
    return slice(start, start + 1 + rng.integers(len(content) // 4))


def _zeroed(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    hole = _stretch(content, rng)
    return content[: hole.start] + bytes(len(content[hole])) + content[hole.stop :]


def _without(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    hole = _stretch(content, rng)
    return content[: hole.start] + content[hole.stop :]


def _without_byte(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    place = rng.integers(len(content))
    return content[:place] + content[place + 1 :]


def _repeated(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    part = _stretch(content, rng)
    return content[: part.stop] + content[part] + content[part.stop :]


def _inserted(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    place = rng.integers(len(content))
    return content[:place] + rng.bytes(1 + rng.integers(64)) + content[place:]


DAMAGES: dict[str, Damage] = {
    "cut_anywhere": lambda content, other, rng: content[: rng.integers(1, len(content))],
    "cut_near_its_end": lambda content, other, rng: content[: -rng.integers(1, 40)],
    "cut_in_its_head": lambda content, other, rng: content[: rng.integers(1, HEAD_BYTES)],
    "one_bit": lambda content, other, rng: _flipped(content, rng, 1),
    "few_bits": lambda content, other, rng: _flipped(content, rng, 12),
    "many_bits": lambda content, other, rng: _flipped(content, rng, len(content) // 8),
    "bits_of_its_head": lambda content, other, rng: _flipped(content, rng, 12, high=HEAD_BYTES),
    "bits_of_its_tail": lambda content, other, rng: _flipped(content, rng, 12, low=len(content) - HEAD_BYTES),
    "bits_after_its_head": lambda content, other, rng: _flipped(content, rng, 60, low=HEAD_BYTES),
    "zeroed": _zeroed,
    "halves_swapped": lambda content, other, rng: content[len(content) // 2 :] + content[: len(content) // 2],
    "byte_lost": _without_byte,
    "stretch_lost": _without,
    "stretch_repeated": _repeated,
    "bytes_inserted": _inserted,
    "head_alone": lambda content, other, rng: content[:HEAD_BYTES],
    "head_then_noise": lambda content, other, rng: content[:HEAD_BYTES] + rng.bytes(8000),
    "then_another": lambda content, other, rng: content + other,
    "in_fact_another": lambda content, other, rng: other,
}
