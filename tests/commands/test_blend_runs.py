"""Blends of runs, through `python -m deepfake`: what planted out-of-fold logits lead to, and what infer makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import Done

from deepfake.tables import OOF

Command = Callable[..., Done]
LOGITS = "submissions/mix/logits.parquet"


@pytest.fixture
def here(three_runs: Path, tmp_path: Path) -> Path:
    """A copy of the folder with the runs a, b and c, to spoil; it is where the `deepfake` fixture runs."""
    return shutil.copytree(three_runs, tmp_path, dirs_exist_ok=True)


def plant(folder: Path, run: str, logit_of: Callable[[pd.DataFrame], np.ndarray]) -> None:
    """Put other logits into a run's out-of-fold tables."""
    for path in sorted(folder.glob(f"runs/{run}/fold*/oof.parquet")):
        rows = pd.read_parquet(path)
        OOF.write(rows.assign(logit=logit_of(rows)), path)


def signs(rows: pd.DataFrame) -> np.ndarray:
    return 2.0 * rows.label.to_numpy(int) - 1


def medium_noise(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Noise that all rows of a medium share."""
    names = pd.factorize(rows.media_id)[0]
    return np.random.default_rng(seed).normal(size=len(rows))[names]


def plant_answers(folder: Path) -> None:
    """a knows, too loudly; b knows and says the opposite; c knows nothing."""
    plant(folder, "a", lambda rows: 30 * (signs(rows) + 0.9 * medium_noise(rows, 0)))
    plant(folder, "b", lambda rows: -2 * (signs(rows) + 0.5 * medium_noise(rows, 1)))
    plant(folder, "c", lambda rows: 3 * medium_noise(rows, 2))


def test_what_is_wrong_with_runs_is_found_and_written_for_people(deepfake: Command, here: Path) -> None:
    plant_answers(here)
    done = deepfake("blend", "runs=[a,b,c]", "name=mix")
    assert done.status == 0, done.output
    assert "RUN b IS INVERTED" in done.output
    record = json.loads((here / "runs/mix/blend.json").read_text())
    assert record["blend"]["runs"]["b"]["inverted"] and not record["blend"]["runs"]["a"]["inverted"]
    nested = record["nested"]
    assert nested["media"] == 32
    assert nested["gain"] == pytest.approx(nested["plain_mean"] - nested["blend"])
    assert nested["gain"] > 2 * nested["standard_error"] > 0
    assert f"{nested['blend']:.4f}" in done.output and f"{nested['plain_mean']:.4f}" in done.output
    assert record["correlation"]["a"]["b"] < 0
    assert {"runs", "offset", "slope", "bias", "limit", "threshold"} <= set(record["blend"])
    assert [set(blend["runs"]) for blend in record["of_fewer_runs"]][-1] < {"a", "b", "c"}


def test_noise_leaves_the_plain_mean(deepfake: Command, here: Path) -> None:
    for seed, run in enumerate("abc"):
        plant(here, run, lambda rows, seed=seed: medium_noise(rows, seed))
    done = deepfake("blend", "runs=[a,b,c]", "name=mix")
    assert "nothing pays by more than its noise: the plain mean of logits stays" in done.output
    blend = json.loads((here / "runs/mix/blend.json").read_text())["blend"]
    assert [run["weight"] for run in blend["runs"].values()] == pytest.approx([1 / 3] * 3)
    assert (blend["pool"], blend["slope"], blend["bias"], blend["limit"]) == ("mean", 1, 0, None)


def test_infer_gives_what_the_file_says(deepfake: Command, here: Path, demo_root: Path) -> None:
    plant_answers(here)
    assert deepfake("blend", "runs=[a,b,c]", "name=mix").status == 0
    done = deepfake("infer", f"data.root={demo_root}", "name=mix")
    assert done.status == 0, done.output
    blend = json.loads((here / "runs/mix/blend.json").read_text())["blend"]
    assert blend["pool"] == "mean"  # of rows that all say the same
    rows = pd.read_parquet(here / LOGITS).groupby(["media_id", "run"]).logit.mean().unstack()
    total = blend["offset"] + sum(
        run["weight"] * (-1 if run["inverted"] else 1) * rows[name]
        for name, run in blend["runs"].items()
        if run["weight"]
    )
    logits = blend["slope"] * total + blend["bias"]
    if blend["limit"]:
        logits = logits.clip(-blend["limit"], blend["limit"])
    submission = pd.read_csv(here / "submissions/mix/submission.csv").set_index("filename").label
    expected = 1 / (1 + np.exp(-logits))
    expected.index = [Path(media_id).name for media_id in expected.index]
    assert submission.to_numpy() == pytest.approx(expected[submission.index].to_numpy(), abs=1e-5)
    ledger = pd.read_csv(here / "submissions/ledger.csv")
    assert ledger.cv_metric.tolist() == ["log_loss"] and 0 < ledger.cv[0] < 1


def test_two_runs_by_another_metric(deepfake: Command, here: Path) -> None:
    plant_answers(here)
    done = deepfake("blend", "runs=[a,c]", "blend.metric=auc")
    assert done.status == 0 and "auc" in done.output, done.output
    assert json.loads((here / "runs/a+c/blend.json").read_text())["metric"] == "auc"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["blend"], ["runs=[]", "runs=[a,b,c]"]),
        (["blend", "runs=[a,a]"], ["each once"]),
        (["blend", "runs=[a,d]"], ["run d has no trained fold", "trained runs: a, b, c"]),
        (["blend", "runs=[a,b]", "name=c"], ["name=c is a trained run"]),
        (["blend", "runs=[a,b]", "blend.metric=acu"], ["auc"]),
        (["infer", "name=mix"], ["runs/mix holds no trained fold"]),
    ],
)
def test_wrong_words_get_one_line(deepfake: Command, here: Path, arguments: list[str], words: list[str]) -> None:
    done = deepfake(*arguments)
    assert done.status == 2 and done.output.count("error: ") == 1, done.output
    for word in words:
        assert word in done.output


def test_a_blend_is_of_its_very_weights(deepfake: Command, here: Path, demo_root: Path) -> None:
    assert deepfake("blend", "runs=[a,b]", "name=mix").status == 0
    shutil.copy(here / "runs/c/fold0/best.safetensors", here / "runs/b/fold0/best.safetensors")
    done = deepfake("infer", f"data.root={demo_root}", "name=mix")
    assert done.status == 2 and "made of another fold 0 of run b than is there" in done.output


def test_a_fold_that_is_gone_is_asked_for(deepfake: Command, here: Path, demo_root: Path) -> None:
    assert deepfake("blend", "runs=[a,b]", "name=mix").status == 0
    shutil.rmtree(here / "runs/b/fold1")
    done = deepfake("infer", f"data.root={demo_root}", "name=mix")
    assert done.status == 2 and "fold 1 of run b, which is not in runs: put it back" in done.output


def test_what_runs_do_not_share_is_said(deepfake: Command, here: Path) -> None:
    for path in here.glob("runs/b/fold*/oof.parquet"):
        OOF.write(pd.read_parquet(path).query("view == 'identity'"), path)
    shutil.rmtree(here / "runs/c/fold1")
    done = deepfake("blend", "runs=[a,b,c]", "name=mix")
    assert "by: identity (a: identity, hflip; b: identity; c: identity, hflip)" in done.output
    assert "16 of 32 (50.0 %) media are left out: run c lacks the folds they are in" in done.output
    assert deepfake("blend", "runs=[a,b]", "name=mix").status == 0
    assert json.loads((here / "runs/mix/blend.json").read_text())["views"] == ["identity"]
    for path in here.glob("runs/a/fold*/oof.parquet"):
        OOF.write(pd.read_parquet(path).query("view == 'hflip'"), path)
    done = deepfake("blend", "runs=[a,b]")
    assert done.status == 2 and "no view was scored by all runs (a: hflip; b: identity)" in done.output
    assert "mix is a blend: name its runs, a, b" in deepfake("blend", "runs=[a,mix]").output


def test_blend_and_inference_in_one_command(deepfake: Command, here: Path, demo_root: Path) -> None:
    plant_answers(here)
    done = deepfake("blend", "infer", "runs=[a,b]", "name=mix", f"data.root={demo_root}", "blend.metric=macro_f1")
    assert done.status == 0, done.output
    record = json.loads((here / "runs/mix/blend.json").read_text())
    assert set(record["leave_one_out_gain"]) == {"a", "b"} and set(record["calibration_error"]) == {
        "plain_mean",
        "blend",
    }
    ledger = pd.read_csv(here / "submissions/ledger.csv")
    assert ledger.cv_metric.tolist() == ["macro_f1"] and ledger.cv[0] == pytest.approx(record["nested"]["blend"])


def test_the_cv_of_a_run_alone_is_its_out_of_fold_log_loss(deepfake: Command, here: Path, demo_root: Path) -> None:
    assert deepfake("blend", "runs=[a]", "name=alone").status == 0
    assert deepfake("infer", "name=a", f"data.root={demo_root}").status == 0
    ledger = pd.read_csv(here / "submissions/ledger.csv")
    nested = json.loads((here / "runs/alone/blend.json").read_text())["nested"]
    assert ledger.cv_metric.tolist() == ["log_loss"] and ledger.cv[0] == pytest.approx(nested["plain_mean"])


def test_a_damaged_blend_is_named(deepfake: Command, here: Path, demo_root: Path) -> None:
    assert deepfake("blend", "runs=[a,b]", "name=mix").status == 0
    path = here / "runs/mix/blend.json"
    whole = json.loads(path.read_text())
    parts = ({"blend": {}}, {"of_fewer_runs": 3}, {"fallbacks": {}}, {"blend": {**whole["blend"], "pool": "men"}})
    for damaged in ("{", "[]", *(json.dumps({**whole, **part}) for part in parts)):
        path.write_text(damaged)
        done = deepfake("infer", f"data.root={demo_root}", "name=mix")
        assert done.status == 2 and "blend.json is damaged" in done.output, done.output


def test_runs_on_other_crops_are_not_blended(deepfake: Command, here: Path, demo_root: Path) -> None:
    for fold in ("fold0", "fold1"):
        path = here / f"runs/b/{fold}/config.json"
        path.write_text(path.read_text().replace('"faces": "', '"faces": "0'))
    done = deepfake("blend", "runs=[a,b]")
    assert done.status == 2 and "runs a and b have other crops" in done.output
