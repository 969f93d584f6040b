"""Media cut side by side, each in a process that may hang or die without harm to the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.errors import UserError
from deepfake.files import fingerprint
from deepfake.media.cut import Cut, CutSettings, cut_medium
from deepfake.media.medium import UnreadableError

if TYPE_CHECKING:
    from pebble import ProcessPool

    from deepfake.media.detect import FaceDetector

LACK_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "ALLOC_FAILED", "Insufficient memory")
START_S = 60  # that a process may take until it reads its first medium
MEDIA_PER_PROCESS = 1000  # then it is replaced, so that what a decoder leaks stays small


@dataclass(frozen=True)
class Job:
    """A medium to be cut; `originals` as in cut_medium; `fingerprint` as files.fingerprint gave it, "" = unchecked.

    stride: 2 = half as many frames as the settings say, and so on, rounded up.
    """

    media_id: str
    path: Path
    kind: str
    originals: tuple[Cut, ...] = ()
    fingerprint: str = ""
    stride: int = 1


@dataclass(frozen=True)
class Failure:
    """Why a medium could not be cut: the kind for the problems table, and words."""

    error: str
    detail: str


@dataclass(frozen=True)
class Setup:
    """What all processes work with. detector: arguments of FaceDetector but for the device, None = whole frames."""

    crops: Path
    detector: dict[str, Any] | None
    cut: CutSettings


@dataclass(frozen=True)
class Pace:
    """How media are handed to the processes.

    num_workers: processes. timeout_s: what a medium may take. ahead: media that a process has under way or waiting, so
    that it need not wait for who takes them. stride: asked for each medium as it is handed over, see Job. tick_s: after
    so long without an outcome, None is given in its place, so that who takes them can do something else.
    """

    num_workers: int
    timeout_s: float
    ahead: int = 2
    stride: Callable[[], int] = lambda: 1
    tick_s: float = float("inf")


def cut_all(jobs: Iterable[Job], setup: Setup, pace: Pace) -> Iterator[tuple[Job, Cut | Failure] | None]:
    """Cut media in processes; what comes out is given as it comes, in no order.

    A process that takes longer than pace.timeout_s for a medium, or dies, is replaced; its medium is a Failure. OSError
    when crops cannot be written, UserError when processes die before they read anything.
    """
    for package in ("torch", "torchvision", "facenet_pytorch") if setup.detector else ():
        if find_spec(package) is None:  # else each process would say so, and nobody what to do
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    todo = {job.media_id: job for job in jobs}
    while todo:
        left = len(todo)
        for given in _cut_in_pool(todo, setup, replace(pace, num_workers=min(pace.num_workers, left))):
            if given is not None:
                del todo[given[0].media_id]
            yield given
        if len(todo) == left:
            raise UserError("the processes that read media die as they start: free memory, or set num_workers lower")


def _cut_in_pool(jobs: dict[str, Job], setup: Setup, pace: Pace) -> Iterator[tuple[Job, Cut | Failure] | None]:
    """Until all is cut, or the pool breaks: pebble gives it up when a process dies while none of them has work."""
    from pebble import ProcessPool

    todo, running, waited_s = deque(jobs.values()), {}, 0.0
    with ProcessPool(
        max_workers=pace.num_workers,
        max_tasks=MEDIA_PER_PROCESS,
        context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(setup, os.getpid()),
    ) as pool:
        try:
            while todo or running:
                while todo and len(running) < pace.ahead * pace.num_workers:
                    job = replace(todo.popleft(), stride=pace.stride())
                    running[_schedule(pool, job, pace.timeout_s)] = job
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


def _schedule(pool: ProcessPool, job: Job, timeout_s: float) -> Future:
    """BrokenProcessPool when pebble has given the pool up, which it says by a RuntimeError here."""
    try:
        with _uninterrupted():
            return pool.schedule(_cut_one, args=(job,), timeout=timeout_s)
    except RuntimeError as error:
        raise BrokenProcessPool(str(error)) from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Threads and processes that begin in here, and theirs, never see Ctrl-C: it is this thread's to answer."""
    resource_tracker.ensure_running()  # as it starts, it would let it through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future, timeout_s: float) -> Cut | Failure:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return Failure("timeout", f"took longer than extract.timeout_s={timeout_s}")
    except ProcessExpired as error:
        why = " (killed, as happens where memory is short)" if error.exitcode == -signal.SIGKILL else ""
        return Failure("crashed", f"the process that read it died with exit code {error.exitcode}{why}")


# What a process keeps between media; set once by _start in that process, never in the parent.
_mine: tuple[Setup, FaceDetector | None] | None = None


def _start(setup: Setup, parent: int) -> None:
    """Make this process ready, on one thread: the processes are what runs side by side."""
    import cv2

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    global _mine
    _mine = (setup, _load_detector(setup.detector) if setup.detector else None)


def _end_with(parent: int) -> None:
    """End this process soon after its parent: one that was killed could not say so, and nobody else would."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _has_changed(job: Job) -> bool:
    try:
        return bool(job.fingerprint) and fingerprint(job.path) != job.fingerprint
    except OSError:  # what cannot be read is told by who reads it
        return False


def _load_detector(settings: dict[str, Any]) -> FaceDetector:
    import torch

    from deepfake.media.detect import FaceDetector

    torch.set_num_threads(1)
    return FaceDetector(**settings, device="cuda" if torch.cuda.is_available() else "cpu")


def _cut_one(job: Job) -> Cut | Failure:
    import cv2

    setup, detector = _mine
    if _has_changed(job):
        return Failure("changed", "the file is another than the one that was indexed: run index again")
    try:
        return cut_medium(
            job.media_id,
            job.path,
            job.kind,
            setup.crops,
            detector=detector,
            settings=replace(setup.cut, num_frames=-(-setup.cut.num_frames // job.stride)),
            originals=job.originals,
        )
    except UnreadableError as error:
        return Failure(error.error, error.detail)
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in LACK_OF_MEMORY):
            error.add_note(f"while {job.path} was cut")
            raise
        return Failure("out_of_memory", "too little memory for its frames: set num_workers or extract.batch_mpx lower")
