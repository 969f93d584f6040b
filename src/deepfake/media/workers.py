"""Media cropped side by side, each in a process that may hang or die without harm to the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.errors import UserError
from deepfake.files import fingerprint
from deepfake.media.crop_medium import CroppedMedium, CropSettings, crop_medium
from deepfake.media.medium import UnreadableError
from deepfake.processes import DEAD_AT_START, DETECTION, context, uninterrupted

if TYPE_CHECKING:
    from pebble import ProcessPool

    from deepfake.media.detect import FaceDetector

LACK_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "ALLOC_FAILED", "Insufficient memory")
START_S = 60  # that a process may take until it reads its first medium
MEDIA_PER_PROCESS = 1000  # then it is replaced, so that what a decoder leaks stays small


@dataclass(frozen=True)
class CropTask:
    """A medium to be cropped."""

    media_id: str
    path: Path
    kind: str
    """video or image, as in open_medium."""
    originals: tuple[CroppedMedium, ...] = ()
    """As in crop_medium."""
    fingerprint: str = ""
    """As files.fingerprint gave it; "" = unchecked."""
    crops: Path | None = None
    """The folder of the crops; None = that of the setup."""
    num_frames: int | None = None
    """How many frames are wanted; None = as many as the settings say."""


@dataclass(frozen=True)
class Failure:
    """Why a medium could not be cropped."""

    error: str
    """The kind, for the problems table."""
    detail: str
    """What happened, in words."""


@dataclass(frozen=True)
class WorkerSetup:
    """What all processes work with."""

    crops: Path
    detector: dict[str, Any] | None
    """Arguments of FaceDetector without the device; None = whole frames."""
    settings: CropSettings


def as_it_is(task: CropTask) -> CropTask:
    """The task itself."""
    return task


@dataclass(frozen=True)
class Pace:
    """How media are handed to the processes."""

    num_workers: int
    """Processes."""
    timeout_s: float
    """What a medium may take."""
    ahead: int = 2
    """Media that each process has under way or waiting, so that it need not wait for who takes what comes out."""
    tick_s: float = float("inf")
    """After so long without an outcome None is given instead of one, so that the taker can do something else."""
    adjust: Callable[[CropTask], CropTask] = as_it_is
    """Applied to each task when it is handed to a process; what it returns is run, and given back with the outcome.

    It keeps the media_id. Whoever is short of time asks for fewer frames, and for another folder, here.
    """


def crop_all(
    tasks: Iterable[CropTask], setup: WorkerSetup, pace: Pace
) -> Iterator[tuple[CropTask, CroppedMedium | Failure] | None]:
    """Crop media in processes; each task is given back with its outcome as soon as that is there, in no order.

    A process that takes longer than pace.timeout_s for a medium, or dies, is replaced; its medium is a Failure. OSError
    when crops cannot be written, UserError when processes die before they read anything.
    """
    for package in DETECTION if setup.detector else ():
        if find_spec(package) is None:  # else each process would say so, and nobody what to do
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    todo = {task.media_id: task for task in tasks}
    while todo:
        left = len(todo)
        for given in _crop_in_pool(todo, setup, replace(pace, num_workers=min(pace.num_workers, left))):
            if given is not None:
                del todo[given[0].media_id]
            yield given
        if len(todo) == left:
            raise UserError(DEAD_AT_START)


def _crop_in_pool(
    tasks: dict[str, CropTask], setup: WorkerSetup, pace: Pace
) -> Iterator[tuple[CropTask, CroppedMedium | Failure] | None]:
    """Until all is cropped, or the pool breaks: pebble gives it up when a process dies while none of them has work."""
    from pebble import ProcessPool

    todo, running, waited_s = deque(tasks.values()), dict[Future, CropTask](), 0.0
    with ProcessPool(
        max_workers=pace.num_workers,
        max_tasks=MEDIA_PER_PROCESS,
        context=context(detecting=setup.detector is not None),
        initializer=_start,
        initargs=(setup,),
    ) as pool:
        try:
            while todo or running:
                while todo and len(running) < pace.ahead * pace.num_workers:
                    task = pace.adjust(todo.popleft())
                    running[_schedule(pool, task, pace.timeout_s)] = task
                patience_s = min(pace.tick_s, pace.timeout_s + START_S)
                done = wait(running, timeout=patience_s, return_when=FIRST_COMPLETED).done
                waited_s = 0.0 if done else waited_s + patience_s
                if waited_s >= pace.timeout_s + START_S:  # a process was killed while it held a lock of pebble's
                    raise BrokenProcessPool("no medium has come to an end in the time that one may take")
                for future in done:
                    yield running.pop(future), _outcome(future, pace.timeout_s)
                if not done:
                    yield None
        except BrokenProcessPool:
            pool.stop()
        except BaseException:
            pool.stop()
            raise


def _schedule(pool: ProcessPool, task: CropTask, timeout_s: float) -> Future:
    """BrokenProcessPool when pebble has given the pool up, which it says by a RuntimeError here."""
    try:
        with uninterrupted():
            return pool.schedule(_crop_one, args=(task,), timeout=timeout_s)
    except RuntimeError as error:
        raise BrokenProcessPool(str(error)) from error


def _outcome(future: Future, timeout_s: float) -> CroppedMedium | Failure:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return Failure("timeout", f"took longer than extract.timeout_s={timeout_s}")
    except ProcessExpired as error:
        why = " (killed, as happens where memory is short)" if error.exitcode == -signal.SIGKILL else ""
        return Failure("crashed", f"the process that read it died with exit code {error.exitcode}{why}")


# What a process keeps between media; set once by _start in that process, never in the parent.
_mine: tuple[WorkerSetup, FaceDetector | None] | None = None


def _start(setup: WorkerSetup) -> None:
    """Make this process ready, on one thread: the processes are what runs side by side."""
    import cv2

    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    global _mine
    _mine = (setup, _load_detector(setup.detector) if setup.detector else None)


def _end_with_parent() -> None:
    """End this process with the one that asked for it: one that was killed could not say so, and nobody else would."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was started by another"
    parent.join()
    os._exit(1)


def _has_changed(task: CropTask) -> bool:
    try:
        return bool(task.fingerprint) and fingerprint(task.path) != task.fingerprint
    except OSError:  # what cannot be read is told by who reads it
        return False


def _settings_of(task: CropTask, usual: CropSettings) -> CropSettings:
    return usual if task.num_frames is None else replace(usual, num_frames=task.num_frames)


def _load_detector(settings: dict[str, Any]) -> FaceDetector:
    import torch

    from deepfake.media.detect import FaceDetector

    torch.set_num_threads(1)
    return FaceDetector(**settings, device="cuda" if torch.cuda.is_available() else "cpu")


def _crop_one(task: CropTask) -> CroppedMedium | Failure:
    import cv2

    assert _mine is not None, "_start has run in this process"
    setup, detector = _mine
    if _has_changed(task):
        return Failure("changed", "the file is another than the one that was indexed: run index again")
    try:
        return crop_medium(
            task.media_id,
            task.path,
            task.kind,
            setup.crops if task.crops is None else task.crops,
            detector=detector,
            settings=_settings_of(task, setup.settings),
            originals=task.originals,
        )
    except UnreadableError as error:
        return Failure(error.error, error.detail)
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in LACK_OF_MEMORY):
            error.add_note(f"while {task.path} was cropped")
            raise
        return Failure("out_of_memory", "too little memory for its frames: set num_workers or extract.batch_mpx lower")
