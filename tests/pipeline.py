"""How tests run the whole pipeline: small settings, and what a command said."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

# Settings under which the whole pipeline takes seconds.
TINY = (
    *("crop.size=64", "extract.num_frames=2", "extract.detect_size=240", "folds.num_folds=2", "num_workers=2"),
    *("model.name=test_resnet", "model.pretrained=false", "model.image_size=48"),
    *("train.epochs=2", "train.batch_size=8", "train.frames_per_medium=2"),
)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    output: str


def environment() -> dict[str, str]:
    """This process's, with the package importable."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}


def run_in(folder: Path, *arguments: str) -> None:
    """`python -m deepfake …` in a folder, within this process; it ends well."""
    from deepfake.__main__ import main

    with contextlib.chdir(folder):
        assert main([*arguments]) == 0


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the lock file."""
    holding = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held'); input()"
    command = [sys.executable, "-u", "-c", holding, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            yield
        finally:
            other.communicate("\n")
