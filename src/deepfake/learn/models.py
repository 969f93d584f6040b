"""Detectors: any timm model with one logit, its own preprocessing inside, and weights from timm's hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from deepfake.errors import UserError, closest, raised_within
from deepfake.learn.familiarity import Familiarity, looked_at
from deepfake.learn.fronts import CHANNELS, FRONTS, Front, widen_stem
from deepfake.learn.windows import CHOICES

# Fields of a ModelSpec, and what JSON has in their place.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "image_size": int,
    "mean": (list, tuple),
    "std": (list, tuple),
    "interpolation": str,
    "resize": bool,
    "drop_rate": (int, float),
    "drop_path_rate": (int, float),
    "kwargs": dict,
    "windows": int,
    "window_choice": str,
    "front": str,
}
_LATER = ("resize", "drop_path_rate", "windows", "window_choice", "front")  # fields that older files lack


@dataclass(frozen=True)
class ModelSpec:
    """What makes the same detector again: timm's name and arguments, and the preprocessing."""

    name: str
    """timm's, with or without a tag."""
    image_size: int
    """px."""
    mean: tuple[float, ...]
    """Of R, G, B in [0, 1]; std as well."""
    std: tuple[float, ...]
    interpolation: str
    """Pillow's name of it, for crops of another size."""
    resize: bool = True
    """Whether crops of another size are resized; otherwise windows of them are taken as they are."""
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    """0 = the model's own."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments of timm.create_model."""
    windows: int = 1
    """How many windows of a crop are scored; their logits are averaged."""
    window_choice: str = "spread"
    """Which ones; see windows.windows."""
    front: str = "rgb"
    """What the backbone sees: names of fronts.FRONTS, joined by `+`."""

    @property
    def channels(self) -> int:
        """Of what the backbone sees."""
        return CHANNELS * len(self.front.split("+"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelSpec:
        """What to_json gave, also before it had the latest fields. ValueError for anything else."""
        if not isinstance(values, dict):
            raise ValueError(f"a {type(values).__name__}")
        for key in sorted(_KINDS.keys() | values.keys()):
            if key not in _KINDS:
                raise ValueError(f"{key} is unknown")
            if key not in values and key not in _LATER:
                raise ValueError(f"{key} is missing")
            if key in values and not isinstance(values[key], _KINDS[key]):
                raise ValueError(f"{key}={values[key]!r}")
        if values.get("window_choice", "spread") not in CHOICES:
            raise ValueError(f"window_choice={values['window_choice']!r}")
        if not set(values.get("front", "rgb").split("+")) <= FRONTS.keys():
            raise ValueError(f"front={values['front']!r}")
        for key in ("mean", "std"):
            if len(values[key]) != 3 or not all(isinstance(value, int | float) for value in values[key]):
                raise ValueError(f"{key}={values[key]!r}")
        return cls(**values | {"mean": tuple(values["mean"]), "std": tuple(values["std"])})


class Detector(nn.Module):
    """images_NCHW RGB in 0..255, uint8 or float → logits (N,) float32, the log-odds of fake. The front end and
    its normalisation are inside. familiarity: once it is set, logits of what is unlike the training shrink.

    The images' memory format is kept: the caller gives images and weights the one that is fast.
    """

    def __init__(self, backbone: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.spec = spec
        self.front = Front(spec.front, spec.mean, spec.std)
        self.familiarity: Familiarity | None = None

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        if self.familiarity is not None:
            embeddings_ND, looks_ND = looked_at(self.backbone, self.front(images_NCHW), self.familiarity.indices)
            return self.classify(embeddings_ND) * self.familiarity(looks_ND)
        return self.backbone(self.front(images_NCHW)).float().squeeze(1)

    def embed(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, D) what the classifier sees, where timm has one: classify(embed(x)) is forward(x) without doubt."""
        features = self.backbone.forward_features(self.front(images_NCHW))
        return self.backbone.forward_head(features, pre_logits=True)

    def classify(self, embeddings_ND: torch.Tensor) -> torch.Tensor:
        """Logits (N,) float32 of embeddings."""
        return self.backbone.get_classifier()(embeddings_ND).float().squeeze(1)


def resolve_spec(
    name: str,
    *,
    image_size: int = 0,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    resize: bool = True,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    kwargs: dict[str, Any] | None = None,
    **given: Any,
) -> ModelSpec:
    """The spec of a model; what is not given is timm's own. given: further fields of a ModelSpec.

    UserError for a name or tag that timm does not know.
    """
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
        resize=resize,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        kwargs=dict(kwargs or {}),
        **given,
    )


def build_detector(spec: ModelSpec, *, pretrained: bool = False) -> Detector:
    """The detector with fresh weights, or with timm's from its hub.

    UserError when the hub cannot be reached or has no weights, and when the model does not take the arguments or the
    image size.
    """
    import timm

    arguments = _arguments(spec)
    for name in ("num_classes", "pretrained"):
        if name in arguments:
            raise UserError(_refused_help(spec, f"{name} is not free"))
    try:
        if "img_size" in arguments:
            _check_size(spec, arguments)
        of_colours = pretrained and spec.channels == CHANNELS
        backbone = timm.create_model(spec.name, pretrained=of_colours, num_classes=1, **arguments)
        if pretrained and not of_colours:
            _start_wider(backbone, spec, arguments)
    except (OSError, RuntimeError) as error:  # timm and its hub wrap what the network says in one of these
        if not pretrained:
            raise
        raise UserError(_offline_help(spec.name, error)) from error
    except Exception as error:
        if not raised_within(error, "timm", "torch"):
            raise
        raise UserError(_refused_help(spec, str(error))) from error
    for layer in _last_layers(backbone):
        # timm draws an EfficientNet's last layer from ±1/sqrt(classes), here ±1: logits of ±13 before the first step.
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        layer.register_forward_hook(in_full_precision)
    return Detector(backbone, spec)


def _start_wider(backbone: nn.Module, spec: ModelSpec, arguments: dict[str, Any]) -> None:
    """timm's weights, of colours, for a backbone that sees more. UserError where its stem cannot be widened."""
    import timm

    given = {name: value for name, value in arguments.items() if name != "in_chans"}
    state = timm.create_model(spec.name, pretrained=True, num_classes=1, **given).state_dict()
    own = backbone.state_dict()
    state = widen_stem(state, own, spec.front)
    wrong = [name for name, weight in state.items() if name not in own or own[name].shape != weight.shape]
    if wrong:
        raise UserError(
            f"model.front={spec.front}: the stem of {spec.name} ({wrong[0]}) cannot be widened: give one front end "
            f"alone, another model.name, or model.pretrained=false"
        )
    backbone.load_state_dict(state)


def _arguments(spec: ModelSpec) -> dict[str, Any]:
    """timm.create_model's keyword arguments; those that some models do not take are left out unless they are needed."""
    import timm

    own = timm.models.get_pretrained_cfg(spec.name)
    resized = own is not None and own.fixed_input_size and spec.image_size != own.input_size[-1]
    arguments: dict[str, Any] = {"drop_rate": spec.drop_rate}
    arguments |= {"drop_path_rate": spec.drop_path_rate} if spec.drop_path_rate > 0 else {}
    arguments |= {"img_size": spec.image_size} if resized else {}
    arguments |= {"in_chans": spec.channels} if spec.channels != CHANNELS else {}
    return arguments | spec.kwargs


def _check_size(spec: ModelSpec, arguments: dict[str, Any]) -> None:
    """UserError when a model of a fixed size, built for another, cannot take such images (ViTs: whole patches only).

    Most say so only at their first image: here one without pixels, on torch's meta device, which computes nothing.
    """
    import timm

    try:
        with torch.device("meta"):
            twin = timm.create_model(spec.name, num_classes=1, **arguments).eval()
            twin(torch.zeros(1, spec.channels, spec.image_size, spec.image_size))
    except Exception as error:
        if isinstance(error, TypeError) or not raised_within(error, "timm", "torch"):
            raise  # TypeError: of other arguments than the size, which build_detector names
        reason = " ".join(str(error).split())[:160] or "it says no more"
        raise UserError(
            f"model.image_size={spec.image_size}: {spec.name} does not take images of that side ({reason}). "
            f"Give model.image_size=0 for its own, or a multiple of its patches (often 14, 16 or 32 px)"
        ) from error


def _last_layers(backbone: nn.Module) -> Iterator[nn.Linear]:
    """The linear layers that give the logit: timm's classifier or, where that has hidden layers too, its last."""
    classifiers = backbone.get_classifier()  # a tuple in distilled models
    for classifier in classifiers if isinstance(classifiers, tuple | list) else (classifiers,):
        layers = classifier.modules() if isinstance(classifier, nn.Module) else ()
        yield from (layer for layer in layers if isinstance(layer, nn.Linear) and layer.out_features == 1)


def in_full_precision(layer: nn.Linear, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
    """A forward hook: the layer's output in float32 where autocast (or half weights) rounded it; else None.

    bf16 keeps 8 bits and fp16 11, so that logits of different images would tie, which AUC sees. The layer's input stays
    as it came.
    """
    if output.dtype not in (torch.bfloat16, torch.float16):
        return None
    bias = None if layer.bias is None else layer.bias.float()
    with torch.autocast(output.device.type, enabled=False):
        return F.linear(inputs[0].float(), layer.weight.float(), bias)


# Arguments of timm.create_model that have keys of their own beside model.kwargs.
_KEYS = {"drop_path_rate": "model.drop_path_rate", "drop_rate": "model.drop_rate", "img_size": "model.image_size"}
_KEYS |= {"in_chans": "model.front"}


def _refused_help(spec: ModelSpec, reason: str) -> str:
    reason = " ".join(reason.split())[:160]
    refused = next((name for name in _KEYS if f"'{name}'" in reason and name not in spec.kwargs), None)
    if refused is None:
        return f"model.kwargs={spec.kwargs}: {spec.name} does not take them ({reason})"
    if refused == "in_chans":
        return (
            f"model.front={spec.front}: {spec.name} does not take {spec.channels} channels ({reason}). "
            f"Give one front end alone, or another model.name"
        )
    return (
        f"{_KEYS[refused]}={_arguments(spec)[refused]}: {spec.name} does not take it ({reason}). "
        f"Leave {_KEYS[refused]} at 0, or give another model.name"
    )


def _offline_help(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:160]
    return (
        f"model.pretrained=true, but the weights of {name} cannot be had from timm's hub ({reason}). Offline, give a "
        f"local file with model.weights=FILE (.safetensors or .pth), or start from scratch with model.pretrained=false"
    )
