"""By how much one set of logits beats another, and how sure that is.

Each metric comes with its influences: to first order, by how much each medium's presence moves it. Media that belong
together share a group. The metric's standard error is the root of the sum of squares of the groups' summed influences
(Efron, "The jackknife, the bootstrap and other resampling plans", 1982, ch. 6: the infinitesimal jackknife). For the
AUC the influences are DeLong's placements; with groups they are those of Obuchowski, "Nonparametric analysis of
clustered ROC curve data", 1997.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def metric_of(metric: str, labels: np.ndarray, logits: np.ndarray) -> float:
    """A metric of METRICS, from labels (N,) in {0, 1} and logits (N,); a logit of 0 or more counts as a call of fake.

    nan for auc and ap where a class is missing.
    """
    return METRICS[metric](np.asarray(labels), np.asarray(logits, float))[0]


def direction(metric: str) -> int:
    """1 where more is better, -1 where less is."""
    return -1 if metric in ("log_loss", "eer") else 1


def error_of(metric: str, labels: np.ndarray, groups: np.ndarray, logits: np.ndarray) -> float:
    """Standard error of a metric, where media of one group (N,) vary together. inf where it cannot be estimated."""
    return _error(METRICS[metric](labels, logits)[1], groups)


def gain_and_error(
    metric: str, labels: np.ndarray, groups: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[float, float]:
    """By how much the logits `after` (N,) beat `before` (N,), positive = better; and that gain's standard error.

    Mistakes that both make alike cancel in the gain and in its error.
    """
    (old, old_influences), (new, new_influences) = (METRICS[metric](labels, logits) for logits in (before, after))
    return direction(metric) * (new - old), _error(new_influences - old_influences, groups)


def errors_needed(level: float, tries: int, groups: np.ndarray) -> float:
    """How many standard errors a gain must exceed.

    The bound is such that the best of `tries` useless candidates exceeds it with probability `level` at most
    (Bonferroni). It is Student's t, as a standard error from few groups (N,) is itself uncertain. inf for one group.
    """
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, without the second that importing that takes

    count = len(np.unique(groups))
    return float(stdtrit(count - 1, 1 - level / tries)) if count > 1 else float("inf")


def _error(influences: np.ndarray, groups: np.ndarray) -> float:
    members = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(members, influences)
    if len(sums) < 2 or not np.isfinite(sums).all():
        return float("inf")
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)))


# --- metrics of labels (N,) and logits (N,) → the metric and the influences (N,) on it


def _log_loss(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    return _mean(np.logaddexp(0, np.where(labels == 1, -logits, logits)))


def _accuracy(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    return _mean(((logits >= 0) == (labels == 1)).astype(float))


def _mean(values: np.ndarray) -> tuple[float, np.ndarray]:
    return float(values.mean()), (values - values.mean()) / len(values)


def _macro_f1(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of the F1 of fakes and of reals; as in scikit-learn, 0 for a class that is neither there nor called."""
    score, influences = 0.0, np.zeros(len(labels))
    for fake in (True, False):
        called, there = (logits >= 0) == fake, (labels == 1) == fake
        size = called.sum() + there.sum()
        if size:
            f1 = 2 * (called & there).sum() / size
            score += f1 / 2
            influences += (2 * (called & there) - f1 * (called.astype(int) + there)) / size / 2
    return float(score), influences


def _auc(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Share of pairs of a fake and a real in which the fake's logit is higher; a tie counts half."""
    fakes, reals = np.sort(logits[labels == 1]), np.sort(logits[labels == 0])
    if not (len(fakes) and len(reals)):
        return float("nan"), np.full(len(labels), np.nan)

    def share_below(values: np.ndarray) -> np.ndarray:
        return (np.searchsorted(values, logits, "left") + np.searchsorted(values, logits, "right")) / 2 / len(values)

    placements = np.where(labels == 1, share_below(reals), 1 - share_below(fakes))
    auc = placements[labels == 1].mean()
    return float(auc), (placements - auc) / np.where(labels == 1, len(fakes), len(reals))


def _ap(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean precision at the fakes, as scikit-learn's average_precision_score.

    A fake moves it by the precision at its own place. Any medium moves it by the precision at every fake that ranks
    no higher.
    """
    total = int((labels == 1).sum())
    if not 0 < total < len(labels):
        return float("nan"), np.full(len(labels), np.nan)
    values, place, called_here = np.unique(-logits, return_inverse=True, return_counts=True)
    fakes_here = np.bincount(place, labels == 1, len(values))
    called = np.cumsum(called_here)
    precision = np.cumsum(fakes_here) / called
    ap = (fakes_here * precision).sum() / total

    def from_here_on(terms: np.ndarray) -> np.ndarray:
        return np.cumsum(terms[::-1])[::-1][place]

    fake = (labels == 1).astype(float)
    others = fake * from_here_on(fakes_here / called) - from_here_on(fakes_here * precision / called)
    return float(ap), (fake * (precision[place] - ap) + others) / total


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]] = {
    "log_loss": _log_loss,
    "auc": _auc,
    "ap": _ap,
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
}
