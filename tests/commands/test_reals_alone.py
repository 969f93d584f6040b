"""A data set without one fake: training makes them, also those that it is validated by; and all that comes after it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pipeline import TINY, run_in

from deepfake.commands.train.crops import held_out_media, with_validation_fakes
from deepfake.errors import UserError
from deepfake.tables import LANDMARK_COLUMNS

MADE = ("data.root=photos", "crop.mode=whole", *TINY, "train.forge=[upsample]")


def take_photos(root: Path) -> None:
    """Twelve soft pictures to train on; two of each class to test on."""
    rng = np.random.default_rng(0)
    for place in [f"train/real/{n}" for n in range(12)] + [
        f"test/{kind}/{n}" for kind in ("real", "fake") for n in "ab"
    ]:
        path = root / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (20, 20, 3), np.uint8), (64, 64)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    take_photos(tmp_path / "photos")
    return tmp_path


def test_from_index_to_a_checked_submission_without_one_fake(deepfake, photos: Path) -> None:
    done = deepfake("index", "folds", "extract", "train", "infer", *MADE)
    assert done.status == 0, done.output
    assert "validation is by its reals and 6 fakes made of them" in done.output
    assert re.search(r"fold 0: (\d+) crops of \1 media", done.output), done.output  # a photo gives one crop
    assert "out-of-fold, 24 media, half of them made from the other half, of folds 0, 1" in done.output
    folds = [photos / f"runs/photos/fold{number}" for number in (0, 1)]
    oof = pd.concat([pd.read_parquet(fold / "oof.parquet") for fold in folds])
    assert not oof.duplicated(["media_id", "frame_idx", "face_idx", "view"]).any()
    labels = oof.groupby("media_id").label.first()
    assert labels.sum() == 12 and all(name.endswith(" upsample") for name in labels.index[labels == 1])
    logits = oof[oof.view == "identity"].set_index("media_id").logit
    assert all(logits[name] != logits[f"{name} upsample"] for name in labels.index[labels == 0])
    for fold in folds:
        table = pd.read_csv(fold / "held_out.csv")
        made = table[table.made_from.notna()]
        assert (made.media_id == made.made_from + " upsample").all() and (made.label == 1).all()
        assert json.loads((fold / "best.json").read_text())["prior_logit"] == 0
        assert len({*table.fold}) == 1
    submission = pd.read_csv(photos / "submissions/photos/submission.csv")
    assert len(submission) == 4
    assert deepfake("check", "name=photos", f"input={photos}/submissions/photos/submission.csv").status == 0
    told = deepfake("evaluate", "name=photos", *MADE)
    assert told.status == 0, told.output
    table = json.loads((photos / "submissions/photos/evaluation.json").read_text())
    assert {(row["on"], row["reals"], row["fakes"]) for row in table} >= {("out of fold, photos", 12, 12)}
    blended = deepfake("blend", "runs=[photos]", "name=honest")
    assert blended.status == 0, blended.output
    fallbacks = json.loads((photos / "runs/honest/blend.json").read_text())["fallbacks"]
    assert {reason: one["logit"] for reason, one in fallbacks.items()} == dict.fromkeys(fallbacks, 0.0)
    assert deepfake("infer", "name=honest", "data.root=photos").status == 0
    assert deepfake("predict", "photos/test/fake/a.png", "name=photos").status == 0


def test_every_epoch_and_the_last_scoring_ask_about_the_same_fakes(photos: Path, deepfake, monkeypatch) -> None:
    """Validation fakes of two epochs are the same to the bit, and so are their logits by the same weights."""
    from deepfake.commands.train import fit

    shown, real_predict = [], fit.validation_data

    def watched(*arguments, **named):
        data = real_predict(*arguments, **named)
        shown.append(np.stack([data.scored(row)[0][0].numpy() for row in range(len(data))]))
        return data

    monkeypatch.setattr(fit, "validation_data", watched)
    done = deepfake("index", "folds", "extract", "train", "fold=0", *MADE, "infer.tta=identity")
    assert done.status == 0, done.output
    assert len(shown) == 3  # two epochs, and out-of-fold
    assert all((one == shown[0]).all() for one in shown[1:])
    reals, fakes = shown[0][:6], shown[0][6:]
    assert len(fakes) == 6 and all((fake != real).any() for real, fake in zip(reals, fakes))


def test_views_are_chosen_with_made_fakes_beside_their_reals(photos: Path, deepfake) -> None:
    done = deepfake("index", "folds", "extract", "train", "infer", *MADE, "infer.tta=auto")
    assert done.status == 0, done.output
    assert "infer.tta=auto keeps" in done.output


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["train.forge=[]"], "all 12 labelled training media are real: training needs fakes (1) too, or train.forge="),
        (["train.hold_out=method"], "train.hold_out=method needs fakes of two methods or more"),
    ],
)
def test_what_reals_alone_do_not_allow_is_said_before_extraction(photos: Path, deepfake, settings, told) -> None:
    done = deepfake("index", "folds", "extract", "train", *MADE, *settings)
    assert done.status == 2 and told in done.output
    assert not (photos / "data/photos/faces.parquet").exists()


def test_whole_pictures_train_without_the_kinds_that_need_faces(photos: Path, deepfake) -> None:
    done = deepfake("index", "folds", "extract", "train", *MADE, "fold=0", "train.forge=[self_blend,upsample]")
    assert done.status == 0, done.output
    assert "train.forge without self_blend: no real crop has the landmarks of a face" in done.output
    assert set(pd.read_csv(photos / "runs/photos/fold0/held_out.csv").method) == {"real", "upsample"}


def test_given_fakes_validate_alone_also_where_none_is_trained_on(photos: Path, deepfake) -> None:
    for number in range(12):
        path = photos / f"photos/train/fake/{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((64, 64, 3), number, np.uint8))
    run_in(photos, "index", "folds", "extract", "train", "fold=0", *MADE, "train.forge_share=1")
    oof = pd.read_parquet(photos / "runs/photos/fold0/oof.parquet")
    assert oof.media_id.nunique() == 12 and not oof.media_id.str.endswith("upsample").any()
    assert not (photos / "runs/photos/fold0/held_out.csv").exists()


# --- which fakes a validation makes


def crops(*media, label=0, landmarks=5.0):
    table = pd.DataFrame([{"media_id": name, "label": label, "method": "real", "found": True} for name in media])
    return table.assign(**dict.fromkeys(LANDMARK_COLUMNS, landmarks))


def test_each_real_is_made_a_fake_of_one_kind_the_kinds_in_turn():
    made = with_validation_fakes(crops(*"dcba"), ["self_blend", "upsample"])
    assert made.media_id[4:].tolist() == ["a self_blend", "b upsample", "c self_blend", "d upsample"]
    assert made.real.tolist() == [0, 1, 2, 3, 3, 2, 1, 0]


def test_a_real_that_cannot_be_of_a_kind_is_made_one_of_the_next_and_without_a_face_none():
    table = pd.concat([crops("a", landmarks=np.nan), crops("b").assign(found=False), crops("c")])
    made = with_validation_fakes(table, ["self_blend", "upsample"])
    assert made.media_id[3:].tolist() == ["a upsample", "c self_blend"]
    with pytest.raises(UserError, match=r"train.forge=\[self_blend\] can make no fake from the reals"):
        with_validation_fakes(crops("a", landmarks=np.nan), ["self_blend"])


def test_given_fakes_leave_a_validation_as_it_is():
    given = pd.concat([crops("a"), crops("b", label=1)])
    assert with_validation_fakes(given, ["upsample"]).media_id.tolist() == ["a", "b"]


def test_the_held_out_table_says_what_each_fake_was_made_from():
    folds = pd.DataFrame({"media_id": ["a", "b"], "group_id": ["g", "h"], "label": 0, "method": "real", "fold": 1})
    table = held_out_media(folds, with_validation_fakes(crops("b", "a"), ["upsample"]), [], "none")
    assert table.media_id.tolist() == ["b", "a", "a upsample", "b upsample"]
    assert table.group_id.tolist() == ["h", "g", "g", "h"]
    assert table.label.tolist() == [0, 0, 1, 1]
    assert table.method.tolist() == ["real", "real", "upsample", "upsample"]
    assert table.made_from.fillna("").tolist() == ["", "", "a", "b"]
