"""The ledger: every submission with what cross-validation promised and what the board said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.errors import UserError
from deepfake.machine import alone
from deepfake.tables import LEDGER

if TYPE_CHECKING:
    import pandas as pd

LOCK_WAIT_S = 30.0  # others hold the ledger for as long as a small CSV takes to write


@dataclass(frozen=True)
class Ledger:
    """`submissions/ledger.csv`."""

    path: Path

    @classmethod
    def of(cls, submissions: Path) -> Ledger:
        return cls(submissions / "ledger.csv")

    def read(self) -> pd.DataFrame:
        """The ledger; empty before the first submission. UserError when it is damaged, which no command can repair."""
        if not self.path.is_file():
            return LEDGER.empty()
        try:
            return LEDGER.read(self.path)
        except UserError as error:
            raise UserError(
                f"{self.path} is damaged: mend it, or move it away and another is begun ({error.__cause__ or error})"
            ) from error

    def change(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        """Read, change and write it, with no other process between."""
        lock = self.path.with_name(".ledger.lock")
        with alone(lock, f"{self.path} is being changed by another process: try again", wait_s=LOCK_WAIT_S):
            return LEDGER.write(change(self.read()), self.path)
