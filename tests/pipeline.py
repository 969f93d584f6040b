"""How tests run commands: small settings, in this process or in one that can be killed, and what they said."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from warm import Process, Server

REPOSITORY = Path(__file__).resolve().parents[1]
THOROUGH = os.environ.get("CI") == "true"  # more kills and more odd media than there is patience for while coding

# Settings under which the whole pipeline takes seconds: one process cuts, and none loads crops for training.
TINY = (
    *("crop.size=64", "extract.num_frames=2", "extract.detect_size=240", "folds.num_folds=2", "num_workers=0"),
    *("model.name=test_resnet", "model.pretrained=false", "model.image_size=48"),
    *("train.epochs=2", "train.batch_size=8", "train.frames_per_medium=2"),
)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    output: str

    @property
    def said(self) -> str:
        """What a command said that ended well."""
        assert self.status == 0, self.output
        return self.output


def environment() -> dict[str, str]:
    """This process's, with the package importable."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}


def run_in(folder: Path, *arguments: str) -> None:
    """`python -m deepfake …` in a folder, within this process; it ends well."""
    from deepfake.__main__ import main

    with contextlib.chdir(folder):
        assert main([*arguments]) == 0


def wait_until(ready: Callable[[], bool], timeout_s: float = 120, every_s: float = 0.01) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(every_s)


# --- commands in processes of their own


@functools.cache
def warm_server() -> Server:
    """Where this process's children come from; launched once."""
    return Server.launch(environment())


# A prelude: the command is killed before it gives a finished file its name, the one of a number from 0.
DIES_AT_A_RENAME = """
import itertools, os, signal
renames = itertools.count()

def replace(*names, rename=os.replace):
    if next(renames) == int(os.environ["RENAMES_BEFORE_DEATH"]):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*names)

os.replace = replace
"""

# A prelude: once processes have begun so many media, in the file `begun`, the next ones never end.
STALLS = """
import os, sys, time
if any("multiprocessing" in word for word in sys.orig_argv):
    from deepfake.media import workers

    def crop_medium(*arguments, crop=workers.crop_medium, **settings):
        with open("begun", "ab") as begun:
            begun.write(b"x")
        if os.stat("begun").st_size > int(os.environ["MEDIA_BEFORE_STALL"]):
            time.sleep(600)
        return crop(*arguments, **settings)

    workers.crop_medium = crop_medium
"""


@dataclass
class Command:
    """A command under way, in a session of its own, by which all its processes are known."""

    process: Process
    screen: Path
    peak_bytes: int = 0
    """The most that one of its processes ever held."""

    def ended(self, timeout_s: float = 300) -> Done:
        """How it ended, once it has; none of its processes is left."""
        try:
            wait_until(self._is_over, timeout_s, every_s=0.02)
            wait_until(lambda: not self.processes(), timeout_s=60)
        finally:
            self.kill()
            under_way.remove(self)
        return Done(self.process.wait(), self.screen.read_text())

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        if self.processes():
            with contextlib.suppress(ProcessLookupError):  # they have just gone
                os.killpg(self.process.number, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.number, signal.SIGINT)

    def processes(self) -> list[int]:
        """Those of its processes that have not ended."""
        return [process for process, session in _sessions() if session == self.process.number]

    def _is_over(self) -> bool:
        self.peak_bytes = max(self.peak_bytes, *map(_peak_bytes, self.processes()), 0)
        return self.process.poll() is not None


under_way: list[Command] = []  # and those whose end nobody has looked at


def start(folder: Path, *arguments: object, prelude: str = "", **variables: str) -> Command:
    """Start `python -m deepfake …` in a folder; what it says goes to screen.txt there.

    prelude: Python that it and all processes that it spawns run first. variables: of its environment.
    """
    screen = folder / "screen.txt"
    with open(screen, "w") as said, open(os.devnull) as nothing:
        number = warm_server().start(
            ["-m", "deepfake", *map(str, arguments)],
            {0: nothing.fileno(), 1: said.fileno(), 2: said.fileno()},
            environment=environment() | variables,
            folder=folder,
            prelude=prelude,
            new_session=True,
        )
    under_way.append(Command(Process(number), screen))
    return under_way[-1]


def run(folder: Path, *arguments: object, prelude: str = "", **variables: str) -> str:
    """A command that ends well: what it said."""
    return start(folder, *arguments, prelude=prelude, **variables).ended().said


def run_cold(command: list[str | Path], folder: Path, **variables: str) -> Done:
    """Any command, in a process that comes with nothing."""
    done = subprocess.run(
        command, cwd=folder, env=environment() | variables, capture_output=True, text=True, timeout=300, check=False
    )
    return Done(done.returncode, done.stdout + done.stderr)


def _sessions() -> Iterator[tuple[int, int]]:
    """Every process that has not ended, and its session."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just gone
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                yield int(path.parent.name), int(session)


def _peak_bytes(process: int) -> int:
    """The most memory that a process ever held; 0 for one that has gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@contextlib.contextmanager
def usual_scheduling() -> Iterator[None]:
    """SVT-AV1's encoder makes the thread that starts it a real-time one where it may, as for root: for good, unless it
    is put back, and then all other processes starve."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


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


# --- what several tests begin from


def built(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that is built once, by whichever of pytest-xdist's workers needs it first; to copy, not to change."""
    import fcntl

    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, finished = base / "shared" / name, base / "shared" / f"{name}.finished"
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_name(f"{name}.lock"), "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not finished.exists():
            folder.mkdir()  # FileExistsError: building it has failed before, as the first error says
            build(folder)
            finished.touch()
    return folder
