"""train.forge: fakes that training makes from reals, how many, and that nothing but the forgery tells them apart.

train.hold_out: methods that a fold never sees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pipeline import TINY
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from deepfake.commands.train.crops import able_kinds, held_out_media, unseen_names, with_forgeries, without_unseen
from deepfake.commands.train.setup import DONORS, _donors
from deepfake.errors import UserError
from deepfake.forgery.kinds import Forgery
from deepfake.forgery.reconstruct import encoded_like
from deepfake.learn import forging as forging_module
from deepfake.learn.augment import build_augment
from deepfake.learn.data import CropDataset
from deepfake.learn.forging import Forging
from deepfake.score.blending import Blend
from deepfake.score.calibrate import rows_of_share
from deepfake.tables import FORGERIES, HELD_OUT, LANDMARKS, OOF
from deepfake.workspace.alone import run_alone, score_alone
from deepfake.workspace.run import Run

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


def test_blending_without_landmarks_is_left_out_and_alone_it_is_refused():
    whole = crops(faces=False)
    assert able_kinds(whole, ["self_blend", "upsample"]) == (["upsample"], ["self_blend"])
    assert able_kinds(crops(), ["self_blend", "upsample"]) == (["self_blend", "upsample"], [])
    with pytest.raises(UserError, match=r"train.forge=\[self_blend,swap\] needs faces with landmarks"):
        able_kinds(whole, ["self_blend", "swap"])
    assert able_kinds(whole, []) == ([], [])


def everything(probability):
    """An augmentation in which all that there is happens with this probability."""
    chances = ("hflip", "shift_scale_rotate", "colour", "blur", "noise", "jpeg", "grey", "clahe", "contrast", "rescale")
    return build_augment(
        **dict.fromkeys((*chances, "damage"), probability),
        **{"scale": 0.1, "rotate_deg": 10.0, "blur_sigma_range": (0.1, 1.5), "jpeg_quality_range": (60, 100)},
        min_area=0.6,
    )


@pytest.mark.parametrize("chance", [0.5, 1.0])
def test_with_a_forgery_that_changes_nothing_real_and_fake_are_the_same_to_the_bit(tmp_path: Path, monkeypatch, chance):
    """Under all augmentation and damage, in every epoch: whatever tells them apart is the forgery's."""
    monkeypatch.setattr(forging_module, "forge", lambda kind, real, rng, donor: Forgery(real.crop_HW3.copy(), None))
    picture = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "real.png"), picture)
    rows = 1 + len(FORGERIES)
    five = np.tile(np.array([[25, 20], [45, 20], [35, 32], [28, 42], [42, 42]], np.float32), (rows, 1, 1))
    data = CropDataset(
        [tmp_path / "real.png"] * (1 + len(FORGERIES)),
        np.array([0, *[1] * len(FORGERIES)]),
        **{"image_size": 48, "interpolation": "bilinear", "resize": False, "random_crop": 32},
        **{"augment": everything(chance), "erase_parts": 0.3, "erase_half": 0.3},
        landmarks=five,
        forging=Forging.of(["", *FORGERIES], np.zeros(rows, int), five, np.zeros((rows, 1), int)),
    )
    shown = [[data[epoch, row][0].numpy() for row in range(rows)] for epoch in range(25)]
    assert all((real == fake).all() for real, *fakes in shown for fake in fakes)
    assert len({real.tobytes() for real, *_ in shown}) > 20


def storage(path: Path, tensor) -> list[float]:
    """All that a crop tells but for its pixels: file, format, size, tables; and the tensor's shape and memory."""
    with Image.open(path) as picture:
        tables = [sum(table) for _, table in sorted(getattr(picture, "quantization", {}).items())]
        codec = float(["PNG", "JPEG"].index(picture.format))
        told = [path.stat().st_size, *picture.size, codec, len(picture.getbands()), *[*tables, 0.0, 0.0][:2]]
    return [*told, *tensor.shape, *tensor.stride(), tensor.is_contiguous(), tensor.element_size()]


