"""From the logits of views, frames, faces, folds and runs to one logit a medium: POOLINGS, each by its name.

A pooling takes rows, one for each crop and view (and fold, and run), with the columns media_id, frame_idx, face_idx,
track_id, prob, side, sharpness, logit; other columns and the order of rows do not matter. It gives a float64 Series
`logit` by media_id, sorted, finite where the rows are. All begin with crop_logits. Centre squares and whole pictures
are crops like others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from deepfake.tables import FACE_KEY


def view_rows(crops: pd.DataFrame, logits: np.ndarray, views: list[str]) -> pd.DataFrame:
    """Crops (N rows of the faces table) with logits (N, V) → N x V rows: the crops' columns, side (px), view, logit."""
    crops = crops.assign(side=np.sqrt((crops.x1 - crops.x0) * (crops.y1 - crops.y0)))
    parts = [crops.assign(view=view, logit=logits[:, number]) for number, view in enumerate(views)]
    return pd.concat(parts, ignore_index=True)


def crop_logits(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a crop, sorted by FACE_KEY: the mean of its logits over views, folds and runs, as float64."""
    of_crop = dict.fromkeys(("track_id", "prob", "side", "sharpness"), "first")
    exact = rows.assign(logit=rows.logit.astype(np.float64))
    return exact.groupby(list(FACE_KEY), as_index=False, sort=True).agg(of_crop | {"logit": "mean"})


def mean_logits(rows: pd.DataFrame) -> pd.Series:
    """The plain mean of each medium's logits: (media_id, logit) rows → Series of logits by media_id."""
    return rows.groupby("media_id", sort=True).logit.mean()


def mean(rows: pd.DataFrame) -> pd.Series:
    """Σ x / n over a medium's crops: the geometric mean of their odds."""
    return mean_logits(crop_logits(rows))


def median(rows: pd.DataFrame) -> pd.Series:
    """The middle logit of a medium's crops, or the mean of the two in the middle."""
    return crop_logits(rows).groupby("media_id", sort=True).logit.median()


def trimmed_mean(rows: pd.DataFrame) -> pd.Series:
    """The mean without the ⌊n / 5⌋ lowest and the ⌊n / 5⌋ highest of n crops: scipy.stats.trim_mean(x, 0.2)."""
    crops, place, count = _ranked(rows)
    return mean_logits(crops[place.between(count // 5, count - count // 5 - 1)])


def top_mean(rows: pd.DataFrame) -> pd.Series:
    """The mean of the max(1, ⌊n / 4⌋) highest of n crops, for media that are forged in part.

    Top instances of Li and Vasconcelos, "Multiple instance learning for soft bags via top instances", 2015.
    """
    crops, place, count = _ranked(rows)
    return mean_logits(crops[place >= count - (count // 4).clip(lower=1)])


def track_max(rows: pd.DataFrame) -> pd.Series:
    """max over tracks of the mean over the track's crops: a medium is as fake as the most fake person in it.

    Multiple-instance learning for media in which one of several people is forged: Li et al., "Sharp multiple instance
    learning for DeepFake video detection", 2020.
    """
    return _track_logits(rows).groupby(level="media_id", sort=True).max()


def largest_face(rows: pd.DataFrame) -> pd.Series:
    """The mean over frames of the logit of each frame's largest face by `side`; of equal ones, the lowest face_idx."""
    by_side = crop_logits(rows).sort_values("side", ascending=False, kind="stable")
    return mean_logits(by_side.drop_duplicates(["media_id", "frame_idx"]))


def noisy_or(rows: pd.DataFrame) -> pd.Series:
    """A medium is fake if any of its tracks is: P = 1 - Π (1 - σ(m)) over the means m of its tracks, as a logit.

    With s = Σ log(1 + e^m) this logit is log(e^s - 1) = s + log(1 - e^-s), and log s for small s. The sum is kept in
    logarithms, so that neither end overflows. The noisy-or is that of Viola, Platt and Zhang, "Multiple instance
    boosting for object detection", 2005.
    """
    tracks = _track_logits(rows)
    logs = pd.Series(_log_softplus(tracks.to_numpy()), tracks.index, name="logit")
    highest = logs.groupby(level="media_id", sort=True).max()
    log_sum = highest + np.log(np.exp(logs - highest).groupby(level="media_id", sort=True).sum())
    total = np.exp(log_sum)
    return total + log_sum.where(log_sum < -30, np.log(-np.expm1(-total.clip(lower=1e-14))))


def confident(rows: pd.DataFrame) -> pd.Series:
    """The mean of crops' probabilities p of fake, of sure crops alone where these prevail; as a logit.

    The mean is over crops with p > .8 where these are more than n / 2.5 and more than 11 of n crops; else over crops
    with p < .2 where these are more than .9 n; else over all. It is clipped to 1e-6 … 1 - 1e-6. `confident_strategy`
    of Seferbekov's winning solution of the DFDC, 2020, where the n crops are the faces of 32 frames.
    """
    crops = crop_logits(rows)
    probs, media_ids = pd.Series(sigmoid(crops.logit.to_numpy())), crops.media_id
    count = probs.groupby(media_ids).transform("size")
    fake, real = probs > 0.8, probs < 0.2
    num_fake, num_real = (sure.groupby(media_ids).transform("sum") for sure in (fake, real))
    is_fake, is_real = (num_fake > count / 2.5) & (num_fake > 11), num_real > 0.9 * count
    counted = fake.where(is_fake, real | ~is_real)
    return _to_logit(probs[counted].groupby(media_ids[counted], sort=True).mean().clip(1e-6, 1 - 1e-6))


def sharpened(rows: pd.DataFrame) -> pd.Series:
    """Crops' probabilities p of fake, pushed away from .5 and averaged with weights |p - .5|; as a logit.

    d = p - .5; q = .5 + sign(d) · .5 · |2 d|^.65, clipped to .01 … .99; Σ w q / Σ w with w = |d| + 1e-4. After
    NtechLab's third place of the DFDC, 2020. Theirs is q = .5 + sign(d) · |d|^.65, which clipping flattens beyond
    p = .17 and p = .83; the scale here keeps p = 0 and p = 1 in place until the clipping.
    """
    crops = crop_logits(rows)
    away = sigmoid(crops.logit.to_numpy()) - 0.5
    sharp = (0.5 + np.sign(away) * 0.5 * np.abs(2 * away) ** 0.65).clip(0.01, 0.99)
    return _to_logit(_weighted_mean(crops.assign(logit=sharp), np.abs(away) + 1e-4))


def mean_by_side(rows: pd.DataFrame) -> pd.Series:
    """Σ w x / Σ w with w = side in px of the frame: larger faces show more."""
    crops = crop_logits(rows)
    return _weighted_mean(crops, crops.side)


def mean_by_prob(rows: pd.DataFrame) -> pd.Series:
    """Σ w x / Σ w with w = the detector's probability, 1 where nothing was detected: doubtful faces count less."""
    crops = crop_logits(rows)
    return _weighted_mean(crops, crops.prob.astype(np.float64).fillna(1.0))


def mean_by_sharpness(rows: pd.DataFrame) -> pd.Series:
    """Σ w x / Σ w with w = sharpness: blur hides the traces of forgery."""
    crops = crop_logits(rows)
    return _weighted_mean(crops, crops.sharpness)


Pooling = Callable[[pd.DataFrame], pd.Series]
POOLINGS: dict[str, Pooling] = {
    pooling.__name__: pooling
    for pooling in (
        mean,
        median,
        trimmed_mean,
        top_mean,
        track_max,
        largest_face,
        noisy_or,
        confident,
        sharpened,
        mean_by_side,
        mean_by_prob,
        mean_by_sharpness,
    )
}


def sigmoid(logits: np.ndarray | float) -> np.ndarray:
    """Log-odds → probability, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, float)))


def log_odds(prob: float) -> float:
    """Probability → log-odds, -inf of 0 and inf of 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(np.divide(prob, 1 - prob)))


def _to_logit(probs: pd.Series) -> pd.Series:
    """Probabilities above 0 and below 1 → log-odds."""
    return (np.log(probs) - np.log1p(-probs)).rename("logit")


def _log_softplus(logits: np.ndarray) -> np.ndarray:
    """log(log(1 + e^x)); for x below -30, where e^x may be too small for a float, x itself, exact to 1e-13."""
    return np.where(logits < -30, logits, np.log(np.logaddexp(0, np.maximum(logits, -30))))


def _ranked(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Crops sorted by medium and logit; each crop's place in its medium, 0 = lowest; and its medium's crops."""
    crops = crop_logits(rows).sort_values(["media_id", "logit"], kind="stable")
    by_medium = crops.groupby("media_id").logit
    return crops, by_medium.cumcount(), by_medium.transform("size")


def _track_logits(rows: pd.DataFrame) -> pd.Series:
    """The mean logit of each track's crops, by media_id and track_id."""
    return crop_logits(rows).groupby(["media_id", "track_id"], sort=True).logit.mean()


def _weighted_mean(crops: pd.DataFrame, weights: pd.Series | np.ndarray) -> pd.Series:
    """Σ w x / Σ w of each medium's logits; the plain mean where all of its weights are 0."""
    weights = pd.Series(weights, crops.index, dtype=np.float64)
    weights = weights.where(weights.groupby(crops.media_id).transform("sum") > 0, 1.0)
    sums = (weights * crops.logit).groupby(crops.media_id, sort=True).sum()
    return (sums / weights.groupby(crops.media_id, sort=True).sum()).rename("logit")
