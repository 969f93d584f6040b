"""Every knob, once: a tree of frozen dataclasses with types, defaults, ranges and a line of help.

Precedence: defaults < preset=NAME (configs/NAME.yaml) < key=value on the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from deepfake.errors import UserError, closest

OWN_DATA = ("data.root", "data.listing")  # keys that point at the user's own media
TRAINED = ("crop", "extract", "folds", "model", "augment", "optim", "train")  # sections that a trained run has fixed

LayoutName = Literal[
    "auto",
    "demo",
    "dfdc",
    "ffdi",
    "faceforensics",
    "celebdf",
    "generators",
    "folders",
    "unlabelled",
    "listing",
]


def knob(default: Any, help: str, *, low: float | None = None, high: float | None = None, shapes: bool = True) -> Any:
    """A field with a line of help and an inclusive range; `shapes=False` when no result depends on its value."""
    metadata = {"help": help, "low": low, "high": high, "shapes": shapes}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PathsConfig:
    data: Path = knob(Path("data"), "derived tables and crops, a folder for each data set", shapes=False)
    folds: Path = knob(Path("folds"), "splits", shapes=False)
    runs: Path = knob(Path("runs"), "trained folds", shapes=False)
    submissions: Path = knob(Path("submissions"), "submissions", shapes=False)


@dataclass(frozen=True)
class DataConfig:
    root: str = knob("", "folder with the raw media, never written to; empty = the built-in demo set")
    name: str = knob("", "name of the data set; empty = the root folder's own name")
    layout: LayoutName = knob("auto", "how the folder is laid out; auto recognises it")
    listing: str = knob("", "CSV with a path column (and label, method, source_id, donor_id, split), paths below root")
    max_contradictions: float = knob(
        0.01, "share of media whose label and file contradict each other above which index stops", low=0, high=1
    )


@dataclass(frozen=True)
class CropConfig:
    mode: Literal["faces", "whole"] = knob("faces", "faces, or whole pictures for AI-generated media without faces")
    align: Literal["box", "similarity"] = knob("box", "square around the box, or five landmarks moved to fixed places")
    margin: float = knob(0.3, "widening on each side, as a share of the box's longer side", low=0, high=3)
    size: int = knob(256, "side of a stored crop, px; mode=whole: longest side, 0 = as it is", low=0, high=4096)
    format: Literal["png", "webp_lossless", "jpeg"] = knob("png", "file format of the crops; jpeg is lossy")
    quality: int = knob(95, "JPEG quality, where format=jpeg", low=1, high=100)


@dataclass(frozen=True)
class ExtractConfig:
    num_frames: int = knob(16, "frames of a video, evenly spread", low=1)
    detect_size: int = knob(640, "longest side of the frame that the detector sees, px; 0 = as it is", low=0)
    min_face: int = knob(24, "smallest face that is searched, px at detection size", low=12)
    min_prob: float = knob(0.9, "faces of a lower detector probability are dropped", low=0, high=1)
    search_every: int = knob(
        16, "every so many-th sampled frame is searched in full, faces are followed between", low=1
    )
    faces: Literal["all", "largest", "top2"] = knob("all", "people of a video to keep, by the area of their faces")
    min_track: float = knob(0.1, "people seen in a smaller share of the sampled frames are dropped", low=0, high=1)
    min_track_prob: float = knob(0.95, "people whose surest face has a lower probability are dropped", low=0, high=1)
    reuse_boxes: bool = knob(False, "cut training fakes at their original's faces, if number, size and looks agree")
    batch_mpx: float = knob(
        0.0, "megapixels of frames that a process searches at once, 0 = as suits CPU or GPU", low=0, shapes=False
    )
    max_megapixels: float = knob(100.0, "larger frames are refused (0 = none); see retry", low=0, shapes=False)
    max_minutes: float = knob(60.0, "longer videos are refused (0 = none); see retry", low=0, shapes=False)
    split: Literal["all", "train", "test"] = knob(
        "all", "the media to cut; run_infer.sh cuts the test split alone", shapes=False
    )
    timeout_s: int = knob(120, "a medium that takes longer is given up, s", low=1, shapes=False)
    retry: Literal["none", "problems"] = knob(
        "none", "problems: try again what could not be read, after a repair or with other limits", shapes=False
    )


@dataclass(frozen=True)
class FoldsConfig:
    num_folds: int = knob(5, "number of folds", low=2)
    seed: int = knob(0, "seed of the split, apart from that of training", low=0, high=2**32 - 1)
    group_donors: bool = knob(True, "keep a fake together with the donor of its face, not with its original alone")


@dataclass(frozen=True)
class ModelConfig:
    name: str = knob("tf_efficientnet_b0.ns_jft_in1k", "any model of timm, by name")
    pretrained: bool = knob(True, "start from timm's weights, fetched from its hub; model.weights goes before it")
    weights: str = knob("", "start from this local file: .safetensors, or .pth readable with weights_only")
    image_size: int = knob(0, "side of the model's input, px; 0 = the model's own", low=0, high=2048)
    mean: tuple[float, ...] = knob((), "mean of the input's three channels, 0 to 1; empty = the model's own")
    std: tuple[float, ...] = knob((), "deviation of the input's three channels; empty = the model's own")
    drop_rate: float = knob(0.0, "dropout before the last layer", low=0, high=1)
    kwargs: dict[str, Any] = knob({}, "further arguments of timm.create_model, e.g. model.kwargs.pad_type=same")


@dataclass(frozen=True)
class AugmentConfig:
    hflip: float = knob(0.5, "probability of a horizontal flip", low=0, high=1)
    shift_scale_rotate: float = knob(0.5, "probability of a small shift, scale and turn", low=0, high=1)
    scale: float = knob(0.1, "largest change of scale", low=0, high=0.9)
    rotate_deg: float = knob(10.0, "largest turn, degrees", low=0, high=180)
    colour: float = knob(0.5, "probability of a change of brightness, contrast, hue and saturation", low=0, high=1)
    jpeg: float = knob(0.3, "probability of JPEG compression", low=0, high=1)
    jpeg_quality_range: tuple[int, int] = knob((60, 100), "JPEG qualities", low=1, high=100)
    blur: float = knob(0.1, "probability of a Gaussian blur", low=0, high=1)
    noise: float = knob(0.1, "probability of Gaussian noise", low=0, high=1)


@dataclass(frozen=True)
class OptimConfig:
    lr: float = knob(3e-4, "peak learning rate of AdamW", low=0)
    weight_decay: float = knob(1e-2, "weight decay; norms and biases have none", low=0)
    warmup: float = knob(
        0.1, "share of the steps in which the rate rises to its peak, before the cosine", low=0, high=1
    )


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = knob(10, "epochs", low=1)
    batch_size: int = knob(32, "crops in a step", low=1)
    frames_per_medium: int = knob(4, "crops drawn from a medium in an epoch", low=1)
    label_smoothing: float = knob(0.0, "0 and 1 become s/2 and 1 - s/2", low=0, high=0.9)
    metric: Literal["auc", "ap", "log_loss", "accuracy"] = knob(
        "log_loss", "medium-level validation metric whose best epoch is kept"
    )
    amp: Literal["auto", "bf16", "fp16", "off"] = knob("auto", "mixed precision; auto = bf16 or fp16 on CUDA, else off")


@dataclass(frozen=True)
class InferConfig:
    batch_size: int = knob(64, "crops in a step", low=1, shapes=False)
    tta: list[str] = knob(["identity", "hflip"], "test-time views whose logits are averaged: identity, hflip")
    sample_submission: str = knob("", "CSV that gives rows and column names; empty = sample_submission.csv in the root")


@dataclass(frozen=True)
class Config:
    paths: PathsConfig = field(default_factory=PathsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    folds: FoldsConfig = field(default_factory=FoldsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    infer: InferConfig = field(default_factory=InferConfig)
    preset: str = knob("", "configs/NAME.yaml (or a path to a .yaml) whose values go before the defaults", shapes=False)
    name: str = knob("", "name of the run; empty = the data set's, with the preset's", shapes=False)
    fold: str = knob("all", "0, 1, …, all, or full = train on everything without validation", shapes=False)
    seed: int = knob(0, "seed of sampling, augmentation and initial weights", low=0, high=2**32 - 1)
    num_workers: int = knob(-1, "worker processes that cut and load crops; -1 = from the machine", low=-1, shapes=False)

    def __post_init__(self) -> None:
        for key, knob_field, value in knobs(self):
            _check_range(key, knob_field, value)
        check_fold_name(self.fold)
        for key, value in (("name", self.name), ("data.name", self.data.name)):
            if value and not re.fullmatch(r"[\w][\w.+-]*", value):
                raise UserError(f"{key}={value}; allowed: letters, digits and _ . + - (it names a folder)")
        low, high = self.augment.jpeg_quality_range
        if low > high:
            raise UserError(f"augment.jpeg_quality_range={low},{high}: the first must not be above the second")
        for key in ("mean", "std"):
            if len(getattr(self.model, key)) not in (0, 3):
                raise UserError(f"model.{key} has {len(getattr(self.model, key))} values; allowed: none, or three")
        wrong = [view for view in self.infer.tta if view not in ("identity", "hflip")]
        if wrong or not self.infer.tta or len(set(self.infer.tta)) < len(self.infer.tta):
            raise UserError(f"infer.tta={self.infer.tta}; allowed: one or more of identity, hflip, each once")
        if self.crop.mode == "faces" and self.crop.size < 16:
            raise UserError(f"crop.size={self.crop.size}; allowed: 16 to 4096 with crop.mode=faces")

    @property
    def dataset(self) -> str:
        """Name of the data set: data.name, else the root folder's (or the listing's) own name, else demo."""
        own = self.data.root or self.data.listing
        if self.data.name or not own:
            return self.data.name or "demo"
        return _folder_name(Path(own).resolve().name if self.data.root else Path(own).stem)

    @property
    def run(self) -> str:
        """Name of the run: name=, else the data set's, with the preset's where that is another."""
        preset = _folder_name(Path(self.preset).stem) if self.preset else ""
        return self.name or (self.dataset if preset in ("", self.dataset) else f"{self.dataset}-{preset}")


def _folder_name(text: str) -> str:
    """`text` as a name that a folder, and name= on a command line, can have: `my data (v1)` → `my_data_v1`."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("._+-") or "data"


