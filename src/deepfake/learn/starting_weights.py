"""Starting weights from a local file: safetensors, or what torch.save wrote, read without running anything in it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from deepfake.errors import UserError, raised_within
from deepfake.learn.familiarity import FAMILIARITY
from deepfake.learn.fronts import widen_stem
from deepfake.learn.models import Detector


class DamagedFileError(ValueError):
    """A file is no safetensors, or nothing that torch.save wrote: foreign, cut short, damaged, or with code in it."""


def load_weights(detector: Detector, path: Path) -> None:
    """Load a local weight file of the same architecture into the backbone; its classifier only where it has our shape.

    A classifier of another size is expected (ImageNet's has 1000 classes), and the detector's own stays as it is. The
    stem of a model of colours is widened to what the detector sees.
    UserError, naming what does not match, when the file is missing, damaged, of another model, or has code in it.
    """
    state = {_strip(key): value for key, value in _read_state(path).items() if not key.startswith(FAMILIARITY)}
    own = detector.backbone.state_dict()
    scalars = [key for key, value in own.items() if value.ndim == 0 and key in state and state[key].numel() == 1]
    state |= {key: state[key].reshape(()) for key in scalars}  # some writers store counters as arrays of one
    state = widen_stem(state, own, detector.spec.front)
    wrong = _mismatches(own, state, _classifier_names(detector))
    if wrong:
        raise UserError(
            f"{path} holds other weights than {detector.spec.name}'s: of {len(own)} tensors {', '.join(wrong)}. "
            f"Give the model.name (and model.kwargs) that the file was made for"
        )
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    detector.backbone.load_state_dict(fitting, strict=False)


def _strip(key: str) -> str:
    """Names as timm has them: without what wrappers put before."""
    for prefix in ("module.", "backbone.", "model."):
        key = key.removeprefix(prefix)
    return key


def _classifier_names(detector: Detector) -> tuple[str, ...]:
    names = detector.backbone.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _mismatches(
    own: dict[str, torch.Tensor], state: dict[str, torch.Tensor], classifiers: tuple[str, ...]
) -> list[str]:
    """Why the state cannot fill a model's own, classifiers aside: `2 missing (conv1.weight …)`; empty if it can."""
    prefixes = tuple(f"{name}." for name in classifiers)
    own = {key: value for key, value in own.items() if not key.startswith(prefixes)}
    state = {key: value for key, value in state.items() if not key.startswith(prefixes)}
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    found = {
        "missing": [key for key in own if key not in state],
        "unknown": [key for key in state if key not in own],
        "of another shape": shapes,
    }
    return [f"{len(keys)} {what} ({keys[0]} …)" for what, keys in found.items() if keys]


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Names → tensors. UserError when the file is not there, unreadable, or holds (or is) something else."""
    if not path.is_file():
        raise UserError(f"model.weights={path} does not exist, or is not a file")
    try:
        state = _read(path)
    except (OSError, DamagedFileError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"model.weights={path} cannot be read as safetensors or weights-only .pth: {reason}") from error
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state) if isinstance(state, dict) else state
    named = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not (named and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise UserError(f"model.weights={path} holds no state dict (names → tensors)")
    return state


def _read(path: Path) -> Any:
    return read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Names → tensors. OSError; DamagedFileError when the file is anything else."""
    import safetensors.torch

    with _damage():
        return safetensors.torch.load_file(path)


def read_pickle(path: Path) -> Any:
    """What torch.save wrote, on the CPU, by torch's restricted unpickler, which runs no code of the file.

    OSError; DamagedFileError when the file is anything else, or holds more than tensors and plain values.
    """
    with _damage(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def _damage() -> Iterator[None]:
    """DamagedFileError for whatever torch and safetensors raise of a file's content."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if not raised_within(error, "torch", "safetensors"):
            raise
        # Torch's own words for pickles advise to run the file's code.
        pickled = isinstance(error, pickle.PickleError)
        raise DamagedFileError(
            "more than tensors, or damaged; nothing in it was run" if pickled else str(error)
        ) from error
