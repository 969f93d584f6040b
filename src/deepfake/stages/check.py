"""check: a submission file → what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.stages.common import (
    run_to_continue,
    say,
    submission_to_check,
    test_media,
    trained_folds,
)
from deepfake.stages.submit import decision_logit, expected_submission
from deepfake.stages.views import kept_views
from deepfake.tables import FOLDS, OOF, SCORES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.score.blend import Blend


def run(cfg: Config) -> None:
    """UserError with a line for every kind of fault of the file; one line of the log when it is right, after one of
    what is odd in its spread, or of why that cannot be told."""
    from deepfake.score.validate import doubts, faults

    check(cfg)
    path = Path(cfg.input)
    media_ids = test_media(cfg).media_id
    form, rows, ordered = expected_submission(cfg, media_ids)
    logits = _logits_beside(path, media_ids)
    found = faults(path, form, rows, ordered=ordered, logits=logits)
    if found:
        against = f"checked as submit.format={cfg.submit.format} of {cfg.dataset}"
        if path.suffix != Path(form.file).suffix:
            against += f", which is a {Path(form.file).suffix} file; submit.format=OTHER checks as another"
        kinds = f"{len(found)} kind{'s' if len(found) > 1 else ''} of faults"
        raise UserError("\n  ".join([f"{path} has {kinds}, {against}:", *found]))
    scores = form.read(path).score.to_numpy()
    if logits is None:
        try:
            for doubt in doubts(scores, _out_of_fold(cfg, decided=form.answer in ("label", "word"))):
                say("check", f"warning: {path} {doubt}")
        except UserError as error:
            say("check", f"the spread of {path} is compared with nothing: {error}")
    spread = f"P(fake) {scores.min():.4g} to {scores.max():.4g}, mean {scores.mean():.4g}"
    say("check", f"{path} is right: {len(scores)} rows, submit.format={cfg.submit.format}, {spread}")


def check(cfg: Config) -> None:
    """UserError where no file is named."""
    if not cfg.input:
        raise UserError("check needs a file: python -m deepfake check submissions/NAME/submission.csv")


def _logits_beside(path: Path, media_ids: pd.Series) -> pd.Series | None:
    """The logits by media_id that lie beside a submission, None where there are none of these media."""
    folder = path.resolve().parent
    scores_path = layout.scores_table(folder.parent, folder.name)
    if not scores_path.is_file():
        return None
    logits = SCORES.read(scores_path).set_index("media_id").logit
    return logits.loc[media_ids] if media_ids.isin(logits.index).all() else None


def _out_of_fold(cfg: Config, *, decided: bool) -> np.ndarray:
    """P(fake) that the run, or the blend of runs, gives media with a face that its folds did not see; decided: 1 or 0,
    as labels and words say it. UserError where that is not known.
    """
    import pandas as pd

    from deepfake.score.combine import combine
    from deepfake.score.pool import sigmoid

    blends, views = _run_or_blend(cfg)
    runs = dict.fromkeys(run for blend in blends for run in blend.runs)
    rows = pd.concat([table.assign(run=run) for run in runs for table in _tables(cfg, run)])
    logits = combine(rows[rows.found & rows.view.isin(views)], blends)
    if logits.empty:
        raise UserError(f"{cfg.run} has no out-of-fold logits of media with a face, by the views {', '.join(views)}")
    if decided:
        return (logits.to_numpy() >= decision_logit(cfg, blends[0].tuned)).astype(float)
    return sigmoid(logits.to_numpy())


def _run_or_blend(cfg: Config) -> tuple[list[Blend], list[str]]:
    """How logits become one a medium, and the views that count. UserError for a damaged blend, or a run without
    out-of-fold logits."""
    from deepfake.score.blend import Blend, Recipe

    path = layout.blend_file(cfg.paths.runs, cfg.run)
    if not path.is_file():
        return [Blend((cfg.run,), Recipe(), (1.0,))], _views(cfg)
    record, blends = read_blends(path)
    return blends, [str(view) for view in record.get("views", [])]


def _views(cfg: Config) -> list[str]:
    """The views that inference by the run uses: those of the submission's writing, else those of the run."""
    from deepfake.learn.facts import read_facts

    tables = _tables(cfg, cfg.run)
    settings = [saved.get("infer", {}).get("tta") for saved in (submission_to_check(cfg)[1], run_to_continue(cfg))]
    tta = next((views for views in settings if views), cfg.infer.tta)
    cfg = replace(cfg, infer=replace(cfg.infer, tta=tta))
    fold = next(iter(trained_folds(cfg.paths.runs, cfg.run).values()))
    split = layout.folds_table(cfg.paths.folds, read_facts(layout.best_weights(fold))["dataset"])
    return kept_views(cfg, tables, FOLDS.read(split) if split.is_file() else None)


def _tables(cfg: Config, run: str) -> list[pd.DataFrame]:
    """Out-of-fold rows of a run's folds. UserError where it has none."""
    paths = [layout.oof_table(fold) for fold in trained_folds(cfg.paths.runs, run).values()]
    tables = [OOF.read(path) for path in paths if path.is_file()]
    if not tables:
        folder = layout.run_folder(cfg.paths.runs, run)
        raise UserError(f"{folder} has no out-of-fold logits (whose scores they are, name= and paths.runs= say)")
    return tables
