"""Scoring media as they come: by all models, in the time there is, with what is finished on disk after each step."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.stages.common import listed, progress, say, worker_count
from deepfake.stages.feed import Feed
from deepfake.stages.plan import Plan
from deepfake.tables import LOGITS

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.panel import Panel
    from deepfake.score.clock import Clock

STEP_S = 10.0  # about how long a step between two looks at the clock takes
STEP_SHARE = 0.03  # of the budget, that at most
TELLING_S = 1.0  # a step that was shorter, and not of a whole batch, says little of the next ones


def load_panel(cfg: Config, plan: Plan) -> Panel:
    """The plan's models, where and as they compute."""
    import torch

    from deepfake.learn.engine import choose_precision, prepare_process
    from deepfake.learn.panel import Panel

    precision = choose_precision(
        cfg.train.amp if torch.cuda.is_available() else "auto", channels_last=cfg.train.channels_last
    )
    prepare_process()
    return Panel(
        [member.weights for member in plan.members],
        precision,
        batch_size=cfg.infer.batch_size,
        num_threads=worker_count(cfg.num_workers),
        compiled=cfg.infer.compile,
    )


def logit_rows(
    panel: Panel, plan: Plan, faces: pd.DataFrame, crops: list[Path], *, views: list[str], members: int
) -> pd.DataFrame:
    """Rows of the logits table of rows of the faces table, whose crops these are, by the plan's first `members`.

    UserError where a logit is not finite.
    """
    import pandas as pd

    from deepfake.learn.engine import NonFiniteError
    from deepfake.score.pool import view_rows

    try:
        logits = panel.score(crops, views=views, members=members)
    except NonFiniteError as error:
        names = listed(faces.media_id.iloc[error.rows].unique())
        raise UserError(f"{error} ({names}): try train.amp=off, or train with other settings") from error
    tables = [
        view_rows(faces, logits[:, number], views).assign(run=member.run, fold=member.fold)
        for number, member in enumerate(plan.members[:members])
    ]
    rows = pd.concat(tables, ignore_index=True).assign(fallback=None)
    rows.loc[~rows.found, "fallback"] = "no_face"
    return rows[list(LOGITS.columns)]


@dataclass
class Parts:
    """Rows of the logits table of finished media, in files that are written whole; `rows` are those of before."""

    folder: Path
    rows: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, settings_digest: str) -> Parts:
        """Parts of these settings; those of others are removed."""
        ours = folder / settings_digest[:16]
        for other in folder.iterdir() if folder.is_dir() else ():
            if other != ours:
                shutil.rmtree(other)
        return cls(ours, [LOGITS.read(path) for path in sorted(ours.glob("*.parquet"))])

    def add(self, rows: pd.DataFrame) -> None:
        self.rows.append(LOGITS.write(rows, self.folder / f"{len(self.rows):06d}.parquet"))

    def drop(self, media_ids: set[str]) -> None:
        """Forget rows of media that are to be scored again; the files follow with the next part."""
        kept = [rows[~rows.media_id.isin(media_ids)] for rows in self.rows]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.rows = []
        for rows in kept:
            if len(rows):
                self.add(rows)


