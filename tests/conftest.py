"""Media that the tests make, the pipeline's real entry point, and the ladder: what several tests begin from."""

from __future__ import annotations

import multiprocessing.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pipeline import TINY, Done, built, run_in, under_way, warm_server

if TYPE_CHECKING:
    import torch

# As in this process, so in those that tests start: no model hub, no GPU unless CUDA_TESTS asks for one, and one thread
# each. Models this small only wait for one another on more, which burns all cores.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}
CUDA_TESTS = "cuda" if os.environ.get("FAIL_WITHOUT_CUDA") == "1" else os.environ.get("CUDA_TESTS", "")
if CUDA_TESTS != "cuda":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


# What ./run_tests.sh --fast leaves out: these files, and tests that begin from the ladder below.
SLOW = (
    *("commands/test_extract.py", "commands/test_presets.py", "learn/test_distributed.py", "learn/test_trainer.py"),
    *("media/test_workers.py", "pipeline/test_loop.py"),
)
LADDER = {"demo_root", "trained_on_pictures"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LADDER & {*getattr(item, "fixturenames", ())} or str(item.path).endswith(SLOW):
            item.add_marker("slow")
        if item.get_closest_marker("cuda") and not CUDA_TESTS:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: FAIL_WITHOUT_CUDA=1"))


@pytest.fixture(scope="session", autouse=True)
def warm_processes() -> None:
    """What commands spawn in this process comes with torch and the rest imported, see warm.py."""
    multiprocessing.util.get_temp_dir()  # where its sockets lie from now on, whatever a test does to TMPDIR
    if sys.platform == "linux":
        warm_server().warms_spawning()


@pytest.fixture(autouse=True)
def commands_end_with_their_test() -> Iterator[None]:
    """Whatever comes of the test."""
    yield
    while under_way:
        under_way.pop().kill()


@pytest.fixture
def card() -> torch.device:
    """Where tests marked `cuda` compute: on a GPU; on the CPU with CUDA_TESTS=cpu, which tries out the tests alone."""
    import torch  # only now: before the variables above are set it would take as many threads as there are cores

    return torch.device(CUDA_TESTS)


@pytest.fixture
def needs_card(card: torch.device) -> None:
    """For tests that mean nothing on a CPU."""
    if card.type != "cuda":
        pytest.skip("means nothing on a CPU")


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


# --- the ladder: each rung is built once, when a test first needs it; tests change copies


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo set: eight people to train on, two to test on; clips and stills, reals and fakes."""
    from deepfake.demo.render import render_demo

    def render(folder: Path) -> None:
        render_demo(folder / "people", seed=1, num_workers=2, num_train=8, num_test=2)

    return built(tmp_path_factory, "media", render) / "people"


@pytest.fixture(scope="session")
def cut_people(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which that demo set is indexed, split and cropped, ready to train on."""

    def crop(folder: Path) -> None:
        run_in(folder, "index", "folds", "extract", f"data.root={demo_root}", *TINY, "num_workers=2")

    return built(tmp_path_factory, "cropped", crop)


@pytest.fixture(scope="session")
def trained(cut_people: Path, demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the run `people`, of two folds, and its submission."""

    def train(folder: Path) -> None:
        shutil.copytree(cut_people, folder, dirs_exist_ok=True)
        run_in(folder, "train", "infer", f"data.root={demo_root}", *TINY, "num_workers=2")

    return built(tmp_path_factory, "trained", train)


@pytest.fixture(scope="session")
def three_runs(cut_people: Path, demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cropped demo set with three trained runs: a and b are of one model, c is of another."""

    def train(folder: Path) -> None:
        shutil.copytree(cut_people, folder, dirs_exist_ok=True)
        for name, model, seed in (("a", "test_resnet", 0), ("b", "test_resnet", 1), ("c", "test_vit", 0)):
            settings = (f"name={name}", f"model.name={model}", f"seed={seed}", "train.epochs=1")
            run_in(folder, "train", f"data.root={demo_root}", *TINY, *settings)

    return built(tmp_path_factory, "runs", train)


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    """A copy of the folder with the run `people`, to spoil; it is where the `deepfake` fixture runs."""
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
