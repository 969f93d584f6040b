"""Scoring media as they come: by all models, in the time there is, with what is finished on disk after each step."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.stages.common import progress, say
from deepfake.stages.feed import Cropped, Feed
from deepfake.stages.logits import Parts, logit_rows
from deepfake.stages.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.learn.panel import Panel
    from deepfake.score.clock import Clock

STEP_S = 10.0  # about how long a step between two looks at the clock takes
STEP_SHARE = 0.03  # of the budget, that at most
TELLING_S = 1.0  # steps that were shorter, and not of a whole batch, say little of the next ones by themselves
FIRST_CROPS = 8  # make a step before anything is known
EARLY_SHARE = 0.05  # of the budget: before that, and before a batch is scored, too little is known to give anything up
LARGE_SHARE = 0.25  # of the time left: a medium that takes more even at the least effort may have to come last


@dataclass(frozen=True)
class Waiting:
    """A medium to be scored. crops: those used at each stride of the clock; foreseen: those that media like this one
    have there if they are cut at that stride, which is more where this one was cut with fewer frames."""

    cropped: Cropped
    crops: dict[int, int]
    foreseen: dict[int, float]


@dataclass
class Scoring:
    """An inference under way. load: gives the models, asked when there is something to score: the first media are cut
    while they are loaded. on_step: called after each step with the rows that it gave.

    waiting: media with crops that are not scored yet. aside: those that are so large that they come last, if ever.
    faceless: media that are cut and have no face: nothing is to be scored of them.
    cut_crops, waiting_crops, aside_crops: foreseen ones of all media that are cut, those of waiting ones, and foreseen
    ones of those set aside, at each stride of the clock. sizes: crops of each cut medium. measured, untold: crops and
    seconds of all steps, and of those that the clock does not know of yet. lowest: the clock's level when least was
    done.
    """

    cfg: Config
    plan: Plan
    feed: Feed
    load: Callable[[], Panel]
    clock: Clock
    parts: Parts
    started_s: float
    on_step: Callable[[pd.DataFrame], None]
    waiting: deque[Waiting] = field(default_factory=deque)
    aside: list[Waiting] = field(default_factory=list)
    faceless: set[str] = field(default_factory=set)
    cut_crops: Counter[int] = field(default_factory=Counter)
    waiting_crops: Counter[int] = field(default_factory=Counter)
    aside_crops: Counter[int] = field(default_factory=Counter)
    sizes: dict[str, int] = field(default_factory=dict)
    num_cut: int = 0
    panel: Panel | None = None
    measured: tuple[int, float] = (0, 0.0)
    untold: tuple[int, float] = (0, 0.0)
    lowest: int = 0
    is_first_look: bool = True

    def run(self) -> None:
        """Score all, or until time is up."""
        done = set().union(*(rows.media_id for rows in self.parts.rows))
        if not self.cfg.infer.budget_minutes:  # what was done in haste is done again
            hasty = self._thin() | (done - self.feed.ready.keys())
            if hasty:
                self.parts.drop(hasty)
                done -= hasty
        total = len(self.feed.ready) + self.feed.uncut
        for media_id in list(self.feed.ready):
            self._arrive(media_id, done)
        if done:
            say("infer", f"going on: {len(done)} media are scored")
        with progress(total, "infer", "media", done=total - len(self.waiting) - self.feed.uncut) as bar:
            while self.late and not self._is_late():
                self._receive(done, bar.update)
                if self.waiting and self.panel is None:
                    self._load()
                self._set_aside()
                if self.waiting and not self._is_late():
                    bar.update(self._step())
                elif not self.feed.uncut:
                    break

    @property
    def late(self) -> int:
        """How many media are not scored."""
        return len(self.waiting) + len(self.aside) + self.feed.uncut

    def _thin(self) -> set[str]:
        """Scored media for which less was done than would have been with time enough, and those that may have a face in
        frames that were not cut."""
        sizes = self.sizes | {name: len(cropped) for name, cropped in self.feed.ready.items()}
        counts: Counter[str] = Counter()
        for rows in self.parts.rows:
            counts.update(rows.media_id.value_counts().to_dict())
        each = self.clock.full.members * self.clock.full.views
        hasty = {name for name, count in counts.items() if count != each * sizes.get(name, 0)}
        return hasty | ((counts.keys() | self.faceless) & self.feed.sparse.keys())

    @property
    def degraded(self) -> str:
        """What time was too short for, over all media and runs of the same command; "" for nothing."""
        thin = len(self._thin())
        if not (thin or self.late):
            return ""
        least = f" ({self.clock.levels[self.lowest].says(self.clock.full)} at the least)" if self.lowest else ""
        return f"{thin} media scored with less{least}, {self.late} not scored in time"

    def _arrive(self, media_id: str, done: set[str]) -> bool:
        """A medium is cut; whether it has to be scored."""
        cropped = self.feed.ready.pop(media_id)
        if not cropped.has_face and media_id not in done:
            self.faceless.add(media_id)
            self.num_cut += 1
            return False
        crops = self._crops_of(cropped)
        one = Waiting(cropped, crops, self._foreseen(media_id, crops))
        self.sizes[media_id] = len(cropped)
        self.cut_crops.update(one.foreseen)
        self.num_cut += 1
        if media_id not in done:
            self._await(one)
        return media_id not in done

    def _await(self, one: Waiting) -> None:
        self.waiting.append(one)
        self.waiting_crops.update(one.crops)

    def _foreseen(self, media_id: str, crops: dict[int, int]) -> dict[int, float]:
        """As in Waiting."""
        frames = {stride: -(-self.cfg.extract.num_frames // stride) for stride in crops}
        cut_at = self.feed.sparse.get(media_id, 1)
        return {
            stride: count * (frames[stride] / frames[cut_at] if stride < cut_at else 1)
            for stride, count in crops.items()
        }

    def _load(self) -> None:
        """Load the models and make a first step that nobody times: memory is taken, kernels chosen, graphs compiled.

        With a budget, the first step could take more than what is left of it. A second trial, of a few crops by one
        model, tells; what it says is forgotten where the step fits, as it says less than the step will.
        """
        first, views = self.waiting[0], self.plan.views[:1]
        faces, start, clock = first.cropped.faces, first.cropped.start, self.clock
        self.panel = self.load()
        self.panel.score(self._paths(faces[start : start + 1]), views=views, members=clock.effort.members)
        if not self.cfg.infer.budget_minutes:
            return
        began, tried = time.monotonic(), min(FIRST_CROPS, first.crops[1])
        self.panel.score(self._paths(faces[start : start + tried]), views=views, members=1)
        seconds, passes = time.monotonic() - began, tried * clock.passes(replace(clock.full, views=1, members=1))
        if (
            seconds / passes * clock.passes(clock.full) * max(first.crops[1], FIRST_CROPS)
            > LARGE_SHARE * self._left_s()
        ):
            clock.tried(passes, seconds)
            self.measured = tried, seconds

    def _now_s(self) -> float:
        return time.monotonic() - self.started_s

    def _left_s(self) -> float:
        return self.clock.deadline_s() - self._now_s()

    def _is_late(self) -> bool:
        return self._left_s() <= 0

    def _step_crops(self) -> int:
        """How many crops make a step."""
        limit_s = self.cfg.infer.budget_minutes * 60 * STEP_SHARE or STEP_S
        if not self.clock.known:
            return min(FIRST_CROPS, self.cfg.infer.batch_size)
        return self.clock.crops_in(min(STEP_S, limit_s))

    def _receive(self, done: set[str], on_done: Callable[[int], object]) -> None:
        """Wait until a step's worth of crops has come, or all, time is up, or nothing comes and something is there."""
        wanted, began, received = self._step_crops(), time.monotonic(), 0
        while self.feed.uncut and self.waiting_crops[1] < wanted and not self._is_late():
            name = next(self.feed.coming)
            if name is None:
                if self.waiting:
                    break
                continue
            received += 1
            if name in self.feed.problems or not self._arrive(name, done):
                on_done(1)
        if received and self.panel:  # before, the processes were starting
            self.clock.waited(received, time.monotonic() - began)

    def _set_aside(self) -> None:
        """Where not even the least effort for all fits into the time left, the largest media come last, as few of them
        as it takes: so that a crowd does not cost the others their turn, and still gets what time they leave."""
        if not (self.cfg.infer.budget_minutes and self.clock.known):
            return
        for one in self.aside:
            self._await(one)
        self.aside, self.aside_crops = [], Counter()
        if self._least_fits():
            return
        least, left_s = self.clock.least, self._left_s()
        large = [
            one for one in self.waiting if self.clock.forecast_s(one.crops, 0, least) > LARGE_SHARE * max(left_s, 0)
        ]
        for one in sorted(large, key=lambda one: one.crops[least.stride], reverse=True):
            if self._least_fits():
                break
            self.aside.append(one)
            self.aside_crops.update(one.foreseen)
            self.waiting_crops.subtract(one.crops)
        gone = {id(one) for one in self.aside}
        self.waiting = deque(one for one in self.waiting if id(one) not in gone)

    def _least_fits(self) -> bool:
        return self.clock.fits(self._left_s(), self._crops_left(), self.feed.uncut, self.clock.least)

    def _step(self) -> int:
        """Look at the clock, score some media, keep what came of it, and look again; how many they were."""
        self._look_at_the_clock()
        taken, crops = self._take()
        began = time.monotonic()
        rows = self._score(_rows_of(taken))
        seconds = time.monotonic() - began
        self.parts.add(rows)
        self.on_step(rows)
        self.lowest = max(self.lowest, self.clock.level)
        self._tell(crops, seconds)
        self._look_at_the_clock()
        return len(taken)

    def _take(self) -> tuple[list[tuple[pd.DataFrame, np.ndarray]], int]:
        """Media for a step, whole ones, one at least, as far as the time left allows: their tables, the numbers of
        the rows that are used, and how many those are."""
        import numpy as np

        stride, taken, crops = self.clock.effort.stride, [], 0
        wanted, most = self._step_crops(), float("inf")
        if self.cfg.infer.budget_minutes:
            is_sure = self.clock.known and not self._is_early()
            most = self.clock.crops_in(self._left_s()) if is_sure else FIRST_CROPS
        while self.waiting and crops < wanted and (not taken or crops + self.waiting[0].crops[stride] <= most):
            one = self.waiting.popleft()
            self.waiting_crops.subtract(one.crops)
            cropped = one.cropped
            taken.append((cropped.faces, cropped.start + np.flatnonzero(self._kept(cropped, stride))))
            crops += one.crops[stride]
        return taken, crops

    def _tell(self, crops: int, seconds: float) -> None:
        """Let the clock know of steps, short ones together."""
        self.measured = self.measured[0] + crops, self.measured[1] + seconds
        crops, seconds = crops + self.untold[0], seconds + self.untold[1]
        self.untold = crops, seconds
        if crops >= self.cfg.infer.batch_size or seconds >= TELLING_S or not self.clock.known:
            self.clock.scored(crops, seconds)
            self.untold = 0, 0.0

    def _kept(self, cropped: Cropped, stride: int) -> np.ndarray:
        """Which of a medium's crops are used at a stride of the clock: those of every so many-th frame, evenly; of the
        frames that were cut, one at least."""
        import numpy as np

        frames = np.unique(cropped.frame_idx)
        most = -(-self.cfg.extract.num_frames // stride)
        step = max(1, -(-len(frames) // most))
        return np.isin(cropped.frame_idx, frames[(len(frames) - 1) % step // 2 :: step])

    def _crops_of(self, cropped: Cropped) -> dict[int, int]:
        """How many of a medium's crops are used at each stride."""
        from deepfake.score.clock import STRIDES

        return {stride: int(self._kept(cropped, stride).sum()) for stride in STRIDES}

    def _score(self, faces: pd.DataFrame) -> pd.DataFrame:
        """Rows of the logits table of rows of the faces table."""
        effort = self.clock.effort
        views = self.plan.views[: effort.views]
        return logit_rows(self.panel, self.plan, faces, self._paths(faces), views=views, members=effort.members)

    def _paths(self, faces: pd.DataFrame) -> list[Path]:
        folder = layout.dataset_folder(self.cfg.paths.data, self.cfg.dataset)
        return [folder / path for path in faces.path]

    def _crops_left(self) -> dict[int, float]:
        """Crops that are to be scored at each stride; media that are not cut count as those that are."""
        from deepfake.score.clock import STRIDES

        num_cut = self.num_cut - len(self.aside)
        if not num_cut:
            return {
                stride: self.waiting_crops[stride] + self.feed.uncut * -(-self.cfg.extract.num_frames // stride)
                for stride in STRIDES
            }
        uncut = self.feed.uncut / num_cut
        return {
            stride: self.waiting_crops[stride] + uncut * (self.cut_crops[stride] - self.aside_crops[stride])
            for stride in STRIDES
        }

    def _is_early(self) -> bool:
        """Whether a forecast would rest on next to nothing, and time enough is there to learn more from what comes."""
        crops, seconds = self.measured
        if self.waiting:
            seconds += self.clock.forecast_s(self.waiting[0].crops, 0, self.clock.effort)
        return crops < self.cfg.infer.batch_size and seconds < EARLY_SHARE * 60 * self.cfg.infer.budget_minutes

    def _look_at_the_clock(self) -> None:
        """With a budget, once something is known: the forecast, the first time, and what is given up or taken up."""
        crops = self._crops_left()
        is_known = self.cfg.infer.budget_minutes and self.clock.known and not self._is_early()
        if not (is_known and any(crops.values())):
            return
        level, left_s = self.clock.level, self._left_s()
        before_s = self.clock.forecast_s(crops, self.feed.uncut, self.clock.effort)
        changed = self.clock.decide(self._now_s(), crops, self.feed.uncut)
        if not (changed or self.is_first_look):
            return
        self.is_first_look = False
        forecast = f"forecast: {before_s:.0f} s for the rest; {max(0, left_s):.0f} s are left of"
        budget = f"infer.budget_minutes={self.cfg.infer.budget_minutes:g}"
        if not changed:
            say("infer", f"{forecast} {budget}")
            return
        self.untold = 0, 0.0  # of another effort
        after_s = self.clock.forecast_s(crops, self.feed.uncut, self.clock.effort)
        again = "again " if self.clock.level < level else ""
        effort = self.clock.effort.says(self.clock.full)
        say("infer", f"{forecast} {budget}: from here on {again}{effort}, {after_s:.0f} s")


def _rows_of(taken: list[tuple[pd.DataFrame, np.ndarray]]) -> pd.DataFrame:
    """Rows of tables, by their numbers, below one another; tables that follow themselves are cut once."""
    import numpy as np
    import pandas as pd

    parts = []
    for _, group in groupby(taken, key=lambda part: id(part[0])):
        tables, numbers = zip(*group, strict=True)
        parts.append(tables[0].iloc[np.concatenate(numbers)])
    return pd.concat(parts, ignore_index=True)
