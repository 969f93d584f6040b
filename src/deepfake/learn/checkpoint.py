"""Whole-or-nothing checkpoints: `last.pt` to go on from, and safetensors with a JSON beside it to predict with, which
are refused where they compute something else than when they were saved (golden.py)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from deepfake.errors import UserError
from deepfake.files import replacing, write_json
from deepfake.learn.engine import NonFiniteError
from deepfake.learn.familiarity import FAMILIARITY, Familiarity
from deepfake.learn.golden import check_golden, golden_logits, versions
from deepfake.learn.metadata import metadata_path, read_metadata
from deepfake.learn.models import Detector, ModelSpec, build_detector
from deepfake.learn.starting_weights import DamagedFileError, read_pickle, read_safetensors

MADE = ("model", "versions", "golden")  # keys of the JSON beside the weights that save_detector gives


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain values, readable with weights_only. OSError when the disk does not take them."""
    with replacing(path) as temporary, _disk_errors(path):
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """What save_state wrote. UserError when the file is damaged, or holds anything that would have to be run."""
    try:
        state = read_pickle(path)
        if not isinstance(state, dict):
            raise DamagedFileError(f"a {type(state).__name__}")
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (OSError, DamagedFileError) as error:
        raise UserError(f"{path} is damaged: remove it, and this fold is trained from its start") from error
    return state


def save_detector(path: Path, detector: Detector, metadata: dict[str, Any]) -> None:
    """The backbone's weights as safetensors. The JSON beside them: how to build the model, golden logits, `metadata`.

    The golden logits are those of a twin of the detector, built on the CPU as load_detector will build it, so that
    device, precision and memory format of the training do not show in them, nor does its familiarity. The detector and
    torch's random state stay as they are. NonFiniteError when a golden logit is not finite, OSError when the disk does
    not take the weights.
    """
    import safetensors.torch

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.backbone.state_dict().items()}
    golden = golden_logits(_build(detector.spec, weights))
    if detector.familiarity is not None:
        state = detector.familiarity.state_dict()
        weights |= {FAMILIARITY + name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if not np.isfinite(golden).all():
        raise NonFiniteError("a logit of the weights that were to be kept", [])
    made = dict(zip(MADE, (detector.spec.to_json(), versions(), golden), strict=True))
    assert not made.keys() & metadata.keys()
    write_json(made | metadata, metadata_path(path))
    with replacing(path) as temporary, _disk_errors(path):
        safetensors.torch.save_file(weights, temporary)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """What torch and safetensors say of a full disk, as the system would have said it."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OSError(errno.ENOSPC, f"could not be written, is the disk full? ({reason})", str(path)) from error


def load_detector(path: Path) -> Detector:
    """The detector that save_detector wrote, in eval mode on the CPU.

    UserError when a file is missing or damaged, does not fit, or gives other logits than when it was saved.
    """
    try:
        spec, golden, saved = _read_spec(path)
        weights = read_safetensors(path)
        state = {name: weights.pop(name) for name in list(weights) if name.startswith(FAMILIARITY)}
        detector = _build(spec, weights)
        now = golden_logits(detector)
        if state:
            detector.familiarity = _familiarity(state)
    except UserError as error:
        raise UserError(f"{path} cannot be loaded: {error}") from error
    except (OSError, DamagedFileError, RuntimeError) as error:  # RuntimeError: torch's, of tensors that do not fit
        raise UserError(f"{path} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    check_golden(path, golden, now, saved)
    return detector


def _read_spec(path: Path) -> tuple[ModelSpec, list[float], tuple[str, str]]:
    """From the metadata of a weight file: the spec, the golden logits, the versions of timm and torch.

    UserError when one of them is missing, or something else lies in its place.
    """
    metadata, source = read_metadata(path), metadata_path(path)
    advice = f"it is damaged or of an older version of this program; remove {path.parent}, train it again"
    for key in ("model", "golden", "versions"):
        if key not in metadata:
            raise UserError(f"{source} has no '{key}', {advice}")
    golden, versions = metadata["golden"], metadata["versions"]
    if not (isinstance(golden, list) and len(golden) == 4 and all(isinstance(logit, float) for logit in golden)):
        raise UserError(f"{source} has no golden logits, {advice}")
    if not (isinstance(versions, dict) and {"timm", "torch"} <= versions.keys()):
        raise UserError(f"{source} does not say which timm and torch wrote it, {advice}")
    try:
        spec = ModelSpec.from_json(metadata["model"])
    except ValueError as error:
        raise UserError(f"{source} describes no model ({error}), {advice}") from error
    return spec, golden, (versions["timm"], versions["torch"])


def _familiarity(state: dict[str, torch.Tensor]) -> Familiarity:
    try:
        return Familiarity(**{name.removeprefix(FAMILIARITY): value for name, value in state.items()})
    except ValueError as error:
        raise DamagedFileError(str(error)) from error


def _build(spec: ModelSpec, weights: dict[str, torch.Tensor]) -> Detector:
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, although they are replaced at once
        detector = build_detector(spec)
    detector.backbone.load_state_dict(weights, strict=True)
    return detector.eval()
