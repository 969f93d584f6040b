"""Which test-time views pay: those whose out-of-fold logits gain more than noise, by their gain a pass."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfake.score.choose import LEVEL, Step
from deepfake.score.gain import errors_needed, gain_and_error


def choose_views(rows: pd.DataFrame, groups: pd.Series, costs: dict[str, int]) -> tuple[list[str], list[Step]]:
    """The views to use, in the order in which they were chosen, and the steps of the choice. Their logits are averaged.

    The choice starts from identity, or else from the first view of `costs` that has rows. It adds a view as long as one
    lowers the log loss of media with a face by more than `errors_needed` standard errors; of several such views, the
    one with the largest gain a pass.

    rows: media_id, found, view, label, logit, and run where there are several runs, which are averaged. groups: by
    media_id; media that belong together share a group. costs: view → passes through a model.
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
    """The candidate with the largest gain a pass, among those that pay; among all where none pays."""
    candidates = [view for view in logits.columns if view not in kept]
    needed = errors_needed(LEVEL, len(candidates), groups)
    before, steps = logits[kept].mean(axis=1).to_numpy(), []
    for view in candidates:
        after = logits[[*kept, view]].mean(axis=1).to_numpy()
        gain, error = gain_and_error("log_loss", labels, groups, before, after)
        steps.append(Step("view", "log_loss", view, gain, error, needed * error))
    return max(steps, key=lambda step: (step.taken, step.gain / costs[step.answer]))


def _medium_logits(rows: pd.DataFrame, views: list[str]) -> pd.DataFrame:
    """Logits by media_id, a column a view: the mean over a medium's crops, then over the runs.

    Only media in which every run found a face are there, and only views that all of these media have.
    """
    rows = rows[rows.found]
    keyed = rows.assign(run=rows.get("run", ""), logit=rows.logit.astype(np.float64))
    by_run = keyed.groupby(["media_id", "run", "view"]).logit.mean().unstack("view")
    num_runs = by_run.groupby(level="media_id").size()
    shared = by_run.loc[num_runs.index[num_runs == keyed.run.nunique()]].dropna(axis=1)
    # Sums in another order differ in their last bits; rounded, a copy of a view gains exactly nothing.
    means = shared.groupby(level="media_id").mean().round(9)
    return means[[view for view in views if view in means]]
