"""train.doubt: from training to a submission, logits of what is unlike the training come nearer to 0."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from pipeline import TINY

ASKED = ("data.root=set", "data.name=set", "crop.mode=whole", *TINY, "fold=0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of each class to train on, soft ones and those with a grid of dots; alike ones to test on, and
    stripes, which are like nothing there."""
    rng = np.random.default_rng(0)
    for place in [f"train/{kind}/{n}" for n in range(12) for kind in ("real", "fake")] + [
        f"test/{kind}_{n}" for n in range(4) for kind in ("real", "fake", "stripes")
    ]:
        path = tmp_path / "set" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.resize(rng.integers(90, 150, (20, 20, 3), np.uint8), (64, 64))
        if "fake" in place:
            picture[::4, ::4] += 30
        if "stripes" in place:
            picture[:, rng.integers(0, 64, 24)] = 255
            picture[rng.integers(0, 64, 24)] = 0
        cv2.imwrite(str(path), picture)
    return tmp_path


def logits(folder: Path) -> pd.Series:
    return pd.read_csv(folder / "submissions/set/scores.csv").set_index("media_id").logit


def out_of_fold(folder: Path, run: str) -> pd.Series:
    """Logits of the held-out pictures as they are."""
    oof = pd.read_parquet(folder / f"runs/{run}/fold0/oof.parquet")
    return oof[oof.view == "identity"].set_index("media_id").logit


def test_what_is_unlike_the_training_is_unsure_and_the_rest_is_not(deepfake, folder: Path) -> None:
    assert deepfake("index", "folds", "extract", "train", "infer", *ASKED).status == 0
    sure = logits(folder)
    oof = out_of_fold(folder, "set")
    done = deepfake("index", "folds", "extract", "train", "infer", "name=doubting", *ASKED, "train.doubt=0.25")
    assert "logits shrink beyond a distance of" in done.output, done.output
    doubting = pd.read_csv(folder / "submissions/doubting/scores.csv").set_index("media_id").logit
    left = doubting / sure[doubting.index]
    far = left.index.str.contains("stripes")
    assert ((left > 0) & (left < 1.01)).all()
    assert left[far].max() < 0.05 and left[~far].median() > 0.2
    own = out_of_fold(folder, "doubting") / oof
    assert (own > 0.999).mean() == pytest.approx(0.75, abs=0.01)


def test_a_kill_before_it_was_learnt_loses_nothing(deepfake, folder: Path) -> None:
    assert deepfake("index", "folds", "extract", "train", *ASKED, "train.doubt=0.25").status == 0
    fold = folder / "runs/set/fold0"
    oof, weights = pd.read_parquet(fold / "oof.parquet"), (fold / "best.safetensors").read_bytes()
    plain = {name: value for name, value in safetensors.torch.load(weights).items() if "familiarity" not in name}
    safetensors.torch.save_file(plain, fold / "best.safetensors")
    for name in ("oof.parquet", "done.json"):
        (fold / name).unlink()
    assert deepfake("train", *ASKED, "train.doubt=0.25").status == 0
    assert (fold / "best.safetensors").read_bytes() == weights
    pd.testing.assert_frame_equal(pd.read_parquet(fold / "oof.parquet"), oof)


def test_without_held_out_media_half_of_the_own_stand_in(deepfake, folder: Path) -> None:
    done = deepfake("index", "folds", "extract", "train", *ASKED, "fold=full", "train.doubt=0.25")
    assert done.status == 0, done.output
    assert "fold full: logits shrink beyond a distance of" in done.output


def test_a_model_without_one_embedding_cannot_doubt_and_says_so_before_it_trains(deepfake, folder: Path) -> None:
    model = ("model.name=deit_tiny_distilled_patch16_224", "model.image_size=224", "train.doubt=0.25")
    done = deepfake("index", "folds", "extract", "train", *ASKED, *model)
    assert done.status == 2
    assert "has no single classifier, which train.mix_fake, train.consistency and train.doubt need" in done.output
    assert "epoch" not in done.output
