"""An inference put together: what crops, what scores, how long it may take, and why some media have no logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.pipeline.arrivals import arriving
from deepfake.pipeline.backlog import Backlog
from deepfake.pipeline.cropping import Cropper, is_cropped
from deepfake.pipeline.loop import Scoring
from deepfake.pipeline.pacing import Pacer
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Parts

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.predictor import Predictor
    from deepfake.pipeline.effort import Clock


@dataclass(frozen=True)
class Inference:
    """What is scored by what, and in which time."""

    command: str
    """Who speaks in the log: infer or predict."""
    dataset: Dataset
    media: pd.DataFrame
    """The rows of the media table that are to be scored."""
    cropper: Cropper
    ensemble: Ensemble
    load: Callable[[], Predictor]
    """Gives the ensemble's models."""
    batch_size: int
    started_s: float
    """When the clock of the budget began, by time.monotonic."""
    budget_s: float = 0.0
    """0 = as much as it takes."""

    def run(self, parts: Parts, haste: Path, on_step: Callable[[pd.DataFrame], object]) -> Outcome:
        """Score media that have no logits in `parts`, which grows; on_step is told the rows of each step.

        haste: folder for crops of media of which fewer frames are cropped, as time is short.
        """
        if not is_cropped(self.dataset, self.cropper, self.media, "test"):
            self.cropper.warm_up()  # while torch is imported here
        from deepfake.learn.views import passes
        from deepfake.pipeline.effort import STRIDES, Clock

        views, num_frames = self.ensemble.views, self.cropper.settings.num_frames
        clock = Clock(self.budget_s, [passes(view) for view in views], len(self.ensemble.members))
        fewer = _fewer_frames(clock, num_frames) if self.budget_s else None
        with arriving(self.dataset, self.cropper, self.media, haste=haste, num_frames=fewer) as arrivals:
            pacer = Pacer(clock, self.budget_s, started_s=self.started_s, batch_size=self.batch_size)
            backlog = Backlog(num_frames, STRIDES)
            scoring = Scoring(self.command, self.ensemble, self.load, arrivals, backlog, pacer, parts, on_step)
            scoring.run()
        reasons = _reasons(self.media.media_id, parts.media_ids, scoring.faceless, set(arrivals.problems))
        return Outcome(scoring.degraded, reasons, arrivals.problems)


@dataclass(frozen=True)
class Outcome:
    """What an inference leaves beside the logits."""

    degraded: str
    """What time was too short for, in words; "" = nothing."""
    reasons: dict[str, str]
    """media_id → why no model speaks for it."""
    problems: dict[str, tuple[str, str | None]]
    """media_id → (error, detail) of media that cannot be read."""


def _fewer_frames(clock: Clock, num_frames: int) -> Callable[[], int | None]:
    """How many frames of a video are cropped at the clock's present effort; None = all."""

    def asked() -> int | None:
        stride = clock.effort.stride
        return None if stride == 1 else -(-num_frames // stride)

    return asked


def _reasons(media_ids: pd.Series, scored: set[str], faceless: set[str], unreadable: set[str]) -> dict[str, str]:
    """media_id → why no model speaks for it."""
    return {
        media_id: "no_face" if media_id in faceless else "unreadable" if media_id in unreadable else "late"
        for media_id in sorted(media_ids)
        if media_id not in scored
    }
