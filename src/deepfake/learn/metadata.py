"""Checkpoint metadata, the JSON beside a weight file: how to build the model, and its origin. Read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deepfake.errors import UserError


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON beside a weight file. UserError when it is missing or damaged."""
    try:
        metadata = json.loads(metadata_path(path).read_text())
        if not isinstance(metadata, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise UserError(f"{metadata_path(path)} is missing or damaged: remove {path.parent}, train it again") from error
    return metadata


def metadata_path(path: Path) -> Path:
    """`best.safetensors` → `best.json`."""
    return path.with_suffix(".json")
