"""What a stream's packets tell of its frames, and which of them are needed for the wanted ones."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from deepfake.media.medium import Limits, UnreadableError
from deepfake.media.stream import Stream

_UNTRUSTED_TIMES = {"avi", "asf"}  # these tell when a packet is decoded, not when it is shown


@dataclass(frozen=True)
class Run:
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
class Index:
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

    def runs(self, wanted_pts: list[int]) -> Iterator[Run]:
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

    def widened(self, run: Run) -> Run:
        """The run from a GOP earlier on."""
        before = np.searchsorted(self.starts, run.first) - 1
        return replace(run, **self._first(self.starts[max(before, 0)]))

    def _run(self, first: int, places: np.ndarray) -> Run:
        wanted_pts = sorted(self.pts[places].tolist())
        return Run(
            **self._first(first), last=int(places[-1]), last_pts=int(self.pts[places[-1]]), wanted_pts=wanted_pts
        )

    def _first(self, place: int) -> dict[str, int]:
        return {"first": int(place), "first_pts": int(self.pts[place]), "first_dts": int(self.dts[place])}


def read_index(stream: Stream, limits: Limits) -> Index | None:
    """What the packets tell, None where they do not tell frames apart or their order. UnreadableError."""
    table, length_s = _read_packets(stream, limits)
    if table is None:
        return None
    pts, dts, is_key, is_shown = table.T
    if not is_shown.any():
        raise UnreadableError("corrupt", stream.fault or "the video has no frames")
    times_of_decoding = stream.format in _UNTRUSTED_TIMES and stream.decoder.has_b_frames and (np.diff(pts) > 0).all()
    index = Index(pts, dts, is_key > 0, is_shown > 0, stream.lack(length_s))
    return None if times_of_decoding or (np.diff(index.shown_pts) == 0).any() else index


def _read_packets(stream: Stream, limits: Limits) -> tuple[np.ndarray | None, float]:
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
