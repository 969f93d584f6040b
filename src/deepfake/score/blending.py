"""From the logits of several runs to one: what a blend can fit, and how it is fitted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepfake.score.calibrate import fit_limit, fit_slope_and_bias, fit_threshold, smoothed_targets
from deepfake.score.evidence import Evidence
from deepfake.score.gain import direction, metric_of
from deepfake.score.pool import POOLINGS, log_odds, sigmoid

WEIGHTS = ("equal", "calibrated", "greedy", "logistic")
CALIBRATIONS = ("none", "calibrate", "clip", "both")
PICKS = 25  # of the greedy selection


@dataclass(frozen=True)
class BlendOptions:
    """What a blend fits, without the fitted numbers. The default is the plain mean of logits."""

    pool: str = "mean"
    """How a medium's logits become one: a name of POOLINGS."""
    weights: str = "equal"
    """How runs are weighted: one of WEIGHTS."""
    calibration: str = "none"
    """How the blended logit is corrected: one of CALIBRATIONS."""
    threshold: bool = False
    """Whether the threshold of decisions is tuned; otherwise it is logit 0."""
    inverted: tuple[str, ...] = ()
    """Runs that say real for fake: their logits are negated."""


@dataclass(frozen=True)
class Blend:
    """A fitted blend: clip(slope * (sum of weight * logit + offset) + bias), and the threshold of decisions."""

    runs: tuple[str, ...]
    options: BlendOptions
    weights: tuple[float, ...]
    """One for each of `runs`."""
    offset: float = 0.0
    slope: float = 1.0
    bias: float = 0.0
    limit: float | None = None
    """Logits are clipped to ±limit; None = not at all."""
    threshold: float = 0.0
    """The logit from which a medium is called fake."""

    @classmethod
    def plain(cls, run: str) -> Blend:
        """A run alone: the plain mean of its logits."""
        return cls((run,), BlendOptions(), (1.0,))

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """(N, R) pooled logits, those of inverted runs negated → (N,) logits."""
        blended = self.slope * (logits @ np.array(self.weights) + self.offset) + self.bias
        return blended if self.limit is None else np.clip(blended, -self.limit, self.limit)

    @property
    def tuned(self) -> float | None:
        """The threshold where one was tuned, else None."""
        return self.threshold if self.options.threshold else None

    def without_idle(self) -> Blend:
        """The same blend without runs of weight 0, so that nobody scores media with them."""
        active = [(run, weight) for run, weight in zip(self.runs, self.weights, strict=True) if weight != 0]
        if not active:  # nothing but the offset counts; a blend needs a run all the same
            return self
        runs, weights = zip(*active)
        return replace(self, runs=runs, weights=weights)

    def to_json(self) -> dict:
        """Plain values, for a file that people read."""
        return {
            "pool": self.options.pool,
            "runs": {
                run: {"weight": weight, "inverted": run in self.options.inverted}
                for run, weight in zip(self.runs, self.weights, strict=True)
            },
            "offset": self.offset,
            "slope": self.slope,
            "bias": self.bias,
            "limit": self.limit,
            "threshold": self.threshold,
            "fitted": {
                "weights": self.options.weights,
                "calibration": self.options.calibration,
                "threshold": self.options.threshold,
            },
        }

    @classmethod
    def from_json(cls, values: object) -> Blend:
        """The blend that to_json wrote. ValueError when `values` are something else.

        Files of older versions name the calibration "finish".
        """
        runs, fitted = _entry(values, "runs", dict), _entry(values, "fitted", dict)
        options = BlendOptions(
            pool=_name(values, "pool", POOLINGS),
            weights=_name(fitted, "weights", WEIGHTS),
            calibration=_name(fitted, "calibration" if "calibration" in fitted else "finish", CALIBRATIONS),
            threshold=_entry(fitted, "threshold", bool),
            inverted=tuple(run for run, row in runs.items() if _entry(row, "inverted", bool)),
        )
        limit = _entry(values, "limit", float, int, type(None))
        return cls(
            runs=tuple(runs),
            options=options,
            weights=tuple(_number(row, "weight") for row in runs.values()),
            offset=_number(values, "offset"),
            slope=_number(values, "slope"),
            bias=_number(values, "bias"),
            limit=None if limit is None else float(limit),
            threshold=_number(values, "threshold"),
        )


