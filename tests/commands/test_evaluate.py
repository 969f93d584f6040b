"""`python -m deepfake evaluate`: tables of a run by generator, on the screen and beside its submission."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from pipeline import TINY

from deepfake.forgery.conditions import jpeg, resize
from deepfake.pipeline.damaged import Damage


def test_a_run_is_evaluated_by_generator_and_beside_it_out_of_fold(deepfake, here: Path, demo_root: Path) -> None:
    done = deepfake("evaluate", f"data.root={demo_root}")
    assert done.status == 0, done.output
    table = pd.read_csv(here / "submissions/people/evaluation.csv")
    assert set(table.on) == {"test media of people", "out of fold, people"}
    tested = table[table.on == "test media of people"]
    assert tested.method.iloc[0] == "all" and tested.auc.iloc[1:].is_monotonic_increasing
    assert set(tested.method) >= {"all", "reenact", "swap"}
    media = pd.read_parquet(here / "data/people/media.parquet")
    test = media[media.split == "test"]
    assert tested.fakes.iloc[0] == (test.label == 1).sum() and tested.reals.iloc[0] == (test.label == 0).sum()
    assert f"AUC {tested.auc.iloc[0]:.4f}" in deepfake("infer", f"data.root={demo_root}").output
    lines = [line.split()[0] for line in done.output.splitlines() if line.startswith(tuple(tested.method))]
    assert lines[: len(tested)] == tested.method.tolist()
    beside = json.loads((here / "submissions/people/evaluation.json").read_text())
    assert [row["method"] for row in beside] == table.method.tolist()
    assert "| all |" in (here / "submissions/people/evaluation.md").read_text()


def test_where_the_split_is_not_there_the_test_media_are_evaluated_alone(deepfake, here: Path, demo_root: Path) -> None:
    (here / "folds/people.csv").unlink()
    done = deepfake("evaluate", f"data.root={demo_root}")
    assert done.status == 0 and "out of fold" not in done.output, done.output
    assert set(pd.read_csv(here / "submissions/people/evaluation.csv").on) == {"test media of people"}


def test_what_is_missing_is_said_in_a_line(deepfake, here: Path, demo_root: Path) -> None:
    (here / "submissions/people/scores.csv").unlink()
    done = deepfake("evaluate", f"data.root={demo_root}")
    assert done.status == 2 and "is not there: first ./run_infer.sh with the same name and data" in done.output
    assert "Traceback" not in done.output


def test_scores_of_other_models_are_not_taken_for_these(deepfake, here: Path, demo_root: Path) -> None:
    assert deepfake("train", "fold=0", "name=other", f"data.root={demo_root}", *TINY, "seed=5").status == 0
    done = deepfake("evaluate", "name=other", f"data.root={demo_root}")
    assert done.status == 2 and "submissions/other/scores.csv is not there" in done.output
    shutil.copytree(here / "submissions/people", here / "submissions/other")
    done = deepfake("evaluate", "name=other", f"data.root={demo_root}")
    assert done.status == 2 and "is of other models or media than are there now" in done.output


def test_it_stands_at_the_end_of_the_whole_way(deepfake, demo_root: Path) -> None:
    done = deepfake(
        "index", "folds", "extract", "train", "infer", "evaluate", f"data.root={demo_root}", *TINY, "fold=0"
    )
    assert done.status == 0 and "evaluation.csv" in done.output, done.output


def test_without_labels_there_is_nothing_to_compare_with(deepfake, here: Path, demo_root: Path) -> None:
    unlabelled = here / "unlabelled"
    unlabelled.mkdir()
    for path in list((demo_root / "media/test").glob("*.png"))[:2] or list((demo_root / "media/test").iterdir())[:2]:
        (unlabelled / path.name).symlink_to(path)
    done = deepfake("index", "infer", "evaluate", "name=people", f"data.root={unlabelled}", "data.layout=unlabelled")
    assert done.status == 2 and "no test medium of unlabelled has a known label" in done.output
    order = pd.read_csv(here / "submissions/people_unlabelled/evaluation_ranking.csv")
    assert len(order) == 2 and order.logit.is_monotonic_decreasing and order.label.isna().all()


def test_faces_frames_and_the_most_wrong_are_told_in_and_out_of_distribution(deepfake, here, demo_root):
    done = deepfake("evaluate", f"data.root={demo_root}")
    parts = pd.read_csv(here / "submissions/people/evaluation_parts.csv")
    frames = parts[parts.by == "frame"]
    assert set(frames.on) == {"test media of people", "out of fold, people"}
    for _, rows in frames.groupby("on"):
        counts = rows.set_index("part")[["reals", "fakes"]].sum(axis=1)
        assert counts["crop"] > counts["medium"]
    assert "By frame" in done.said
    order = pd.read_csv(here / "submissions/people/evaluation_ranking.csv")
    scores = pd.read_csv(here / "submissions/people/scores.csv").set_index("media_id").logit
    assert order.logit.is_monotonic_decreasing and len(order) == len(scores)
    np.testing.assert_allclose(order.logit, scores[order.path])
    lines = [line.split()[:1] for line in done.said.splitlines()]
    worst = order.path[order.label == 1].tolist()[::-1][:5]
    first = lines.index(["Fakes"]) + 2
    assert lines[first : first + 5] == [[path] for path in worst]


# --- damaged crops


def same(picture_HW3, rng):
    return picture_HW3


def interrupted(picture_HW3, rng):
    raise KeyboardInterrupt


@pytest.fixture
def conditions(monkeypatch):
    """Three of them, the first of which does nothing."""
    few = {
        "same": same,
        "jpeg 5": lambda picture_HW3, rng: jpeg(picture_HW3, rng, quality=5),
        "resize 0.3": lambda picture_HW3, rng: resize(picture_HW3, rng, scale=0.3),
    }
    monkeypatch.setattr("deepfake.forgery.conditions.CONDITIONS", few)
    return few


def test_damaged_crops_are_scored_as_the_others_are(deepfake, here: Path, demo_root: Path, conditions) -> None:
    crops = {path: path.stat().st_mtime_ns for path in (here / "data/people").rglob("*") if path.is_file()}
    done = deepfake("evaluate", f"data.root={demo_root}", "evaluate.robustness=true")
    assert "Under damage, test media of people" in done.said
    folder = here / "submissions/people"
    table = pd.read_csv(folder / "evaluation_robustness.csv").set_index("condition")
    assert table.index.tolist() == ["none", *conditions]
    whole = pd.read_csv(folder / "evaluation.csv").iloc[0]
    assert table.auc["none"] == whole.auc and table.log_loss["none"] == whole.log_loss
    scores, again = (pd.read_csv(path) for path in (folder / "scores.csv", folder / "robustness/same.csv"))
    pd.testing.assert_frame_equal(scores, again, rtol=1e-5)  # batches differ
    assert table.flipped["same"] == 0
    for name in ("jpeg_5", "resize_0.3"):
        other = pd.read_csv(folder / f"robustness/{name}.csv")
        assert (other.logit - scores.logit)[scores.fallback.isna()].abs().min() > 0
        assert (other.logit == scores.logit)[scores.fallback.notna()].all()
    assert len(json.loads((folder / "evaluation_robustness.json").read_text())) == 4
    assert "| jpeg 5 |" in (folder / "evaluation_robustness.md").read_text()
    assert not (folder / "robustness/work").exists()
    assert crops == {path: path.stat().st_mtime_ns for path in (here / "data/people").rglob("*") if path.is_file()}


def test_conditions_that_are_scored_stay_whatever_happens(deepfake, here: Path, demo_root: Path, conditions) -> None:
    damage = conditions["resize 0.3"]
    conditions["resize 0.3"] = interrupted
    asked = ("evaluate", f"data.root={demo_root}", "evaluate.robustness=true")
    assert deepfake(*asked).status == 130
    conditions |= {"same": interrupted, "jpeg 5": interrupted, "resize 0.3": damage}
    said = deepfake(*asked).said
    assert "same, 1 of 3: up to date" in said and "jpeg 5, 2 of 3: up to date" in said
    assert "resize 0.3, 3 of 3: scoring" in said
    assert "resize 0.3, 3 of 3: up to date" in deepfake(*asked).said


def test_a_smaller_crop_of_a_face_is_enlarged_again_without_an_edge_and_a_picture_stays_small(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    cv2.imwrite(str(tmp_path / "before/0.png"), np.full((64, 64, 3), 200, np.uint8))
    for mode, side in (("faces", 64), ("whole", 32)):
        damage = Damage("resize 0.5", tmp_path / "before", tmp_path / mode, SimpleNamespace(mode=mode, size=64))
        path, sharpness = damage("0.png")
        after = cv2.imread(str(tmp_path / mode / path))
        assert after.shape == (side, side, 3) and (after == 200).all() and sharpness == 0


def test_damage_is_asked_of_the_very_crops_that_were_scored(deepfake, here: Path, demo_root: Path) -> None:
    (here / "data/people/faces.parquet").unlink()
    done = deepfake("evaluate", f"data.root={demo_root}", "evaluate.robustness=true")
    assert done.status == 2 and "is not of all crops that are there now: first ./run_infer.sh" in done.output


# --- somebody's own detector

BY_NAME = """
from pathlib import Path
from answers import answer  # it lies beside this file

