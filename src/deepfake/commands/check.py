"""check: a submission file → what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.arguments import continue_submission
from deepfake.commands import Chain
from deepfake.config import AUTO_VIEWS, Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.settings import dataset_of, expected_of, roots_of, run_of, tta_of
from deepfake.tables import SCORES
from deepfake.workspace.alone import run_alone
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import read_blends
from deepfake.workspace.run import Run, split_of
from deepfake.workspace.submission import Submission
from deepfake.workspace.tta import kept_views

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.score.blending import Blend

ABOUT = "a submission file → every fault by name, or that it is right"
READS = ("paths", "data", "infer.sample_submission", "submit.format", "name", "input")
ORDER = 80
FILES = "one"


def configure(options: Sequence[str], chain: Chain) -> Config | None:
    """By itself it goes by the configuration that lies beside the file."""
    if chain.names != ("check",):
        return None
    named = next((option.partition("=")[2] for option in reversed(options) if option.startswith("input=")), "")
    submission = _submission_of(named)
    return continue_submission(submission.config_path, submission.config(), options)


def check(cfg: Config) -> None:
    """UserError where no file is named."""
    if not cfg.input:
        raise UserError("check needs a file: python -m deepfake check submissions/NAME/submission.csv")


def run(cfg: Config, chain: Chain) -> None:
    """UserError with a line for every kind of fault of the file; one line of the log when it is right, after one of
    what is odd in its spread, or of why that cannot be told."""
    from deepfake.score.validate import doubts, faults

    check(cfg)
    path, dataset = Path(cfg.input), dataset_of(cfg)
    media_ids = dataset.test_media().media_id
    expected = expected_of(cfg, dataset, media_ids)
    form, logits = expected.form, _logits_beside(path, media_ids)
    found = faults(path, form, expected.rows, ordered=expected.ordered, logits=logits)
    if found:
        against = f"checked as submit.format={cfg.submit.format} of {cfg.dataset}"
        if path.suffix != Path(form.file).suffix:
            against += f", which is a {Path(form.file).suffix} file; submit.format=OTHER checks as another"
        kinds = f"{len(found)} kind{'s' if len(found) > 1 else ''} of faults"
        raise UserError("\n  ".join([f"{path} has {kinds}, {against}:", *found]))
    scores = form.read(path).score.to_numpy()
    if logits is None:
        try:
            for doubt in doubts(scores, _out_of_fold(cfg, is_decided=form.answer in ("label", "word"))):
                say("check", f"warning: {path} {doubt}")
        except UserError as error:
            say("check", f"the spread of {path} is compared with nothing: {error}")
    spread = f"P(fake) {scores.min():.4g} to {scores.max():.4g}, mean {scores.mean():.4g}"
    say("check", f"{path} is right: {len(scores)} rows, submit.format={cfg.submit.format}, {spread}")


def _submission_of(file: str) -> Submission:
    """The submission that a file lies in, whether it is one or not."""
    return Submission(Path(file).resolve().parent)


def _logits_beside(path: Path, media_ids: pd.Series) -> pd.Series | None:
    """The logits by media_id that lie beside a submission, None where there are none of these media."""
    scores_path = _submission_of(str(path)).scores_path
    if not scores_path.is_file():
        return None
    logits = SCORES.read(scores_path).set_index("media_id").logit
    return logits.loc[media_ids] if media_ids.isin(logits.index).all() else None


def _out_of_fold(cfg: Config, *, is_decided: bool) -> np.ndarray:
    """P(fake) that the run, or the blend of runs, gives media with a face that its folds did not see.

    is_decided: 1 or 0 instead, as labels and words say it. UserError where that is not known.
    """
    import pandas as pd

    from deepfake.score.blending import decision_logit
    from deepfake.score.combine import combine
    from deepfake.score.pool import sigmoid

    blends, views = _blends_and_views(cfg)
    runs = dict.fromkeys(run for blend in blends for run in blend.runs)
    rows = pd.concat([table.assign(run=run) for run in runs for table in _oof_tables(Run(cfg.paths.runs / run))])
    logits = combine(rows[rows.found & rows.view.isin(views)], blends)
    if logits.empty:
        raise UserError(f"{cfg.run} has no out-of-fold logits of media with a face, by the views {', '.join(views)}")
    if is_decided:
        return (logits.to_numpy() >= decision_logit(blends[0].tuned, cfg.submit.threshold)).astype(float)
    return sigmoid(logits.to_numpy())


def _blends_and_views(cfg: Config) -> tuple[list[Blend], list[str]]:
    """How logits become one a medium, and the views that count. UserError for a damaged blend, or a run without
    out-of-fold logits."""
    run = run_of(cfg)
    if run.is_blend:
        record, blends = read_blends(run.blend_path)
        return blends, [str(view) for view in record["views"]]
    views = _run_views(cfg, run)
    return [run_alone(run, views)], views


def _run_views(cfg: Config, run: Run) -> list[str]:
    """The views that inference by the run uses: those of the submission's writing, else those of the run."""
    tables = _oof_tables(run)
    given = [saved.get("infer", {}).get("tta") for saved in (_submission_of(cfg.input).config(), run.config)]
    tta = next((views for views in given if views), None) or tta_of(cfg)
    dataset = Dataset.at(roots_of(cfg), run.dataset)
    folds = split_of([run], dataset.folds) if dataset.has_split else None
    return kept_views(run.name, None if tta == AUTO_VIEWS else tta, tables, folds)


def _oof_tables(run: Run) -> list[pd.DataFrame]:
    """Out-of-fold rows of a run's folds. UserError where it has none."""
    tables = run.oof_tables()
    if not tables:
        raise UserError(f"{run.folder} has no out-of-fold logits (whose scores they are, name= and paths.runs= say)")
    return tables
