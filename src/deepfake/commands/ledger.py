"""ledger: every submission with what cross-validation promised and what the board said; and entering what it said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.commands import Chain
from deepfake.config import Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.workspace.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "every submission with its cv and the board's scores; name= public= private= enters them"
READS = ("paths", "name", "public", "private")
ORDER = 90


def check(cfg: Config) -> None:
    """UserError for scores that belong to no submission, or are none."""
    for board, score in _scores(cfg).items():
        if not math.isfinite(score):
            raise UserError(f"{board}={score}; allowed: a finite number")
        if not cfg.name:
            raise UserError(f"{board}={score:g} of which submission? give name=NAME too; `ledger` alone lists them")


def run(cfg: Config, chain: Chain) -> pd.DataFrame:
    """Enter the board's scores where some are given, else print the ledger to standard output; gives it back."""
    from deepfake.score.leaderboard import enter_scores

    check(cfg)
    scores, ledger = _scores(cfg), Ledger.of(cfg.paths.submissions)
    if not scores:
        return _show(ledger)
    table = ledger.change(lambda table: enter_scores(table, cfg.name, scores))
    row = table[table["name"] == cfg.name].iloc[-1]
    entered = ", ".join(f"{board} {score:g}" for board, score in scores.items())
    which = f"{cfg.name}, its newest file ({row.format}, {row.created}, sha256 {row.sha256[:12]})"
    say("ledger", f"{which}: {entered} → {ledger.path}")
    return table


def _scores(cfg: Config) -> dict[str, float]:
    given = {"public": cfg.public, "private": cfg.private}
    return {board: score for board, score in given.items() if score is not None}


def _show(ledger: Ledger) -> pd.DataFrame:
    from deepfake.score.leaderboard import agreement, describe, near_pairs

    table = ledger.read()
    if table.empty:
        say("ledger", f"{ledger.path}: no submission yet; infer writes them")
    else:
        print("\n".join([describe(table), "", *agreement(table), *near_pairs(_files(ledger.path.parent, table))]))
    return table


def _files(submissions: Path, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scores of every submission whose file is still as it was written, by name."""
    from deepfake.score.formats import FORMATS

    files = {}
    for row in table[table.format.isin(FORMATS)].itertuples():
        form = FORMATS[row.format]
        path = submissions / row.name / form.file
        if path.is_file() and sha256(path) == row.sha256:
            files[row.name] = form.read(path)
    return files
