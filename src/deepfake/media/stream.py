"""The video stream of a file: its packets, and the pictures that they decode to."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import av
import numpy as np

from deepfake.media.medium import Limits, UnreadableError
from deepfake.media.packets import Packets, Run

# What PyAV raises on damaged files: mostly its own, but text that is not UTF-8 and numbers that do not fit come as
# Python's. Not MemoryError: that is the machine's lack, not the file's.
FAULTS = (av.FFmpegError, ArithmeticError, LookupError, OSError, RuntimeError, ValueError)
_NO_FOOTAGE = {"concat", "dash", "hls", "image2", "imf", "sdp"}  # beside single pictures: text that names other files
_NO_MOVING_PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.dependent  # covers, tiles of a photo
_UNTRUSTED_TIMES = {"avi", "asf"}  # these tell when a packet is decoded, not when it is shown
_SEEKABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts"}  # asked for a dts, these go there or before it
_SKIPPABLE = {"h264", "hevc", "mpeg4", "mpeg2video"}  # decoders that can be told packet by packet to skip one
_GUESSED_RATE = 25  # frames a second where a stream tells neither times nor a rate; FFmpeg guesses the same


class Stream:
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
        except FAULTS as error:
            raise UnreadableError("corrupt", words(error)) from error
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
        except FAULTS as error:
            self.fault = words(error)
        self._place = sys.maxsize

    def lack(self, length_s: float) -> str:
        """What the file announces and does not hold, given how long its packets last, in words; "" = nothing."""
        announced_s = (self.container.duration or 0) / av.time_base
        if length_s < 0.98 * announced_s - 0.2:  # durations in headers are rounded, and guessed in some formats
            return f"the file ends after {length_s:.1f} of {announced_s:.1f} s"
        return self.fault and f"reading stops after {length_s:.1f} s: {self.fault}"

    def skim(self, run: Run, wanted: set[int]) -> Iterator[av.Packet]:
        """Packets of a run, the decoder set for each to skip what neither is wanted nor helps to decode another."""
        can_skip = self.decoder.name in _SKIPPABLE
        for packet in self._packets_of(run):
            self.decoder.skip_frame = "NONREF" if can_skip and packet.pts not in wanted else "DEFAULT"
            yield packet

    def _packets_of(self, run: Run) -> Iterator[av.Packet]:
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

    def _approach(self, run: Run) -> None:
        """Go to where reading on comes to the run: there where seeking can be relied on, else back to the beginning."""
        if self.decoder.pix_fmt == "pal8":  # the palette came with the first packet, and only once
            self._open()
        elif self._place != run.first and self.format in _SEEKABLE:
            try:
                self.container.seek(run.first_dts, stream=self.stream)
            except FAULTS as error:
                self.fault = words(error)
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
        except FAULTS as error:
            self.fault = words(error)
            return []


def read_packets(stream: Stream, limits: Limits) -> Packets | None:
    """What the packets tell; None where they do not tell frames apart, or not their order. UnreadableError."""
    table, length_s = _packet_rows(stream, limits)
    if table is None:
        return None
    pts, dts, is_key, is_shown = table.T
    if not is_shown.any():
        raise UnreadableError("corrupt", stream.fault or "the video has no frames")
    times_of_decoding = stream.format in _UNTRUSTED_TIMES and stream.decoder.has_b_frames and (np.diff(pts) > 0).all()
    packets = Packets(pts, dts, is_key > 0, is_shown > 0, stream.lack(length_s))
    return None if times_of_decoding or (np.diff(packets.shown_pts) == 0).any() else packets


def _packet_rows(stream: Stream, limits: Limits) -> tuple[np.ndarray | None, float]:
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


def count_frames(stream: Stream, limits: Limits) -> tuple[int, bool]:
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


def words(error: Exception) -> str:
    """What an error says, without the file's name: FFmpeg's last complaint too, where there is one."""
    if not isinstance(error, av.FFmpegError):
        return str(error) or type(error).__name__
    return f"{error.strerror}: {error.log[2].strip()}" if error.log else error.strerror
