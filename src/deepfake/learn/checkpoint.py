"""Whole-or-nothing checkpoints: `last.pt` to go on from, and safetensors with a JSON beside it to predict with."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from deepfake.errors import UserError
from deepfake.learn.models import Detector, ModelSpec, build_detector
from deepfake.tables import replacing, write_json


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain values, readable with weights_only."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """What save_state wrote. UserError when the file is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise UserError(f"{path} is damaged: remove it, and this fold is trained from its start") from error


def save_detector(path: Path, weights: dict[str, torch.Tensor], spec: ModelSpec, facts: dict[str, Any]) -> None:
    """The backbone's weights as safetensors, and `<path>.json`: how to build the model, and facts about it."""
    import safetensors.torch
    import timm

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    versions = {"timm": timm.__version__, "torch": str(torch.__version__)}
    write_json({"model": spec.to_json(), "versions": versions} | facts, detector_json(path))
    with replacing(path) as temporary:
        safetensors.torch.save_file(weights, temporary)


def load_detector(path: Path) -> Detector:
    """The detector that save_detector wrote. UserError when a file is missing or does not fit."""
    import safetensors.torch

    try:
        spec = ModelSpec.from_json(read_facts(path)["model"])
        detector = build_detector(spec)
        detector.backbone.load_state_dict(safetensors.torch.load_file(path), strict=True)
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    return detector


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON beside a weight file. UserError when it is missing or damaged."""
    try:
        return json.loads(detector_json(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{detector_json(path)} is missing or damaged: remove {path.parent}, train it again") from error


def detector_json(path: Path) -> Path:
    """`best.safetensors` → `best.json`."""
    return path.with_suffix(".json")
