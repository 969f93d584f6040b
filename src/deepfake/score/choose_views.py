"""Which test-time views pay: by what their out-of-fold logits gain beyond noise, for each pass that they cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfake.score.choose import LEVEL, Step
from deepfake.score.gain import errors_needed, gain_and_error


def choose_views(rows: pd.DataFrame, groups: pd.Series, costs: dict[str, int]) -> tuple[list[str], list[Step]]:
    """The views whose plain mean of logits is kept, in the order in which they came, and the steps that led there.

    rows: media_id, found, view, label, logit, and run where there are several, whose mean counts. groups: by media_id;
    media that hang together share one. costs: view → passes. It begins with identity, or the first view of `costs` that
    is there, and goes on as long as another lowers the log loss of media with a face by more than its standard error,
    as many times as errors_needed says. Of several that do, the one that gains most for a pass.
    """
    order = sorted(costs, key=lambda view: view != "identity")
    logits = _medium_logits(rows, order)
    if logits.empty:
        return [next(view for view in order if (rows.view == view).any())], []
    labels = rows.groupby("media_id").label.first().loc[logits.index].to_numpy(int)
    members = pd.factorize(groups.loc[logits.index])[0]
    kept, steps = list(logits.columns[:1]), []
    while len(kept) < logits.shape[1]:
        steps.append(_ask(logits, kept, labels, members, costs))
        if not steps[-1].taken:
            break
        kept.append(steps[-1].answer)
    return kept, steps


def _ask(logits: pd.DataFrame, kept: list[str], labels: np.ndarray, groups: np.ndarray, costs: dict[str, int]) -> Step:
    """The candidate that gains most for a pass, of those that gain more than they need where there are such."""
    candidates = [view for view in logits.columns if view not in kept]
    needed = errors_needed(LEVEL, len(candidates), groups)
    before, steps = logits[kept].mean(axis=1).to_numpy(), []
    for view in candidates:
        after = logits[[*kept, view]].mean(axis=1).to_numpy()
        gain, error = gain_and_error("log_loss", labels, groups, before, after)
        steps.append(Step("view", "log_loss", view, gain, error, needed * error))
    return max(steps, key=lambda step: (step.taken, step.gain / costs[step.answer]))


def _medium_logits(rows: pd.DataFrame, views: list[str]) -> pd.DataFrame:
    """Logits by media_id, a column a view: of media in which every run found a face, by views that all of those have.

    A medium's logit is the mean over its crops, then over the runs.
    """
    rows = rows[rows.found]
    keyed = rows.assign(run=rows.get("run", ""), logit=rows.logit.astype(np.float64))
    by_run = keyed.groupby(["media_id", "run", "view"]).logit.mean().unstack("view")
    num_runs = by_run.groupby(level="media_id").size()
    shared = by_run.loc[num_runs.index[num_runs == keyed.run.nunique()]].dropna(axis=1)
    # Sums in another order differ in their last bits, and copies of a view are to be told by gaining nothing at all.
    means = shared.groupby(level="media_id").mean().round(9)
    return means[[view for view in views if view in means]]
