"""What an inference writes and says: drafts on the way, the submission at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deepfake.console import listed, say, share
from deepfake.files import digest, write_json
from deepfake.provenance import Provenance
from deepfake.sections import SubmitConfig
from deepfake.tables import PROBLEMS, SCORES
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Expected, Submission

if TYPE_CHECKING:
    import pandas as pd

DRAFT_S = 20.0  # between two drafts of the submission

Problems = dict[str, tuple[str, str | None]]  # media_id → (error, detail)


@dataclass
class Job:
    """A submission in the making."""

    dataset: Dataset
    ensemble: Ensemble
    submission: Submission
    expected: Expected
    """What the submission must hold."""
    hand_in: SubmitConfig
    settings: dict[str, Any]
    """The whole configuration, to be kept beside the submission."""
    provenance: Provenance
    """Of all that shapes logits but the crops."""
    pooled: dict[str, float] = field(default_factory=dict)
    """Logits of media that models have spoken for, by media_id."""
    degraded: str = ""
    """What was given up for time, in words."""
    drafted_s: float = 0.0

    @cached_property
    def media(self) -> pd.DataFrame:
        """The test split's rows of the media table."""
        return self.dataset.test_media()

    @property
    def decision_logit(self) -> float:
        """The logit from which a medium is called fake."""
        return self.ensemble.decision_logit(self.hand_in.threshold)

    def pool(self, rows: pd.DataFrame) -> None:
        """Take rows of the logits table in."""
        self.pooled |= self.ensemble.combine(rows).to_dict()

    def on_step(self, rows: pd.DataFrame) -> None:
        """Take a step's rows in; now and then a new draft."""
        self.pool(rows)
        if time.monotonic() - self.drafted_s >= DRAFT_S:
            self.draft()

    def draft(self) -> None:
        """A whole submission of what is known: media that are still to be scored have the logit of late ones."""
        import pandas as pd

        late = self.ensemble.fallbacks["late"]["logit"]
        known = {media_id: self.pooled.get(media_id, late) for media_id in sorted(self.media.media_id)}
        self.submission.draft(self.expected, pd.Series(known), threshold=self.decision_logit)
        self.drafted_s = time.monotonic()

    def write_config(self) -> None:
        """What shapes the submission, beside it."""
        record = self.settings | {
            "models": [str(member) for member in self.ensemble.members],
            "degraded": self.degraded,
            "fallbacks": self.ensemble.fallbacks,
        }
        write_json(record, self.submission.config_path)

    def submit(self, logits: pd.DataFrame, problems: Problems | None) -> None:
        """From all logits to the tables beside the submission, the submission, and the board where that is asked for.

        problems: None = nothing was read anew.
        """
        from deepfake.score.combine import media_scores

        scores = SCORES.write(media_scores(logits, self.ensemble.blends), self.submission.scores_path)
        pooled = scores.set_index("media_id").logit
        if problems is not None:
            PROBLEMS.write(_problem_rows(scores, problems), self.submission.problems_path)
        self.write_config()
        self._tell_fallbacks(scores)
        _print_test_score(self.media, pooled, self.ensemble.threshold)
        row = {
            "runs": ",".join(self.ensemble.runs),
            "config_sha256": digest(self.provenance.to_json()),
            "cv": None if self.degraded else self.ensemble.cv,
            "cv_metric": self.ensemble.cv_metric,
        }
        flat = self.submission.write(self.expected, pooled, threshold=self.decision_logit, row=row)
        if self.hand_in.to == "kaggle":
            self.submission.hand_to_kaggle(self.expected, self.hand_in.competition, self.hand_in.message, flat)

    def _tell_fallbacks(self, scores: pd.DataFrame) -> None:
        for reason, media in scores[scores.fallback.notna()].groupby("fallback"):
            entry = self.ensemble.fallbacks[reason]
            say(
                "infer",
                f"{share(len(media), len(scores))} test media got the fallback logit {entry['logit']:.3f} "
                f"({entry['from']}): {reason}: {listed(media.media_id)}; see {self.submission.problems_path}",
            )


def _problem_rows(scores: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Media that no model spoke for, unreadable ones with extraction's reason."""
    import pandas as pd

    rows = []
    for row in scores[scores.fallback.notna()].itertuples():
        error, detail = problems.get(row.media_id, (row.fallback, None))
        rows.append({"media_id": row.media_id, "error": error, "detail": detail})
    return pd.DataFrame(rows, columns=list(PROBLEMS.columns)) if rows else PROBLEMS.empty()


def _print_test_score(media: pd.DataFrame, pooled: pd.Series, tuned: float | None) -> None:
    """Scores of the test media whose label is known, over all and by method.

    pooled: logits by media_id. tuned: the logit from which a medium is called fake, None = 0.
    """
    from deepfake.score.gain import metric_of
    from deepfake.score.metrics import binary_metrics

    known = media[media.label.notna()].set_index("media_id")
    if known.empty:
        return
    labels, logits = known.label.to_numpy(int), pooled.loc[known.index].to_numpy()
    scores = binary_metrics(labels, logits)
    accuracy, macro_f1 = (metric_of(metric, labels, logits - (tuned or 0)) for metric in ("accuracy", "macro_f1"))
    say(
        "infer",
        f"test, {share(len(known), len(media))} media with a known label, medium level: "
        f"AUC {scores['auc']:.4f}, log loss {scores['log_loss']:.4f}, AP {scores['ap']:.4f}, "
        f"accuracy {accuracy:.4f}, macro-F1 {macro_f1:.4f} ({'at P(fake) .5' if tuned is None else 'as tuned'})",
    )
    for method, rows in known[known.label == 1].groupby(known.method.fillna("fake")):
        reals = known[known.label == 0]
        if len(reals) and known.method.nunique() > 2:
            both = [*reals.index, *rows.index]
            auc = binary_metrics(known.label.loc[both].to_numpy(int), pooled.loc[both].to_numpy())["auc"]
            say("infer", f"  {method}: AUC {auc:.4f} over {len(rows)} fakes and {len(reals)} reals")
