"""Folders of empty media (no reader opens one), and readings as plain tuples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deepfake.sources import Reading


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Path]:
    """`plant("a/x.png", texts={"labels.csv": "…"})` makes the files below a fresh root, which it gives back."""

    def make(*media: str, texts: dict[str, str] | None = None) -> Path:
        root = tmp_path / "root"
        for path, text in (dict.fromkeys(media, "") | (texts or {})).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    return make


@pytest.fixture
def rows() -> Callable[[Reading], list[tuple]]:
    """(path, split, label, method, source_id, donor_id) of each row, None for what is unknown."""

    def of(reading: Reading) -> list[tuple]:
        media = reading.media[["path", "split", "label", "method", "source_id", "donor_id"]].astype(object)
        return [tuple(row) for row in media.where(pd.notna(media), None).itertuples(index=False)]

    return of


@pytest.fixture
def faults() -> Callable[[Reading], list[tuple[str, str]]]:
    """(path, error) of each contradiction."""
    return lambda reading: [(path, error) for path, error, _ in reading.contradictions]
