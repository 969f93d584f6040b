"""Every knob, once: a tree of frozen dataclasses with types, defaults, ranges and a line of help."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from deepfake.errors import UserError

OWN_DATA = ("data.root", "data.listing")  # keys that point at the user's own media
TRAINED = ("crop", "extract", "folds", "model", "augment", "optim", "train")  # sections that a trained run has fixed
VIEW_NAMES = ("identity", "hflip", "vflip", "rot90", "scale_down", "scale_up", "five_crop", "jpeg")  # learn.views' own
AUTO_VIEWS = ["auto"]  # infer.tta: those that pay, by the out-of-fold logits
# Keys that are meant for one command alone: no run goes on with them.
MOMENTARY = (
    *("extract.retry", "infer.budget_minutes", "submit.to", "submit.message"),
    *("input", "json", "pictures", "public", "private"),
)

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
    resize: bool = knob(True, "shrink or enlarge crops to that side; false = keep their pixels, cut out the middle")
    mean: tuple[float, ...] = knob((), "mean of the input's three channels, 0 to 1; empty = the model's own")
    std: tuple[float, ...] = knob((), "deviation of the input's three channels; empty = the model's own", low=0.001)
    drop_rate: float = knob(0.0, "dropout before the last layer", low=0, high=1)
    drop_path_rate: float = knob(
        0.0, "stochastic depth: share of branches left out; 0 = the model's own", low=0, high=1
    )
    kwargs: dict[str, Any] = knob({}, "further arguments of timm.create_model, e.g. model.kwargs.pad_type=same")


@dataclass(frozen=True)
class AugmentConfig:
    random_crop: int = knob(0, "side of a random window that training sees instead of the middle, px; 0 = off", low=0)
    min_area: float = knob(
        1.0, "smallest share of the area that a random, resized window shows; 1 = off", low=0.01, high=1
    )
    hflip: float = knob(0.5, "probability of a horizontal flip", low=0, high=1)
    shift_scale_rotate: float = knob(0.5, "probability of a small shift, scale and turn", low=0, high=1)
    scale: float = knob(0.1, "largest change of scale", low=0, high=0.9)
    rotate_deg: float = knob(10.0, "largest turn, degrees", low=0, high=180)
    colour: float = knob(0.5, "probability of a change of brightness, contrast, hue and saturation", low=0, high=1)
    grey: float = knob(0.0, "probability of a grey picture", low=0, high=1)
    clahe: float = knob(0.0, "probability of CLAHE on the L of LAB", low=0, high=1)
    contrast: float = knob(0.0, "probability of brightness and contrast stretched to the full range", low=0, high=1)
    rescale: float = knob(0.0, "probability of shrinking and enlarging again, by a random interpolation", low=0, high=1)
    blur: float = knob(0.1, "probability of a Gaussian blur", low=0, high=1)
    blur_sigma_range: tuple[float, float] = knob((0.1, 1.5), "sigma of that blur, px", low=0, high=20)
    noise: float = knob(0.1, "probability of Gaussian noise", low=0, high=1)
    jpeg: float = knob(0.3, "probability of JPEG compression", low=0, high=1)
    jpeg_quality_range: tuple[int, int] = knob((60, 100), "JPEG qualities", low=1, high=100)
    erase_parts: float = knob(
        0.0, "probability that eyes, nose or mouth are blacked out, by the landmarks", low=0, high=1
    )
    erase_half: float = knob(0.0, "probability that half of the face is blacked out, by the landmarks", low=0, high=1)
    pair_mixup: float = knob(0.0, "probability that a fake is mixed with its aligned original", low=0, high=1)
    pair_mixup_alpha: float = knob(0.5, "Beta(alpha, alpha) of that mixture", low=0.01, high=10)
    mixup: float = knob(0.0, "Beta(alpha, alpha) of mixing any two crops of a batch; 0 = off", low=0, high=10)
    cutmix: float = knob(0.0, "Beta(alpha, alpha) of pasting windows between crops of a batch; 0 = off", low=0, high=10)


@dataclass(frozen=True)
class OptimConfig:
    name: str = knob("adamw", "optimiser, by timm's name: adamw, sgd (nesterov), momentum, lion, lamb, …")
    lr: float = knob(3e-4, "peak learning rate", low=0)
    weight_decay: float = knob(1e-2, "weight decay; norms and biases have none", low=0)
    momentum: float = knob(0.9, "momentum, where the optimiser has one", low=0, high=1)
    kwargs: dict[str, Any] = knob({}, "further arguments of the optimiser, e.g. optim.kwargs.betas=[0.9,0.95]")
    layer_decay: float = knob(1.0, "factor on the rate from each layer to the one before it; 1 = off", low=0.01, high=1)
    schedule: Literal["cosine", "one_cycle", "poly", "constant"] = knob("cosine", "how the rate falls after its peak")
    warmup: float = knob(0.1, "share of a phase's steps in which the rate rises to its peak", low=0, high=1)
    power: float = knob(0.9, "exponent of poly; 1 = a straight line", low=0.1, high=10)
    clip_norm: float = knob(0.0, "largest norm of the gradient, 0 = any", low=0)


@dataclass(frozen=True)
class PhaseConfig:
    """A stretch of training. What is not given is as in train.epochs and optim.*"""

    trains: str = "all"
    epochs: int | None = None
    optimizer: str | None = None
    lr: float | None = None


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = knob(10, "epochs; of each phase that does not give its own", low=1)
    phases: list[PhaseConfig] = knob(
        [],
        "staged unfreezing, e.g. [{trains: head, epochs: 1, lr: 1e-3}, {trains: all}]; trains: head, last_stage, norm, "
        "all, or a regular expression for names of weights; further keys: optimizer",
    )
    batch_size: int = knob(32, "crops in a step, over all GPUs", low=1)
    accumulate: int = knob(
        1, "pieces in which a step is computed, to save memory; batch norm sees pieces", low=1, shapes=False
    )
    sampler: Literal["balanced", "methods", "pairs", "all"] = knob(
        "balanced",
        "fakes undersampled to the reals anew each epoch; the same, methods evenly; real-fake pairs; every medium",
    )
    frames_per_medium: int = knob(4, "crops drawn from a medium in an epoch", low=1)
    loss: Literal["bce", "focal", "class_mean"] = knob(
        "bce", "cross-entropy; focal loss; or the mean over fakes and the mean over reals, averaged"
    )
    focal_gamma: float = knob(2.0, "focusing exponent of the focal loss", low=0, high=10)
    label_smoothing: float = knob(0.0, "0 and 1 become s/2 and 1 - s/2", low=0, high=0.9)
    ema: float = knob(
        0.0,
        "decay of a moving average of the weights, which is what is validated and kept; 0 = off",
        low=0,
        high=0.99999,
    )
    metric: Literal["auc", "ap", "log_loss", "accuracy", "eer"] = knob(
        "log_loss", "medium-level validation metric whose best epoch is kept"
    )
    amp: Literal["auto", "bf16", "fp16", "off"] = knob("auto", "mixed precision; auto = bf16 or fp16 on CUDA, else off")
    channels_last: bool = knob(True, "keep channels innermost in memory, as fast convolutions want them", shapes=False)
    compile: bool = knob(
        False, "torch.compile the model; needs a C++ compiler, takes minutes, then steps are faster", shapes=False
    )
    sync_bn: bool = knob(False, "batch norm over all GPUs together")
    save_minutes: float = knob(10.0, "a checkpoint at least this often, also within an epoch", low=0, shapes=False)


@dataclass(frozen=True)
class BlendConfig:
    metric: Literal["log_loss", "auc", "ap", "accuracy", "macro_f1"] = knob(
        "log_loss", "what the blend is to be good at, of media"
    )


@dataclass(frozen=True)
class InferConfig:
    batch_size: int = knob(64, "crops in a step", low=1, shapes=False)
    tta: list[str] = knob(
        ["identity", "hflip"],
        f"test-time views whose logits are averaged: {', '.join(VIEW_NAMES)}; or auto = those that pay, chosen by the "
        "out-of-fold logits of a run that was trained with infer.tta=auto too",
    )
    budget_minutes: float = knob(
        0.0,
        "time that inference has, from the start of the command; it does less for each medium to end in it; 0 = any",
        low=0,
        shapes=False,
    )
    compile: bool = knob(False, "compile the models by torch.compile", shapes=False)
    sample_submission: str = knob("", "CSV that gives rows and column names; empty = sample_submission.csv in the root")


@dataclass(frozen=True)
class SubmitConfig:
    format: Literal[
        "csv", "dfdc", "ffdi", "ffdi_video", "avdeepfake1m", "ntire", "faceforensics", "celebdf", "spcup", "aifactory"
    ] = knob("csv", "what the competition wants to be handed in: see README, Submitting", shapes=False)
    threshold: float = knob(
        0.5, "P(fake) from which a medium is called fake, where labels are wanted", low=0, high=1, shapes=False
    )
    to: Literal["file", "kaggle"] = knob("file", "kaggle: hand the file in, by the kaggle command line", shapes=False)
    competition: str = knob("", "for submit.to=kaggle: its name, the last part of its address", shapes=False)
    message: str = knob("", "for submit.to=kaggle: what stands beside it there; empty = name, sha256", shapes=False)


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
    blend: BlendConfig = field(default_factory=BlendConfig)
    infer: InferConfig = field(default_factory=InferConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)
    preset: str = knob("", "configs/NAME.yaml (or a path to a .yaml) whose values go before the defaults", shapes=False)
    name: str = knob("", "name of the run; empty = the data set's, with the preset's", shapes=False)
    runs: list[str] = knob([], "trained runs that are blended, as runs=[a,b,c]", shapes=False)
    fold: str = knob("all", "0, 1, …, all, or full = train on everything without validation", shapes=False)
    seed: int = knob(0, "seed of sampling, augmentation and initial weights", low=0, high=2**32 - 1)
    num_workers: int = knob(-1, "worker processes that cut and load crops; -1 = from the machine", low=-1, shapes=False)
    gpus: int = knob(1, "processes that train together, one a GPU of this machine (torchrun)", low=1, shapes=False)
    nnodes: int = knob(1, "machines that train together; start the same command on each", low=1, shapes=False)
    rdzv_endpoint: str = knob("", "host:port where those machines meet, for nnodes > 1", shapes=False)
    input: str = knob(
        "", "check: the file to check; infer: files to judge, a file, folder or pattern on each line", shapes=False
    )
    json: str = knob("", "file into which the judgement of input= is written for programs", shapes=False)
    pictures: str = knob("", "folder for a picture of each judged file: frames, faces, scores over time", shapes=False)
    public: float | None = knob(None, "score of the submission name= on the public board", shapes=False)
    private: float | None = knob(None, "score of the submission name= on the private board", shapes=False)

    def __post_init__(self) -> None:
        for key, knob_field, value in knobs(self):
            _check_range(key, knob_field, value)
        check_fold_name(self.fold)
        for key, value in (("name", self.name), ("data.name", self.data.name)):
            if value and not re.fullmatch(r"[\w][\w.+-]*", value):
                raise UserError(f"{key}={value}; allowed: letters, digits and _ . + - (it names a folder)")
        for key in ("jpeg_quality_range", "blur_sigma_range"):
            low, high = getattr(self.augment, key)
            if low > high:
                raise UserError(f"augment.{key}={low},{high}: the first must not be above the second")
        if self.augment.erase_parts + self.augment.erase_half > 1:
            raise UserError("augment.erase_parts and augment.erase_half are never both done: at most 1 together")
        for number, phase in enumerate(self.train.phases):
            _check_phase(f"train.phases[{number}]", phase)
        if self.nnodes > 1 and not self.rdzv_endpoint:
            raise UserError(f"nnodes={self.nnodes} needs rdzv_endpoint=HOST:PORT, where the machines meet")
        for key in ("mean", "std"):
            if len(getattr(self.model, key)) not in (0, 3):
                raise UserError(f"model.{key} has {len(getattr(self.model, key))} values; allowed: none, or three")
        _check_views(self.infer.tta)
        _check_competition(self.submit)
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
        """Name of the run: name=, else of those that are blended, else the data set's, with the preset's where that is
        another."""
        if self.runs and not self.name:
            return "+".join(self.runs)
        preset = _folder_name(Path(self.preset).stem) if self.preset else ""
        return self.name or (self.dataset if preset in ("", self.dataset) else f"{self.dataset}-{preset}")


def _check_phase(key: str, phase: PhaseConfig) -> None:
    try:
        re.compile(phase.trains)
    except re.error as error:
        raise UserError(f"{key}: trains={phase.trains!r} is no regular expression ({error})") from error
    if phase.epochs is not None and phase.epochs < 1:
        raise UserError(f"{key}: epochs={phase.epochs}; allowed: 1 or more")
    if phase.lr is not None and not 0 <= phase.lr < math.inf:
        raise UserError(f"{key}: lr={phase.lr}; allowed: 0 or more")


def _check_views(views: list[str]) -> None:
    named_once = set(views) <= set(VIEW_NAMES) and len(set(views)) == len(views) > 0
    if not named_once and views != AUTO_VIEWS:
        raise UserError(
            f"infer.tta=[{','.join(views)}]; allowed: one or more of {', '.join(VIEW_NAMES)}, each once; or auto alone"
        )


def _check_competition(submit: SubmitConfig) -> None:
    if submit.to == "kaggle" and not submit.competition:
        raise UserError("submit.to=kaggle needs submit.competition=NAME, the last part of the competition's address")
    if submit.competition and not re.fullmatch(r"\w[\w-]*", submit.competition):
        raise UserError(
            f"submit.competition={submit.competition}; allowed: letters, digits, _ and -, the last part of the "
            f"competition's address"
        )


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
            put(picked, key, plain(value))
    return picked


def resolved(config: Config) -> dict[str, Any]:
    """The whole configuration as plain JSON values."""
    return plain(dataclasses.asdict(config))


def _check_range(key: str, item: dataclasses.Field, value: Any) -> None:
    low, high = item.metadata["low"], item.metadata["high"]
    for number in value if isinstance(value, tuple | list) else (value,):
        below = low is not None and not number >= low
        above = high is not None and not number <= high
        if below or above or number in (math.inf, -math.inf):
            allowed = f"{low} to {high}" if high is not None else f"{low} or more"
            raise UserError(f"{key}={value}; allowed: {allowed}")


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def plain(value: Any) -> Any:
    """Paths to text, tuples to lists: what JSON gives back."""
    return json.loads(json.dumps(value, default=str))
