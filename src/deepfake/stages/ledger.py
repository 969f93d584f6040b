"""ledger: every submission with what cross-validation promised and what the board said; and entering what it said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.stages.common import say
from deepfake.stages.submit import change_ledger, read_ledger

if TYPE_CHECKING:
    import pandas as pd


def run(cfg: Config) -> None:
    """Enter the board's scores where some are given, else print the ledger to standard output."""
    from deepfake.score.ledger import enter_scores

    check(cfg)
    scores = _scores(cfg)
    if scores:
        ledger = change_ledger(cfg, lambda ledger: enter_scores(ledger, cfg.name, scores))
        row = ledger[ledger["name"] == cfg.name].iloc[-1]
        entered = ", ".join(f"{board} {score:g}" for board, score in scores.items())
        which = f"{cfg.name}, its newest file ({row.format}, {row.created}, sha256 {row.sha256[:12]})"
        say("ledger", f"{which}: {entered} → {layout.ledger_table(cfg.paths.submissions)}")
    else:
        _show(cfg)


def check(cfg: Config) -> None:
    """UserError for scores that belong to no submission, or are none."""
    for board, score in _scores(cfg).items():
        if not math.isfinite(score):
            raise UserError(f"{board}={score}; allowed: a finite number")
        if not cfg.name:
            raise UserError(f"{board}={score:g} of which submission? give name=NAME too; `ledger` alone lists them")


def _scores(cfg: Config) -> dict[str, float]:
    given = {"public": cfg.public, "private": cfg.private}
    return {board: score for board, score in given.items() if score is not None}


def _show(cfg: Config) -> None:
    from deepfake.score.ledger import agreement, describe, near_pairs

    ledger = read_ledger(cfg)
    if ledger.empty:
        say("ledger", f"{layout.ledger_table(cfg.paths.submissions)}: no submission yet; infer writes them")
        return
    print("\n".join([describe(ledger), "", *agreement(ledger), *near_pairs(_files(cfg, ledger))]))


def _files(cfg: Config, ledger: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scores of every submission whose file is still as it was written, by name."""
    from deepfake.score.formats import FORMATS

    files = {}
    for row in ledger[ledger.format.isin(FORMATS)].itertuples():
        form = FORMATS[row.format]
        path = layout.submission_file(cfg.paths.submissions, row.name, form.file)
        if path.is_file() and sha256(path) == row.sha256:
            files[row.name] = form.read(path)
    return files
