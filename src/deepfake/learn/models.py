"""Detectors: any timm model with one logit, its own preprocessing inside, and weights from the hub or a local file."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from deepfake.errors import UserError, closest


@dataclass(frozen=True)
class ModelSpec:
    """What makes the same detector again: timm's name and arguments, and its preprocessing.

    image_size: px. mean, std: of RGB in [0, 1]. interpolation: Pillow's name, for crops of another size.
    """

    name: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    drop_rate: float = 0.0
    kwargs: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelSpec:
        return cls(**values | {"mean": tuple(values["mean"]), "std": tuple(values["std"])})


class Detector(nn.Module):
    """images_NCHW uint8 RGB → logits (N,), the log-odds of fake. Normalises inside, on the model's own device."""

    def __init__(self, backbone: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        images_NCHW = (images_NCHW.float() / 255 - self.mean) / self.std
        return self.backbone(images_NCHW.contiguous(memory_format=torch.channels_last)).float().squeeze(1)


def resolve_spec(
    name: str,
    *,
    image_size: int = 0,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    drop_rate: float = 0.0,
    kwargs: dict[str, Any] | None = None,
) -> ModelSpec:
    """What is not given is taken from timm's record of the model. UserError for a name that timm does not know."""
    import timm

    base = name.split(".", maxsplit=1)[0]
    if not timm.is_model(base):
        raise UserError(
            f"model.name={name} is not a model of timm {timm.__version__}.{closest(base, timm.list_models())}"
        )
    try:
        own = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{base}.*")
        raise UserError(f"model.name={name}: timm {timm.__version__} has {', '.join(tags)}") from error
    own = own or timm.models.PretrainedCfg()
    return ModelSpec(
        name,
        image_size or own.input_size[-1],
        tuple(mean) or tuple(own.mean),
        tuple(std) or tuple(own.std),
        own.interpolation,
        drop_rate,
        dict(kwargs or {}),
    )


def build_detector(spec: ModelSpec, *, pretrained: bool = False) -> Detector:
    """The detector with fresh weights, or with timm's from its hub.

    UserError when the hub cannot be reached or has no weights, or timm does not take the arguments.
    """
    import timm

    kwargs = dict(spec.kwargs)
    own = timm.models.get_pretrained_cfg(spec.name)
    if own is not None and own.fixed_input_size and spec.image_size != own.input_size[-1]:
        kwargs.setdefault("img_size", spec.image_size)
    try:
        backbone = timm.create_model(
            spec.name, pretrained=pretrained, num_classes=1, drop_rate=spec.drop_rate, **kwargs
        )
    except TypeError as error:
        raise UserError(f"model.kwargs={spec.kwargs}: {spec.name} does not take them ({error})") from error
    except (OSError, RuntimeError) as error:  # timm and its hub wrap what the network says in one of these
        if not pretrained:
            raise
        raise UserError(_offline_help(spec.name, error)) from error
    return Detector(backbone, spec).to(memory_format=torch.channels_last)


def _offline_help(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:160]
    return (
        f"model.pretrained=true, but the weights of {name} cannot be had from timm's hub ({reason}). Offline, give a "
        f"local file with model.weights=FILE (.safetensors or .pth), or start from scratch with model.pretrained=false"
    )


def load_weights(detector: Detector, path: Path) -> None:
    """Load a local weight file of the same architecture into the backbone; its classifier only where it has our shape.

    UserError, naming what does not match, when the file is not there, not readable without pickle, or of another
    model. A classifier of another size is expected (ImageNet's has 1000 classes) and left fresh.
    """
    state = {_strip(key): value for key, value in _read_state(path).items()}
    own = detector.backbone.state_dict()
    scalars = [key for key, value in own.items() if value.ndim == 0 and key in state and state[key].numel() == 1]
    state |= {key: state[key].reshape(()) for key in scalars}  # some writers store counters as arrays of one
    heads = detector.backbone.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    is_head = {key: any(key.startswith(f"{head}.") for head in heads) for key in own.keys() | state.keys()}
    missing = [key for key in own if key not in state and not is_head[key]]
    unknown = [key for key in state if key not in own and not is_head[key]]
    shapes = [key for key in own if key in state and not is_head[key] and own[key].shape != state[key].shape]
    if missing or unknown or shapes:
        wrong = [
            f"{len(keys)} {what} ({keys[0]} …)"
            for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
            if keys
        ]
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


# What readers of weight files say of other files; the last three are torch's unpickler before a text.
_UNREADABLE = (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    import safetensors.torch

    if not path.is_file():
        raise UserError(f"model.weights={path} does not exist, or is not a file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"model.weights={path} cannot be read as safetensors or weights-only .pth: {reason}") from error
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state) if isinstance(state, dict) else state
    if not (isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise UserError(f"model.weights={path} holds no state dict (names → tensors)")
    return state
