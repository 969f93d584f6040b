"""The four folders that everything is written below."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Roots:
    """Where things lie; `paths.*` of the configuration."""

    data: Path
    """A folder for each data set: tables and crops."""
    folds: Path
    """A CSV for each data set: its split."""
    runs: Path
    """A folder for each run or blend."""
    submissions: Path
    """A folder for each submission, and the ledger."""
