"""Metrics on logits, one row a medium (or a frame: the caller says which)."""

from __future__ import annotations

import numpy as np

# Whether more is better; also the list of metrics.
HIGHER_IS_BETTER = {"auc": True, "ap": True, "log_loss": False, "accuracy": True}


def binary_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """auc, ap, log_loss (nats) and accuracy (at logit 0) of labels (N,) in {0, 1} and logits (N,).

    auc and ap are nan with only one class. The log loss is taken from the logits, with nothing clipped.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels, logits = np.asarray(labels, int), np.asarray(logits, float)
    both = 0 < labels.sum() < len(labels)
    return {
        "auc": float(roc_auc_score(labels, logits)) if both else float("nan"),
        "ap": float(average_precision_score(labels, logits)) if both else float("nan"),
        "log_loss": float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()),
        "accuracy": float(((logits > 0) == (labels == 1)).mean()),
    }


def is_better(metric: str, new: float, old: float | None) -> bool:
    """True when `new` beats `old` in this metric; anything beats None, and nan beats nothing."""
    if np.isnan(new):
        return False
    return old is None or (new > old if HIGHER_IS_BETTER[metric] else new < old)
