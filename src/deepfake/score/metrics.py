"""Metrics of logits, one a medium (or one a frame, as the caller has them)."""

from __future__ import annotations

import numpy as np

from deepfake.score.gain import direction, metric_of


def binary_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """auc, ap, log_loss (nats), accuracy (fake from logit 0 on) and eer of labels (N,) in {0, 1} and logits (N,).

    auc, ap and eer are nan with only one class. The log loss is taken from the logits, with nothing clipped.
    """
    labels, logits = np.asarray(labels, int), np.asarray(logits, float)
    scores = {metric: metric_of(metric, labels, logits) for metric in ("auc", "ap", "log_loss", "accuracy")}
    return scores | {"eer": equal_error_rate(labels, logits) if 0 < labels.sum() < len(labels) else float("nan")}


def equal_error_rate(labels: np.ndarray, logits: np.ndarray) -> float:
    """The error rate at the threshold where the share of reals called fake equals the share of fakes called real.

    0: every fake ranks above every real; 0.5: chance; 1: every fake ranks below. labels: (N,) with both classes.
    Between two thresholds the ROC curve is a straight line, as for the AUC, so the order of tied logits does not
    matter. This is the usual `brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)` of speech and deepfake evaluation
    in closed form. The term: Martin et al., "The DET curve in assessment of detection task performance", 1997.
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
    return old is None or direction(metric) * (new - old) > 0
