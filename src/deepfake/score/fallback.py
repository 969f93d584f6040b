"""What is said of media on which no model can speak for a face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from deepfake.score.pool import mean_logits, sigmoid
from deepfake.tables import LOGITS

SHARE = "share of fakes in training"
BELIEF = 4  # media of the prior's share of fakes that are added to those that were seen


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


def labels_and_faceless(oof: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Labels by media_id of out-of-fold rows (media_id, label, found); and of those media without a face."""
    media = oof.groupby("media_id", sort=True).agg({"label": "first", "found": "any"})
    return media.label, media.label[~media.found]


def fallbacks(prior: float, faceless: Sequence[int], unreadable: Sequence[int] = ()) -> dict[str, dict[str, Any]]:
    """Reason (no_face, unreadable, late) → {logit, and `from`: in words where it comes from}.

    prior: log-odds of fake in the training media, as prior_logit gives it. faceless: (M,) labels of training media in
    which no face was found; unreadable: (K,) of those that could not be read. Their share of fakes is shrunk towards
    the prior's p, so that a few of them do not make certainties: (fakes + 4 p) / (media + 4). Media that inference had
    no time for are as any other.
    """
    share = float(sigmoid(prior))
    seen = {"no_face": (faceless, "without a face"), "unreadable": (unreadable, "that could not be read")}
    found = {}
    for reason, (labels, what) in seen.items():
        shrunken = (np.sum(labels) + BELIEF * share) / (len(labels) + BELIEF)
        source = f"share of fakes in {len(labels)} training media {what}" if len(labels) else SHARE
        found[reason] = {"logit": float(np.log(shrunken / (1 - shrunken))), "from": source}
    return found | {"late": {"logit": prior, "from": SHARE}}


def stated_rows(reasons: dict[str, str], stated: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row of the logits table, of no run, for each medium that no model speaks for.

    reasons: media_id → reason. stated: as fallbacks gives it.
    """
    if not reasons:
        return LOGITS.empty()
    rows = pd.DataFrame(list(reasons.items()), columns=["media_id", "fallback"])
    rows = rows.assign(logit=[stated[reason]["logit"] for reason in rows.fallback], run="", fold="", view="")
    nothing = {"frame_idx": 0, "face_idx": 0, "found": False, "track_id": 0, "prob": None, "side": 0.0}
    return rows.assign(**nothing, sharpness=0.0)[list(LOGITS.columns)]
