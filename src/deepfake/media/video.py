"""Frames of a video or an image as RGB arrays, one after another. An image is a one-frame video."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import av
import numpy as np

# What PyAV raises on damaged files: mostly its own, but text that is not UTF-8, numbers that do not fit and sizes
# that no memory holds come as Python's.
_FAULTS = (av.FFmpegError, ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, ValueError)
_NO_FOOTAGE = {"concat", "dash", "hls", "image2", "imf", "sdp"}  # beside single pictures: text that names other files
_NO_MOVING_PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.dependent  # covers, tiles of a photo
_UNTRUSTED_TIMES = {"avi", "asf"}  # these tell when a packet is decoded, not when it is shown
_SEEKABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts"}  # asked for a dts, these go there or before it
_SKIPPABLE = {"h264", "hevc", "mpeg4", "mpeg2video"}  # decoders that can be told packet by packet to skip one
_COLOUR_MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}  # FFmpeg's numbers of those it converts; the rest is taken as BT.709
_GUESSED_RATE = 25  # frames a second where a stream tells neither times nor a rate; FFmpeg guesses the same


class UnreadableError(Exception):
    """A medium that cannot be decoded. `error` is its kind, for the problems table."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = " ".join(detail.split())[:300]


@dataclass(frozen=True)
class Limits:
    """What is larger is refused, as `too_large` or `too_long`. 0 = no limit."""

    max_megapixels: float
    max_minutes: float

    def check_size(self, width: int, height: int) -> None:
        """UnreadableError where a frame of width x height px is too large."""
        megapixels = width * height / 1e6
        if self.max_megapixels and megapixels > self.max_megapixels:
            came = f"{width} x {height} px are {megapixels:.1f} megapixels"
            raise UnreadableError("too_large", f"{came}; extract.max_megapixels={self.max_megapixels:g} are allowed")

    def check_duration(self, duration_s: float) -> None:
        """UnreadableError where a video of that duration is too long."""
        if self.max_minutes and duration_s > 60 * self.max_minutes:
            came = f"{duration_s / 60:.2f} minutes"
            raise UnreadableError("too_long", f"{came}; extract.max_minutes={self.max_minutes:g} are allowed")


@dataclass(frozen=True)
class Frame:
    """One frame, upright.

    image_HWC: uint8 RGB, C-contiguous. frame_idx: its number in the video. pts_s: seconds from the first frame.
    """

    image_HWC: np.ndarray
    frame_idx: int
    pts_s: float


class Medium:
    """A video or an image whose wanted frames are decoded one after another, each time it is iterated.

    num_frames: how many frames the file has. frame_idx: the wanted ones, int64, rising. note: what was wrong though
    frames came, "" = nothing; complete after an iteration. An iteration that gives no frame raises UnreadableError.
    """

    num_frames: int
    frame_idx: np.ndarray
    note: str = ""

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError


def spread_indices(num_available: int, num_wanted: int) -> np.ndarray:
    """The middles of `num_wanted` equal stretches of 0 … num_available - 1; every index when there are fewer.

    Shape: (min(num_wanted, num_available),), int64, strictly rising.
    """
    count = min(num_wanted, num_available)
    return ((np.arange(count) + 0.5) * num_available / count).astype(np.int64) if count else np.empty(0, np.int64)


def open_medium(path: Path, kind: str, num_frames: int, limits: Limits) -> Medium:
    """`num_frames` evenly spread frames of a video or an animation, or the one frame of an image, ready to be decoded.

    kind: video or image, what the file claims to be; the other is tried where it is not. UnreadableError.
    """
    from deepfake.media.stills import Still  # which is built on this module

    try:
        if not path.is_file():
            raise UnreadableError("missing", f"{path} is not there")
        if path.stat().st_size == 0:
            raise UnreadableError("empty", "the file has no bytes")
    except OSError as error:
        raise UnreadableError("missing", str(error)) from error
    claimed, other = (Footage, Still) if kind == "video" else (Still, Footage)
    try:
        return claimed(path, num_frames, limits)
    except UnreadableError as error:
        if error.error not in ("corrupt", "no_video_stream"):
            raise
        try:
            return other(path, num_frames, limits)
        except UnreadableError:
            raise error from None


