"""Extraction through `python -m deepfake`: odd media, processes that die, kills, Ctrl-C, full disks, second tries."""

from __future__ import annotations

import csv
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import odd_media
import pandas as pd
import pytest
from PIL import Image
from pipeline import Done, environment

from deepfake.tables import BOX, LANDMARK_COLUMNS

NUM_KILLS = int(os.environ.get("DEEPFAKE_TEST_KILLS", "5"))
QUICK = ("crop.size=64", "extract.num_frames=2", "extract.detect_size=240", "num_workers=2")
REUSING = (*QUICK, "extract.reuse_boxes=true")
WHOLE = ("crop.mode=whole", "crop.size=64", "data.layout=unlabelled", "num_workers=1")

# What befalls the media of these names, in the processes that cut them; and a kill of the command itself.
FAULTS = """
import itertools, os, signal, sys, time
from pathlib import Path

def sleep_once():
    mark = Path(__file__).with_name("has_slept")
    if not mark.exists():
        mark.touch()
        time.sleep(600)

DEEDS = {
    "dies.mp4": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "is_killed.mp4": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleeps.mp4": lambda: time.sleep(600),
    "sleeps_once.png": sleep_once,
}

if "--multiprocessing-fork" in sys.orig_argv:
    from deepfake.media import workers

    def cut_medium(media_id, *arguments, cut=workers.cut_medium, **settings):
        DEEDS.get(media_id, lambda: None)()
        return cut(media_id, *arguments, **settings)

    workers.cut_medium = cut_medium

elif "RENAMES_BEFORE_KILL" in os.environ:
    renames = itertools.count()

    def replace(*names, rename=os.replace):
        if next(renames) == int(os.environ["RENAMES_BEFORE_KILL"]):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*names)

    os.replace = replace
"""


@dataclass
class Command:
    """A command under way, in a session of its own, by which all its processes are known."""

    process: subprocess.Popen
    screen: Path
    peak_bytes: int = 0  # the most that one of its processes ever held

    def ended(self, timeout_s: float = 300) -> Done:
        """How it ended, once it has; none of its processes is left."""
        try:
            wait_until(self._is_over, timeout_s)
            wait_until(lambda: not _processes(self.process.pid), timeout_s=10)
        finally:
            self.kill()
        return Done(self.process.returncode, self.screen.read_text())

    def kill(self) -> None:
        """SIGKILL to all processes that there are."""
        if _processes(self.process.pid):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _is_over(self) -> bool:
        self.peak_bytes = max(self.peak_bytes, *map(_peak_bytes, _processes(self.process.pid)), 0)
        return self.process.poll() is not None


def start(folder: Path, *arguments: object, with_faults: bool = False, **variables: str) -> Command:
    """Start `python -m deepfake …` in a folder; what it says goes to screen.txt there."""
    settings = environment() | variables
    if with_faults:
        (folder / "faults").mkdir(exist_ok=True)
        (folder / "faults/sitecustomize.py").write_text(FAULTS)
        settings["PYTHONPATH"] += f":{folder / 'faults'}"
    screen = folder / "screen.txt"
    with open(screen, "w") as handle:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepfake", *map(str, arguments)],
            cwd=folder, env=settings, stdout=handle, stderr=handle, start_new_session=True,
        )  # fmt: skip
    return Command(process, screen)


def run(folder: Path, *arguments: object, with_faults: bool = False, **variables: str) -> str:
    """A command that ends well: what it said."""
    done = start(folder, *arguments, with_faults=with_faults, **variables).ended()
    assert done.status == 0, done.output
    return done.output


