"""Media that the tests make, and the pipeline's real entry point."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline import TINY, Done, run_in

# As in this process, so in those that tests start: no model hub, and no GPU unless FAIL_WITHOUT_CUDA=1 asks for one.
os.environ["HF_HUB_OFFLINE"] = "1"
if os.environ.get("FAIL_WITHOUT_CUDA") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def deepfake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Done]:
    """`deepfake("index", "data.root=…")` is `python -m deepfake …` in tmp_path: its status and all it said."""
    from deepfake.__main__ import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Done(status, said.out + said.err)

    return run


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo set: eight people to train on, two to test on; clips and stills, reals and fakes."""
    from deepfake.forge.demo import render_demo

    folder = tmp_path_factory.mktemp("media") / "people"
    render_demo(folder, seed=1, num_workers=2, num_train=8, num_test=2)
    return folder


@pytest.fixture(scope="session")
def cut_people(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which that demo set is indexed, split and cut, ready to train on; to copy, not to change."""
    folder = tmp_path_factory.mktemp("cut")
    run_in(folder, "index", "folds", "extract", f"data.root={demo_root}", *TINY)
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    """A copy of the module's folder `trained`, to spoil; it is where the `deepfake` fixture runs."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path
