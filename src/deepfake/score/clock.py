"""Watching the clock: what an inference costs, what is given up so that it ends in time, and what is taken up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STRIDES = (1, 2, 4, 8)  # every so many-th frame is used
FIXED_CUT = 0.4  # share of the time of cutting a medium that fewer frames do not save: opening, seeking, first searches
MARGIN = 1.1  # forecasts are held to be so much too low
RISE = 1.5  # those of more effort that much, before what was given up is taken up again: so that it does not flutter
KEEP = 0.9  # a measurement's weight when the next one comes: some ten of them make a rate
RESERVE_SHARE = 0.04  # of the budget, kept for what comes after the last medium
RESERVE_S = 3.0  # that at least


@dataclass(frozen=True)
class Effort:
    """How much is done for each medium: the first so many views, every `stride`-th frame, the first so many models."""

    views: int
    stride: int
    members: int

    def says(self, full: Effort) -> str:
        """What of the full effort is left, in words."""
        frames = "all frames" if self.stride == 1 else f"every {self.stride}th frame".replace("2th", "2nd")
        return f"{self.views} of {full.views} views, {frames}, {self.members} of {full.members} models"


def efforts(view_passes: Sequence[int], members: int) -> list[Effort]:
    """From the full effort downwards: views are given up first, then frames, then models, the last of them first."""
    views = range(len(view_passes), 0, -1)
    fewer_views = [Effort(count, 1, members) for count in views]
    fewer_frames = [Effort(1, stride, members) for stride in STRIDES[1:]]
    return fewer_views + fewer_frames + [Effort(1, STRIDES[-1], count) for count in range(members - 1, 0, -1)]


@dataclass
class _Rate:
    """Seconds a unit of work: a mean over what was measured, the later the heavier."""

    units: float = 0.0
    seconds: float = 0.0

    def add(self, units: float, seconds: float) -> None:
        self.units = KEEP * self.units + units
        self.seconds = KEEP * self.seconds + seconds

    @property
    def unit_s(self) -> float:
        return self.seconds / self.units if self.units else 0.0


class Clock:
    """Forecasts the rest from what was done of late, and says how much can be afforded for each medium.

    budget_s: 0 = no limit. view_passes: what each view costs, in passes through a model. Times are given by who asks,
    in seconds since the start.
    """

    def __init__(self, budget_s: float, view_passes: Sequence[int], members: int) -> None:
        self.levels = efforts(view_passes, members)
        self.level = 0
        self._passes = view_passes
        self._budget_s = budget_s
        self._passing, self._cutting = _Rate(), _Rate()  # a crop's pass through a model; a medium's cutting, all frames

    @property
    def effort(self) -> Effort:
        """What is done for the next medium."""
        return self.levels[self.level]

    @property
    def full(self) -> Effort:
        return self.levels[0]

    @property
    def least(self) -> Effort:
        return self.levels[-1]

    @property
    def known(self) -> bool:
        """Whether anything has been measured."""
        return self._passing.units > 0

    def deadline_s(self) -> float:
        """When the last medium has to be done; never without a budget."""
        if not self._budget_s:
            return float("inf")
        return self._budget_s - max(RESERVE_S, RESERVE_SHARE * self._budget_s)

    def scored(self, crops: int, seconds: float) -> None:
        """So many crops were read and scored with the present effort."""
        self._passing.add(self.passes(self.effort) * crops, seconds)

    def tried(self, passes: int, seconds: float) -> None:
        """So many passes of a crop through a model were made, by way of trial."""
        self._passing.add(passes, seconds)

    def waited(self, media: int, seconds: float) -> None:
        """So many media came out of cutting, for which was waited so long."""
        self._cutting.add(media * _cut_share(self.effort), seconds)

    def forecast_s(self, crops_left: Mapping[int, float], uncut_media: int, effort: Effort) -> float:
        """Seconds that the rest would take. crops_left: at each of STRIDES, with those of uncut_media, yet to be cut;
        not always half as many at twice the stride: a picture has one frame, and of some media few were cut."""
        scoring = self._passing.unit_s * self.passes(effort) * crops_left[effort.stride]
        return scoring + self._cutting.unit_s * _cut_share(effort) * uncut_media

    def fits(self, left_s: float, crops_left: Mapping[int, float], uncut_media: int, effort: Effort) -> bool:
        """Whether the rest is done in that time, though the forecast may be too low."""
        return MARGIN * self.forecast_s(crops_left, uncut_media, effort) <= left_s

    def decide(self, now_s: float, crops_left: Mapping[int, float], uncut_media: int) -> bool:
        """Give up as much as the time left asks for; else take up again what it leaves ample room for; for all media to
        come. Whether that has changed anything."""
        before, left_s = self.level, self.deadline_s() - now_s
        while self.level < len(self.levels) - 1 and not self.fits(left_s, crops_left, uncut_media, self.effort):
            self.level += 1
        if self.level > before:
            return True
        while self.level and RISE * self.forecast_s(crops_left, uncut_media, self.levels[self.level - 1]) <= left_s:
            self.level -= 1
        return self.level < before

    def crops_in(self, seconds: float) -> int:
        """How many crops are scored in that time with the present effort; at least one."""
        return max(1, int(seconds / (self._passing.unit_s * self.passes(self.effort)))) if self.known else 1

    def passes(self, effort: Effort) -> int:
        """Passes through models that a crop takes."""
        return sum(self._passes[: effort.views]) * effort.members


def _cut_share(effort: Effort) -> float:
    """Time of cutting a medium, of that with all frames."""
    return FIXED_CUT + (1 - FIXED_CUT) / effort.stride