class Footage(Medium):
    """Frames of a video.

    Where every packet has a time of its own, these times say which frames there are, and only what the wanted ones
    need is decoded. Elsewhere, and where that gives nothing, frames are counted by decoding them all.
    """

    def __init__(self, path: Path, num_frames: int, limits: Limits) -> None:
        """UnreadableError when the file is no video, or one beyond the limits."""
        self._path, self._num_wanted, self._limits = path, num_frames, limits
        self._stream: _Stream | None = _Stream(path, limits)  # kept for the first iteration: opening is a tenth of it
        self._index = _read_index(self._stream, limits)
        self._lack = self._index.lack if self._index else ""
        if self._index is None:
            self._count()
        else:
            self._spread_over(self._index.num_frames)

    def __iter__(self) -> Iterator[Frame]:
        num_came = num_damaged = 0
        stream, self._stream = self._stream or _Stream(self._path, self._limits), None
        for number, pts_s, picture in self._counted(stream) if self._index is None else self._indexed(stream):
            image_HWC = self._upright(stream, picture)
            if image_HWC is not None:
                num_came += 1
                num_damaged += picture.is_corrupt
                yield Frame(image_HWC, number, pts_s)
        if num_came:
            self._note_down(stream, num_came, num_damaged)
        elif self._index is None:
            raise UnreadableError("corrupt", stream.fault or "no frame decodes")
        else:
            self._count()
            yield from self

    def _count(self) -> None:
        self._stream = self._index = None
        num_frames, self._is_timed = _count_frames(_Stream(self._path, self._limits), self._limits)
        self._spread_over(num_frames)

    def _spread_over(self, num_frames: int) -> None:
        self.num_frames = num_frames
        self.frame_idx = spread_indices(num_frames, self._num_wanted)

    def _indexed(self, stream: _Stream) -> Iterator[tuple[int, float, av.VideoFrame]]:
        """(number, time in seconds, picture) of the wanted frames that come."""
        shown_pts = self._index.shown_pts
        numbers = dict(zip(shown_pts[self.frame_idx].tolist(), self.frame_idx.tolist()))
        for run in self._index.runs(list(numbers)):
            for picture in self._pictures(stream, run):
                yield numbers[picture.pts], (picture.pts - int(shown_pts[0])) * stream.tick_s, picture

    def _pictures(self, stream: _Stream, run: _Run) -> Iterator[av.VideoFrame]:
        """The wanted pictures of a run, rising in time.

        Where one is passed over, the run is begun anew a GOP earlier: at some keyframes pictures only start to mend.
        """
        waiting = list(run.wanted_pts)
        attempts = [run] if run.first == 0 else [run, self._index.widened(run)]
        for attempt in attempts:
            for picture in stream.decode(stream.skim(attempt, set(waiting))):
                if picture.pts in waiting:
                    if attempt is not attempts[-1] and picture.pts != waiting[0]:
                        break
                    del waiting[: waiting.index(picture.pts) + 1]
                    yield picture
            if not waiting:
                return

    def _counted(self, stream: _Stream) -> Iterator[tuple[int, float, av.VideoFrame]]:
        """As `_indexed`, by decoding every frame up to the last wanted one."""
        wanted, first_pts = set(self.frame_idx.tolist()), 0
        for number, picture in enumerate(stream.decode(stream.packets())):
            if number == 0 and self._is_timed:
                first_pts = picture.pts
            if number in wanted:
                pts_s = (picture.pts - first_pts) * stream.tick_s if self._is_timed else number / stream.rate
                yield number, pts_s, picture
            if number == self.frame_idx[-1]:
                return

    def _upright(self, stream: _Stream, picture: av.VideoFrame) -> np.ndarray | None:
        """RGB of a picture, None where it cannot be converted."""
        self._limits.check_size(picture.width, picture.height)
        try:
            return _turned(picture, _rgb(picture))
        except _FAULTS as error:
            stream.fault = _words(error)
            return None

    def _note_down(self, stream: _Stream, num_came: int, num_damaged: int) -> None:
        notes = [self._lack] if self._lack else []
        if num_came < len(self.frame_idx):
            reason = f" ({stream.fault})" if stream.fault else ""
            notes.append(f"{num_came} of {len(self.frame_idx)} frames decode{reason}")
        if num_damaged:
            notes.append(f"{num_damaged} of {num_came} frames are damaged")
        self.note = "; ".join(notes)