def predict(path):
    assert Path(path).is_absolute()
    return answer(Path(path))
"""


@pytest.fixture
def detector(here: Path) -> Path:
    """It says .9 to fakes and .2 to reals, by the media table; answers.py can be changed."""
    folder = here / "mine"
    folder.mkdir()
    (folder / "my_detector.py").write_text(BY_NAME)
    (folder / "answers.py").write_text("")
    return folder / "my_detector.py"


def answers(detector: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """code: the body of answer(path); FAKES has the paths of the fakes."""
    import sys

    media = pd.read_parquet(detector.parents[1] / "data/people/media.parquet")
    fakes = set(media.path[(media.label == 1).fillna(False)].str.rpartition("/")[2])
    (detector.parent / "answers.py").write_text(f"FAKES = {fakes!r}\ndef answer(path):\n    {code}\n")
    shutil.rmtree(detector.parent / "__pycache__", ignore_errors=True)
    monkeypatch.delitem(sys.modules, "answers", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_any_detector_gets_the_same_tables(deepfake, here: Path, demo_root: Path, detector, monkeypatch) -> None:
    answers(detector, "return .9 if path.name in FAKES else .2", monkeypatch)
    done = deepfake("evaluate", f"model={detector}", f"data.root={demo_root}")
    assert "test media of people, by my_detector.py" in done.said and "out of fold" not in done.said
    folder = here / "submissions/my_detector_people"
    table = pd.read_csv(folder / "evaluation.csv")
    assert (table.auc == 1).all() and (table.accuracy == 1).all() and "swap" in set(table.method)
    media = pd.read_parquet(here / "data/people/media.parquet")
    order = pd.read_csv(folder / "evaluation_ranking.csv")
    assert len(order) == (media.split == "test").sum() and order.prob_fake.max() == pytest.approx(0.9)
    loss = -(table.fakes[0] * np.log(0.9) + table.reals[0] * np.log(0.8)) / (table.fakes[0] + table.reals[0])
    assert table.log_loss[0] == pytest.approx(loss)
    assert pd.read_csv(folder / "evaluate_problems.csv").empty and not (folder / "evaluate_progress.jsonl").exists()


def test_media_that_it_fails_for_are_counted(deepfake, here: Path, demo_root: Path, detector, monkeypatch) -> None:
    media = pd.read_parquet(here / "data/people/media.parquet")
    names = sorted(media.path[media.split == "test"].str.rpartition("/")[2])[:3]
    odd = f"dict(zip({names!r}, (lambda: 1 / 0, lambda: 7, lambda: None)))"
    answers(detector, f"return {odd}.get(path.name, lambda: 1.0)()", monkeypatch)
    done = deepfake("evaluate", f"model={detector}", f"data.root={demo_root}", "name=mine")
    total = (media.split == "test").sum()
    assert f"3 of {total}" in done.said and "failed and are in no table" in done.said
    problems = pd.read_csv(here / "submissions/mine_people/evaluate_problems.csv")
    assert sorted(problems.error) == ["ZeroDivisionError", "no_probability", "no_probability"]
    assert "predict gave 7; wanted: a number from 0 to 1" in set(problems.detail)
    assert "line 7: ZeroDivisionError: division by zero" in set(problems.detail)
    table = pd.read_csv(here / "submissions/mine_people/evaluation.csv")
    assert table.reals[0] + table.fakes[0] == total - 3 and np.isfinite(table.log_loss[0])


def test_a_detector_that_was_stopped_goes_on(deepfake, demo_root: Path, detector, monkeypatch) -> None:
    asked = ("evaluate", f"model={detector}", f"data.root={demo_root}")
    stop = "import os; os.environ['ASKED'] = str(int(os.environ.get('ASKED', 0)) + 1); "
    monkeypatch.setenv("ASKED", "0")
    answers(
        detector,
        f"{stop}return .5 if os.environ['ASKED'] != '3' else (_ for _ in ()).throw(KeyboardInterrupt)",
        monkeypatch,
    )
    assert deepfake(*asked).status == 130
    assert "going on: 2 media are scored" in deepfake(*asked).said
    assert "going on" not in deepfake(*asked).said  # what it loads may be another by now


def test_what_is_wrong_with_a_detector_is_said_in_a_line(deepfake, here: Path, demo_root: Path, detector) -> None:
    def said(code: str | None, *more: str, model: str = "mine/bad.py") -> str:
        if code is not None:
            (here / "mine/bad.py").write_text(code)
        done = deepfake("evaluate", f"model={model}", f"data.root={demo_root}", *more)
        assert done.status == 2 and "Traceback" not in done.output
        return done.output

    assert "model=mine/none.py is not there" in said(None, model="mine/none.py")
    assert "cannot be run: line 2: ModuleNotFoundError: No module named 'nowhere'" in said("\nimport nowhere")
    assert "cannot be run: line 1: SyntaxError" in said("def predict(path)")
    assert "has no function predict(path) → probability of fake; it has judge" in said("def judge(path): return 1")
    everything = said("def predict(path):\n    raise OSError('no weights')")
    assert "failed for all" in everything and "the first: line 2: OSError: no weights" in everything
    fine = "def predict(path): return .5"
    assert "leave it out with model=FILE.py" in said(fine, "evaluate.robustness=true")
    assert "other/media.parquet is not there: first python -m deepfake index" in said(fine, "data.name=other")


def test_the_key_is_that_of_evaluate_alone(deepfake, demo_root: Path, detector) -> None:
    done = deepfake("train", f"model={detector}", f"data.root={demo_root}")
    assert done.status == 2 and "model= is a key of evaluate alone" in done.output
    done = deepfake("train", "model=resnet18", f"data.root={demo_root}")
    assert done.status == 2 and "train takes model.name=NAME, and evaluate model=FILE.py" in done.output
