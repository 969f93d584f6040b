"""A submission: the logits so far, what is handed in, and its row of the ledger."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import read_json, sha256
from deepfake.provenance import git_commit
from deepfake.tables import LOGITS
from deepfake.workspace.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.score.formats import Format


@dataclass(frozen=True)
class Expected:
    """What a submission of some media must hold."""

    form: Format
    format_name: str
    rows: pd.DataFrame
    """name as it is to be written, and the media_id that it means; in order."""
    ordered: bool
    """Whether a sample submission orders them."""

    @classmethod
    def of(cls, format_name: str, media_ids: pd.Series, sample_path: Path | None) -> Expected:
        """sample_path: gives rows, order and column names where the format has any; None = every medium, by name."""
        from deepfake.score.formats import FORMATS
        from deepfake.score.sample_submission import expected_rows, read_sample

        form = FORMATS[format_name]
        if sample_path is None or not form.takes_sample:
            return cls(form, format_name, expected_rows(form, media_ids, None), False)
        sample = read_sample(sample_path)
        return cls(form.like(sample), format_name, expected_rows(form, media_ids, sample, sample_path), True)


@dataclass
class Parts:
    """Rows of the logits table of finished media, in files that are written whole."""

    folder: Path
    rows: list[pd.DataFrame]
    """What was written, before and now."""

    @classmethod
    def of(cls, folder: Path, settings_digest: str) -> Parts:
        """Parts of these settings; those of others are removed."""
        ours = folder / settings_digest[:16]
        for other in folder.iterdir() if folder.is_dir() else ():
            if other != ours:
                shutil.rmtree(other)
        return cls(ours, [LOGITS.read(path) for path in sorted(ours.glob("[0-9]*.parquet"))])

    @property
    def media_ids(self) -> set[str]:
        """Media that are scored."""
        return set().union(*(rows.media_id for rows in self.rows))

    def add(self, rows: pd.DataFrame) -> None:
        self.rows.append(LOGITS.write(rows, self.folder / f"{len(self.rows):06d}.parquet"))

    def drop(self, media_ids: set[str]) -> None:
        """Forget rows of media that are to be scored again."""
        kept = [rows[~rows.media_id.isin(media_ids)] for rows in self.rows]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.rows = []
        for rows in kept:
            if len(rows):
                self.add(rows)


@dataclass(frozen=True)
class Submission:
    """`submissions/<name>/`."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config_path(self) -> Path:
        """What shaped it, and where tables and runs lay."""
        return self.folder / "config.json"

    @property
    def logits_path(self) -> Path:
        return self.folder / "logits.parquet"

    @property
    def scores_path(self) -> Path:
        return self.folder / "scores.csv"

    @property
    def problems_path(self) -> Path:
        """Media that no model speaks for, and why."""
        return self.folder / "infer_problems.csv"

    @property
    def haste(self) -> Path:
        """Crops of media of which fewer frames were cropped, as time was short, until there is time for all."""
        return self.folder / "haste"

    @property
    def lock(self) -> Path:
        """Held by the process that infers under this name."""
        return self.folder / ".infer.lock"

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.of(self.folder.parent)

    def config(self) -> dict[str, Any]:
        """What was written beside it; empty where nothing is. UserError when that is damaged."""
        if not self.config_path.is_file():
            return {}
        try:
            return read_json(self.config_path)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.config_path} is damaged ({error}): run infer again") from error

    def parts(self, settings_digest: str) -> Parts:
        """The logits so far."""
        return Parts.of(self.folder / "parts", settings_digest)

    def clear(self) -> None:
        """Remove what was there to go on with."""
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        shutil.rmtree(self.haste, ignore_errors=True)

    def file(self, expected: Expected) -> Path:
        """What is handed in."""
        return self.folder / expected.form.file

    def stands(self, expected: Expected) -> bool:
        """Whether the file lies there, in this format, and without faults."""
        from deepfake.score.validate import faults

        path = self.file(expected)
        return path.is_file() and not faults(path, expected.form, expected.rows, ordered=expected.ordered)

    def draft(self, expected: Expected, logits: pd.Series, *, threshold: float) -> None:
        """Write what would be handed in if it all ended now.

        logits: by media_id, finite, for every test medium. threshold: the logit from which a medium is called fake.
        """
        scores = expected.rows.assign(logit=logits.loc[expected.rows.media_id].to_numpy())
        expected.form.write(scores, self.file(expected), threshold=threshold)

    def write(self, expected: Expected, logits: pd.Series, *, threshold: float, row: dict[str, Any]) -> list[str]:
        """Write what is handed in, check it, and enter it into the ledger; gives what makes it worthless, if anything.

        logits, threshold: as of `draft`. row: what the ledger is to know of it: runs, config_sha256, cv, cv_metric.
        """
        from deepfake.score.leaderboard import record
        from deepfake.score.validate import constant_faults, faults

        self.draft(expected, logits, threshold=threshold)
        path, form = self.file(expected), expected.form
        flat = constant_faults(form.read(path).score)
        found = faults(path, form, expected.rows, ordered=expected.ordered, logits=logits)
        wrong = [fault for fault in found if fault not in flat]
        assert not wrong, f"{path} was written wrong: {wrong}"
        say("infer", f"{len(expected.rows)} rows, submit.format={expected.format_name}, checked → {path}")
        if flat:
            say("infer", f"{path} is worth nothing: {flat[0]}")
        entry = row | {
            "name": self.name,
            "rows": len(expected.rows),
            "git_commit": git_commit(),
            "sha256": sha256(path),
            "format": expected.format_name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "public": None,
            "private": None,
        }
        self.ledger.change(lambda ledger: record(ledger, entry))
        return flat

    def hand_to_kaggle(self, expected: Expected, competition: str, message: str, flat: list[str]) -> None:
        """`kaggle competitions submit`. UserError when it fails, or when nothing but one score would be handed in.

        message: stands beside it there; "" = name and sha256. flat: what makes the file worthless, see `write`.
        """
        path = self.file(expected)
        if flat:
            raise UserError(f"{path} is not handed to Kaggle: {flat[0]}")
        message = message or f"{self.name} {sha256(path)[:12]}"
        command = ["kaggle", "competitions", "submit", "-c", competition, "-f", str(path), "-m", message]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        said = " ".join(done.stdout.split())
        if done.returncode:
            raise UserError(f"kaggle competitions submit ended with status {done.returncode} ({said}); {path} is kept")
        say("infer", f"handed to {competition} as {message!r}; kaggle says: {said}")
