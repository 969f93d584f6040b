"""By the clock on the wall: how much is scored in a step, and when effort.py decides the effort anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from deepfake.console import say
from deepfake.pipeline.backlog import Backlog
from deepfake.pipeline.effort import Clock

STEP_S = 10.0  # about how long a step between two looks at the clock takes
STEP_SHARE = 0.03  # of the budget, that at most
FIRST_CROPS = 8  # make a step before anything is known
LARGE_SHARE = 0.25  # of the time left: a medium that takes more even at the least effort may have to come last


class Pacer:
    """Knows by the clock on the wall how much of the budget is left, and asks the Clock what effort that allows.

    budget_s: 0 = no limit; it counts from started_s, by `now`, which is time.monotonic unless given. batch_size: crops
    that tell how fast the models are.
    """

    def __init__(
        self,
        clock: Clock,
        budget_s: float,
        *,
        started_s: float,
        batch_size: int,
        now: Callable[[], float] | None = None,
    ) -> None:
        self.clock = clock
        self.budget_s = budget_s
        self.now = now or time.monotonic
        self._started_s = started_s
        self._batch_size = batch_size
        self._is_first_look = True

    def left_s(self) -> float:
        return self.clock.deadline_s() - self._since_start_s()

    def _since_start_s(self) -> float:
        return self.now() - self._started_s

    @property
    def is_time_up(self) -> bool:
        return self.left_s() <= 0

    def step_crops(self) -> int:
        """How many crops make a step."""
        if not self.clock.known:
            return min(FIRST_CROPS, self._batch_size)
        return self.clock.crops_in(min(STEP_S, self.budget_s * STEP_SHARE or STEP_S))

    def most_crops(self) -> float:
        """How many crops are scored in the time left."""
        if not self.budget_s:
            return float("inf")
        return self.clock.crops_in(self.left_s()) if self.clock.known else FIRST_CROPS

    def tried(self, crops: int, seconds: float, first_crops: int) -> None:
        """A trial took so long: `crops` crops by one model with one view, of the first medium, which has `first_crops`.

        The clock is told only where a step of that medium may take more than LARGE_SHARE of the time left. Otherwise
        the step itself will tell it more.
        """
        clock = self.clock
        passes = crops * clock.passes(replace(clock.full, views=1, members=1))
        step_s = seconds / passes * clock.passes(clock.full) * max(first_crops, FIRST_CROPS)
        if step_s > LARGE_SHARE * self.left_s():
            clock.tried(passes, seconds)

    def set_aside(self, backlog: Backlog, uncropped: int) -> None:
        """Where not even the least effort for all fits into the time left, the largest media come last, as few of them
        as it takes, when nothing else is left: a crowd does not cost the others their turn, and gets what time they
        leave."""
        if not (self.budget_s and self.clock.known):
            return
        if not (backlog.waiting or uncropped):
            backlog.take_back()
        least, left_s = self.clock.least, self.left_s()
        backlog.set_aside(
            lambda one: self.clock.forecast_s(one.counts, 0, least) > LARGE_SHARE * max(left_s, 0),
            lambda: self.clock.fits(left_s, backlog.crops_left(uncropped), uncropped, least),
            least.stride,
        )

    def look(self, backlog: Backlog, uncropped: int) -> None:
        """With a budget, once something is known: the forecast, the first time, and what is given up or taken up."""
        crops = backlog.crops_left(uncropped)
        if not (self.budget_s and self.clock.known and any(crops.values())):
            return
        level, left_s = self.clock.level, self.left_s()
        before_s = self.clock.forecast_s(crops, uncropped, self.clock.effort)
        changed = self.clock.decide(self._since_start_s(), crops, uncropped)
        if not (changed or self._is_first_look):
            return
        self._is_first_look = False
        budget = f"infer.budget_minutes={self.budget_s / 60:g}"
        forecast = f"forecast: {before_s:.0f} s for the rest; {max(0, left_s):.0f} s are left of {budget}"
        if not changed:
            say("infer", forecast)
            return
        after_s = self.clock.forecast_s(crops, uncropped, self.clock.effort)
        again = "again " if self.clock.level < level else ""
        effort = self.clock.effort.says(self.clock.full)
        say("infer", f"{forecast}: from here on {again}{effort}, {after_s:.0f} s")
