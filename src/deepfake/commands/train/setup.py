"""From the configuration to what trains: model, recipe, crops and the order in which they are shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.sections import CropConfig
from deepfake.tables import LANDMARKS
from deepfake.training_sections import PhaseConfig

DONORS = 8  # of the nearest poses, from which each epoch draws one

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.learn.data import CropDataset
    from deepfake.learn.distributed import World
    from deepfake.learn.forging import Forging
    from deepfake.learn.models import Detector, ModelSpec
    from deepfake.learn.recipe import Recipe
    from deepfake.learn.sampling import EpochBatches


def build_model(cfg: Config) -> Detector:
    """The model with its starting weights, the same for the same seed."""
    import torch

    from deepfake.learn.embeddings import check_doubts
    from deepfake.learn.models import build_detector, resolve_spec
    from deepfake.learn.starting_weights import load_weights

    torch.manual_seed(cfg.seed)
    model = dataclasses.asdict(cfg.model)
    pretrained, weights = model.pop("pretrained"), model.pop("weights")
    detector = build_detector(resolve_spec(model.pop("name"), **model), pretrained=pretrained and not weights)
    if cfg.train.doubt:
        check_doubts(detector)
    if weights:
        load_weights(detector, Path(weights))
    return detector


def build_recipe(cfg: Config) -> Recipe:
    """The configuration's settings of training; a phase takes from `optim` and `train.epochs` what it does not give."""
    from deepfake.learn.recipe import Phase, Recipe

    given = dataclasses.asdict(cfg.train) | dataclasses.asdict(cfg.augment) | dataclasses.asdict(cfg.optim)
    phases = [
        Phase(
            phase.trains,
            phase.epochs or cfg.train.epochs,
            phase.optimizer or cfg.optim.name,
            cfg.optim.lr if phase.lr is None else phase.lr,
        )
        for phase in cfg.train.phases or [PhaseConfig()]
    ]
    names = [item.name for item in dataclasses.fields(Recipe) if item.name not in ("phases", "seed")]
    return Recipe(phases=phases, seed=cfg.seed, **{name: given[name] for name in names})


def check_window(cfg: Config, spec: ModelSpec) -> None:
    """UserError when training is to see a window that is larger than what it is cut from."""
    window = cfg.augment.random_crop
    if spec.resize and window > spec.image_size:
        raise UserError(
            f"augment.random_crop={window}, but crops are resized to {spec.image_size} px: take that or less, a larger "
            f"model.image_size, or model.resize=false"
        )


def training_batches(cfg: Config, crops: pd.DataFrame, world: World) -> EpochBatches:
    """Which crops each step of each epoch shows."""
    from deepfake.learn.sampling import EpochBatches, Rows

    if cfg.train.sync_bn and cfg.train.batch_size % world.size:
        raise UserError(f"train.sync_bn=true needs a train.batch_size that {world.size} processes share evenly")
    rows = Rows.from_names(
        media=crops.media_id.to_numpy(),
        labels=crops.label.to_numpy(int),
        methods=crops.method.to_numpy(),
        sources=crops.source_id.to_numpy(),
        frames=crops.frame_idx.to_numpy(),
    )
    return EpochBatches(
        rows,
        sampler=cfg.train.sampler,
        frames_per_medium=cfg.train.frames_per_medium,
        batch_size=cfg.train.batch_size,
        seed=cfg.seed,
        rank=world.rank,
        world_size=world.size,
    )


