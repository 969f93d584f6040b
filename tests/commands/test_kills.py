"""Training is killed again and again, at random, and ends with the weights of a training that nobody disturbed."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import torch
from pipeline import THOROUGH, TINY, run, start

KILLS, EPOCHS = (30, 36) if THOROUGH else (10, 12)
SAVES_AN_EPOCH = 5  # after each of four steps, and after the epoch
PHASES = (
    f"[{{trains: head, epochs: {EPOCHS // 6}}}, {{epochs: {EPOCHS // 2}}}, {{trains: head, epochs: {EPOCHS // 3}}}]"
)
SETTINGS = (
    *("fold=0", "train.save_minutes=0", f"train.phases={PHASES}", "train.ema=0.9", "train.batch_size=4"),
    *("model.drop_rate=0.3", "augment.mixup=0.4", "optim.clip_norm=0.5"),
)

# A prelude: after so many saves the process has so many seconds of a core left, whatever it is at when they are over.
DIES = """
import os, signal

saves, life_s = int(os.environ["SAVES_BEFORE_DEATH"]), float(os.environ["SECONDS_LEFT"])

def replace(*names, rename=os.replace):
    global saves
    rename(*names)
    saves -= str(names[1]).endswith("last.pt")
    if saves == 0:
        signal.setitimer(signal.ITIMER_PROF, life_s)

os.replace = replace
if saves == 0:
    signal.setitimer(signal.ITIMER_PROF, 5 * life_s)
"""


def saves_left(last: Path) -> int:
    """How often the state in last.pt is still to be written until training ends."""
    state = torch.load(last, weights_only=True)["trainer"] if last.is_file() else {"epoch": 0, "step": 0}
    return (EPOCHS - state["epoch"]) * SAVES_AN_EPOCH - state["step"]


def test_kills_at_random_change_nothing(cut_people: Path, demo_root: Path, tmp_path: Path) -> None:
    arguments = ["train", f"data.root={demo_root}", *TINY, *SETTINGS]
    undisturbed, killed = (shutil.copytree(cut_people, tmp_path / name) for name in ("undisturbed", "killed"))
    run(undisturbed, *arguments)
    rng, last = np.random.default_rng(0), killed / "runs/people/fold0/last.pt"
    for kills in range(KILLS):
        # So many saves that kills fall all over the training, and then at any moment: of a start, a step, a save.
        saves = rng.integers(0, 2 * saves_left(last) // (KILLS + 4 - kills))
        dies = {"SAVES_BEFORE_DEATH": str(saves), "SECONDS_LEFT": str(rng.uniform(0.001, 0.1))}
        # Now and then with a process that loads crops, which lives on for some seconds and must not be in the way.
        command = start(killed, *arguments, f"num_workers={int(kills % 10 == 0)}", prelude=DIES, **dies)
        assert command.process.wait() == -signal.SIGPROF, command.screen.read_text()
    assert "going on after epoch" in run(killed, *arguments)
    folders = [folder / "runs/people/fold0" for folder in (killed, undisturbed)]
    for name in ("best.safetensors", "oof.parquet"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
    one, other = (torch.load(folder / "last.pt", weights_only=True) for folder in folders)
    for part in ("model", "ema"):
        assert all(torch.equal(value, other["trainer"][part][name]) for name, value in one["trainer"][part].items())
    losses = [[line["train_loss"] for line in state["history"]] for state in (one, other)]
    assert losses[0] == losses[1] and len(losses[0]) == EPOCHS
