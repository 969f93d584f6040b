"""How good logits are: over all media and by generator, the weakest first, with intervals over sources; by face, by
crop, by where reals come from; under damage; and which media are most wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from deepfake.score.gain import error_of, metric_of
from deepfake.score.metrics import equal_error_rate
from deepfake.score.pool import sigmoid

SURE = 3.0  # |logit| from which a verdict is a sure one: P(fake) above .95, or below .05
FALSE_ALARMS = (0.01, 0.001)  # shares of the reals called fake at which the share of fakes found is told
WIDE = 1.96  # standard errors on each side of an interval that holds the truth 19 times in 20
CALIBRATION_BINS = 10
MOST_SOURCES = 20  # of reals; more of them are people or takes rather than sources


def evaluate(media: pd.DataFrame, *, threshold: float = 0.0) -> pd.DataFrame:
    """A row over all media, then a row for each method against all reals, the weakest (by AUC) first.

    media: label (0 or 1), method, source (media that share one vary together) and logit, a row a medium. threshold: the
    logit from which a medium is called fake, beside .5. Columns: those of figures, and `method` ("all" for all).
    """
    reals, fakes = media[media.label == 0], media[media.label == 1]
    rows = [{"method": "all"} | figures(media, threshold=threshold)]
    methods = _methods(fakes)
    if methods.nunique() > 1:
        parts = [(method, pd.concat([reals, part])) for method, part in fakes.groupby(methods)]
        found = [{"method": method} | figures(part, threshold=threshold) for method, part in parts]
        rows += sorted(found, key=_weakest_first)
    return pd.DataFrame(rows)


def by_face(media: pd.DataFrame, *, threshold: float = 0.0) -> pd.DataFrame:
    """A row over the media in which a face was found (bool column `found`), and one over the others; no row where all
    media are of one kind. Columns: `part`, and those of figures."""
    kinds = [(name, media[media.found == found]) for name, found in (("face found", True), ("no face found", False))]
    return _parts([(name, part) for name, part in kinds if len(part)], threshold)


def by_frame(media: pd.DataFrame, crops: pd.DataFrame, *, threshold: float = 0.0) -> pd.DataFrame:
    """A row over media in which a face was found, and one over their single crops (label, method, source, logit); no
    row where no medium has several crops. Columns: as by_face."""
    with_face = media[media.found]
    return _parts([("medium", with_face), ("crop", crops)] if len(crops) > len(with_face) else [], threshold)


def by_real_source(media: pd.DataFrame, *, threshold: float = 0.0) -> pd.DataFrame:
    """A row for the reals of each source against all fakes, and one against each method's, the weakest first.

    media: as of evaluate, with real_source as real_sources gives it. Columns: `part` (the source), `method` ("all" for
    all) and those of figures; no row where no source is known.
    """
    fakes = media[media.label == 1]
    rows = [
        {"part": source} | row
        for source, reals in media[(media.label == 0) & (media.real_source != "")].groupby("real_source")
        for row in evaluate(pd.concat([reals, fakes]), threshold=threshold).to_dict("records")
    ]
    return pd.DataFrame(sorted(rows, key=_weakest_first))


def real_sources(media: pd.DataFrame) -> pd.Series:
    """Where each real comes from, "" of fakes and of reals of which that is not known.

    media: label, method, path. It is the real's method where these differ. Else it is the first folder in which the
    paths of the reals differ: of `test/a/0_real/1.png` and `test/b/0_real/1.png`, `a` and `b`. Where they all lie in
    one folder, or in more than MOST_SOURCES of them, it is not known.
    """
    sources = pd.Series("", media.index, dtype=object)
    reals = media[media.label == 0]
    given = reals.method.fillna("real")
    if given.nunique() <= 1:
        folders = [path.split("/")[:-1] for path in reals.path]
        level = next((level for level, names in enumerate(zip(*folders)) if len(set(names)) > 1), None)
        if level is None:  # below all that they share, some lie in no folder of their own
            level = min(map(len, folders), default=0)
        given = pd.Series([names[level] if level < len(names) else "." for names in folders], reals.index, dtype=object)
    if 1 < given.nunique() <= MOST_SOURCES:
        sources[reals.index] = given.astype(object)
    return sources


def ranking(media: pd.DataFrame) -> pd.DataFrame:
    """Media from the most fake to the most real: path, label, method, logit, and P(fake) as prob_fake."""
    order = media.sort_values(["logit", "path"], ascending=[False, True], ignore_index=True)
    return order[["path", "label", "method", "logit"]].assign(prob_fake=sigmoid(order.logit.to_numpy(float)))


def most_wrong(order: pd.DataFrame, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of a ranking: the reals with the highest logits, and the fakes with the lowest, the worst first."""
    labels = order.label.astype("float64")
    return order[labels == 0].head(count), order[labels == 1][::-1].head(count)


def under_damage(media: pd.DataFrame, damaged: dict[str, pd.Series], *, threshold: float = 0.0) -> pd.DataFrame:
    """A row for the media as they are (`none`), and one for each condition.

    media: as of evaluate, with media_id, and `found`: whether models spoke for it. damaged: condition → logits by
    media_id. Columns: `condition`, those of figures, and two of the media for which models spoke: `flipped`, the share
    whose verdict (logit ≥ threshold: fake) is another than undamaged, and `to_fake`, the share of these that were
    called real before; nan where there is nothing to count.
    """
    rows = [{"condition": "none"} | figures(media, threshold=threshold) | {"flipped": 0.0, "to_fake": math.nan}]
    before = (media.logit >= threshold).to_numpy()
    for condition, logits in damaged.items():
        now = media.assign(logit=media.media_id.map(logits))
        flipped = ((now.logit >= threshold).to_numpy() != before)[media.found.to_numpy(bool)]
        was_real = ~before[media.found.to_numpy(bool)]
        shares = {
            "flipped": float(flipped.mean()) if len(flipped) else math.nan,
            "to_fake": float(was_real[flipped].mean()) if flipped.any() else math.nan,
        }
        rows.append({"condition": condition} | figures(now, threshold=threshold) | shares)
    return pd.DataFrame(rows)


def _methods(fakes: pd.DataFrame) -> pd.Series:
    return fakes.method.fillna("fake").replace("", "fake")


def _weakest_first(row: dict[str, Any]) -> tuple[float, str]:
    return float(np.nan_to_num(row["auc"], nan=2.0)), row["method"]


def _parts(parts: list[tuple[str, pd.DataFrame]], threshold: float) -> pd.DataFrame:
    """The figures of several parts; no row where there is but one."""
    rows = [{"part": name} | figures(part, threshold=threshold) for name, part in parts if len(parts) > 1]
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
