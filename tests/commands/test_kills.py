"""Training is killed thirty times, at random, and ends with the weights of a training that nobody disturbed."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline import TINY, run_in

KILLS, EPOCHS, SAVES_AN_EPOCH = 30, 36, 5  # after each of four steps, and after the epoch
PHASES = "train.phases=[{trains: head, epochs: 6}, {epochs: 18}, {trains: head, epochs: 12}]"
SETTINGS = (
    *("fold=0", "train.save_minutes=0", PHASES, "train.ema=0.9", "train.batch_size=4", "model.drop_rate=0.3"),
    *("augment.mixup=0.4", "optim.clip_norm=0.5"),
)


def train(folder: Path, arguments: list[str]) -> None:
    """In a process of its own: `python -m deepfake train …` in a folder."""
    multiprocessing.set_start_method("fork", force=True)  # of crop loaders, as in any other process
    with open(folder / "log.txt", "a") as log, contextlib.redirect_stderr(log):
        run_in(folder, "train", *arguments)


@pytest.fixture(scope="module")
def processes():
    """Processes that come with torch and the rest imported, so that a start takes a fraction of a second."""
    context = multiprocessing.get_context("forkserver")
    modules = ("torch", "timm", "pandas", "pyarrow", "albumentations", "torchvision", "torch.utils.tensorboard")
    context.set_forkserver_preload(
        [*modules, "sklearn.metrics", "deepfake.commands.train.fit", "deepfake.learn.trainer"]
    )
    return context


def start(processes, folder: Path, arguments: list[str]):
    process = processes.Process(target=train, args=(folder, arguments))
    process.start()
    return process


def saves_left(last: Path) -> int:
    """How often the state in last.pt is still to be written until training ends."""
    state = torch.load(last, weights_only=True)["trainer"] if last.is_file() else {"epoch": 0, "step": 0}
    return (EPOCHS - state["epoch"]) * SAVES_AN_EPOCH - state["step"]


def await_saves(process, last: Path, count: int) -> None:
    """Until last.pt has been written so often, or the process ended."""
    before = stamp(last)
    while count and process.exitcode is None:
        process.join(0.002)
        if stamp(last) != before:
            before, count = stamp(last), count - 1


def stamp(path: Path) -> tuple[int, int]:
    found = path.stat() if path.is_file() else None
    return (found.st_ino, found.st_mtime_ns) if found else (0, 0)


def test_thirty_kills_at_random_change_nothing(processes, cut_people: Path, demo_root: Path, tmp_path: Path) -> None:
    arguments = [f"data.root={demo_root}", *TINY, *SETTINGS]
    for name in ("undisturbed", "killed"):
        shutil.copytree(cut_people, tmp_path / name)
    undisturbed = start(processes, tmp_path / "undisturbed", [*arguments, "num_workers=0"])
    undisturbed.join()
    assert undisturbed.exitcode == 0, (tmp_path / "undisturbed/log.txt").read_text()
    rng, last = np.random.default_rng(0), tmp_path / "killed/runs/people/fold0/last.pt"
    for kills in range(KILLS):
        # Now and then with a process that loads crops, which lives on for some seconds and must not be in the way.
        process = start(processes, tmp_path / "killed", [*arguments, f"num_workers={int(kills % 10 == 0)}"])
        # So many saves that kills fall all over the training, and then at any moment: of a start, a step, a save.
        await_saves(process, last, rng.integers(0, 2 * saves_left(last) // (KILLS + 12 - kills)))
        process.join(rng.uniform(0, 0.2))
        assert process.exitcode is None, (tmp_path / "killed/log.txt").read_text()
        process.kill()
        process.join()
    final = start(processes, tmp_path / "killed", [*arguments, "num_workers=0"])
    final.join()
    assert final.exitcode == 0, (tmp_path / "killed/log.txt").read_text()
    assert "going on after epoch" in (tmp_path / "killed/log.txt").read_text()
    folders = [tmp_path / name / "runs/people/fold0" for name in ("killed", "undisturbed")]
    for name in ("best.safetensors", "oof.parquet"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
    one, other = (torch.load(folder / "last.pt", weights_only=True) for folder in folders)
    for part in ("model", "ema"):
        assert all(torch.equal(value, other["trainer"][part][name]) for name, value in one["trainer"][part].items())
    losses = [[line["train_loss"] for line in state["history"]] for state in (one, other)]
    assert losses[0] == losses[1] and len(losses[0]) == EPOCHS