def _processes(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just gone
            continue
        if int(its_session) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def _peak_bytes(process: int) -> int:
    """The most memory that a process ever held; 0 for one that has gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def wait_until(ready: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.01)


@dataclass(frozen=True)
class Tables:
    """What an extraction has written below data/<dataset>."""

    folder: Path

    @property
    def media(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "media.parquet").set_index("media_id", drop=False)

    @property
    def faces(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "faces.parquet")

    @property
    def extracted(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "extracted.csv", keep_default_na=False).set_index("media_id")

    @property
    def problems(self) -> pd.Series:
        """media_id → error."""
        table = pd.read_csv(self.folder / "extract_problems.csv", keep_default_na=False)
        return table.set_index("media_id", verify_integrity=True).error

    @property
    def journal(self) -> list[bytes]:
        """The lines of the journal, whole ones and a torn one."""
        path = self.folder / "extract_journal.jsonl"
        return path.read_bytes().splitlines() if path.is_file() else []

    def contents(self) -> dict[str, bytes | list[bytes]]:
        """Every file that does not depend on when it was written, and the journal in one order."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix not in (".json", ".jsonl")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files} | {"": sorted(self.journal)}


# --- a folder of odd media


@dataclass(frozen=True)
class Corpus:
    """A folder of odd and damaged media, when its extraction has ended."""

    done: Done
    peak_bytes: int
    tables: Tables
    oddities: dict[str, odd_media.Odd]


@pytest.fixture(scope="module")
def corpus(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Every oddity, a hundred damaged files, a clip with a face, one with a broken tail, and three that are deadly."""
    folder = tmp_path_factory.mktemp("corpus")
    media = folder / "odd"
    media.mkdir()
    oddities = odd_media.make_oddities(media)
    odd_media.make_damaged(media, 100, seed=0)
    shutil.copy(next((demo_root / "media/test").glob("*.mp4")), media / "person.mp4")
    for name in ("dies.mp4", "is_killed.mp4", "sleeps.mp4"):
        (media / name).write_bytes(odd_media.plain_mp4())
    broken = odd_media.film(".mp4", odd_media.Video(num_frames=40, params="keyint=8"), movflags="faststart")
    (media / "broken_tail.mp4").write_bytes(broken[: len(broken) // 2])
    limits = [f"extract.{name}={value}" for name, value in odd_media.ODD_LIMITS.items()]
    options = ["data.root=odd", "data.layout=unlabelled", *QUICK, *limits, "extract.timeout_s=10"]
    command = start(folder, "index", "extract", *options, with_faults=True)
    return Corpus(command.ended(), command.peak_bytes, Tables(folder / "data/odd"), oddities)


def test_a_folder_of_odd_media_is_worked_off(corpus: Corpus) -> None:
    assert corpus.done.status == 0, corpus.done.output
    assert len(corpus.tables.media) > 400


def test_nothing_but_the_log_and_the_progress_is_on_the_screen(corpus: Corpus) -> None:
    for line in corpus.done.output.splitlines():
        assert re.match(r"\d\d:\d\d:\d\d (index|extract) |         extract : +\d+%\|", line)


def test_every_odd_medium_is_cut_or_a_problem_and_never_both(corpus: Corpus) -> None:
    tables = corpus.tables
    assert sorted([*tables.extracted.index, *tables.problems.index]) == sorted(tables.media.index)
    assert set(tables.faces.media_id) == set(tables.extracted.index)


def test_odd_media_are_read_or_refused_as_they_should(corpus: Corpus) -> None:
    problems = corpus.tables.problems
    wrong = {
        name: problems.get(name)
        for name, odd in corpus.oddities.items()
        if (odd.readable and name in problems)
        or (odd.readable is False and (name not in problems or problems[name] != (odd.error or problems[name])))
    }
    assert wrong == {}
    assert set(problems) == {"corrupt", "crashed", "empty", "no_video_stream", "timeout", "too_large", "too_long"}


def test_media_that_kill_their_process_or_never_end_are_called_so(corpus: Corpus) -> None:
    problems = corpus.tables.problems
    assert problems[problems.isin(["crashed", "timeout"])].to_dict() == {
        "dies.mp4": "crashed",
        "is_killed.mp4": "crashed",
        "sleeps.mp4": "timeout",
    }


def test_a_broken_tail_is_noted_in_the_table_and_on_the_screen(corpus: Corpus) -> None:
    extracted = corpus.tables.extracted
    assert "1 of 2 frames decode" in extracted.note["broken_tail.mp4"]
    assert extracted.frames_read["broken_tail.mp4"] == 1
    (said,) = re.findall(r"(\d+) of \d+ \(.*\) media are damaged and used in part: ", corpus.done.output)
    assert int(said) == (extracted.note != "").sum()


def test_every_crop_of_odd_media_is_a_row_and_decodes(corpus: Corpus) -> None:
    folder = corpus.tables.folder
    assert {str(path.relative_to(folder)) for path in folder.glob("crops/**/*.*") if path.is_file()} == set(
        corpus.tables.faces.path
    )
    for path in corpus.tables.faces.path:
        with Image.open(folder / path) as crop:
            assert np.asarray(crop).shape == (64, 64, 3)


def test_no_odd_medium_takes_much_memory(corpus: Corpus) -> None:
    assert 2e8 < corpus.peak_bytes < 2e9