def test_nothing_but_pixels_tells_forgeries_from_reals(tmp_path: Path) -> None:
    """Files of mixed formats, sizes and qualities, as a data set may have them."""
    rng, rows = np.random.default_rng(0), []
    five = np.array([[24, 26], [44, 26], [34, 38], [27, 48], [41, 48]], float)
    for number in range(24):
        suffix, side = ("png", "jpg")[number % 2], int(rng.integers(64, 90))
        path = tmp_path / f"{number}.{suffix}"
        flags = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 100))] if suffix == "jpg" else []
        picture = 128 + 400 * cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 6)
        cv2.imwrite(str(path), picture.clip(0, 255).astype(np.uint8), flags)
        rows.append({"media_id": path.name, "label": 0, "method": "", "path": path.name})
    table = pd.DataFrame(rows).assign(**dict(zip(POINTS, five.ravel())))
    for path in table.path:
        picture = cv2.imread(str(tmp_path / path))[..., ::-1]
        (tmp_path / f"made_{path}").write_bytes(encoded_like(255 - picture, tmp_path / path))
    table = with_forgeries(table.assign(reconstruction="made_" + table.path), FORGERIES, share=1, seed=0)
    reals = table.real.to_numpy()
    landmarks = np.tile(five.astype(np.float32), (len(table), 1, 1))
    data = CropDataset(
        [tmp_path / path for path in table.path],
        table.label.to_numpy(),
        **{"image_size": 64, "interpolation": "bilinear", "augment": everything(0.3)},
        landmarks=landmarks,
        forging=Forging.of(table.forge.tolist(), reals, landmarks, (reals[:, None] + 1) % 24),
    )
    seen = np.array([storage(tmp_path / table.path[row], data[0, row][0]) for row in range(len(table))])
    assert len(np.unique(seen, axis=0)) > 20  # the files differ, and say nothing
    model = HistGradientBoostingClassifier(min_samples_leaf=2, random_state=0)
    scores = cross_val_predict(model, seen, table.label, groups=reals, cv=GroupKFold(4), method="predict_proba")
    assert roc_auc_score(table.label, scores[:, 1]) == pytest.approx(0.5, abs=0.03)
    fakes = [data[0, row][0].numpy() for row in np.flatnonzero(table.label == 1)]
    assert all((fake != data[0, row][0].numpy()).any() for fake, row in zip(fakes, reals[table.label == 1]))


def test_donors_are_reals_of_other_sources():
    table = crops(reals=3, fakes=1).assign(source_id=lambda rows: rows.media_id)
    table = with_forgeries(table, ["swap"], share=0.9, seed=0)
    landmarks = np.random.default_rng(0).normal([[-1, 0], [1, 0], [0, 1], [-1, 2], [1, 2]], 0.1, (len(table), 5, 2))
    donors = _donors(table, landmarks)
    assert donors.shape == (len(table), DONORS)
    assert (donors >= 0).any(1).tolist() == (table.label[table.real] == 0).tolist()  # a given fake needs none
    for row, found in enumerate(donors):
        there = found[found >= 0]
        assert (table.label[there] == 0).all() and (table.forge[there] == "").all()
        assert (table.source_id[there] != table.source_id[table.real[row]]).all()
    with pytest.raises(UserError, match=r"train.forge=\[swap\] needs faces with landmarks in two real sources"):
        _donors(table.assign(source_id="one"), landmarks)


