"""From the logits of views, frames, faces and folds to one logit a medium."""

from __future__ import annotations

import numpy as np
import pandas as pd


def view_rows(crops: pd.DataFrame, logits: np.ndarray, views: list[str]) -> pd.DataFrame:
    """Crops (N rows of the faces table) with logits (N, V) → N x V rows: the crops' columns, side (px), view, logit."""
    crops = crops.assign(side=np.sqrt((crops.x1 - crops.x0) * (crops.y1 - crops.y0)))
    parts = [crops.assign(view=view, logit=logits[:, number]) for number, view in enumerate(views)]
    return pd.concat(parts, ignore_index=True)


def mean_logits(logits: pd.DataFrame) -> pd.Series:
    """The plain mean of each medium's logits: (media_id, logit) rows → Series of logits by media_id."""
    return logits.groupby("media_id", sort=True).logit.mean()


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


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Log-odds → probability, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, float)))
