"""What is evaluated: media with their labels and what a run says of them, on test media and out of fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.provenance import Provenance, read_provenance
from deepfake.tables import LOGITS, SCORES
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Submission

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.workspace.run import Run

AGAIN = "first ./run_infer.sh with the same name and data"


@dataclass(frozen=True)
class Scored:
    """Media with known labels, and what is said of them."""

    name: str
    media: pd.DataFrame
    """media_id, path, label, method, source, real_source, found (a model spoke for it), logit."""
    crops: pd.DataFrame | None = None
    """label, method, source, logit: a row a crop, as of a medium with no other; None where there are no crops."""

    @classmethod
    def of(cls, name: str, media: pd.DataFrame, crops: pd.DataFrame | None = None) -> Scored:
        """media: the columns above but for real_source; those without a label are left out. crops: media_id, logit."""
        from deepfake.score.evaluation import real_sources

        media = media[media.label.notna()].reset_index(drop=True)
        media = media.assign(real_source=real_sources(media))
        if crops is not None:
            crops = crops[["media_id", "logit"]].merge(media[["media_id", "label", "method", "source"]], on="media_id")
        return cls(name, media, crops)


def check_current(submission: Submission, dataset: Dataset, ensemble: Ensemble) -> Provenance:
    """What the logits were made from. UserError where there are none, or those of other models or media; what was given
    up for time is said."""
    made = read_provenance(submission.logits_path)
    wanted = ensemble.inputs() | {"media": sha256(dataset.media_path)}
    if made is None or not submission.scores_path.is_file():
        raise UserError(f"{submission.scores_path} is not there: {AGAIN}")
    if any(made.inputs.get(name) != value for name, value in wanted.items()):
        raise UserError(f"{submission.scores_path} is of other models or media than are there now: {AGAIN}")
    if degraded := made.inputs.get("incomplete"):
        say("evaluate", f"these logits are of less than the whole: {degraded}")
    return made


def check_crops(made: Provenance, submission: Submission, dataset: Dataset) -> None:
    """UserError unless the logits, made from `made`, are of the very crops that are there now, and of all of them."""
    there = sha256(dataset.faces_path) if dataset.is_cropped("test") else None
    if "incomplete" in made.inputs or made.inputs.get("faces") != there or there is None:
        raise UserError(f"{submission.logits_path} is not of all crops that are there now: {AGAIN}")


def test_media(dataset: Dataset, logits: pd.Series, found: pd.Series) -> pd.DataFrame:
    """Test media for which there is a logit, labelled or not, with path, label, method, source, logit, found.

    logits, found: by media_id.
    """
    media = dataset.test_media()
    media = media[media.media_id.isin(logits.index)].reset_index(drop=True)
    media = media.assign(source=media.source_id.fillna(media.media_id))
    return media.assign(logit=media.media_id.map(logits), found=media.media_id.map(found).astype(bool))


def submitted_media(dataset: Dataset, submission: Submission) -> pd.DataFrame:
    """The test media with their logits of a submission."""
    scores = SCORES.read(submission.scores_path).set_index("media_id")
    return test_media(dataset, scores.logit, scores.fallback.isna())


def submitted_crops(submission: Submission, ensemble: Ensemble) -> pd.DataFrame:
    """media_id and logit of each crop that models spoke for."""
    from deepfake.score.intervals import blended_crops

    rows = LOGITS.read(submission.logits_path)
    return blended_crops(rows[rows.fallback.isna()], ensemble.blends)


def out_of_fold(run: Run, trained_on: Dataset, ensemble: Ensemble) -> Scored | None:
    """The same of the media that the run was trained on, by the models that did not see them, media without a face at
    their fallback; None where there are none, as with fold=full, or for a blend, whose own score `blend` tells, or
    where the split is not there, as on a machine that only infers."""
    import pandas as pd

    from deepfake.score.fallback import fallbacks, labels_and_faceless, medium_logits, prior_logit
    from deepfake.score.pool import crop_logits
    from deepfake.workspace.run import split_of

    tables = run.oof_tables()
    if not (tables and trained_on.folds_path.is_file()):
        return None
    oof = pd.concat(tables)
    oof, blend = oof[oof.view.isin(ensemble.views)], ensemble.blends[0]
    if blend.options.calibration != "none":  # a line, which commutes with the mean
        oof = oof.assign(logit=blend.apply(oof[["logit"]].to_numpy(float)))
    labels, faceless = labels_and_faceless(oof)
    prior = 0.0 if run.reals_alone else prior_logit(labels.to_numpy(int))
    no_face = fallbacks(prior, () if run.reals_alone else faceless.to_numpy(int))["no_face"]["logit"]
    media = split_of([run], trained_on.folds).rename(columns={"group_id": "source"})
    logits = medium_logits(oof, no_face).rename("logit").rename_axis("media_id").reset_index()
    media = media.assign(path=media.media_id).merge(logits, on="media_id")
    media = media.assign(found=~media.media_id.isin(faceless.index))
    return Scored.of(f"out of fold, {ensemble.dataset}", media, crop_logits(oof[oof.found]))
