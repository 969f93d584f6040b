"""Where a video's frames lie among its packets, and which packets the wanted frames need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Run:
    """Packets to be decoded on their own, from a keyframe on."""

    first: int
    """Place of the first one in decode order."""
    last: int
    """Place of the last one."""
    first_pts: int
    """When the first one is shown, ticks."""
    first_dts: int
    """When the first one is decoded, ticks."""
    last_pts: int
    """When the last one is shown, ticks."""
    wanted_pts: list[int]
    """When the wanted frames are shown, ticks, rising."""


@dataclass(frozen=True)
class Packets:
    """The packets of a stream in decode order. Shape of each array: (packets,)."""

    pts: np.ndarray
    """When each is shown, ticks, int64."""
    dts: np.ndarray
    """When each is decoded, ticks, int64."""
    is_key: np.ndarray
    """bool."""
    is_shown: np.ndarray
    """bool; the others are decoded for the sake of later ones."""
    lack: str
    """What the file announces and does not hold; "" = nothing."""

    @property
    def num_frames(self) -> int:
        return int(self.is_shown.sum())

    @cached_property
    def shown_pts(self) -> np.ndarray:
        """Times of the frames in the order in which they are shown, ticks. Shape: (num_frames,)."""
        return np.sort(self.pts[self.is_shown])

    @cached_property
    def starts(self) -> np.ndarray:
        """Roots where GOPs start. Shape: (GOPs,)."""
        return np.flatnonzero(self.is_key | (np.arange(len(self.pts)) == 0))

    def runs(self, wanted_pts: list[int]) -> Iterator[Run]:
        """What is to be decoded for the wanted frames: of each GOP that holds some, its keyframe to the last of them.

        The run starts a GOP earlier where a wanted frame is shown before its own GOP's keyframe.
        """
        places = np.flatnonzero(np.isin(self.pts, wanted_pts) & self.is_shown)
        gops = np.searchsorted(self.starts, places, side="right") - 1
        leads = self.pts[places] < self.pts[self.starts[gops]]
        needed = np.maximum(gops - leads, 0)
        begin = 0
        for end in range(1, len(places) + 1):
            if end == len(places) or needed[end:].min() > gops[end - 1]:
                first = int(self.starts[needed[begin:end].min()])
                yield self._run(first, int(places[end - 1]), sorted(self.pts[places[begin:end]].tolist()))
                begin = end

    def widened(self, run: Run) -> Run:
        """The run with the GOP before it."""
        before = int(np.searchsorted(self.starts, run.first)) - 1
        return self._run(int(self.starts[max(before, 0)]), run.last, run.wanted_pts)

    def _run(self, first: int, last: int, wanted_pts: list[int]) -> Run:
        return Run(
            first=first,
            last=last,
            first_pts=int(self.pts[first]),
            first_dts=int(self.dts[first]),
            last_pts=int(self.pts[last]),
            wanted_pts=wanted_pts,
        )
