"""From the logits of runs, folds, views, frames and faces to one logit a medium, as a blend says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepfake.score.blending import Blend
from deepfake.score.pool import POOLINGS
from deepfake.tables import FACE_KEY


def combine(rows: pd.DataFrame, blends: Sequence[Blend]) -> pd.Series:
    """Logits by media_id, sorted, from rows of the logits table.

    blends: the blend of all runs, then blends of fewer runs. A medium's logit comes from the first blend whose runs
    have all scored it. A medium for which there is no such blend is left out.
    """
    options = blends[0].options
    runs = {run: part for run, part in rows.groupby("run")}
    for run in options.inverted:
        if run in runs:
            runs[run] = runs[run].assign(logit=-runs[run].logit)
    pooled = pd.DataFrame({run: POOLINGS[options.pool](part) for run, part in runs.items()})
    logits = pd.Series(np.nan, pooled.index, name="logit")
    for blend in blends:
        if set(blend.runs) <= set(pooled):
            inputs = pooled[list(blend.runs)]
            ready = logits.isna() & inputs.notna().all(axis=1)
            shift = blends[0].threshold - blend.threshold  # so that the first blend's threshold holds for all media
            logits[ready] = blend.apply(inputs[ready].to_numpy()) + shift
    return logits.dropna().sort_index()


def media_scores(logits: pd.DataFrame, blends: Sequence[Blend]) -> pd.DataFrame:
    """The logits table → the scores table: blended logits of the media that were scored, fallback logits of the
    others.
    """
    others = logits[logits.run == ""].set_index("media_id")
    used = logits[logits.fallback.isna()]
    crops = used.drop_duplicates(list(FACE_KEY)).groupby("media_id")
    counts = pd.DataFrame({"crops": crops.size(), "frames": crops.frame_idx.nunique()})
    table = pd.DataFrame({"logit": pd.concat([combine(used, blends), others.logit.astype(float)])})
    table["fallback"] = others.fallback.reindex(table.index)
    table = table.join(counts).fillna({"crops": 0, "frames": 0}).sort_index()
    return table.rename_axis("media_id").reset_index()
