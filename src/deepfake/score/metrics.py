"""Metrics on logits, one row a medium (or a frame: the caller says which)."""

from __future__ import annotations

import numpy as np

# Whether more is better; also the list of metrics.
HIGHER_IS_BETTER = {"auc": True, "ap": True, "log_loss": False, "accuracy": True, "eer": False}


def binary_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """auc, ap, log_loss (nats), accuracy (fake from logit 0 on) and eer of labels (N,) in {0, 1} and logits (N,).

    auc, ap and eer are nan with only one class. The log loss is taken from the logits, with nothing clipped.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels, logits = np.asarray(labels, int), np.asarray(logits, float)
    both = 0 < labels.sum() < len(labels)
    return {
        "auc": float(roc_auc_score(labels, logits)) if both else float("nan"),
        "ap": float(average_precision_score(labels, logits)) if both else float("nan"),
        "log_loss": float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()),
        "accuracy": float(((logits >= 0) == (labels == 1)).mean()),
        "eer": equal_error_rate(labels, logits) if both else float("nan"),
    }


def equal_error_rate(labels: np.ndarray, logits: np.ndarray) -> float:
    """The rate of errors at the threshold where as large a share of reals is called fake as of fakes real.

    0: every fake above every real; 0.5: no better than chance; 1: every fake below. labels: (N,) with both classes.
    Between two thresholds the ROC curve is a straight line, as it is for the AUC, so tied logits count alike in any
    order. That is the usual `brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)` of speech and deepfake evaluation
    in closed form; the term is of Martin et al., "The DET curve in assessment of detection task performance", 1997.
    """
    from sklearn.metrics import roc_curve

    false_positives, true_positives, _ = roc_curve(labels, logits, drop_intermediate=False)  # both shares, from 0 to 1
    excess = false_positives + true_positives - 1  # of false positives over false negatives: from -1, rising, to 1
    after = int(np.argmax(excess >= 0))
    (low, high), (start, end) = excess[[after - 1, after]], false_positives[[after - 1, after]]
    return float(start + (end - start) * low / (low - high))


def is_better(metric: str, new: float, old: float | None) -> bool:
    """True when `new` beats `old` in this metric; anything beats None, and nan beats nothing."""
    if np.isnan(new):
        return False
    return old is None or (new > old if HIGHER_IS_BETTER[metric] else new < old)
