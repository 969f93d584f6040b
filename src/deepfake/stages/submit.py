"""From logits to what is handed in: the file in the competition's format, its check, its row in the ledger, Kaggle."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.stages.common import alone, sample_path, say
from deepfake.tables import LEDGER, git_commit

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.score.formats import Format

LOCK_WAIT_S = 30.0  # others hold the ledger for as long as a small CSV takes to write


def check_submit(cfg: Config, media_ids: pd.Series) -> None:
    """UserError for what would keep a submission of these media from being written, entered or handed in."""
    expected_submission(cfg, media_ids)
    read_ledger(cfg)
    if cfg.submit.to == "kaggle" and not shutil.which("kaggle"):
        raise UserError("submit.to=kaggle needs the kaggle command, which is not installed: pip install kaggle")


def expected_submission(cfg: Config, media_ids: pd.Series) -> tuple[Format, pd.DataFrame, bool]:
    """The format, the rows (name, media_id) that a submission of these media needs, whether a sample orders them."""
    from deepfake.score.formats import FORMATS
    from deepfake.score.submission import expected_rows, read_sample

    form = FORMATS[cfg.submit.format]
    if cfg.infer.sample_submission and not form.takes_sample:
        raise UserError(
            f"infer.sample_submission={cfg.infer.sample_submission} with submit.format={cfg.submit.format}, whose "
            f"{form.file} has no columns to name: leave one of them out"
        )
    path = sample_path(cfg) if form.takes_sample else None
    if path is None:
        return form, expected_rows(form, media_ids, None), False
    sample = read_sample(path)
    return form.like(sample), expected_rows(form, media_ids, sample, path), True


def decision_logit(cfg: Config, tuned: float | None) -> float:
    """The logit from which a medium is called fake: the tuned one, else submit.threshold's."""
    from deepfake.score.pool import log_odds

    return log_odds(cfg.submit.threshold) if tuned is None else tuned


def stands(cfg: Config, name: str, media_ids: pd.Series) -> bool:
    """Whether a submission of these media lies there, in the format that is asked for, and without faults."""
    from deepfake.score.validate import faults

    form, rows, ordered = expected_submission(cfg, media_ids)
    path = layout.submission_file(cfg.paths.submissions, name, form.file)
    return path.is_file() and not faults(path, form, rows, ordered=ordered)


def write_draft(cfg: Config, name: str, logits: pd.Series, *, threshold: float | None) -> None:
    """What would be handed in if it all ended now; arguments as of write_submission."""
    form, rows, _ = expected_submission(cfg, logits.index.to_series())
    path = layout.submission_file(cfg.paths.submissions, name, form.file)
    scores = rows.assign(logit=logits.loc[rows.media_id].to_numpy())
    form.write(scores, path, threshold=decision_logit(cfg, threshold))


def write_submission(
    cfg: Config,
    name: str,
    logits: pd.Series,
    *,
    runs: list[str],
    config_sha256: str,
    threshold: float | None = None,
    cv: float | None = None,
    cv_metric: str | None = None,
) -> Path:
    """Write what is handed in, check it, enter it into the ledger and, where asked for, hand it to Kaggle.

    logits: by media_id, finite, for every test medium. runs: whose models speak. config_sha256: of all that shaped
    them. threshold: the logit from which a medium is called fake, where that was tuned; None = submit.threshold. cv:
    what nested cross-validation gave for the whole chain, in cv_metric, where that is known.
    """
    from deepfake.score.validate import constant_faults, faults

    form, rows, ordered = expected_submission(cfg, logits.index.to_series())
    path = layout.submission_file(cfg.paths.submissions, name, form.file)
    scores = rows.assign(logit=logits.loc[rows.media_id].to_numpy())
    form.write(scores, path, threshold=decision_logit(cfg, threshold))
    flat = constant_faults(form.read(path).score)
    wrong = [fault for fault in faults(path, form, rows, ordered=ordered, logits=logits) if fault not in flat]
    assert not wrong, f"{path} was written wrong: {wrong}"
    say("infer", f"{len(rows)} rows, submit.format={cfg.submit.format}, checked → {path}")
    if flat:
        say("infer", f"{path} is worth nothing: {flat[0]}")
    shaped = {"runs": ",".join(runs), "config_sha256": config_sha256}
    _record(cfg, name, path, shaped | {"rows": len(rows), "cv": cv, "cv_metric": cv_metric})
    if cfg.submit.to == "kaggle":
        _hand_to_kaggle(cfg, name, path, flat)
    return path


def change_ledger(cfg: Config, change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Read, change and write submissions/ledger.csv, with no other process between."""
    path = layout.ledger_table(cfg.paths.submissions)
    lock = layout.ledger_lock(cfg.paths.submissions)
    with alone(lock, f"{path} is being changed by another process: try again", wait_s=LOCK_WAIT_S):
        return LEDGER.write(change(read_ledger(cfg)), path)


def read_ledger(cfg: Config) -> pd.DataFrame:
    """The ledger; empty before the first submission. UserError when it is damaged, which no stage can repair."""
    path = layout.ledger_table(cfg.paths.submissions)
    if not path.is_file():
        return LEDGER.empty()
    try:
        return LEDGER.read(path)
    except UserError as error:
        raise UserError(
            f"{path} is damaged: mend it, or move it away and another is begun ({error.__cause__ or error})"
        ) from error


def _record(cfg: Config, name: str, path: Path, facts: dict[str, Any]) -> None:
    from deepfake.score.ledger import record

    row = facts | {
        "name": name,
        "git_commit": git_commit(),
        "sha256": sha256(path),
        "format": cfg.submit.format,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "public": None,
        "private": None,
    }
    change_ledger(cfg, lambda ledger: record(ledger, row))


def _hand_to_kaggle(cfg: Config, name: str, path: Path, flat: list[str]) -> None:
    """`kaggle competitions submit`. UserError when it fails, or when nothing but one score would be handed in."""
    if flat:
        raise UserError(f"{path} is not handed to Kaggle: {flat[0]}")
    message = cfg.submit.message or f"{name} {sha256(path)[:12]}"
    command = ["kaggle", "competitions", "submit", "-c", cfg.submit.competition, "-f", str(path), "-m", message]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = " ".join(done.stdout.split())
    if done.returncode:
        raise UserError(f"kaggle competitions submit ended with status {done.returncode} ({said}); {path} is kept")
    say("infer", f"handed to {cfg.submit.competition} as {message!r}; kaggle says: {said}")
