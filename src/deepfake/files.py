"""Files that are written whole or not at all, and digests of what they hold."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{path.suffix}"):
        left_by_a_kill.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. OSError where it cannot be read, ValueError where it holds something else."""
    value = json.loads(path.read_text())
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object but {type(value).__name__}")
    return value


def typed(record: dict[str, Any], **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """`record`, which has these keys with values of these types. ValueError names the first that it lacks or has
    otherwise."""
    for name, kind in kinds.items():
        if name not in record:
            raise ValueError(f"{name!r} is missing")
        if not isinstance(record[name], kind):
            raise ValueError(f"{name!r} is {type(record[name]).__name__}")
    return record


def write_json(value: dict[str, Any], path: Path) -> None:
    """Indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """Hex digest of a file's size, first and last 64 KiB: what changes when a file is replaced by another."""
    size, part = path.stat().st_size, 2**16
    with open(path, "rb") as handle:
        head = handle.read(part)
        handle.seek(max(part, size - part))
        return hashlib.sha256(str(size).encode() + head + handle.read(part)).hexdigest()


def digest(value: object) -> str:
    """Hex digest of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def rows_digest(frame: pd.DataFrame) -> str:
    """Hex digest of a frame's rows, in order, without its index."""
    import pandas as pd

    return hashlib.sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()).hexdigest()
