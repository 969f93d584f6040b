"""What is wrong with a submission file, said before a board says it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake.errors import UserError
from deepfake.score.formats import LABELS, WORDS, Content, Format, number
from deepfake.score.pool import sigmoid

MOST_NAMED = 20  # names in a line
SAME = 1e-6  # probabilities that differ by less are the same


def faults(
    path: Path, form: Format, expected: pd.DataFrame, *, ordered: bool = False, logits: pd.Series | None = None
) -> list[str]:
    """A line for every kind of fault of the file at `path`: `kind: what came; what is allowed`.

    expected: the rows that it must have, name and media_id. ordered: whether rows must stand in that order, as with a
    sample submission; in a format without names they always must. logits: by media_id, those that the file was made
    of, where they are known.
    """
    try:
        content = form.content(path)
    except UserError as error:
        return [f"unreadable: {error}"]
    found = file_faults(content, form, expected, ordered=ordered)
    scores = form.scores(content.rows.value)
    if not found and logits is not None:
        if form.named:
            scores = pd.Series(scores.to_numpy(), index=content.rows["name"]).loc[expected["name"]]
        found = origin_faults(scores.to_numpy(), expected, form, logits)
    return found + constant_faults(scores)


def file_faults(content: Content, form: Format, expected: pd.DataFrame, *, ordered: bool = False) -> list[str]:
    """What is wrong with header, rows and values, whatever the scores mean."""
    found = _header_faults(content, form)
    if content.ragged:
        found.append(f"fields: {_listed(content.ragged)}; allowed: {2 if form.named else 1}")
    rows = content.rows
    if not form.named:
        found += [f"count: {len(rows)} scores; allowed: {len(expected)}"] if len(rows) != len(expected) else []
    else:
        found += _name_faults(rows["name"], expected["name"], ordered=ordered)
    return found + _value_faults(rows, form)


def constant_faults(scores: pd.Series) -> list[str]:
    """One line where several media all have the same score."""
    if len(scores) < 2 or scores.nunique(dropna=False) > 1 or scores.isna().any():
        return []
    return [f"constant: all {len(scores)} scores say {scores.iloc[0]:.6g} for P(fake)"]


def origin_faults(scores: np.ndarray, expected: pd.DataFrame, form: Format, logits: pd.Series) -> list[str]:
    """A line where scores were not made of these logits: they stand at other rows, or are inverted.

    scores: P(fake) (N,), for the N expected rows in their order. logits: by media_id.
    """
    made_of = sigmoid(logits.loc[expected.media_id].to_numpy())
    differ = np.abs(scores - made_of) > SAME
    same_scores = np.allclose(np.sort(scores), np.sort(made_of), atol=SAME, rtol=0)
    if form.answer in ("fake", "real") and differ.any() and same_scores:
        row = int(np.argmax(differ))
        who = f"row {row + 1}, {expected['name'].iloc[row]!r}, has {scores[row]:.6g} and not {made_of[row]:.6g}"
        return [f"order: the scores of the logits beside it, but at other rows: {who}"]
    agreement = rank_correlation(scores, made_of)
    if agreement < 0:
        return [f"inverted: rank correlation {agreement:.3f} with the logits beside it: does a high score mean real?"]
    return []


def doubts(scores: np.ndarray, out_of_fold: np.ndarray) -> list[str]:
    """A warning where P(fake) (N,) is spread unlike out-of-fold P(fake) (M,); an unlike test set explains it as well.

    The spreads differ by the mean distance of their quantiles. It is also taken of the inverted scores.
    """
    levels = np.linspace(0, 1, 101)
    ours, theirs = np.quantile(scores, levels), np.quantile(out_of_fold, levels)
    apart, inverted = (float(np.abs(one - theirs).mean()) for one in (ours, 1 - ours[::-1]))
    means = f"mean P(fake) {np.mean(scores):.3f}, out-of-fold {np.mean(out_of_fold):.3f}"
    if apart > 0.1 and inverted < apart / 2:
        return [f"looks inverted: 1 - score is spread as out-of-fold ({means})"]
    return [f"spread unlike out-of-fold: {means}"] if apart > 0.25 else []


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, with the mean rank for ties; nan where one is constant or there are fewer than two."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(pd.Series(first).rank(), pd.Series(second).rank())[0, 1])


def _header_faults(content: Content, form: Format) -> list[str]:
    if content.header == (form.columns or ()):
        return []
    came = form.separator.join(content.header) if content.header else "no header"
    return [f"header: {came!r}; allowed: {form.separator.join(form.columns or ())!r}"]


def _name_faults(names: pd.Series, expected: pd.Series, *, ordered: bool) -> list[str]:
    missing, extra = expected[~expected.isin(names)], names[~names.isin(expected)]
    doubled = names[names.duplicated()].unique()
    found = []
    if len(missing):
        found.append(f"missing: {len(missing)} of {len(expected)} rows: {_listed(missing)}")
    if len(doubled):
        found.append(f"double: {len(doubled)} names are there more than once: {_listed(doubled)}")
    if len(extra):
        found.append(f"extra: {len(extra)} rows that nobody asks for: {_listed(extra)}")
    if not found and ordered and list(names) != list(expected):
        row = next(i for i, pair in enumerate(zip(names, expected, strict=True)) if pair[0] != pair[1])
        found.append(f"order: row {row + 1} is {names.iloc[row]!r}; the sample submission has {expected.iloc[row]!r}")
    return found


def _value_faults(rows: pd.DataFrame, form: Format) -> list[str]:
    """A line for each kind of wrong value; a value counts for the first kind that fits."""
    found, values = [], rows.value.astype(object)
    for kind, allowed, is_wrong in _value_rules(form):
        wrong = values.map(is_wrong).astype(bool)
        if wrong.any():
            where = rows.name[wrong] if form.named else "row " + (rows.index[wrong] + 1).astype(str)
            said = [f"{name} = {value!r}" for name, value in zip(where, values[wrong], strict=True)]
            found.append(f"{kind}: {len(said)} values: {_listed(said)}; allowed: {allowed}")
        values = values[~wrong]
        rows = rows[~wrong]
    return found


def _value_rules(form: Format) -> list[tuple[str, str, Callable[[str], bool]]]:
    """(kind of fault, what is allowed, whether a value has the fault), in the order of asking.

    A later question is asked only of values that passed the earlier ones.
    """
    if form.answer in ("label", "word"):
        words = LABELS if form.answer == "label" else WORDS
        allowed = " or ".join(words)
        return [
            ("empty", allowed, lambda text: not text.strip()),
            (f"no {form.answer}", allowed, lambda text: text not in words),
        ]
    allowed = "0 to 1"
    return [
        ("empty", allowed, lambda text: not text.strip()),
        ("not a number", f"{allowed}, in plain digits as 0.25 or 2.5e-1", lambda text: number(text) is None),
        ("not finite", allowed, lambda text: not math.isfinite(float(text))),
        ("out of range", allowed, lambda text: not 0 <= float(text) <= 1),
    ]


def _listed(items: Iterable[str]) -> str:
    names = [str(item) for item in items]
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest
