"""check: a submission file → what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.stages.common import say, test_media, trained_folds
from deepfake.stages.submit import expected_submission
from deepfake.tables import OOF, SCORES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def run(cfg: Config) -> None:
    """UserError with a line for every kind of fault of the file; one line of the log when it is right."""
    from deepfake.score.validate import doubts, faults

    check(cfg)
    path = Path(cfg.input)
    media_ids = test_media(cfg).media_id
    form, rows, ordered = expected_submission(cfg, media_ids)
    logits = _logits_beside(path, media_ids)
    found = faults(path, form, rows, ordered=ordered, logits=logits)
    if found:
        against = f"checked as submit.format={cfg.submit.format} of {cfg.dataset}"
        raise UserError("\n  ".join([f"{path} has {len(found)} kind(s) of faults, {against}:", *found]))
    scores = form.read(path).score.to_numpy()
    expectations = _out_of_fold(cfg) if logits is None else None
    for doubt in doubts(scores, expectations) if expectations is not None else []:
        say("check", f"warning: {path} {doubt}")
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


def _out_of_fold(cfg: Config) -> np.ndarray | None:
    """P(fake) of the media that the run's folds did not see, None where it has no such folds."""
    import pandas as pd

    from deepfake.score.pool import mean_logits, sigmoid

    tables = [layout.oof_table(fold) for fold in trained_folds(cfg.paths.runs, cfg.run).values()]
    tables = [OOF.read(path) for path in tables if path.is_file()]
    return sigmoid(mean_logits(pd.concat(tables)).to_numpy()) if tables else None
