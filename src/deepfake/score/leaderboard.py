"""The record of submissions: what each file was made of, its cross-validated score and the board's."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from deepfake.errors import UserError
from deepfake.score.validate import rank_correlation

BOARDS = ("public", "private")
SAME_RANKS = 0.999  # rank correlation from which two submissions are nearly the same
SAME_SCORES = 0.001  # mean difference of P(fake) below which they are
FEWEST = 3  # submissions with both scores that a rank correlation needs


def record(ledger: pd.DataFrame, row: dict[str, Any]) -> pd.DataFrame:
    """The ledger with the row of a submission that was just written, as the last row of its name.

    A file that the ledger knows already, by name and sha256, keeps its row with the board's scores; its cv is replaced
    where `row` has one.
    """
    known = (ledger["name"] == row["name"]) & (ledger.sha256 == row["sha256"])
    if not known.any():
        return pd.concat([ledger.astype(object), pd.DataFrame([row], dtype=object)], ignore_index=True)
    kept = ledger[known].copy()
    if row["cv"] is not None:
        kept = kept.assign(cv=row["cv"], cv_metric=row["cv_metric"])
    if ledger.sha256[ledger["name"] == row["name"]].iloc[-1] == row["sha256"]:
        return pd.concat([ledger[~known], kept]).sort_index()
    return pd.concat([ledger[~known], kept], ignore_index=True)


def enter_scores(ledger: pd.DataFrame, name: str, scores: dict[str, float]) -> pd.DataFrame:
    """The ledger with the board's scores (public, private) in a name's newest row. UserError for an unknown name."""
    rows = ledger.index[ledger["name"] == name]
    if rows.empty:
        there = ", ".join(ledger["name"].unique()) or "none yet"
        raise UserError(f"name={name}: no submission of that name is in the ledger; there are: {there}")
    ledger = ledger.copy()
    for board, score in scores.items():
        ledger.loc[rows[-1], board] = score
    return ledger


def describe(ledger: pd.DataFrame) -> str:
    """A line for each submission: name, created, cv, the board's scores, and the board's scores less cv."""
    shown = ledger[["name", "created", "format", "rows", "cv_metric", "cv", *BOARDS]].copy()
    for board in BOARDS:
        shown[f"{board} - cv"] = ledger[board] - ledger.cv
    return shown.astype({"cv_metric": object}).to_string(index=False, na_rep="-", float_format=_figure)


def _figure(value: float) -> str:
    return f"{value:.5f}" if abs(value) < 1e4 else f"{value:.5g}"


def agreement(ledger: pd.DataFrame) -> list[str]:
    """A line for each board and metric of cv: the rank correlation of cv and the board's scores."""
    lines, most = [], 0
    for metric, rows in ledger[ledger.cv.notna()].groupby("cv_metric"):
        for board in BOARDS:
            both = rows[rows[board].notna()]
            most = max(most, len(both))
            if len(both) >= FEWEST:
                found = rank_correlation(both.cv.to_numpy(float), both[board].to_numpy(float))
                lines.append(f"cv ({metric}) and {board}: rank correlation {found:.3f} over {len(both)} submissions")
    needed = f"{FEWEST} submissions with a board's score and a cv of one metric; there are {most}"
    return lines or [f"cv and board: no rank correlation yet, which needs {needed}"]


def near_pairs(submissions: dict[str, pd.DataFrame]) -> list[str]:
    """A line for every two submissions of the same media whose scores are nearly equal.

    submissions: name → its (name, score) table.
    """
    sorted_rows = {name: rows.sort_values("name", kind="stable") for name, rows in submissions.items()}
    lines = []
    for (first, one), (second, other) in combinations(sorted_rows.items(), 2):
        if list(one.name) != list(other.name):
            continue
        ranks = rank_correlation(one.score.to_numpy(), other.score.to_numpy())
        apart = float(np.abs(one.score.to_numpy() - other.score.to_numpy()).mean())
        if ranks >= SAME_RANKS or apart < SAME_SCORES:
            figures = f"rank correlation {ranks:.4f}, mean difference of P(fake) {apart:.4f}"
            lines.append(f"{first} and {second} are nearly equal: {figures}")
    return lines