def test_a_run_trains_with_forgeries_and_keeps_its_prior(deepfake, cut_people: Path, demo_root: Path, tmp_path) -> None:
    shutil.copytree(cut_people, tmp_path, dirs_exist_ok=True)
    done = deepfake(
        *("train", "fold=0", f"data.root={demo_root}", *TINY, "augment.damage=0.5", "name=made"),
        "train.forge=[self_blend,swap,upsample]",
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
    assert (
        "train.forge=upsampel; allowed: self_blend, swap, upsample, reconstruct. Did you mean 'upsample'?"
        in done.output
    )


def test_methods_are_dealt_to_the_folds_in_turn_the_most_frequent_first():
    table = pd.DataFrame({"media_id": list("abcdefg"), "label": [1] * 6 + [0], "method": [*"zzzyyx", ""]})
    table["fold"] = [0, 1, 0, 1, 0, 1, 0]
    assert unseen_names(table, "0", "method") == ["z", "x"] and unseen_names(table, "1", "method") == ["y"]
    assert unseen_names(table, "full", "method") == [] == unseen_names(table, "0", "none")
    left = without_unseen(table, ["z", "x"], "method", forges=False)
    assert set(left.method) == {"", "y"}
    with pytest.raises(UserError, match=r"leaves no fake to train on without x, y, z"):
        without_unseen(table, ["x", "y", "z"], "method", forges=False)
    assert set(without_unseen(table, ["x", "y", "z"], "method", forges=True).label) == {0}


def test_a_fold_never_trains_on_the_methods_by_which_its_epochs_are_chosen(
    deepfake, cut_people: Path, demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfake.commands.train import fit

    seen, scored = [], []
    real_batches, real_score = fit.training_batches, fit.score_rows
    monkeypatch.setattr(
        fit, "training_batches", lambda cfg, crops, world: seen.append(crops) or real_batches(cfg, crops, world)
    )
    monkeypatch.setattr(fit, "score_rows", lambda oof, **named: scored.append(oof) or real_score(oof, **named))
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


# --- sources of reals, and what is fitted to unseen media


def test_origins_of_reals_are_dealt_to_the_folds_and_no_fake_is_left_out():
    table = pd.DataFrame({"media_id": list("abcdef"), "label": [0, 0, 0, 0, 1, 1], "method": "x"})
    table = table.assign(origin=[*"ssst", "s", "u"], fold=[0, 1, 0, 1, 0, 1])
    assert unseen_names(table, "0", "source") == ["s"] and unseen_names(table, "1", "source") == ["t"]
    left = without_unseen(table, ["s"], "source", forges=False)
    assert left.media_id.tolist() == ["d", "e", "f"]
    with pytest.raises(UserError, match="leaves no real to train on without s, t: it needs reals in two folders"):
        without_unseen(table, ["s", "t"], "source", forges=True)


def test_where_a_medium_comes_from_is_its_folder_but_for_the_part():
    from deepfake.sources.base import origin_of

    assert origin_of("train/real/ffhq/0.png") == origin_of("Val/real/ffhq/1.png") == "real/ffhq"
    assert origin_of("0.png") == "."


def held_out(table, names, hold_out, made=()):
    folds = table[["media_id", "label", "method"]].assign(group_id=table.media_id, fold=0)
    given = table.assign(forge="", real=range(len(table)))
    forged = [given.iloc[[row]].assign(media_id="made", label=1, method="upsample", forge="upsample") for row in made]
    return held_out_media(folds, pd.concat([given, *forged], ignore_index=True), names, hold_out)


def test_unseen_are_held_out_methods_beside_all_reals_or_held_out_origins_beside_all_fakes():
    table = pd.DataFrame({"media_id": list("abcd"), "label": [0, 0, 1, 1], "method": ["real", "real", "m", "n"]})
    table["origin"] = ["s", "t", "s", "s"]
    assert held_out(table, ["n"], "method").unseen.tolist() == [True, True, False, True]
    assert held_out(table, ["t"], "source").unseen.tolist() == [False, True, True, True]
    assert held_out(table[:2], ["t"], "source", made=[1]).unseen.tolist() == [False, True, True]
    assert held_out(table, [], "none") is None
    with pytest.raises(UserError, match=r"train.hold_out=method leaves the fold no fakes of k to be validated by"):
        held_out(table, ["k"], "method")


def planted_run(folder: Path, *, unseen: bool) -> Run:
    """Two folds of 100 reals, 100 fakes of a known method and 20 of a new one. Known fakes are told with certainty; the
    log-odds of new ones are a third of what is said, less one."""
    rng = np.random.default_rng(0)
    for number in (0, 1):
        truth = rng.normal(0, 1.5, 4000)
        new = rng.random(4000) < 1 / (1 + np.exp(-truth))
        reals, fakes = truth[~new][:100], truth[new][:20]
        logits = np.concatenate([3 * (reals + 1), rng.normal(12, 1, 100), 3 * (fakes + 1)])
        names = [f"{number} {n}" for n in range(220)]
        labels, method = np.repeat([0, 1], [100, 120]), np.repeat(["real", "known", "new"], [100, 100, 20])
        fold = folder / f"fold{number}"
        fold.mkdir(parents=True)
        nothing = {"frame_idx": 0, "face_idx": 0, "view": "identity", "found": True, "track_id": 0, "prob": None}
        oof = pd.DataFrame({"media_id": names, "label": labels, "logit": logits, "side": 9.0, "sharpness": 9.0})
        OOF.write(oof.assign(**nothing), fold / "oof.parquet")
        table = pd.DataFrame({"media_id": names, "group_id": names, "label": labels, "method": method, "fold": number})
        if unseen:
            HELD_OUT.write(table.assign(made_from=None, unseen=method != "known"), fold / "held_out.csv")
        for file in ("done.json", "config.json", "best.safetensors", "best.json"):
            (fold / file).touch()
    return Run(folder)


def test_certainty_is_fitted_to_what_a_fold_had_never_met(tmp_path: Path):
    """The reals and new fakes alone: slope 1/3 and bias -1, and as even as all media, not as rare as new fakes are."""
    run, plain = planted_run(tmp_path / "r", unseen=True), planted_run(tmp_path / "plain", unseen=False)
    blend = run_alone(run, ["identity"])
    shift = np.log(240 / 200)  # planted media are even; of all, so many are fake
    assert blend.slope == pytest.approx(1 / 3, abs=0.08) and blend.bias == pytest.approx(-1 + shift, abs=0.3)
    assert run_alone(plain, ["identity"]) == Blend.plain("plain")
    raw = score_alone(plain, list(plain.folds.values()), ["identity"])
    honest = score_alone(run, list(run.folds.values()), ["identity"])
    assert honest < np.log(2) < raw


@pytest.mark.parametrize(("share", "counts"), [(0.5, (6, 6)), (0.75, (6, 18)), (0.1, (18, 2))])
def test_the_rarer_class_counts_again_until_the_share_is_right(share, counts):
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 0])
    rows = rows_of_share(labels, share)
    assert tuple(np.bincount(labels[rows])) == counts and set(rows) == set(range(8))


