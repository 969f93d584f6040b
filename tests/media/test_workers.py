"""Media cropped in processes that crash, hang and die: each costs its own medium alone."""

import contextlib
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline import environment
from rendered import small_head

from deepfake.errors import UserError
from deepfake.files import fingerprint
from deepfake.media import workers as workers_module
from deepfake.media.crop_medium import CroppedMedium, CropSettings
from deepfake.media.medium import Limits
from deepfake.media.workers import CropTask, Failure, Pace, WorkerSetup, crop_all

WHOLE = CropSettings(
    num_frames=4,
    mode="whole",
    align="box",
    margin=0.0,
    size=0,
    format="png",
    quality=90,
    faces="all",
    min_track=0.1,
    min_track_prob=0.95,
    limits=Limits(100, 60),
)
FACES = CropSettings(**vars(WHOLE) | {"mode": "faces", "size": 32})
DETECTOR = {"detect_size": 0, "min_face": 24, "min_prob": 0.9, "search_every": 8}


# What the processes below import from here: media and folders that are traps.


class Crashes(type(Path())):
    """A file whose reader dies, as a decoder may."""

    def is_file(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class Hangs(type(Path())):
    """A file whose reader never comes back, and does not hear when it is asked to end."""

    def is_file(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)


class Lingers(type(Path())):
    """A file whose reader takes a second."""

    def is_file(self):
        time.sleep(1)
        return super().is_file()


class EmptiesMemory(type(Path())):
    def is_file(self):
        raise MemoryError


class DeadlyAtStart:
    """Stands for the crops' folder: processes with these ordinal numbers die when they are told it."""

    def __init__(self, crops, starts, *ordinals):
        self.told = (crops, starts, ordinals)

    def __reduce__(self):
        return folder_or_death, self.told


def folder_or_death(crops, starts, ordinals):
    with open(starts, "a") as handle:
        handle.write(f"{os.getpid()}\n")
    if not ordinals or len(starts.read_text().splitlines()) in ordinals:
        os._exit(3)
    return crops


def children(pid):
    """Process numbers of a process's children."""
    lists = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return {int(number) for numbers in lists for number in numbers}


def descendants(pid):
    """Process numbers of all that a process has started, and they, and so on."""
    own = children(pid)
    return own.union(*map(descendants, own))


def workers():
    """Process numbers of this process's children and of its fork server's, but for that server and the tracker."""
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    own = children(os.getpid()) - {server, multiprocessing.resource_tracker._resource_tracker._pid}
    return own | (children(server) if server else set())


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = workers()
    yield
    assert workers() == before


@pytest.fixture
def picture(tmp_path):
    """`picture(name, image)`: the task of a PNG, of 8 × 6 px unless given."""

    def task(name, image=None):
        Image.fromarray(np.full((6, 8, 3), 90, np.uint8) if image is None else image).save(tmp_path / name)
        return CropTask(name, tmp_path / name, "image")

    return task


@pytest.fixture
def setup(tmp_path):
    """Whole pictures, for which processes need no torch and start quickly."""
    return WorkerSetup(tmp_path / "set" / "crops", None, WHOLE)


@pytest.fixture
def stubborn(monkeypatch):
    """A process that does not end when it is asked to is killed sooner than pebble would."""
    monkeypatch.setattr("pebble.common.CONSTS.term_timeout", 0.3)


def names(outcomes):
    return sorted(task.media_id for task, _ in outcomes)


def test_each_medium_has_its_own_end(picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    tasks = [
        CropTask("crashes.mp4", Crashes(tmp_path / "crashes.mp4"), "video"),
        CropTask("broken.png", tmp_path / "broken.png", "image"),
        CropTask("large.png", EmptiesMemory(tmp_path / "large.png"), "image"),
        picture("face.png", small_head(1)),
        picture("plain.png"),
    ]
    setup = WorkerSetup(tmp_path / "set" / "crops", DETECTOR, FACES)
    outcomes = {task.media_id: outcome for task, outcome in crop_all(tasks, setup, Pace(num_workers=2, timeout_s=60))}
    assert sorted(outcomes) == sorted(task.media_id for task in tasks)
    exitcode = -signal.SIGSEGV
    assert outcomes["crashes.mp4"] == Failure("crashed", f"the process that read it died with exit code {exitcode}")
    assert outcomes["broken.png"].error == "corrupt"
    assert outcomes["large.png"].error == "out_of_memory"
    face, plain = outcomes["face.png"], outcomes["plain.png"]
    assert isinstance(face, CroppedMedium) and isinstance(plain, CroppedMedium)
    assert (face.facts["boxes"], plain.facts["boxes"]) == ("detector", "centre")
    assert all((tmp_path / "set" / row["path"]).is_file() for row in face.rows + plain.rows)


def test_no_tasks_start_no_process(setup):
    assert list(crop_all([], setup, Pace(num_workers=2, timeout_s=60))) == []


def test_what_was_not_asked_for_any_more_is_not_cropped(picture, setup):
    """At most two media a process are under way, and none goes on when the caller stops."""
    outcomes = crop_all([picture(f"{n}.png") for n in range(6)], setup, Pace(num_workers=1, timeout_s=60))
    task, outcome = next(outcomes)
    assert isinstance(outcome, CroppedMedium)
    time.sleep(0.3)
    assert task.media_id in os.listdir(setup.crops)
    assert len(os.listdir(setup.crops)) <= 2
    outcomes.close()
    assert len(os.listdir(setup.crops)) <= 2


def test_crops_that_cannot_be_written_are_the_callers_to_know(picture, setup):
    setup.crops.parent.write_bytes(b"")  # a file where the folder were to be
    with pytest.raises(OSError, match="Not a directory"):
        list(crop_all([picture("a.png")], setup, Pace(num_workers=1, timeout_s=60)))


def test_a_process_that_dies_without_work_costs_nothing(picture, setup, tmp_path, monkeypatch):
    """The second one does, between two media: pebble then gives up the whole pool."""
    monkeypatch.setattr(workers_module, "MEDIA_PER_PROCESS", 1)
    starts = tmp_path / "starts"
    trapped = WorkerSetup(DeadlyAtStart(setup.crops, starts, 2), None, WHOLE)
    outcomes = list(crop_all([picture("a.png"), picture("b.png")], trapped, Pace(num_workers=1, timeout_s=60)))
    assert names(outcomes) == ["a.png", "b.png"]
    assert all(isinstance(outcome, CroppedMedium) for _, outcome in outcomes)
    assert len(starts.read_text().splitlines()) >= 3


def test_a_process_that_dies_without_work_while_the_caller_is_busy_costs_nothing(picture, setup, monkeypatch):
    monkeypatch.setattr(workers_module, "START_S", 10)  # it may die with pebble's lock in its hands
    tasks = [picture(f"{n}.png") for n in range(4)]
    outcomes = crop_all(tasks, setup, Pace(num_workers=1, timeout_s=5))
    first = next(outcomes)
    while len(os.listdir(setup.crops)) < 2:
        time.sleep(0.05)
    time.sleep(0.3)  # the process waits: two media were under way, and both are done
    (process,) = multiprocessing.active_children()
    process.kill()
    time.sleep(0.5)  # pebble looks every tenth of a second
    assert names([first, *outcomes]) == [task.media_id for task in tasks]


def test_processes_that_die_as_they_start_are_an_error_and_no_endless_loop(picture, setup, tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "START_S", 10)  # they may die with pebble's lock in their hands
    trapped = WorkerSetup(DeadlyAtStart(setup.crops, tmp_path / "starts"), None, WHOLE)
    with pytest.raises(UserError, match="num_workers"):
        list(crop_all([picture("a.png"), picture("b.png")], trapped, Pace(num_workers=2, timeout_s=5)))
    assert (tmp_path / "starts").is_file()


def test_a_file_that_is_another_than_the_indexed_one_is_not_cropped(picture, setup):
    same, other = picture("same.png"), picture("other.png")
    known = fingerprint(same.path)
    Image.new("RGB", (9, 9)).save(other.path)
    tasks = [replace(same, fingerprint=known), replace(other, fingerprint=known)]
    outcomes = {task.media_id: outcome for task, outcome in crop_all(tasks, setup, Pace(num_workers=1, timeout_s=60))}
    assert isinstance(outcomes["same.png"], CroppedMedium)
    assert outcomes["other.png"].error == "changed"


def test_the_adjusted_task_is_what_runs_and_what_is_given_back(setup, write_mp4, tmp_path):
    """4 frames as the settings say, of 8 that there are, or as many as the task says; in its own folder."""
    write_mp4(tmp_path / "clip.mp4", [np.full((6, 8, 3), 20 * number, np.uint8) for number in range(8)])
    wanted, hasty = {"a": None, "b": 2, "c": 1, "d": 8}, tmp_path / "hasty" / "crops"
    tasks = [CropTask(name, tmp_path / "clip.mp4", "video") for name in wanted]

    def adjust(task):
        return replace(task, num_frames=wanted[task.media_id], crops=None if task.media_id == "a" else hasty)

    given = list(crop_all(tasks, setup, Pace(num_workers=1, timeout_s=60, adjust=adjust)))
    assert sorted((task for task, _ in given), key=lambda task: task.media_id) == [adjust(task) for task in tasks]
    assert {task.media_id: len(cropped.rows) for task, cropped in given} == {"a": 4, "b": 2, "c": 1, "d": 8}
    assert sorted(os.listdir(setup.crops)) == ["a"]
    assert sorted(os.listdir(hasty)) == ["b", "c", "d"]
    paths = [hasty.parent / row["path"] for task, cropped in given for row in cropped.rows if task.crops]
    assert len(paths) == 11 and all(path.is_file() for path in paths)


def test_as_many_media_are_ahead_as_the_pace_allows(picture, setup):
    """Each is adjusted as it is handed over: four at first, and one more for each that has come out."""
    adjusted = []
    pace = Pace(num_workers=1, timeout_s=60, ahead=4, adjust=lambda task: adjusted.append(task) or task)
    outcomes = crop_all([picture(f"{n}.png") for n in range(9)], setup, pace)
    next(outcomes)
    assert len(adjusted) == 4
    list(outcomes)
    assert len(adjusted) == 9


def test_while_a_slow_medium_is_under_way_nothing_is_given_again_and_again(picture, setup):
    slow = picture("slow.png")
    tasks = [picture("a.png"), replace(slow, path=Lingers(slow.path)), picture("b.png")]
    given = list(crop_all(tasks, setup, Pace(num_workers=1, timeout_s=60, tick_s=0.1)))
    outcomes = [each for each in given if each is not None]
    assert names(outcomes) == ["a.png", "b.png", "slow.png"]
    assert all(isinstance(outcome, CroppedMedium) for _, outcome in outcomes)
    places = {each[0].media_id: place for place, each in enumerate(given) if each is not None}
    assert places["slow.png"] - places["a.png"] > 4


def test_a_medium_that_takes_too_long_is_a_failure_though_ticks_are_shorter(picture, setup, stubborn):
    hanging = picture("hangs.png")
    tasks = [picture("a.png"), replace(hanging, path=Hangs(hanging.path)), picture("b.png")]
    given = list(crop_all(tasks, setup, Pace(num_workers=1, timeout_s=2, tick_s=0.2)))
    outcomes = {task.media_id: outcome for task, outcome in filter(None, given)}
    assert sorted(outcomes) == ["a.png", "b.png", "hangs.png"]
    assert outcomes["hangs.png"] == Failure("timeout", "took longer than extract.timeout_s=2")
    assert isinstance(outcomes["a.png"], CroppedMedium) and isinstance(outcomes["b.png"], CroppedMedium)


def test_without_ticks_each_thing_given_is_an_outcome(picture, setup):
    slow = picture("slow.png")
    (given,) = crop_all([replace(slow, path=Lingers(slow.path))], setup, Pace(num_workers=1, timeout_s=60))
    assert given[0].media_id == "slow.png"


@pytest.mark.parametrize("when", ["starting", "begun"])
def test_who_stops_early_is_not_kept_waiting_by_a_medium_that_hangs(picture, setup, when, stubborn):
    """After the first tick processes are starting; when an outcome has come they have begun. None is left."""
    hanging = picture("hangs.png")
    tasks = [replace(hanging, path=Hangs(hanging.path)), *(picture(f"{n}.png") for n in range(5))]
    given = crop_all(tasks, setup, Pace(num_workers=2, timeout_s=600, ahead=16, tick_s=0.01))
    assert next(given) is None
    while when == "begun" and next(given) is None:
        pass
    began = time.monotonic()
    given.close()
    assert time.monotonic() - began < 20


CROP_AND_WAIT = f"""
import sys, time
from pathlib import Path
from deepfake.media.crop_medium import CropSettings
from deepfake.media.medium import Limits
from deepfake.media.workers import CropTask, Pace, WorkerSetup, crop_all
WHOLE = {WHOLE}
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tasks = [CropTask(f"{{number}}.png", folder / "a.png", "image") for number in range(2)]
    for _ in crop_all(tasks, WorkerSetup(folder / "crops", None, WHOLE), Pace(num_workers=1, timeout_s=60)):
        print("cropped", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def cropping(tmp_path):
    """Another process, the first of its group, that has cropped one of two media and then waits."""
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "crop.py").write_text(CROP_AND_WAIT)
    command = [sys.executable, str(tmp_path / "crop.py"), str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a suite in the background ignores Ctrl-C
    with subprocess.Popen(command, env=environment(), preexec_fn=hears, **pipes) as process:  # noqa: PLW1509
        assert process.stdout.readline() == "cropped\n"
        yield process
        process.kill()


def is_there(number):
    """Whether a process has not ended yet. It is this one's child where this one takes orphans."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(number, os.WNOHANG)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    return False


def wait_for_the_end_of(numbers):
    deadline = time.monotonic() + 20
    while any([is_there(number) for number in numbers]):
        assert time.monotonic() < deadline, "a process has outlived its parent"
        time.sleep(0.05)


def test_processes_end_soon_after_a_parent_that_was_killed(cropping):
    started = descendants(cropping.pid)
    assert len(started) == 3  # the one that crops, the fork server and the tracker
    cropping.kill()
    wait_for_the_end_of(started)


def test_ctrl_c_is_the_parents_to_answer_alone(cropping):
    """All processes of a terminal hear it."""
    started = descendants(cropping.pid)
    os.killpg(cropping.pid, signal.SIGINT)
    said = cropping.communicate(timeout=30)[1]
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt"), said
    wait_for_the_end_of(started)
