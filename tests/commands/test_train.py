"""`python -m deepfake train`: what it writes and says, alone and in two processes, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pipeline import TINY, locked, run

from deepfake.config import VIEW_NAMES


@pytest.fixture
def people(cut_people: Path, demo_root: Path, tmp_path: Path) -> list[str]:
    """Arguments that train fold 0 of a copy of the cut demo set, in tmp_path, where the `deepfake` fixture runs."""
    shutil.copytree(cut_people, tmp_path, dirs_exist_ok=True)
    return ["train", "fold=0", f"data.root={demo_root}", *TINY]


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_epoch_is_told_in_a_line_in_json_and_in_tensorboard(deepfake, people, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = deepfake(*people, "train.phases=[{trains: head, epochs: 1, lr: 0.01}, {epochs: 2}]")
    assert done.status == 0, done.output
    folder = tmp_path / "runs/people/fold0"
    rows = history(folder)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["trains"] for row in rows] == ["head", "all", "all"]
    for row in rows:
        assert f"epoch {row['epoch'] + 1}/3 ({row['trains']}): loss {row['train_loss']:.4f}" in done.output
        for metric in ("auc", "ap", "log_loss", "accuracy", "eer"):
            assert math.isfinite(row[metric]) and math.isfinite(row[f"frame_{metric}"])
        assert row["images_per_s"] > 0 and 0 <= row["waited"] <= 1
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    for tag, name in (("auc/medium", "auc"), ("log_loss/frame", "frame_log_loss"), ("train/train_loss", "train_loss")):
        assert [event.value for event in board.Scalars(tag)] == pytest.approx([row[name] for row in rows])
    assert len(board.Images("augmented crops")) == 1


def test_weights_say_what_made_them(deepfake, people, tmp_path: Path) -> None:
    from deepfake.files import sha256

    assert deepfake(*people, "optim.lr=0.002").status == 0
    facts = json.loads((tmp_path / "runs/people/fold0/best.json").read_text())
    assert facts["config"]["optim"]["lr"] == 0.002
    assert facts["folds_sha256"] == sha256(tmp_path / "folds/people.csv")
    assert facts["metrics"] in history(tmp_path / "runs/people/fold0")
    assert len(facts["golden"]) == 4 and {"timm", "torch"} <= facts["versions"].keys()


def test_two_processes_train_one_fold_and_leave_what_one_leaves(deepfake, people, tmp_path: Path) -> None:
    alone = deepfake(*people, "name=alone")
    assert alone.status == 0, alone.output
    together = run(tmp_path, *people, "name=together", "gpus=2")
    assert together.count("fold 0 epoch 1/2") == 1  # one of them speaks
    folders = [tmp_path / f"runs/{name}/fold0" for name in ("alone", "together")]
    assert {path.name for path in folders[0].iterdir()} == {path.name for path in folders[1].iterdir()}
    key = ["media_id", "frame_idx", "face_idx", "view"]
    rows = [pd.read_parquet(folder / "oof.parquet").sort_values(key, ignore_index=True) for folder in folders]
    pd.testing.assert_frame_equal(rows[0][[*key, "found", "label"]], rows[1][[*key, "found", "label"]])
    assert [row["epoch"] for row in history(folders[1])] == [0, 1]
    (folders[1] / "oof.parquet").unlink()
    assert deepfake(*people, "name=together").status == 0  # alone, from the same weights
    again = pd.read_parquet(folders[1] / "oof.parquet").sort_values(key, ignore_index=True)
    np.testing.assert_allclose(again.logit, rows[1].logit, atol=1e-5)


def test_views_that_are_asked_for_later_are_scored_without_training_again(deepfake, people, tmp_path: Path) -> None:
    fold = tmp_path / "runs/people/fold0"
    first = deepfake(*people, "infer.tta=identity")
    assert first.status == 0, first.output
    weights, plain = (fold / "best.safetensors").read_bytes(), pd.read_parquet(fold / "oof.parquet")
    (fold / "last.pt").unlink()  # it is needed no more
    again = deepfake(*people, "infer.tta=auto")
    assert again.status == 0, again.output
    assert "out-of-fold logits anew, by identity, hflip, vflip" in again.output
    assert "infer.tta=auto keeps identity" in again.output
    assert (fold / "best.safetensors").read_bytes() == weights
    assert len(history(fold)) == json.loads((fold / "done.json").read_text())["epochs"] == 2
    oof = pd.read_parquet(fold / "oof.parquet")
    assert oof.groupby("view").size().to_dict() == dict.fromkeys(VIEW_NAMES, len(plain))
    np.testing.assert_allclose(oof[oof.view == "identity"].logit, plain.logit, atol=1e-5)
    for asked in ("infer.tta=auto", "infer.tta=[vflip,jpeg]"):
        assert f"up to date: {fold.relative_to(tmp_path)}" in deepfake(*people, asked).output


def test_a_loss_that_is_not_finite_names_step_and_media_and_keeps_the_last_good_state(
    deepfake, people, tmp_path: Path
) -> None:
    phases = "train.phases=[{epochs: 1}, {epochs: 2, lr: 1e30, optimizer: momentum}]"
    done = deepfake(*people, phases, "optim.warmup=0")
    assert done.status == 2
    assert "fold 0, epoch 1: the loss of step" in done.output and "is not finite in a batch of 8 crops (" in done.output
    state = torch.load(tmp_path / "runs/people/fold0/last.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["trainer"]["model"].values())


def test_weights_whose_logits_are_not_finite_are_not_kept(deepfake, people, tmp_path: Path) -> None:
    wild = ["fold=full", "train.epochs=1", "train.batch_size=64", "optim.name=momentum", "optim.lr=1e38"]
    done = deepfake(*people, *wild, "optim.warmup=0", "optim.schedule=constant")
    assert done.status == 2 and "is not finite" in done.output
    assert not (tmp_path / "runs/people/full/best.safetensors").exists()


def test_lost_best_weights_are_asked_for_and_nothing_is_overwritten(deepfake, people, tmp_path: Path) -> None:
    folder = tmp_path / "runs/people/fold0"
    assert deepfake(*people).status == 0
    before = (folder / "last.pt").read_bytes()
    (folder / "best.safetensors").unlink()
    done = deepfake(*people)
    assert done.status == 2 and "best.safetensors is lost" in done.output
    assert (folder / "last.pt").read_bytes() == before


def test_a_fold_that_another_process_trains_is_left_alone(deepfake, people, tmp_path: Path) -> None:
    lock = tmp_path / "runs/people/fold0/.train.lock"
    lock.parent.mkdir(parents=True)
    with locked(lock):
        done = deepfake(*people)
    assert done.status == 2 and "another process is training" in done.output
    assert [path.name for path in lock.parent.iterdir()] == [lock.name]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["augment.random_crop=64"], "augment.random_crop=64, but crops are resized to 48 px"),
        (["train.phases=[{trains: head}, {trains: nothing_like_it}]"], "trains=nothing_like_it matches no weight"),
        (["train.phases=[{trains: head, epochs: 0}]"], "train.phases[0]: epochs=0; allowed: 1 or more"),
        (["train.phases=[{trains: '('}]"], "is no regular expression"),
        (["optim.name=adamv"], "optim.name=adamv is not an optimiser of timm"),
        (["optim.kwargs.beta=1"], "optim.kwargs.beta is no argument of optim.name=adamw"),
        (["nnodes=2"], "nnodes=2 needs rdzv_endpoint=HOST:PORT"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(deepfake, people, settings, told) -> None:
    done = deepfake(*people, *settings)
    assert done.status == 2
    assert told in done.output and "Traceback" not in done.output


def test_a_compiler_that_is_not_there_is_missed_before_training(deepfake, people, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    done = deepfake(*people, "train.compile=true")
    assert done.status == 2 and "needs a C++ compiler" in done.output


def test_a_run_that_is_older_than_a_setting_goes_on_with_its_default(deepfake, here: Path, demo_root: Path) -> None:
    path = here / "runs/people/fold0/config.json"
    record = json.loads(path.read_text())
    for section, key in (("train", "forge"), ("train", "hold_out"), ("augment", "damage")):
        del record["made_from"]["config"][section][key]
    path.write_text(json.dumps(record))
    done = deepfake("train", "fold=0", f"data.root={demo_root}", *TINY)
    assert done.status == 0 and "up to date" in done.output, done.output
    done = deepfake("train", "fold=0", f"data.root={demo_root}", *TINY, "augment.damage=0.5")
    assert done.status == 2 and "augment.damage: 0.0 → 0.5" in done.output


def test_windows_and_fronts_hold_from_training_to_a_single_file(deepfake, people, demo_root: Path, tmp_path) -> None:
    """Tables stay as they are: one row a crop and view, by training, by infer and for files."""
    own = ["model.front=rgb+npr", "model.resize=false", "model.image_size=40", "model.windows=5", "infer.batch_size=7"]
    done = deepfake(*people, *own, "train.epochs=1", "infer.tta=[identity,hflip]")
    assert "test_resnet at 40 px of rgb+npr" in done.said
    made = json.loads((tmp_path / "runs/people/fold0/best.json").read_text())["model"]
    assert (made["windows"], made["window_choice"], made["front"]) == (5, "spread", "rgb+npr")
    oof = pd.read_parquet(tmp_path / "runs/people/fold0/oof.parquet")
    key = ["media_id", "frame_idx", "face_idx", "view"]
    assert not oof.duplicated(key).any() and set(oof.view) == {"identity", "hflip"}
    assert deepfake("infer", f"data.root={demo_root}", "name=people").status == 0
    logits = pd.read_parquet(tmp_path / "submissions/people/logits.parquet")
    assert logits.logit.notna().all() and not logits.duplicated(key).any()
    media_id = logits[logits.fallback.isna()].media_id.iloc[0]
    done = deepfake("predict", str(demo_root / media_id), "name=people", "json=out.json")
    assert done.status == 0, done.output
    (answer,) = json.loads((tmp_path / "out.json").read_text())["files"]
    said = pd.read_csv(tmp_path / "submissions/people/scores.csv").set_index("media_id").logit
    assert answer["logit"] == pytest.approx(said[media_id], abs=1e-3)
