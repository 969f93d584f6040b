"""Every knob, once: the tree of sections, and what must fit together in it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from deepfake.errors import UserError
from deepfake.knobs import Knob, check, knob, knobs
from deepfake.sections import (
    BlendConfig,
    CropConfig,
    DataConfig,
    EvaluateConfig,
    ExtractConfig,
    FoldsConfig,
    ForgeConfig,
    InferConfig,
    PathsConfig,
    SubmitConfig,
)
from deepfake.tables import FRONT_NAMES, VIEW_NAMES
from deepfake.training_sections import AugmentConfig, ModelConfig, OptimConfig, PhaseConfig, TrainConfig

AUTO_VIEWS = ["auto"]  # infer.tta: those that pay, by the out-of-fold logits


@dataclass(frozen=True)
class Config:
    paths: PathsConfig = field(default_factory=PathsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    folds: FoldsConfig = field(default_factory=FoldsConfig)
    forge: ForgeConfig = field(default_factory=ForgeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    blend: BlendConfig = field(default_factory=BlendConfig)
    infer: InferConfig = field(default_factory=InferConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)
    preset: str = knob("", "configs/NAME.yaml (or a path to a .yaml) whose values go before the defaults", shapes=False)
    name: str = knob("", "name of the run; empty = the data set's, with the preset's", shapes=False)
    runs: list[str] = knob([], "trained runs that are blended, as runs=[a,b,c]", shapes=False)
    fold: str = knob("all", "0, 1, …, all, or full = train on everything without validation", shapes=False)
    seed: int = knob(0, "seed of sampling, augmentation and initial weights", low=0, high=2**32 - 1)
    num_workers: int = knob(
        -1, "worker processes that make and load crops; -1 = from the machine", low=-1, shapes=False
    )
    gpus: int = knob(1, "processes that train together, one a GPU of this machine (torchrun)", low=1, shapes=False)
    nnodes: int = knob(1, "machines that train together; start the same command on each", low=1, shapes=False)
    rdzv_endpoint: str = knob("", "host:port where those machines meet, for nnodes > 1", shapes=False)
    input: str = knob(
        "", "check: the file to check; predict: files, folders or patterns, one on each line", shapes=False
    )
    json: str = knob("", "predict: file for the predictions and all that is behind them", shapes=False)
    pictures: str = knob("", "predict: folder for a picture of each file: frames, faces, scores", shapes=False)
    public: float | None = knob(None, "score of the submission name= on the public board", shapes=False)
    private: float | None = knob(None, "score of the submission name= on the private board", shapes=False)

    def __post_init__(self) -> None:
        for one in knobs(self):
            check(one)
        check_fold_name(self.fold)
        for key, value in (("name", self.name), ("data.name", self.data.name)):
            if value and not re.fullmatch(r"[\w][\w.+-]*", value):
                raise UserError(f"{key}={value}; allowed: letters, digits and _ . + - (it names a folder)")
        for key in ("jpeg_quality_range", "blur_sigma_range", "sizes"):
            low, high = getattr(self.augment, key)
            if low > high:
                raise UserError(f"augment.{key}={low},{high}: the first must not be above the second")
        if self.augment.erase_parts + self.augment.erase_half > 1:
            raise UserError("augment.erase_parts and augment.erase_half are never both done: at most 1 together")
        if self.train.mix_fake and (self.augment.mixup or self.augment.cutmix):
            raise UserError(
                "train.mix_fake mixes whole fakes with whole reals: leave out augment.mixup and augment.cutmix"
            )
        for number, phase in enumerate(self.train.phases):
            _check_phase(f"train.phases[{number}]", phase)
        if self.nnodes > 1 and not self.rdzv_endpoint:
            raise UserError(f"nnodes={self.nnodes} needs rdzv_endpoint=HOST:PORT, where the machines meet")
        for key in ("mean", "std"):
            if len(getattr(self.model, key)) not in (0, 3):
                raise UserError(f"model.{key} has {len(getattr(self.model, key))} values; allowed: none, or three")
        _check_front(self.model.front)
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
        """Name of the run: name=, else the blended runs' names, else the data set's (with the preset's, if another)."""
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


def _check_front(front: str) -> None:
    names = front.split("+")
    if not set(names) <= set(FRONT_NAMES) or len(set(names)) != len(names):
        raise UserError(f"model.front={front}; allowed: {', '.join(FRONT_NAMES)}, or several, each once, joined by +")


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


@cache
def known_knobs() -> dict[str, Knob]:
    """Every knob by its key, with its default."""
    return {one.key: one for one in knobs(Config())}
