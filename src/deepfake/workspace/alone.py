"""How a run alone speaks, and what that scored: the plain mean of its logits, made honest where it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepfake.console import say
from deepfake.tables import OOF
from deepfake.workspace.run import Fold, Run

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.score.blending import Blend

FLATTEST = 0.01  # a run that tells nothing of unseen media says so, but still in an order
FEWEST = 6  # media of each class that slope and bias are fitted to, as in a blend


def run_alone(run: Run, views: list[str]) -> Blend:
    """The plain mean of logits. For a run that was trained with train.hold_out, slope and bias beside it.

    They are fitted to media that are truly unseen: of methods, or sources of reals, that the fold which held them out
    had never met. The rarer class counts again, so that as many are fake as of all media with a face. Where there are
    too few of a class, it is the plain mean all the same.
    """
    from deepfake.score.blending import Blend, BlendOptions
    from deepfake.score.calibrate import fit_slope_and_bias, rows_of_share

    unseen, share = _unseen_media(run, views)
    if unseen.label.value_counts().reindex([0, 1], fill_value=0).min() < FEWEST:
        return Blend.plain(run.name)
    rows = unseen.iloc[rows_of_share(unseen.label.to_numpy(int), share)]
    slope, bias = fit_slope_and_bias(rows.label.to_numpy(int), rows.logit.to_numpy(float))
    return Blend((run.name,), BlendOptions(calibration="calibrate"), (1.0,), slope=max(slope, FLATTEST), bias=bias)


def tell_calibration(run: Run, blend: Blend) -> None:
    """Say what a run's logits are corrected by, where they are."""
    if blend.options.calibration != "none":
        fitted = f"slope {blend.slope:.3f} and bias {blend.bias:+.3f}"
        say("infer", f"run {run.name}: {fitted}, fitted to media of what their fold had never met")


def score_alone(run: Run, folds: list[Fold], views: list[str]) -> float | None:
    """Out-of-fold log loss over media with a face of these folds: of the plain mean or, where run_alone has a slope and
    a bias, of unseen media by what is fitted to the other groups alone. None where these folds have scored none."""
    import numpy as np

    from deepfake.score.calibrate import fit_slope_and_bias, rows_of_share
    from deepfake.score.evidence import deal_folds
    from deepfake.score.gain import metric_of

    if run_alone(run, views).options.calibration == "none":
        media = _media([fold.oof for fold in folds], views)
        if media.empty:
            return None
        return metric_of("log_loss", media.label.to_numpy(int), media.logit.to_numpy())
    unseen, share = _unseen_media(run, views)
    labels, logits = unseen.label.to_numpy(int), unseen.logit.to_numpy(float)
    parts, honest = deal_folds(unseen.group_id.to_numpy(str)), np.full(len(unseen), np.nan)
    for part in np.unique(parts):
        rest = np.flatnonzero(parts != part)
        if not 0 < labels[rest].sum() < len(rest):
            return None
        rest = rest[rows_of_share(labels[rest], share)]
        slope, bias = fit_slope_and_bias(labels[rest], logits[rest])
        honest[parts == part] = slope * logits[parts == part] + bias
    rows = rows_of_share(labels, share)
    return metric_of("log_loss", labels[rows], honest[rows])


def _unseen_media(run: Run, views: list[str]) -> tuple[pd.DataFrame, float]:
    """The unseen media with a face (columns label, logit, group_id); and the share of fakes of all media with one."""
    import pandas as pd

    media = _media(run.oof_tables(), views)
    tables = [fold.held_out for fold in run.numbered_folds.values() if fold.held_out is not None]
    known = pd.concat(tables).set_index("media_id") if tables else pd.DataFrame({"unseen": [], "group_id": []})
    unseen = media.join(known[["unseen", "group_id"]], how="inner")
    return unseen[unseen.unseen.astype(bool)], float(media.label.mean()) if len(media) else 0.5


def _media(tables: list[pd.DataFrame], views: list[str]) -> pd.DataFrame:
    """label and mean logit by media_id, of media with a face, over these views."""
    import pandas as pd

    from deepfake.score.pool import mean_logits

    rows = pd.concat(tables) if tables else OOF.empty()
    rows = rows[rows.found & rows.view.isin(views)]
    return pd.DataFrame({"label": rows.groupby("media_id", sort=True).label.first(), "logit": mean_logits(rows)})
