"""Every preset builds its model, its data and its optimisers, and trains two steps of each phase on tiny input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from deepfake.arguments import load_config, presets
from deepfake.commands.train.crops import with_forgeries
from deepfake.commands.train.setup import build_model, build_recipe, training_batches, training_data
from deepfake.errors import UserError
from deepfake.learn.distributed import ALONE
from deepfake.learn.engine import Precision
from deepfake.learn.models import resolve_spec
from deepfake.learn.trainer import Trainer
from deepfake.tables import LANDMARK_COLUMNS

RECIPES = (
    *("stylegan_resnext101", "ffdi_resnet18", "cnndetection_resnet50", "dfdc_b7", "dfdc_b4", "ffdi_convnext"),
    *("gend_vit_l", "demo", "cpu_small", "reals_only"),
)
FACE = (14.0, 16.0, 26.0, 16.0, 20.0, 22.0, 15.0, 28.0, 25.0, 28.0)  # x and y of the landmarks, px of the frame
TINY_SIDE = {"gend_vit_l": 28}  # its patches have 14 px


def test_the_recipes_are_there():
    assert set(presets()) == set(RECIPES)


def test_every_recipe_says_what_to_type_how_long_it_takes_and_what_to_expect():
    for path in presets().values():
        comment = path.read_text().split("\n")[0]
        assert comment.startswith("# ./run_")
        head = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
        assert any(word in head for word in ("hour", "day", "minute"))
        assert any(word in head for word in ("AUC", "AP", "accuracy", "log loss", "submission"))


@pytest.fixture
def crops(tmp_path: Path) -> pd.DataFrame:
    """Eight reals and a fake of each, at the same place of the same frame; pictures of 40 px."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        for label in (0, 1):
            path = f"crops/{number}_{label}.png"
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(target)
            row = {"media_id": f"{number}_{label}", "label": label, "method": f"{label * (1 + number % 2)}"}
            row |= {"source_id": f"{number}_0", "frame_idx": 0, "found": True, "path": path}
            row |= dict.fromkeys(("x0", "y0"), 5.0) | dict.fromkeys(("x1", "y1"), 35.0)
            rows.append(row | dict(zip(LANDMARK_COLUMNS, FACE)))
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_two_steps_of_each_phase_without_downloading(name: str, crops: pd.DataFrame, tmp_path: Path):
    side = TINY_SIDE.get(name, 32)
    settings = [f"preset={name}", "data.root=x", f"paths.data={tmp_path / 'data'}", "model.pretrained=false"]
    cfg = load_config([*settings, f"model.image_size={side}", "train.batch_size=8", "crop.size=40"])
    if cfg.augment.random_crop:
        cfg = dataclasses.replace(cfg, augment=dataclasses.replace(cfg.augment, random_crop=24))
    detector, recipe = build_model(cfg), build_recipe(cfg)
    crops = with_forgeries(crops, cfg.train.forge, share=cfg.train.forge_share, seed=cfg.seed)
    data, batches = training_data(cfg, tmp_path, crops, detector.spec), training_batches(cfg, crops, ALONE)
    collated = [torch.utils.data.default_collate([data[key] for key in keys]) for keys in batches]
    assert [len(batch[0]) for batch in collated] == [8, 8]
    steps = [len(collated)] * recipe.epochs
    trainer = Trainer(detector, recipe, steps_of_epochs=steps, precision=Precision(torch.device("cpu")))
    for number in range(len(recipe.phases)):
        trainer.epoch = recipe.epochs_of(number)[0]
        before = {key: value.detach().clone() for key, value in detector.named_parameters()}
        figures = trainer.train_epoch(collated)
        assert np.isfinite(figures.loss)
        changed = {key for key, value in detector.named_parameters() if not torch.equal(value, before[key])}
        trained = {key for key, value in detector.named_parameters() if value.requires_grad}
        assert changed and changed <= trained


def test_mixing_of_pairs_is_refused_where_there_are_none(crops: pd.DataFrame, tmp_path: Path):
    cfg = load_config(["preset=dfdc_b4", "data.root=x", f"paths.data={tmp_path / 'data'}", "model.name=test_resnet"])
    spec = resolve_spec("test_resnet", image_size=380)
    crops = with_forgeries(crops, [], share=1, seed=0)
    assert (training_data(cfg, tmp_path, crops, spec).twins >= 0).sum() == 8
    crops.loc[crops.label == 1, "x0"] += 2  # the fakes' faces lie elsewhere
    with pytest.raises(UserError, match=r"augment\.pair_mixup=0\.3, but no fake has a crop at its original's place"):
        training_data(cfg, tmp_path, crops, spec)