def test_a_run_with_sources_held_out_is_inferred_and_blended_by_unseen_media(deepfake, tmp_path: Path) -> None:
    import cv2

    rng = np.random.default_rng(0)
    places = [f"train/real/{camera}/{n}" for camera in ("a", "b") for n in range(16)]
    places += [f"train/fake/{n}" for n in range(24)] + ["test/0", "test/1"]
    for place in places:
        path = tmp_path / f"photos/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (20, 20, 3), np.uint8), (64, 64)))
    made = ("data.root=photos", "crop.mode=whole", *TINY, "train.hold_out=source", "train.epochs=1")
    done = deepfake("index", "folds", "extract", "train", "infer", *made)
    assert done.status == 0, done.output
    assert "trained without real/a; epochs are scored by these" in done.output
    tables = [pd.read_csv(tmp_path / f"runs/photos/fold{n}/held_out.csv") for n in (0, 1)]
    for table, name in zip(tables, "ab"):
        reals = table[(table.label == 0) & table.unseen]
        assert len(reals) and reals.media_id.str.contains(f"/real/{name}/").all()
        assert table[table.label == 1].unseen.all()
    assert "fitted to media of what their fold had never met" in done.output
    unseen = sum(int(table.unseen.sum()) for table in tables)
    assert f"out-of-fold, {unseen} of these by what their fold had never met" in done.output
    blended = deepfake("blend", "runs=[photos]", "name=honest")
    assert blended.status == 0, blended.output
    assert f"{unseen} media with a face of methods or sources that runs were trained without" in blended.output
    done = deepfake("check", "name=photos", "input=submissions/photos/submission.csv")
    assert done.status == 0, done.output
