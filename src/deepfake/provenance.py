"""What shaped a table: beside `t.parquet` lies `t.parquet.json`, which says which command wrote it, from which settings
and which input files. A command whose provenance matches has nothing to do.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.files import read_json


@dataclass(frozen=True)
class Provenance:
    """What shaped a table."""

    command: str
    config: dict[str, Any]
    """The command's part of the configuration, as plain JSON values."""
    inputs: dict[str, Any]
    """sha256 of each input by its name, and whatever else decides whether the table is current."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the command stands under `stage`, as it always has."""
        return dict(json.loads(json.dumps({"stage": self.command, "config": self.config, "inputs": self.inputs})))


def provenance_path(path: Path) -> Path:
    """`faces.parquet` → `faces.parquet.json`."""
    return path.with_name(path.name + ".json")


def read_provenance(path: Path) -> Provenance | None:
    """What lies beside the table at `path`; None when the table or its record is missing."""
    record_path = provenance_path(path)
    if not (path.is_file() and record_path.is_file()):
        return None
    try:
        record = read_json(record_path)
        return Provenance(record["stage"], record["config"], record["inputs"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{record_path} is damaged ({error}): remove it, and the command runs again") from error


def is_current(path: Path, provenance: Provenance) -> bool:
    """True when the table at `path` was written by the same command from the same settings and inputs."""
    written = read_provenance(path)
    return written is not None and written.to_json() == provenance.to_json()


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """Keys in which two nested dicts differ, as `crop.margin: 0.3 → 0.5`."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} → {after}")
    return found


def git_commit() -> str | None:
    """The commit of the code that is running, None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
