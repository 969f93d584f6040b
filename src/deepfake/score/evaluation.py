"""How good logits are: over all media and by generator, the weakest first, with intervals over sources."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from deepfake.score.gain import error_of, metric_of
from deepfake.score.metrics import equal_error_rate

SURE = 3.0  # |logit| from which a verdict is a sure one: P(fake) above .95, or below .05
FALSE_ALARMS = (0.01, 0.001)  # shares of the reals called fake at which the share of fakes found is told
WIDE = 1.96  # standard errors on each side of an interval that holds the truth 19 times in 20
CALIBRATION_BINS = 10


def evaluate(media: pd.DataFrame, *, threshold: float = 0.0) -> pd.DataFrame:
    """A row over all media, then a row for each method against all reals, the weakest (by AUC) first.

    media: label (0 or 1), method, source (media that share one vary together) and logit, a row a medium. threshold: the
    logit from which a medium is called fake, beside .5. Columns: those of figures, and `method` ("all" for all).
    """
    reals, fakes = media[media.label == 0], media[media.label == 1]
    rows = [{"method": "all"} | figures(media, threshold=threshold)]
    methods = fakes.method.fillna("fake").replace("", "fake")
    if methods.nunique() > 1:
        parts = [(method, pd.concat([reals, part])) for method, part in fakes.groupby(methods)]
        found = [{"method": method} | figures(part, threshold=threshold) for method, part in parts]
        rows += sorted(found, key=lambda row: (np.nan_to_num(row["auc"], nan=2.0), row["method"]))
    return pd.DataFrame(rows)


def figures(media: pd.DataFrame, *, threshold: float) -> dict[str, Any]:
    """The figures of some media; nan for those that need both classes where one is missing.

    auc_low, auc_high: the interval that holds the true AUC 19 times in 20, if sources are a sample (Obuchowski 1997).
    accuracy at P(fake) = .5, and tuned_accuracy at the threshold. tpr_1 and tpr_01: share of fakes that are found where
    1 % and .1 % of the reals are called fake. calibration_error: mean distance of P(fake) from the share of fakes, over
    ten bins of P(fake) of equal width (Naeini et al., 2015). surely_wrong: share of media whose |logit| is above SURE
    and that are of the other class.
    """
    labels, logits = media.label.to_numpy(int), media.logit.to_numpy(float)
    groups = pd.factorize(media.source)[0]
    both = 0 < labels.sum() < len(labels)
    auc = metric_of("auc", labels, logits)
    low, high = auc_interval(labels, logits, groups, auc) if both else (math.nan, math.nan)
    found = {
        "reals": int((labels == 0).sum()),
        "fakes": int(labels.sum()),
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
    }
    found |= {"ap": metric_of("ap", labels, logits), "eer": equal_error_rate(labels, logits) if both else math.nan}
    for name, share in zip(("tpr_1", "tpr_01"), FALSE_ALARMS, strict=True):
        found[name] = share_found(labels, logits, share) if both else math.nan
    found |= {"accuracy": metric_of("accuracy", labels, logits)}
    found |= {"tuned_accuracy": metric_of("accuracy", labels, logits - threshold)}
    found |= {"log_loss": metric_of("log_loss", labels, logits)}
    found |= {"calibration_error": calibration_error(labels, logits)}
    return found | {"surely_wrong": float(((np.abs(logits) > SURE) & ((logits > 0) != (labels == 1))).mean())}


def auc_interval(labels: np.ndarray, logits: np.ndarray, groups: np.ndarray, auc: float) -> tuple[float, float]:
    """What holds the true AUC 19 times in 20, where media of one group vary together.

    An AUC of exactly 1 or 0 shows no spread: its other end is then the chance of one source at which as many sources as
    there are of the rarer class agree once in 20 times (the rule of three, exact).
    """
    if auc in (0.0, 1.0):
        sources = min(len(np.unique(groups[labels == label])) for label in (0, 1))
        reach = 0.05 ** (1 / sources)
        return (reach, 1.0) if auc == 1 else (0.0, 1 - reach)
    error = WIDE * error_of("auc", labels, groups, logits)
    return max(0.0, auc - error), min(1.0, auc + error)


def share_found(labels: np.ndarray, logits: np.ndarray, false_alarms: float) -> float:
    """Share of the fakes above the lowest threshold at which at most this share of the reals is called fake."""
    reals = np.sort(logits[labels == 0])[::-1]
    bound = reals[int(false_alarms * len(reals))]  # so many reals may lie above it
    return float((logits[labels == 1] > bound).mean())


def calibration_error(labels: np.ndarray, logits: np.ndarray) -> float:
    """The expected calibration error of P(fake), in [0, 1]."""
    probs = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    bins = np.minimum((probs * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    apart = np.bincount(bins, probs, CALIBRATION_BINS) - np.bincount(bins, labels, CALIBRATION_BINS)
    return float(np.abs(apart).sum() / len(labels))
