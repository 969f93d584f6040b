"""From the logits of runs, folds, views, frames and faces to one logit a medium, as a blend says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepfake.score.blend import Blend
from deepfake.score.pool import POOLINGS
from deepfake.tables import FACE_KEY


def combine(rows: pd.DataFrame, blends: Sequence[Blend]) -> pd.Series:
    """Logits by media_id, in order, of rows of the logits table.

    blends: the whole, then those of fewer and fewer runs; a medium gets the first whose runs have all scored it, and
    one that no blend's runs have scored is left out.
    """
    recipe = blends[0].recipe
    runs = {run: part for run, part in rows.groupby("run")}
    for run in recipe.inverted:
        if run in runs:
            runs[run] = runs[run].assign(logit=-runs[run].logit)
    pooled = pd.DataFrame({run: POOLINGS[recipe.pool](part) for run, part in runs.items()})
    logits = pd.Series(np.nan, pooled.index, name="logit")
    for blend in blends:
        if set(blend.runs) <= set(pooled):
            inputs = pooled[list(blend.runs)]
            ready = logits.isna() & inputs.notna().all(axis=1)
            off = blends[0].threshold - blend.threshold  # so that all can be cut at the whole's threshold
            logits[ready] = blend.apply(inputs[ready].to_numpy()) + off
    return logits.dropna().sort_index()


def media_scores(logits: pd.DataFrame, blends: Sequence[Blend]) -> pd.DataFrame:
    """The logits table → the scores table: what the blends make of media that models spoke for, what is stated for the
    others."""
    stated = logits[logits.run == ""].set_index("media_id")
    used = logits[logits.fallback.isna()]
    crops = used.drop_duplicates(list(FACE_KEY)).groupby("media_id")
    counts = pd.DataFrame({"crops": crops.size(), "frames": crops.frame_idx.nunique()})
    table = pd.DataFrame({"logit": pd.concat([combine(used, blends), stated.logit.astype(float)])})
    table["fallback"] = stated.fallback.reindex(table.index)
    table = table.join(counts).fillna({"crops": 0, "frames": 0}).sort_index()
    return table.rename_axis("media_id").reset_index()
