"""The JSON beside a weight file: how to build the model, and facts about it. Read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deepfake.errors import UserError


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON beside a weight file. UserError when it is missing or damaged."""
    try:
        facts = json.loads(detector_json(path).read_text())
        if not isinstance(facts, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise UserError(f"{detector_json(path)} is missing or damaged: remove {path.parent}, train it again") from error
    return facts


def detector_json(path: Path) -> Path:
    """`best.safetensors` → `best.json`."""
    return path.with_suffix(".json")
