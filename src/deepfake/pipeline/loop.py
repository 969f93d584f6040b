"""The one loop of inference: media are scored as they come; what is finished is on disk after each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.console import progress, say
from deepfake.pipeline.arrivals import Arrivals, Crops
from deepfake.pipeline.backlog import Backlog
from deepfake.pipeline.pacing import FIRST_CROPS, Pacer
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Parts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.learn.predictor import Predictor

Taken = list[tuple[Crops, "np.ndarray"]]  # media, and the numbers of their rows that are used


@dataclass
class Scoring:
    """An inference under way."""

    command: str
    """Who speaks in the log: infer or predict."""
    ensemble: Ensemble
    load: Callable[[], Predictor]
    """Gives the models, once there is something to score: the first media are cropped while they are loaded."""
    arrivals: Arrivals
    backlog: Backlog
    pacer: Pacer
    parts: Parts
    on_step: Callable[[pd.DataFrame], object] = lambda rows: None
    """Told the rows of the logits table that each step gave."""
    faceless: set[str] = field(default_factory=set)
    """Media that are cropped and have no face: nothing is to be scored of them."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Crops of each medium that came."""
    hasty: set[str] = field(default_factory=set)
    """Media that came with fewer frames than the settings say."""
    lowest: int = 0
    """The clock's level when least was done."""
    predictor: Predictor | None = None

    def run(self) -> None:
        """Score all, or until time is up."""
        done = self._standing()
        total = len(self.arrivals.ready) + self.arrivals.uncropped
        for media_id in list(self.arrivals.ready):
            self._arrive(media_id, done)
        if done:
            say(self.command, f"going on: {len(done)} media are scored")
        begun = total - len(self.backlog) - self.arrivals.uncropped
        with progress(total, self.command, "media", done=begun) as bar:
            while self.unscored and not self.pacer.is_time_up:
                self._receive(done, bar.update)
                if self.backlog.waiting and self.predictor is None:
                    self._load()
                self.pacer.set_aside(self.backlog, self.arrivals.uncropped)
                if self.backlog.waiting and self.predictor and not self.pacer.is_time_up:
                    bar.update(self._step(self.predictor))
                elif not self.arrivals.uncropped:
                    break

    @property
    def unscored(self) -> int:
        """How many media are not scored."""
        return len(self.backlog) + self.arrivals.uncropped

    @property
    def degraded(self) -> str:
        """What time was too short for, over all media and runs of the same command; "" for nothing."""
        thin, clock = len(self._thin()), self.pacer.clock
        if not (thin or self.unscored):
            return ""
        least = f" ({clock.levels[self.lowest].says(clock.full)} at the least)" if self.lowest else ""
        return f"{thin} media scored with less{least}, {self.unscored} not scored in time"

    def _standing(self) -> set[str]:
        """Media that were scored before and stay so; with time enough, what was done in haste is done again."""
        done = self.parts.media_ids
        if self.pacer.budget_s:
            return done
        again = self._thin() | (done - self.arrivals.ready.keys())
        if again:
            self.parts.drop(again)
        return done - again

    def _thin(self) -> set[str]:
        """Scored media for which less was done than would have been with time enough, and those that may have a face in
        frames that were not cropped."""
        sizes = self.sizes | {name: len(crops) for name, crops in self.arrivals.ready.items()}
        hasty = self.hasty | {name for name, crops in self.arrivals.ready.items() if crops.num_frames}
        counts: Counter[str] = Counter()
        for rows in self.parts.rows:
            counts.update(rows.media_id.value_counts().to_dict())
        each = self.pacer.clock.full.members * self.pacer.clock.full.views
        thin = {name for name, count in counts.items() if count != each * sizes.get(name, 0)}
        return thin | ((counts.keys() | self.faceless) & hasty)

    def _arrive(self, media_id: str, done: set[str]) -> bool:
        """A medium is cropped; whether it has to be scored."""
        crops, is_scored = self.arrivals.ready.pop(media_id), media_id in done
        if crops.num_frames:
            self.hasty.add(media_id)
        if not crops.has_face and not is_scored:
            self.faceless.add(media_id)
            self.backlog.came_without_face()
            return False
        self.sizes[media_id] = len(crops)
        self.backlog.came(crops, is_scored=is_scored)
        return not is_scored

    def _receive(self, done: set[str], on_done: Callable[[int], object]) -> None:
        """Wait until a step's worth of crops has come, or all, time is up, or nothing comes and something is there."""
        wanted, began, received = self.pacer.step_crops(), self.pacer.now(), 0
        while self.arrivals.uncropped and self.backlog.waiting_crops < wanted and not self.pacer.is_time_up:
            name = next(self.arrivals.coming)
            if name is None:
                if self.backlog.waiting:
                    break
                continue
            received += 1
            if name in self.arrivals.problems or not self._arrive(name, done):
                on_done(1)
        if received and self.predictor:  # before, the processes were starting
            self.pacer.clock.waited(received, self.pacer.now() - began)

    def _load(self) -> None:
        """Load the models and make a first step that nobody times: memory is taken, kernels chosen, graphs compiled.

        With a budget a second one tells whether the first real step fits.
        """
        import numpy as np

        first, view = self.backlog.waiting[0], self.ensemble.views[:1]
        paths, clock = _paths([(first.crops, np.arange(first.crops.start, first.crops.stop))]), self.pacer.clock
        predictor = self.predictor = self.load()
        predictor.score(paths[:1], views=view, members=clock.effort.members)
        if self.pacer.budget_s:
            began, tried = self.pacer.now(), min(FIRST_CROPS, len(paths))
            predictor.score(paths[:tried], views=view, members=1)
            self.pacer.tried(tried, self.pacer.now() - began, len(paths))

    def _step(self, predictor: Predictor) -> int:
        """Look at the clock, score some media, keep what came of it, and look again; how many they were."""
        pacer, uncropped = self.pacer, self.arrivals.uncropped
        pacer.look(self.backlog, uncropped)
        effort, began = pacer.clock.effort, pacer.now()
        taken = self.backlog.take(effort.stride, pacer.step_crops(), pacer.most_crops())
        rows = self.ensemble.logit_rows(
            predictor,
            _rows(taken),
            _paths(taken),
            views=self.ensemble.views[: effort.views],
            members=effort.members,
        )
        seconds = pacer.now() - began
        self.parts.add(rows)
        self.on_step(rows)
        self.lowest = max(self.lowest, pacer.clock.level)
        pacer.clock.scored(sum(len(numbers) for _, numbers in taken), seconds)
        pacer.look(self.backlog, uncropped)
        return len(taken)


def _rows(taken: Taken) -> pd.DataFrame:
    """Rows of the faces table, below one another; tables that follow themselves are cut once."""
    import numpy as np
    import pandas as pd

    parts = []
    for _, group in groupby(taken, key=lambda part: id(part[0].faces)):
        media, numbers = zip(*group, strict=True)
        parts.append(media[0].faces.iloc[np.concatenate(numbers)])
    return pd.concat(parts, ignore_index=True)


def _paths(taken: Taken) -> list[Path]:
    """The crops of these rows."""
    return [crops.folder / path for crops, numbers in taken for path in crops.faces.path.to_numpy()[numbers]]
