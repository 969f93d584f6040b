"""train.forge: fakes that training makes from reals, how many, and that nothing but the forgery tells them apart.

train.hold_out: methods that a fold never sees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import TINY

from deepfake.commands.train.crops import unseen_methods, with_forgeries, without_methods
from deepfake.errors import UserError
from deepfake.learn import data as data_module
from deepfake.learn.augment import build_augment
from deepfake.learn.data import CropDataset
from deepfake.tables import LANDMARKS

POINTS = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]


def crops(reals=10, fakes=10, frames=2, *, faces=True):
    rows = [
        {"media_id": f"{'fake' if label else 'real'}{number}", "label": label, "method": "swap" if label else ""}
        for label, count in ((0, reals), (1, fakes))
        for number in range(count)
        for _ in range(frames)
    ]
    return pd.DataFrame(rows).assign(**dict.fromkeys(POINTS, 5.0 if faces else np.nan))


def share_of(table):
    media = table[table.label == 1].groupby("media_id").forge.first()
    return (media != "").mean()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.6])  # of 10 given fakes: 2.5, 10 and 15 made ones
def test_forgeries_are_their_share_of_the_fake_media(share):
    table = with_forgeries(crops(), ["upsample", "self_blend"], share=share, seed=0)
    assert share_of(table) == pytest.approx(share, abs=0.04)
    assert (table[table.label == 0].forge == "").all()


def test_each_forgery_knows_the_real_crop_that_it_is_made_from():
    table = with_forgeries(crops(), ["upsample"], share=0.5, seed=0)
    made = table[table.forge != ""]
    assert (table.media_id[made.real].to_numpy() + " upsample" == made.media_id).all()
    assert (table.label[made.real] == 0).all()
    given = table[table.forge == ""]
    assert (given.real == given.index).all()


def test_from_reals_alone_no_given_fake_is_trained_on():
    table = with_forgeries(crops(), ["upsample", "self_blend"], share=1, seed=0)
    assert set(table.method) == {"", "upsample", "self_blend"}
    assert table[table.label == 1].media_id.nunique() == 20


def test_without_forgeries_all_is_as_given():
    table = with_forgeries(crops(), [], share=1, seed=0)
    assert table.drop(columns=["forge", "real"]).equals(crops())


def test_blending_without_landmarks_is_refused():
    with pytest.raises(UserError, match=r"train.forge=\[self_blend\] needs faces with landmarks"):
        with_forgeries(crops(faces=False), ["self_blend"], share=0.5, seed=0)
    assert share_of(with_forgeries(crops(faces=False), ["upsample"], share=0.5, seed=0)) == 0.5


def test_a_real_and_its_forgery_have_the_same_window_flip_and_damage(tmp_path: Path, monkeypatch) -> None:
    """With a forgery that changes nothing they are the same to the bit, in every epoch."""
    import cv2

    monkeypatch.setattr(data_module, "forge", lambda kind, crop, five, rng: crop.copy())
    picture = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "real.png"), picture)
    augment = build_augment(
        **{"hflip": 0.5, "shift_scale_rotate": 0.5, "scale": 0.1, "rotate_deg": 10.0, "colour": 0.5, "blur": 0.5},
        **{"blur_sigma_range": (0.1, 1.5), "noise": 0.5, "jpeg": 0.5, "jpeg_quality_range": (60, 100), "damage": 0.5},
    )
    data = CropDataset(
        [tmp_path / "real.png"] * 2,
        np.array([0, 1]),
        **{"image_size": 48, "interpolation": "bilinear", "resize": False, "random_crop": 32, "augment": augment},
        **{"forge": ["", "upsample"], "reals": np.array([0, 0])},
    )
    shown = [[data[epoch, row][0].numpy() for row in (0, 1)] for epoch in range(12)]
    assert all((real == fake).all() for real, fake in shown)
    assert len({real.tobytes() for real, _ in shown}) == 12


def test_a_run_trains_with_forgeries_and_keeps_its_prior(deepfake, cut_people: Path, demo_root: Path, tmp_path) -> None:
    shutil.copytree(cut_people, tmp_path, dirs_exist_ok=True)
    done = deepfake(
        *("train", "fold=0", f"data.root={demo_root}", *TINY, "augment.damage=0.5", "name=made"),
        "train.forge=[self_blend,upsample]",
    )
    assert done.status == 0, done.output
    assert "forged as it goes" in done.output
    plain = deepfake("train", "fold=0", f"data.root={demo_root}", *TINY, "name=plain")
    assert plain.status == 0, plain.output
    facts = {name: json.loads((tmp_path / f"runs/{name}/fold0/best.json").read_text()) for name in ("made", "plain")}
    assert facts["made"]["prior_logit"] == facts["plain"]["prior_logit"]
    oof = {name: pd.read_parquet(tmp_path / f"runs/{name}/fold0/oof.parquet") for name in facts}
    assert set(oof["made"].media_id) == set(oof["plain"].media_id)


def test_an_unknown_kind_is_named(deepfake, demo_root: Path) -> None:
    done = deepfake("train", f"data.root={demo_root}", "train.forge=[upsampel]")
    assert done.status == 2
    assert "train.forge=upsampel; allowed: self_blend, upsample. Did you mean 'upsample'?" in done.output


def test_methods_are_dealt_to_the_folds_in_turn_the_most_frequent_first():
    table = pd.DataFrame({"media_id": list("abcdefg"), "label": [1] * 6 + [0], "method": [*"zzzyyx", ""]})
    table["fold"] = [0, 1, 0, 1, 0, 1, 0]
    assert unseen_methods(table, "0") == ["z", "x"] and unseen_methods(table, "1") == ["y"]
    assert unseen_methods(table, "full") == []
    left = without_methods(table, ["z", "x"], forges=False)
    assert set(left.method) == {"", "y"}
    with pytest.raises(UserError, match=r"leaves no fake to train on without x, y, z"):
        without_methods(table, ["x", "y", "z"], forges=False)
    assert set(without_methods(table, ["x", "y", "z"], forges=True).label) == {0}


def test_a_fold_never_trains_on_the_methods_by_which_its_epochs_are_chosen(
    deepfake, cut_people: Path, demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfake.commands.train import fit

    seen, scored = [], []
    real_batches, real_score = fit.training_batches, fit.score_rows
    monkeypatch.setattr(
        fit, "training_batches", lambda cfg, crops, world: seen.append(crops) or real_batches(cfg, crops, world)
    )
    monkeypatch.setattr(fit, "score_rows", lambda oof: scored.append(oof) or real_score(oof))
    shutil.copytree(cut_people, tmp_path, dirs_exist_ok=True)
    done = deepfake("train", "fold=0", f"data.root={demo_root}", *TINY, "train.hold_out=method")
    assert done.status == 0, done.output
    unseen = done.output.partition("trained without ")[2].partition(";")[0].split(", ")
    folds = pd.read_csv(tmp_path / "folds/people.csv").set_index("media_id")
    assert unseen and set(unseen) < set(folds.method.dropna())
    assert not set(seen[0].method) & set(unseen)
    scored_fakes = folds[folds.label == 1].index.intersection(scored[0].media_id)
    assert set(folds.method[scored_fakes]) == set(unseen)
    oof = pd.read_parquet(tmp_path / "runs/people/fold0/oof.parquet")
    assert set(oof.media_id) == set(folds.index[folds.fold == 0])