def check_fold_name(fold: str) -> None:
    """UserError unless `fold` is a number from 0, all or full."""
    if fold not in ("all", "full") and not fold.isdecimal():
        raise UserError(f"fold={fold}; allowed: a number from 0, all, or full")


def knobs(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Every knob below a section: (dotted key, its field, its value), in order of definition."""
    for item in fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from knobs(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item, value


def shaping(config: Config, *keys: str) -> dict[str, Any]:
    """The part of the configuration that shapes results, below the given sections or keys, as plain JSON values."""
    picked: dict[str, Any] = {}
    for key, item, value in knobs(config):
        if item.metadata["shapes"] and (key in keys or key.split(".")[0] in keys):
            _put(picked, key, _plain(value))
    return picked


def resolved(config: Config) -> dict[str, Any]:
    """The whole configuration as plain JSON values."""
    return _plain(dataclasses.asdict(config))


def load_config(arguments: list[str]) -> Config:
    """Configuration from `key=value` arguments, over a preset, over the defaults.

    Without a preset and without data it is the preset `demo`. UserError for an unknown key (with the nearest), a value
    of the wrong type or range, an unknown preset.
    """
    overrides = [_parse(argument) for argument in arguments]
    preset = next((value for key, value in reversed(overrides) if key == "preset"), "")
    if not preset and not any(key in OWN_DATA for key, _ in overrides):
        preset = "demo"
    layers = [(key, value, f"preset {preset}") for key, value in _flatten(_read_preset(preset))] if preset else []
    return _merge([*layers, *((key, value, "") for key, value in overrides), ("preset", preset, "")])


def continue_run(run: str, saved: dict[str, Any], arguments: list[str]) -> Config:
    """The configuration that `run` was trained with (as `resolved` gave it), with `key=value` arguments over it.

    Where the media and the outputs lie is not the run's to say. UserError for what would contradict the training.
    """
    overrides = [_parse(argument) for argument in arguments]
    dropped = ["paths", "name", "fold", "num_workers", "preset"]
    if any(key in OWN_DATA for key, _ in overrides):
        dropped.append("data")
    trained = dict(_flatten(saved))
    kept = {key: value for key, value in trained.items() if key.split(".")[0] not in dropped and key != "extract.retry"}
    layers = [(key, value, f"run {run}") for key, value in kept.items()]
    for key, value in overrides:
        before = _get(saved, key)
        if key.split(".")[0] in TRAINED and _shapes(key) and _plain(value) != before:
            raise UserError(
                f"{key}={value}, but run {run} was trained with {before}: leave it out, or train another run"
            )
    return _merge([*layers, *((key, value, "") for key, value in overrides), ("name", run, "")])


def help_text(sections: tuple[str, ...]) -> str:
    """One line a knob: key, type, default, help; for the given sections and top-level keys."""
    lines = []
    for key, item, value in knobs(Config()):
        if key in sections or key.split(".")[0] in sections:
            lines.append(f"  {key + '=' + _show(value):<44} {_type_name(item.type):<28} {item.metadata['help']}")
    return "\n".join(lines)


def presets() -> dict[str, Path]:
    """Name → file of every preset that comes with the project."""
    return {path.stem: path for path in sorted(_presets_folder().glob("*.yaml"))}


def _presets_folder() -> Path:
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def _read_preset(name: str) -> dict[str, Any]:
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else presets().get(name)
    if path is None or not path.is_file():
        known = list(presets())
        raise UserError(f"preset={name} is not known; there are {', '.join(known)}.{closest(name, known)}")
    try:
        values = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: a preset is a tree of keys and values, not {type(values).__name__}")
    return values


def _parse(argument: str) -> tuple[str, Any]:
    """`optim.lr=3e-4` → ("optim.lr", 0.0003). Keys of type str take the text as it stands."""
    import yaml

    key, equals, text = argument.partition("=")
    if key in OWN_DATA and not text:
        raise UserError(f"{argument} names no folder (an unset variable?); without {key}= it is the built-in demo set")
    if not equals:
        raise UserError(f"{argument!r} is not key=value (e.g. fold=0 optim.lr=3e-4); --help prints the keys")
    _check_known(key, "")
    if _is_text(key):
        return key, text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{argument}: not a value ({' '.join(str(error).split())})") from error
    return key, _number(value)


def _shapes(key: str) -> bool:
    """Whether results depend on a knob; arguments of the model do."""
    return {name: item.metadata["shapes"] for name, item, _ in knobs(Config())}.get(key, True)


def _is_text(key: str) -> bool:
    """Whether a knob takes text as it stands."""
    kind = {name: item.type for name, item, _ in knobs(Config())}.get(key, "")
    return kind in ("str", "Path", "LayoutName") or kind.startswith("Literal")


def _number(value: Any) -> Any:
    """YAML reads 3e-4 as text (it asks for 3.0e-4); here it is a number."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() else value
        except ValueError:
            return value
    return value


def _flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested dict → dotted keys and leaves; a dict-valued knob (model.kwargs) stays whole."""
    known = {key for key, _, _ in knobs(Config())}
    flat = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known:
            flat += _flatten(value, f"{key}.")
        else:
            flat.append((key, value))
    return flat


def _check_known(key: str, where: str) -> None:
    known = [name for name, _, _ in knobs(Config())]
    if key in known or key.startswith("model.kwargs."):
        return
    leaves = {name.split(".")[-1]: name for name in reversed(known)}
    near = difflib.get_close_matches(key.rsplit(".", maxsplit=1)[-1], leaves, n=1)
    hint = closest(key, known) or (f" Did you mean {leaves[near[0]]!r}?" if near else "")
    raise UserError(f"unknown key {key!r}{f' in {where}' if where else ''}.{hint} --help prints the keys")


def _merge(layers: list[tuple[str, Any, str]]) -> Config:
    """Merge dotted keys in order into a checked Config."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    tree = OmegaConf.structured(Config)
    for key, value, where in layers:
        _check_known(key, where)
        nested: dict[str, Any] = {}
        if value is False and _is_text(key):
            value = "off"  # as YAML reads it in a preset
        _put(nested, key, value if _is_text(key) else _number(value))
        try:
            tree = OmegaConf.merge(tree, nested)
        except (OmegaConfBaseException, ValueError) as error:
            reason = str(error).splitlines()[0]
            expected = next((_type_name(item.type) for name, item, _ in knobs(Config()) if name == key), "any")
            source = f" (in {where})" if where else ""
            raise UserError(f"{key}={value}{source}: {reason}; allowed: {expected}") from error
    return typing.cast(Config, OmegaConf.to_object(tree))


def _check_range(key: str, item: dataclasses.Field, value: Any) -> None:
    low, high = item.metadata["low"], item.metadata["high"]
    for number in value if isinstance(value, tuple | list) else (value,):
        below = low is not None and not number >= low
        above = high is not None and not number <= high
        if below or above or number in (math.inf, -math.inf):
            allowed = f"{low} to {high}" if high is not None else f"{low} or more"
            raise UserError(f"{key}={value}; allowed: {allowed}")


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def _get(tree: dict[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _plain(value: Any) -> Any:
    """Paths to text, tuples to lists: what JSON gives back."""
    return json.loads(json.dumps(value, default=str))


def _show(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list | tuple | bool) else str(value)


def _type_name(annotation: str) -> str:
    if annotation == "LayoutName":
        annotation = "Literal" + str(list(typing.get_args(LayoutName)))
    if annotation.startswith("Literal["):
        return annotation.removeprefix("Literal[").rstrip("]").replace('"', "").replace("'", "").replace(", ", "|")
    return annotation
