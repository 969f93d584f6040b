"""What is said of media on which no model can speak for a face."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfake.score.pool import mean_logits


def medium_logits(rows: pd.DataFrame, fallback: float) -> pd.Series:
    """One logit a medium: the mean over its faces, or `fallback` where no face was found.

    rows: media_id, found, logit. A medium either has found faces alone, or centre squares alone.
    """
    with_face = rows.groupby("media_id", sort=True).found.any()
    return mean_logits(rows).where(with_face, fallback)


def prior_logit(labels: np.ndarray) -> float:
    """Log-odds of fake among labels (N,) in {0, 1}, with half a medium added to each class so that it is finite."""
    labels = np.asarray(labels, int)
    return float(np.log((labels.sum() + 0.5) / (len(labels) - labels.sum() + 0.5)))


def fallback_logit(oof: pd.DataFrame, prior: float) -> tuple[float, str]:
    """The logit for a medium on which no model can speak for a face, and where it comes from.

    The mean out-of-fold logit of media without a face (rows media_id, found, logit); without such media, `prior`.
    """
    faceless = oof[~oof.groupby("media_id").found.transform("any")] if len(oof) else oof
    if len(faceless):
        pooled = mean_logits(faceless)
        return float(pooled.mean()), f"mean out-of-fold logit of {len(pooled)} media without a face"
    return prior, "share of fakes in training"
