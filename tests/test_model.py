"""From Python: a trained run that predicts files, frames and crops; every command as a function."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from pipeline import TINY, run_cold

import deepfake as package
from deepfake import load
from deepfake.commands import names
from deepfake.errors import UserError
from deepfake.model import Model

NUMBERS = ["prob_fake", "lowest", "highest"]


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    """The run `people`, of two folds."""
    return load(trained / "runs/people", num_workers=1)


@pytest.fixture(scope="module")
def scores(trained: Path, demo_root: Path) -> pd.DataFrame:
    """What infer made of the test split: path and P(fake) of a clip and a picture."""
    table = pd.read_csv(trained / "submissions/people/scores.csv")
    path = pd.Series([str(demo_root / media_id) for media_id in table.media_id])
    table = pd.DataFrame({"path": path, "prob": 1 / (1 + np.exp(-table.logit))})
    return table.groupby(path.str[-4:] == ".mp4").first().reset_index(drop=True)


def as_array(path: str) -> np.ndarray:
    """All frames of a clip, (T, H, W, 3), or a picture, (H, W, 3); uint8 RGB."""
    if path.endswith(".mp4"):
        with av.open(path) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return cv2.imread(path)[..., ::-1]


@pytest.fixture(scope="module")
def predictions(model: Model, scores: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Of a picture and a clip, as files and as arrays; of a file that is broken, and of an array without a face."""
    broken = tmp_path_factory.mktemp("broken") / "broken.mp4"
    broken.write_bytes(b"no video")
    arrays = [as_array(path) for path in scores.path]
    return model.predict([*scores.path, *arrays, broken, np.full((120, 160, 3), 90, np.uint8)])


def test_files_are_predicted_as_infer_scores_them(predictions: pd.DataFrame, scores: pd.DataFrame) -> None:
    table = predictions[:2]
    assert table.file.tolist() == scores.path.tolist()
    assert table.prob_fake.to_numpy() == pytest.approx(scores.prob.to_numpy(), abs=1e-6)
    assert (table.lowest <= table.prob_fake).all() and (table.prob_fake <= table.highest).all()
    assert set(table.verdict) <= {"fake", "real"} and (table.faces > 0).all() and (table.error == "").all()


def test_frames_are_predicted_as_their_files(predictions: pd.DataFrame) -> None:
    files, arrays = predictions[:2], predictions[2:4].reset_index(drop=True)
    assert arrays.file.tolist() == ["array 2", "array 3"]
    pd.testing.assert_frame_equal(arrays[NUMBERS], files[NUMBERS], check_exact=False, atol=1e-5)
    assert arrays.faces.tolist() == files.faces.tolist()


def test_what_cannot_be_read_or_has_no_face_is_said(predictions: pd.DataFrame) -> None:
    broken, plain = predictions.iloc[4], predictions.iloc[5]
    assert (broken.error, plain.error) == ("corrupt", "no_face") and plain.detail.startswith("no face found")
    assert np.isnan(broken.prob_fake) and 0 < plain.prob_fake < 1 and broken.verdict is plain.verdict is None


def test_crops_are_predicted_as_the_media_that_they_are_of(model: Model, trained: Path, scores: pd.DataFrame) -> None:
    assert model.name == "people"
    faces = pd.read_parquet(trained / "data/people/faces.parquet")
    ours = faces[[scores.path[1].endswith(media_id) for media_id in faces.media_id]]
    table = model.predict_crops([as_array(str(trained / "data/people" / path)) for path in ours.path])
    assert list(table.columns) == NUMBERS and len(table) == len(ours) > 1
    mean = np.log(table.prob_fake / (1 - table.prob_fake)).mean()
    assert 1 / (1 + np.exp(-mean)) == pytest.approx(scores.prob[1], abs=1e-5)
    assert model.predict_crops([]).empty and model.predict([]).empty


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")]
)
def test_arrays_of_another_kind_are_refused(model: Model, array: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"an array of shape .* allowed: uint8 RGB of shape \(H, W, 3\)"):
        model.predict(array)
    with pytest.raises(UserError, match="is a folder: name its files"):
        model.predict(["."])
    with pytest.raises(UserError, match=r"allowed: uint8 RGB of shape \(H, W, 3\)$"):
        model.predict_crops([array])


def test_a_run_that_is_not_there_is_one_clear_line(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "runs/none").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no trained fold; no run has a trained fold yet"):
        load(tmp_path / "runs/none")
    with pytest.raises(UserError, match="people is no folder of a run: load takes its path"):
        load("people")
    with pytest.raises(UserError, match=r"crop\.size=32, but run people was trained with 64"):
        load(trained / "runs/people", **{"crop.size": 32})


def test_a_script_needs_no_guard(trained: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    """Its processes do not run it again."""
    lines = ["from pathlib import Path", "from deepfake import load", "from deepfake.demo.render import render_demo"]
    lines.append("render_demo(Path('demo'), num_train=2, num_test=2)")
    lines.append(f"model = load({str(trained / 'runs/people')!r})")
    lines.append(f"print(model.predict([{scores.path[0]!r}]).error.tolist())")
    (tmp_path / "script.py").write_text("\n".join(lines))
    done = run_cold([sys.executable, tmp_path / "script.py"], tmp_path)
    assert done.status == 0 and done.output.count("['']") == 1, done.output


def test_every_command_is_a_function_of_keywords(
    demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"load", *names()} <= set(dir(package))
    for name in names():
        assert getattr(package, name).__name__ == name and "Keywords:\n  paths." in getattr(package, name).__doc__
    data = {"data.root": demo_root}
    assert len(package.index(**data).media) == 44
    settings = dict(pair.split("=") for pair in TINY if pair.startswith("folds."))
    assert package.folds(**data, **settings).folds.fold.nunique() == 2
    with pytest.raises(UserError, match=r"unknown key 'fodl'.* Did you mean 'fold'"):
        package.folds(fodl=0)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018