@dataclass
class Scoring:
    """An inference under way. load: gives the models, asked when there is something to score: the first media are cut
    while they are loaded. on_step: called after each step with the rows that it gave.

    waiting: media with crops that are not scored yet, (media_id, rows of the faces table).
    """

    cfg: Config
    plan: Plan
    feed: Feed
    load: Callable[[], Panel]
    clock: Clock
    views: list[str]
    parts: Parts
    started_s: float
    on_step: Callable[[pd.DataFrame], None]
    waiting: deque[tuple[str, pd.DataFrame]] = field(default_factory=deque)
    num_crops: int = 0  # of all media that are cut
    num_cut: int = 0
    panel: Panel | None = None

    def run(self) -> int:
        """Score all, or until time is up; how many media were left."""
        done = set() if not self.parts.rows else set().union(*(rows.media_id for rows in self.parts.rows))
        self._forget_sparse(done)
        total = len(self.feed.ready) + self.feed.uncut
        for media_id, faces in self.feed.ready.items():
            self._arrive(media_id, faces, done)
        if done:
            say("infer", f"going on: {len(done)} media are scored")
        with progress(total, "infer", "media", done=total - len(self.waiting) - self.feed.uncut) as bar:
            while (self.waiting or self.feed.uncut) and not self._is_late():
                self._receive(done, bar.update)
                if self.waiting and not self._is_late():
                    bar.update(self._step())
        return len(self.waiting) + self.feed.uncut

    def _forget_sparse(self, done: set[str]) -> None:
        """Without a budget, media that were scored with less than the full effort are scored again."""
        import pandas as pd

        if self.cfg.infer.budget_minutes or not done:
            return
        counts = pd.concat([rows.media_id for rows in self.parts.rows]).value_counts()
        each = self.clock.full.members * self.clock.full.views
        wrong = {name for name, faces in self.feed.ready.items() if counts.get(name) != each * len(faces)} & done
        if wrong:
            self.parts.drop(wrong)
            done -= wrong

    def _arrive(self, media_id: str, faces: pd.DataFrame, done: set[str]) -> bool:
        """A medium is cut; whether it has to be scored."""
        self.num_crops += len(faces)
        self.num_cut += 1
        if media_id not in done:
            self.waiting.append((media_id, faces))
        return media_id not in done

    def _loaded(self) -> Panel:
        """The models, after a first step that nobody times: memory is taken, kernels are chosen, graphs compiled."""
        panel, (_, faces) = self.load(), self.waiting[0]
        panel.score(self._paths(faces[:1]), views=self.views[:1], members=self.clock.effort.members)
        return panel

    def _now_s(self) -> float:
        return time.monotonic() - self.started_s

    def _is_late(self) -> bool:
        return self._now_s() >= self.clock.deadline_s()

    def _step_crops(self) -> int:
        """How many crops make a step."""
        limit_s = self.cfg.infer.budget_minutes * 60 * STEP_SHARE or STEP_S
        if not self.clock.known:
            return min(8, self.cfg.infer.batch_size)
        return self.clock.crops_in(min(STEP_S, limit_s))

    def _receive(self, done: set[str], on_done: Callable[[int], object]) -> None:
        """Wait until a step's worth of crops has come, or all, time is up, or nothing comes and something is there."""
        wanted, began, received = self._step_crops(), time.monotonic(), 0
        while self.feed.uncut and sum(len(faces) for _, faces in self.waiting) < wanted and not self._is_late():
            name = next(self.feed.coming)
            if name is None:
                if self.waiting:
                    break
                continue
            received += 1
            if name in self.feed.problems or not self._arrive(name, self.feed.ready[name], done):
                on_done(1)
        if received and self.panel:  # before, the processes were starting
            self.clock.waited(received, time.monotonic() - began)

    def _step(self) -> int:
        """Score some media, keep what came of it, and look at the clock; how many they were."""
        self.panel = self.panel or self._loaded()
        wanted, taken, crops = self._step_crops(), [], 0
        while self.waiting and crops < wanted:
            taken.append(self._thinned(self.waiting.popleft()[1]))
            crops += len(taken[-1])
        began = time.monotonic()
        rows = self._score(taken)
        seconds = time.monotonic() - began
        self.parts.add(rows)
        self.on_step(rows)
        if crops >= self.cfg.infer.batch_size or seconds >= TELLING_S or not self.clock.known:
            self.clock.scored(crops, seconds)
        self._look_at_the_clock(seconds)
        return len(taken)

    def _thinned(self, faces: pd.DataFrame) -> pd.DataFrame:
        """The crops of every so many-th frame, evenly, of what the clock allows; of the frames that were cut, one at
        least."""
        frames = faces.frame_idx.drop_duplicates().sort_values().to_numpy()
        most = -(-self.cfg.extract.num_frames // self.clock.effort.stride)
        stride = max(1, -(-len(frames) // most))
        return faces[faces.frame_idx.isin(frames[(len(frames) - 1) % stride // 2 :: stride])]

    def _score(self, taken: list[pd.DataFrame]) -> pd.DataFrame:
        """Rows of the logits table of some media."""
        import pandas as pd

        effort, faces = self.clock.effort, pd.concat(taken, ignore_index=True)
        views = self.views[: effort.views]
        return logit_rows(self.panel, self.plan, faces, self._paths(faces), views=views, members=effort.members)

    def _paths(self, faces: pd.DataFrame) -> list[Path]:
        folder = layout.dataset_folder(self.cfg.paths.data, self.cfg.dataset)
        return [folder / path for path in faces.path]

    def _crops_left(self) -> float:
        """Crops that are to be scored, were all frames used; media that are not cut count as those that are."""
        each = self.num_crops / self.num_cut if self.num_cut else self.cfg.extract.num_frames
        return sum(len(faces) for _, faces in self.waiting) + each * self.feed.uncut

    def _look_at_the_clock(self, last_step_s: float) -> None:
        if not self.cfg.infer.budget_minutes:
            return
        now_s, crops = self._now_s(), self._crops_left()
        before = self.clock.forecast_s(crops, self.feed.uncut, self.clock.effort)
        if self.clock.decide(now_s, crops, self.feed.uncut):
            after = self.clock.forecast_s(crops, self.feed.uncut, self.clock.effort)
            say(
                "infer",
                f"forecast: {before:.0f} s for the rest, but {self.clock.deadline_s() - now_s:.0f} s are left of "
                f"infer.budget_minutes={self.cfg.infer.budget_minutes:g}: from here on "
                f"{self.clock.effort.says(self.clock.full)}, {after:.0f} s",
            )
