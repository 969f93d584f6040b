"""Fallback logits: what is submitted for media without a face, and for media that could not be scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from deepfake.score.pool import mean_logits, sigmoid
from deepfake.tables import LOGITS

SHARE = "share of fakes in training"
BELIEF = 4  # imagined media with the prior's share of fakes, added to those that were counted


def medium_logits(rows: pd.DataFrame, fallback: float) -> pd.Series:
    """One logit a medium: the mean over its faces, or `fallback` where no face was found.

    rows: media_id, found, logit. All rows of a medium are found faces, or all are centre squares.
    """
    with_face = rows.groupby("media_id", sort=True).found.any()
    return mean_logits(rows).where(with_face, fallback)


def prior_logit(labels: np.ndarray) -> float:
    """Log-odds of fake among labels (N,) in {0, 1}, with half a medium added to each class so that it is finite."""
    labels = np.asarray(labels, int)
    return float(np.log((labels.sum() + 0.5) / (len(labels) - labels.sum() + 0.5)))


def training_prior(labels: np.ndarray) -> float:
    """prior_logit of the labels that were given to train on; 0 where no fake was given: how many are made from the
    reals says nothing of how many there are."""
    return prior_logit(labels) if np.any(np.asarray(labels) == 1) else 0.0


def labels_and_faceless(oof: pd.DataFrame, *, reals_alone: bool = False) -> tuple[pd.Series, pd.Series]:
    """Labels by media_id of out-of-fold rows (media_id, label, found): of all media, and of media without a face.

    reals_alone: no fake was given, so that the labels of media without a face say nothing: none are counted.
    """
    media = oof.groupby("media_id", sort=True).agg({"label": "first", "found": "any"})
    return media.label, media.label[~media.found & (not reals_alone)]


def fallbacks(
    prior: float, faceless: Sequence[int] | np.ndarray, unreadable: Sequence[int] | np.ndarray = ()
) -> dict[str, dict[str, Any]]:
    """Reason (no_face, unreadable, late) → {logit, and `from`: in words where it comes from}.

    prior: log-odds of fake in the training media, as prior_logit gives it. faceless: (M,) labels of training media in
    which no face was found. unreadable: (K,) labels of training media that could not be read. The share of fakes among
    either is shrunk towards the prior's p, so that a few media do not make a certainty: (fakes + 4 p) / (media + 4).
    Media that inference had no time for (late) get the prior.
    """
    share = float(sigmoid(prior))
    seen = {"no_face": (faceless, "without a face"), "unreadable": (unreadable, "that could not be read")}
    logits: dict[str, dict[str, Any]] = {}
    for reason, (labels, what) in seen.items():
        shrunken = (np.sum(labels) + BELIEF * share) / (len(labels) + BELIEF)
        source = f"share of fakes in {len(labels)} training media {what}" if len(labels) else SHARE
        logits[reason] = {"logit": float(np.log(shrunken / (1 - shrunken))), "from": source}
    return logits | {"late": {"logit": prior, "from": SHARE}}


def fallback_rows(reasons: dict[str, str], fallbacks: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row of the logits table for each medium that gets a fallback logit; its run is "".

    reasons: media_id → reason. fallbacks: as the function of that name gives them.
    """
    if not reasons:
        return LOGITS.empty()
    rows = pd.DataFrame(list(reasons.items()), columns=["media_id", "fallback"])
    rows = rows.assign(logit=[fallbacks[reason]["logit"] for reason in rows.fallback], run="", fold="", view="")
    nothing = {"frame_idx": 0, "face_idx": 0, "found": False, "track_id": 0, "prob": None, "side": 0.0}
    return rows.assign(**nothing, sharpness=0.0)[list(LOGITS.columns)]