def _entry(values: object, key: str, *kinds: type) -> Any:
    """values[key]. ValueError when it is missing, or of none of these types."""
    entry = values.get(key, _entry) if isinstance(values, dict) else _entry
    if not isinstance(entry, kinds):
        raise ValueError(f"{key} is missing, or of another kind")
    return entry


def _number(values: object, key: str) -> float:
    return float(_entry(values, key, float, int))


def _name(values: object, key: str, allowed: Collection[str]) -> str:
    name = _entry(values, key, str)
    if name not in allowed:
        raise ValueError(f"{key} {name!r} is none of {', '.join(allowed)}")
    return name


def decision_logit(tuned: float | None, threshold: float) -> float:
    """The logit from which a medium is called fake: the tuned one, else that of P(fake) `threshold`."""
    return log_odds(threshold) if tuned is None else tuned


def fit(options: BlendOptions, evidence: Evidence, metric: str) -> Blend:
    """Fit the numbers of a blend to labels and logits. The greedy selection and the threshold serve `metric`."""
    logits, labels = evidence.logits(options.pool, options.inverted), evidence.labels
    weights, offset = _WEIGHTS[options.weights](labels, logits, metric)
    blended = logits @ weights + offset
    slope, bias, limit = 1.0, 0.0, None
    if options.calibration in ("calibrate", "both"):
        slope, bias = fit_slope_and_bias(labels, blended)
        blended = slope * blended + bias
    if options.calibration in ("clip", "both"):
        limit = fit_limit(labels, blended)
    threshold = fit_threshold(metric, labels, blended) if options.threshold else 0.0
    return Blend(evidence.runs, options, tuple(map(float, weights)), float(offset), slope, bias, limit, threshold)


# --- weights: labels (M,), logits (M, R) → (R,) weights and an offset


def _equal(labels: np.ndarray, logits: np.ndarray, metric: str) -> tuple[np.ndarray, float]:
    """The plain mean."""
    return np.full(logits.shape[1], 1 / logits.shape[1]), 0.0


def _calibrated(labels: np.ndarray, logits: np.ndarray, metric: str) -> tuple[np.ndarray, float]:
    """The mean of runs after each has its own slope and bias, so that no run drowns out the others."""
    slopes, biases = _calibrations(labels, logits)
    return slopes / len(slopes), float(biases.mean())


def _greedy(labels: np.ndarray, logits: np.ndarray, metric: str) -> tuple[np.ndarray, float]:
    """Forward selection with replacement over calibrated runs (Caruana et al., "Ensemble selection from libraries of
    models", 2004).

    Each pick adds the run that makes the mean best. The weights are shares of the picks up to the best mean of all.
    """
    slopes, biases = _calibrations(labels, logits)
    calibrated = logits * slopes + biases
    serves = metric if metric in ("auc", "ap") else "log_loss"
    picked, total, trail = np.zeros(len(slopes)), np.zeros(len(labels)), []
    for number in range(1, PICKS + 1):
        scores = [direction(serves) * metric_of(serves, labels, (total + run) / number) for run in calibrated.T]
        best = int(np.argmax(scores))
        picked[best] += 1
        total += calibrated[:, best]
        trail.append((scores[best], -number, picked / number))
    shares = max(trail, key=lambda step: step[:2])[2]  # among equally good means the one of the fewest picks
    return shares * slopes, float(shares @ biases)


def _logistic(labels: np.ndarray, logits: np.ndarray, metric: str) -> tuple[np.ndarray, float]:
    """Non-negative weights and an offset of the lowest log loss on smoothed targets (stacking: Wolpert, 1992)."""
    from scipy.optimize import minimize

    targets, scales = smoothed_targets(labels), np.maximum(np.abs(logits).max(0), 1e-12)
    inputs = np.column_stack([logits / scales, np.ones(len(labels))])

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        sums = inputs @ weights
        loss = (np.logaddexp(0, sums) - targets * sums).mean()
        return loss, inputs.T @ (sigmoid(sums) - targets) / len(targets)

    start = np.append(scales / logits.shape[1], 0.0)
    bounds = [(0, None)] * logits.shape[1] + [(None, None)]
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:-1] / scales, float(found[-1])


def _calibrations(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) slopes and (R,) biases, each run's fitted alone."""
    pairs = np.array([fit_slope_and_bias(labels, run) for run in logits.T])
    return pairs[:, 0], pairs[:, 1]


_WEIGHTS = dict(zip(WEIGHTS, (_equal, _calibrated, _greedy, _logistic), strict=True))
