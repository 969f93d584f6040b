"""Making logits honest: slope and bias, a limit, a threshold; and how honest they are."""

from __future__ import annotations

import numpy as np

from deepfake.score.gain import metric_of
from deepfake.score.pool import sigmoid

LIMITS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)  # |logit|: probabilities .27 to .73 … .0003 to .9997


def smoothed_targets(labels: np.ndarray) -> np.ndarray:
    """Targets (N,) for labels (N,): (n1 + 1) / (n1 + 2) for fakes, 1 / (n0 + 2) for reals.

    They keep a fit finite where classes are separable (Platt, "Probabilistic outputs for support vector machines",
    1999).
    """
    fakes = int(labels.sum())
    return np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (len(labels) - fakes + 2))


def fit_slope_and_bias(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """(slope, bias) such that slope * logit + bias has the lowest log loss on smoothed targets; slope >= 0.

    1 / slope is the temperature. Newton's method, in which a step that raises the loss is halved. A slope below 0 is
    replaced by 0, and the bias then is the log-odds of the mean target.
    """
    targets, scale = smoothed_targets(labels), max(float(np.abs(logits).max(initial=0)), 1e-12)
    inputs = np.stack([logits / scale, np.ones(len(logits))], 1)
    weights = np.zeros(2)
    loss = _cross_entropy(targets, inputs @ weights)
    for _ in range(100):
        shares = sigmoid(inputs @ weights)
        gradient = inputs.T @ (shares - targets)
        hessian = (inputs.T * (shares * (1 - shares))) @ inputs + 1e-9 * len(logits) * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while _cross_entropy(targets, inputs @ (weights - step)) > loss and np.abs(step).max() > 1e-10:
            step = step / 2
        weights = weights - step
        loss = _cross_entropy(targets, inputs @ weights)
        if np.abs(step).max() < 1e-8:
            break
    if weights[0] < 0:
        share = targets.mean()
        return 0.0, float(np.log(share / (1 - share)))
    return float(weights[0] / scale), float(weights[1])


def rows_of_share(labels: np.ndarray, share: float) -> np.ndarray:
    """Row numbers of labels (N,), each once, those of the class that is too rare again in turn, so that `share` (0 to
    1, without either end) of them are fakes. A bias that is fitted to these rows holds where such a share is fake."""
    reals, fakes = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    wanted = round(len(reals) * share / (1 - share))
    if wanted >= len(fakes):
        fakes = np.resize(fakes, wanted)
    else:
        reals = np.resize(reals, max(len(reals), round(len(fakes) * (1 - share) / share)))
    return np.sort(np.concatenate([reals, fakes]))


def _cross_entropy(targets: np.ndarray, logits: np.ndarray) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def fit_limit(labels: np.ndarray, logits: np.ndarray) -> float | None:
    """The limit of LIMITS that gives logits clipped to ±limit the lowest log loss; None where no limit lowers it."""
    ways = {None: logits} | {limit: np.clip(logits, -limit, limit) for limit in LIMITS}
    return min(ways, key=lambda limit: metric_of("log_loss", labels, ways[limit]))


def fit_threshold(metric: str, labels: np.ndarray, logits: np.ndarray) -> float:
    """The logit from which a medium is called fake so that the metric, accuracy or macro_f1, is highest.

    Among equally good thresholds it is the middle of the widest gap between neighbouring logits.
    """
    values = np.unique(logits)
    if len(values) < 2:
        return 0.0
    if len(values) > 513:  # quantiles serve as well, and faster
        values = np.unique(np.quantile(values, np.linspace(0, 1, 513)))
    thresholds, gaps = (values[1:] + values[:-1]) / 2, np.diff(values)
    scores = np.array([metric_of(metric, labels, logits - threshold) for threshold in thresholds])
    best = scores >= scores.max() - 1e-12
    return float(thresholds[best][np.argmax(gaps[best])])


def reliability(labels: np.ndarray, logits: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """A row for each bin of equally many media, from the lowest logits up: media, mean probability, share of fakes."""
    order = np.argsort(logits, kind="stable")
    return [
        {
            "media": len(part),
            "probability": float(sigmoid(logits[part]).mean()),
            "share_fake": float((labels[part] == 1).mean()),
        }
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    ]


def calibration_error(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean distance of probability and share of fakes over the bins of `reliability`, weighted by media (0 to 1)."""
    return sum(row["media"] * abs(row["probability"] - row["share_fake"]) for row in reliability(labels, logits)) / len(
        labels
    )