def training_data(cfg: Config, folder: Path, crops: pd.DataFrame, spec: ModelSpec) -> CropDataset:
    """Crops as training sees them; their paths are relative to the folder. UserError when settings ask for pairs that
    are not there."""
    from deepfake.learn.augment import build_augment
    from deepfake.learn.pairs import aligned_twins

    check_window(cfg, spec)
    settings = dataclasses.asdict(cfg.augment)
    in_batches = {"mixup", "cutmix"}
    before = {"random_crop", "sizes", "pair_mixup", "pair_mixup_alpha", "erase_parts", "erase_half"}
    twins = aligned_twins(crops) if cfg.augment.pair_mixup else None
    if twins is not None:
        twins[crops.forge.to_numpy() != ""] = -1  # what is forged here is no picture yet
    if twins is not None and not (twins >= 0).any():
        raise UserError(
            f"augment.pair_mixup={cfg.augment.pair_mixup}, but no fake has a crop at its original's place: extract "
            f"with extract.reuse_boxes=true (needs media that name their originals), or leave it out"
        )
    erases = bool(cfg.augment.erase_parts or cfg.augment.erase_half)
    landmarks, forging = _forging(cfg.crop, crops, with_landmarks=erases)
    return crop_data(
        folder,
        crops,
        spec,
        seed=cfg.seed,
        augment=build_augment(**{name: value for name, value in settings.items() if name not in in_batches | before}),
        landmarks=landmarks,
        twins=twins,
        forging=forging,
        second_view=cfg.train.consistency > 0,
        **{name: settings[name] for name in before},
    )


def validation_data(crop: CropConfig, folder: Path, crops: pd.DataFrame, spec: ModelSpec, *, seed: int) -> CropDataset:
    """Crops as a model sees them in validation; the fakes among them that are made from reals are always the same."""
    _, forging = _forging(crop, crops, with_landmarks=False)
    return crop_data(folder, crops, spec, seed=seed, forging=forging)


def _forging(crop: CropConfig, crops: pd.DataFrame, *, with_landmarks: bool) -> tuple[np.ndarray | None, Forging]:
    """Landmarks, where they are asked for or a forgery needs them, and what is made of which crop."""
    from deepfake.forgery.kinds import KINDS
    from deepfake.learn.forging import Forging

    kinds = [KINDS[name] for name in {*crops.forge} - {""}]
    asked = with_landmarks or any(kind.needs_face for kind in kinds)
    landmarks = _landmarks(crop, crops) if asked else None
    needs_donors = any(kind.needs_donor for kind in kinds)
    donors = _donors(crops, landmarks) if landmarks is not None and needs_donors else None
    return landmarks, Forging.of(crops.forge.tolist(), crops.real.to_numpy(), landmarks, donors)


def crop_data(folder: Path, crops: pd.DataFrame, spec: ModelSpec, *, seed: int, **training: Any) -> CropDataset:
    """Crops as a model sees them; `training`: what is done to them before."""
    from deepfake.learn.data import CropDataset

    return CropDataset(
        [folder / path for path in crops.path],
        crops.label.to_numpy(int),
        image_size=spec.image_size,
        interpolation=spec.interpolation,
        resize=spec.resize,
        windows=spec.windows,
        window_choice=spec.window_choice,
        seed=seed,
        **training,
    )


def _donors(crops: pd.DataFrame, landmarks: np.ndarray) -> np.ndarray:
    """(N, DONORS) rows of real crops of other sources, of the nearest poses to each row's real; -1 = none. UserError
    where no real has another person's face beside it."""
    import numpy as np

    from deepfake.forgery.pose import nearest_poses

    reals = np.flatnonzero((crops.label.to_numpy() == 0) & (crops.forge.to_numpy() == ""))
    sources = crops.source_id.iloc[reals].factorize()[0]
    near = nearest_poses(landmarks[reals], sources, DONORS)
    if (near < 0).all():
        raise UserError("train.forge=[swap] needs faces with landmarks in two real sources (source_id): leave it out")
    donors = np.full((len(crops), DONORS), -1)
    donors[reals] = np.where(near < 0, -1, reals[near])
    return donors[crops.real.to_numpy()]


def _landmarks(crop: CropConfig, crops: pd.DataFrame) -> np.ndarray:
    """(N, 5, 2) landmarks in px of each crop; nan where there are none."""
    import numpy as np

    from deepfake.media.crop_face import landmarks_in_crop

    points = crops[[f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]].to_numpy(np.float64).reshape(-1, 5, 2)
    boxes = crops[["x0", "y0", "x1", "y1"]].to_numpy(np.float64)
    in_crops = [
        landmarks_in_crop(box, five, align=crop.align, margin=crop.margin, size=crop.size)
        for box, five in zip(boxes, points)
    ]
    return np.stack(in_crops).astype(np.float32)
