"""What is said of media on which no model can speak for a face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from deepfake.score.pool import mean_logits

BELIEF = 4  # media of the prior's share of fakes that are added to those that were seen


def fallbacks(labels: np.ndarray, faceless: np.ndarray, unreadable: np.ndarray) -> dict[str, dict[str, Any]]:
    """Reason (no_face, unreadable, late) → {logit, and in words where it comes from}.

    labels: (N,) 0 or 1 of all media that were split into folds; faceless: (M,) those of media in which no face was
    found; unreadable: of those that could not be read. The share of fakes among the latter two is shrunk towards that of
    all, so that a few of them do not make certainties: (fakes + 4 p) / (media + 4). Media that inference had no time for
    are as any other.
    """
    prior = (labels.sum() + 0.5) / (len(labels) + 1)
    seen = {"no_face": (faceless, "without a face"), "unreadable": (unreadable, "that could not be read")}
    found = {
        reason: _entry((own.sum() + BELIEF * prior) / (len(own) + BELIEF), f"share of fakes in {len(own)} {what}")
        for reason, (own, what) in seen.items()
    }
    return found | {"late": _entry(prior, f"share of fakes in all {len(labels)} training media")}


def _entry(share: float, source: str) -> dict[str, Any]:
    return {"logit": float(np.log(share / (1 - share))), "from": source}
