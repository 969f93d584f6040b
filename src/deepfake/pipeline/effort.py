"""The clock of an inference with a budget: what the rest will cost, and how much effort there is time for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STRIDES = (1, 2, 4, 8)  # every stride-th frame is used
FIXED_CUT = 0.4  # share of a medium's cropping time that fewer frames do not save: opening, seeking, first detections
MARGIN = 1.1  # an effort fits when the time left is at least this multiple of its forecast
RISE = 1.2  # effort rises when the time left is at least this multiple of the forecast; above MARGIN: no flutter
KEEP = 0.9  # each new measurement multiplies the weight of the older ones by this: a rate follows some ten of them
RESERVE_SHARE = 0.04  # share of the budget that is kept for what follows the last medium
RESERVE_S = 3.0  # the least of that reserve


@dataclass(frozen=True)
class Effort:
    """How much is done for each medium."""

    views: int
    """The first views, this many."""
    stride: int
    """Every stride-th frame."""
    members: int
    """The first models, this many."""

    def says(self, full: Effort) -> str:
        """This effort in words, beside the full one."""
        frames = "all frames" if self.stride == 1 else f"every {self.stride}th frame".replace("2th", "2nd")
        return f"{self.views} of {full.views} views, {frames}, {self.members} of {full.members} models"


def efforts(view_passes: Sequence[int], members: int) -> list[Effort]:
    """All efforts, the full one first. Views are given up first, then frames, then models; the last ones first."""
    views = range(len(view_passes), 0, -1)
    fewer_views = [Effort(count, 1, members) for count in views]
    fewer_frames = [Effort(1, stride, members) for stride in STRIDES[1:]]
    return fewer_views + fewer_frames + [Effort(1, STRIDES[-1], count) for count in range(members - 1, 0, -1)]


@dataclass
class _Rate:
    """Seconds a unit of work: a mean of measurements in which later ones weigh more."""

    units: float = 0.0
    seconds: float = 0.0

    def add(self, units: float, seconds: float) -> None:
        self.units = KEEP * self.units + units
        self.seconds = KEEP * self.seconds + seconds

    @property
    def unit_s(self) -> float:
        return self.seconds / self.units if self.units else 0.0


class Clock:
    """Forecasts the rest from recent measurements, and says how much effort each medium can have.

    budget_s: 0 = no limit. view_passes: passes through a model that each view takes. The caller gives all times, in
    seconds since the start.
    """

    def __init__(self, budget_s: float, view_passes: Sequence[int], members: int) -> None:
        self.levels = efforts(view_passes, members)
        self.level = 0
        self._passes = view_passes
        self._budget_s = budget_s
        self._passing, self._cutting = _Rate(), _Rate()  # of a crop's pass; of a medium with all frames

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
        """When the last medium has to be done; inf without a budget."""
        if not self._budget_s:
            return float("inf")
        return self._budget_s - max(RESERVE_S, RESERVE_SHARE * self._budget_s)

    def scored(self, crops: int, seconds: float) -> None:
        """Take note: this many crops were read and scored with the present effort."""
        self._passing.add(self.passes(self.effort) * crops, seconds)

    def tried(self, passes: int, seconds: float) -> None:
        """Take note: a trial made this many passes of a crop through a model."""
        self._passing.add(passes, seconds)

    def waited(self, media: int, seconds: float) -> None:
        """Take note: this many media were cropped while the caller waited for them."""
        self._cutting.add(media * _cut_share(self.effort), seconds)

    def forecast_s(self, crops_left: Mapping[int, float], uncut_media: int, effort: Effort) -> float:
        """Seconds that the rest would take with this effort.

        uncut_media: media that are not cropped yet. crops_left: crops to be scored at each of STRIDES, those of
        uncut_media included. Twice the stride does not always halve them: a picture has one frame.
        """
        scoring = self._passing.unit_s * self.passes(effort) * crops_left[effort.stride]
        return scoring + self._cutting.unit_s * _cut_share(effort) * uncut_media

    def fits(self, left_s: float, crops_left: Mapping[int, float], uncut_media: int, effort: Effort) -> bool:
        """Whether the rest can be done in left_s with this effort, even if the forecast is MARGIN times too low."""
        return MARGIN * self.forecast_s(crops_left, uncut_media, effort) <= left_s

    def decide(self, now_s: float, crops_left: Mapping[int, float], uncut_media: int) -> bool:
        """Lower the effort until the rest fits; if it fits already, raise it as far as there is ample time.

        Returns whether the effort has changed. It holds for all media to come.
        """
        before, left_s = self.level, self.deadline_s() - now_s
        while self.level < len(self.levels) - 1 and not self.fits(left_s, crops_left, uncut_media, self.effort):
            self.level += 1
        if self.level > before:
            return True
        while self.level and RISE * self.forecast_s(crops_left, uncut_media, self.levels[self.level - 1]) <= left_s:
            self.level -= 1
        return self.level < before

    def crops_in(self, seconds: float) -> int:
        """How many crops can be scored in this time with the present effort; at least one."""
        return max(1, int(seconds / (self._passing.unit_s * self.passes(self.effort)))) if self.known else 1

    def passes(self, effort: Effort) -> int:
        """Passes through models that a crop takes with this effort."""
        return sum(self._passes[: effort.views]) * effort.members


def _cut_share(effort: Effort) -> float:
    """Time of cropping a medium with this effort, as a share of that with all frames."""
    return FIXED_CUT + (1 - FIXED_CUT) / effort.stride