class _Stream:
    """The video stream of an open file. fault: the words of what last went wrong in it."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """UnreadableError when there is none, or it is beyond the limits."""
        av.logging.set_level(av.logging.PANIC)  # nothing on the terminal, yet FFmpeg's words in the errors
        self._path, self.fault = path, ""
        self._open()
        limits.check_size(self.decoder.width, self.decoder.height)
        limits.check_duration((self.container.duration or 0) / av.time_base)
        self.ticks_s = [float(stream.time_base or 0) for stream in self.container.streams]
        self.tick_s = self.ticks_s[self.stream.index]
        self.rate = float(self.stream.guessed_rate or self.stream.average_rate or _GUESSED_RATE)

    def _open(self) -> None:
        """Open the file at its beginning, again where it is open. UnreadableError."""
        self._place = 0  # of the next packet in the stream; sys.maxsize at the end, or where it is not known
        try:
            # A bare name may look like a protocol; text that is not UTF-8 in the metadata is none of ours.
            self.container = av.open(f"file:{self._path}", metadata_errors="ignore")
        except _FAULTS as error:
            raise UnreadableError("corrupt", _words(error)) from error
        self.format = self.container.format.name
        if self.format.endswith("_pipe") or self.format in _NO_FOOTAGE:
            raise UnreadableError("corrupt", f"a still picture or a list of files ({self.format})")
        self.stream = self.container.streams.best("video")
        if self.stream is None or self.stream.disposition & _NO_MOVING_PICTURES:
            raise UnreadableError("no_video_stream", "the file has no moving pictures")
        self.decoder = self.stream.codec_context
        if self.decoder is None:
            raise UnreadableError("corrupt", "FFmpeg has no decoder for its codec")
        self.decoder.thread_count = 1  # the processes are what runs side by side

    def packets(self, everything: bool = False) -> Iterator[av.Packet]:
        """Packets from here to the end, in decode order, with `everything` other streams' too.

        What cannot be read is the end.
        """
        try:
            for packet in self.container.demux(*[] if everything else [self.stream]):
                if packet.size:  # to the decoder an empty one would be the end
                    yield packet
        except _FAULTS as error:
            self.fault = _words(error)
        self._place = sys.maxsize

    def lack(self, length_s: float) -> str:
        """What the file announces and does not hold, given how long its packets last, in words; "" = nothing."""
        announced_s = (self.container.duration or 0) / av.time_base
        if length_s < 0.98 * announced_s - 0.2:  # durations in headers are rounded, and guessed in some formats
            return f"the file ends after {length_s:.1f} of {announced_s:.1f} s"
        return self.fault and f"reading stops after {length_s:.1f} s: {self.fault}"

    def skim(self, run: _Run, wanted: set[int]) -> Iterator[av.Packet]:
        """Packets of a run, the decoder set for each to skip what neither is wanted nor helps to decode another."""
        can_skip = self.decoder.name in _SKIPPABLE
        for packet in self._packets_of(run):
            self.decoder.skip_frame = "NONREF" if can_skip and packet.pts not in wanted else "DEFAULT"
            yield packet

    def _packets_of(self, run: _Run) -> Iterator[av.Packet]:
        self._approach(run)
        self._place = sys.maxsize  # past anything, unless the end of the run is reached
        first = self._find(run.first_pts)
        if first is None:  # seeking went past it
            self._open()
            first = self._find(run.first_pts)
        if first is None:
            return
        for packet in chain([first], self.packets()):
            yield packet
            if packet.pts == run.last_pts:
                break
        self._place = run.last + 1

    def _approach(self, run: _Run) -> None:
        """Go to where reading on comes to the run: there where seeking can be relied on, else back to the beginning."""
        if self._place != run.first and self.format in _SEEKABLE:
            try:
                self.container.seek(run.first_dts, stream=self.stream)
            except _FAULTS as error:
                self.fault = _words(error)
        elif self._place > run.first:
            self._open()

    def _find(self, pts: int) -> av.Packet | None:
        """Read on to the packet of that time; None where a later keyframe, or the end, comes before it."""
        for packet in self.packets():
            if packet.pts == pts:
                return packet
            if packet.is_keyframe and packet.pts is not None and packet.pts > pts:
                return None
        return None

    def decode(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        """Pictures of the packets; one that fails is left out. Afterwards the decoder may start elsewhere."""
        try:
            for packet in chain(packets, [None]):
                yield from self._decode(packet)
        finally:
            self.decoder.flush_buffers()

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self.decoder.decode(packet)
        except _FAULTS as error:
            self.fault = _words(error)
            return []


@dataclass(frozen=True)
class _Run:
    """Packets to be decoded on their own: places of the first and the last in decode order, and their times, ticks.

    wanted_pts: times of the wanted frames, rising.
    """

    first: int
    last: int
    first_pts: int
    first_dts: int
    last_pts: int
    wanted_pts: list[int]


@dataclass(frozen=True)
class _Index:
    """The packets of a stream in decode order. pts, dts: ticks, int64; is_key, is_shown: bool; each (packets,).

    lack: what the file announces and does not hold, "" = nothing.
    """

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    lack: str

    @property
    def num_frames(self) -> int:
        return int(self.is_shown.sum())

    @cached_property
    def shown_pts(self) -> np.ndarray:
        """Times of the frames in the order in which they are shown, ticks. Shape: (num_frames,)."""
        return np.sort(self.pts[self.is_shown])

    @cached_property
    def starts(self) -> np.ndarray:
        """Places where GOPs start. Shape: (GOPs,)."""
        return np.flatnonzero(self.is_key | (np.arange(len(self.pts)) == 0))

    def runs(self, wanted_pts: list[int]) -> Iterator[_Run]:
        """What is to be decoded for the wanted frames: of each GOP that holds some, its keyframe to the last of them.

        From the GOP before on where a wanted frame is shown before its own GOP's keyframe.
        """
        places = np.flatnonzero(np.isin(self.pts, wanted_pts) & self.is_shown)
        gops = np.searchsorted(self.starts, places, side="right") - 1
        leads = self.pts[places] < self.pts[self.starts[gops]]
        needed = np.maximum(gops - leads, 0)
        begin = 0
        for end in range(1, len(places) + 1):
            if end == len(places) or needed[end:].min() > gops[end - 1]:
                yield self._run(self.starts[needed[begin:end].min()], places[begin:end])
                begin = end

    def widened(self, run: _Run) -> _Run:
        """The run from a GOP earlier on."""
        before = np.searchsorted(self.starts, run.first) - 1
        return replace(run, **self._first(self.starts[max(before, 0)]))

    def _run(self, first: int, places: np.ndarray) -> _Run:
        wanted_pts = sorted(self.pts[places].tolist())
        return _Run(
            **self._first(first), last=int(places[-1]), last_pts=int(self.pts[places[-1]]), wanted_pts=wanted_pts
        )

    def _first(self, place: int) -> dict[str, int]:
        return {"first": int(place), "first_pts": int(self.pts[place]), "first_dts": int(self.dts[place])}


def _read_index(stream: _Stream, limits: Limits) -> _Index | None:
    """What the packets tell, None where they do not tell frames apart or their order. UnreadableError."""
    table, length_s = _read_packets(stream, limits)
    if table is None:
        return None
    pts, dts, is_key, is_shown = table.T
    if not is_shown.any():
        raise UnreadableError("corrupt", stream.fault or "the video has no frames")
    times_of_decoding = stream.format in _UNTRUSTED_TIMES and stream.decoder.has_b_frames and (np.diff(pts) > 0).all()
    index = _Index(pts, dts, is_key > 0, is_shown > 0, stream.lack(length_s))
    return None if times_of_decoding or (np.diff(index.shown_pts) == 0).any() else index


def _read_packets(stream: _Stream, limits: Limits) -> tuple[np.ndarray | None, float]:
    """The stream's packets, None where one has no time, and how many seconds the packets of all streams last.

    A row is (pts, dts, is a keyframe, is shown). Shape: (packets, 4), int64. UnreadableError.
    """
    table, start_s, end_s = array("q"), 0.0, 0.0
    for packet in stream.packets(everything=True):
        ours = packet.stream_index == stream.stream.index
        if packet.pts is not None:
            pts_s = packet.pts * stream.ticks_s[packet.stream_index]
            # Durations of others do not count: that of a time code is the whole file's.
            duration_s = (packet.duration or 0) * stream.tick_s if ours else 0.0
            start_s, end_s = min(start_s, pts_s), max(end_s, pts_s + duration_s)
        elif ours:
            return None, 0.0
        if ours:
            dts = packet.pts if packet.dts is None else packet.dts
            table.extend((packet.pts, dts, packet.is_keyframe, not packet.is_discard))
            limits.check_duration((packet.pts - table[0]) * stream.tick_s)
    return np.array(table, np.int64).reshape(-1, 4), end_s - start_s


def _count_frames(stream: _Stream, limits: Limits) -> tuple[int, bool]:
    """How many frames decode, and whether all tell times that rise. UnreadableError when none does, or too many do."""
    count, is_timed, before = 0, True, None
    for picture in stream.decode(stream.packets()):
        count += 1
        is_timed &= picture.pts is not None and (before is None or picture.pts > before)
        before = picture.pts
        limits.check_size(picture.width, picture.height)
        limits.check_duration(count / stream.rate)
    if not count:
        raise UnreadableError("corrupt", stream.fault or "the video has no frames")
    return count, is_timed


def _rgb(picture: av.VideoFrame) -> np.ndarray:
    """uint8 RGB as it is stored. Shape: (H, W, 3)."""
    matrix = None if picture.colorspace in _COLOUR_MATRICES else "ITU709"
    return picture.to_ndarray(format="rgb24", src_colorspace=matrix, threads=1)


def _turned(picture: av.VideoFrame, image_HWC: np.ndarray) -> np.ndarray:
    """The image turned and mirrored as the file asks. C-contiguous. Shape: (H, W, 3), or (W, H, 3)."""
    (x_to_x, x_to_y), (y_to_x, y_to_y) = _display_matrix(picture)
    if abs(x_to_y) > abs(x_to_x):
        image_HWC, x_to_x, y_to_y = image_HWC.swapaxes(0, 1), y_to_x, x_to_y
    return np.ascontiguousarray(image_HWC[:: -1 if y_to_y < 0 else 1, :: -1 if x_to_x < 0 else 1])


def _display_matrix(picture: av.VideoFrame) -> list[list[int]]:
    """How the stored x and y axes (rows) are mapped to those that are shown (columns), on any scale."""
    try:
        matrix = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 when a frame carries side data younger than itself: the turn is known nonetheless
        cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][round(picture.rotation / 90) % 4]
        return [[cosine, -sine], [sine, cosine]]
    return [[1, 0], [0, 1]] if matrix is None else np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].tolist()


def _words(error: Exception) -> str:
    """What an error says, without the file's name: FFmpeg's last complaint too, where there is one."""
    if not isinstance(error, av.FFmpegError):
        return str(error) or type(error).__name__
    return f"{error.strerror}: {error.log[2].strip()}" if error.log else error.strerror
