"""How the processes that crop media start: forked from one that has the libraries, and deaf to Ctrl-C."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from deepfake.errors import UserError

READERS = ("av", "cv2", "PIL.Image", "scipy.optimize")  # slow to import; each process needs them
DETECTION = ("torch", "torchvision", "facenet_pytorch")  # and these where faces are searched
DEAD_AT_START = "the processes that read media die as they start: free memory, or set num_workers lower"


LONGEST_FOLDER = 74  # characters of the temporary folder; a socket's whole name has at most 107


def _forks() -> bool:
    """Whether processes come from a fork server. Elsewhere than on Linux the system's own libraries may not survive a
    fork, and the server's socket needs a short name."""
    return sys.platform == "linux" and len(tempfile.gettempdir()) <= LONGEST_FOLDER


def warm_up(*, detecting: bool) -> None:
    """Start the server that crop_all forks its processes from; returns while that imports the libraries, for seconds.

    A fork takes a tenth of the time that an interpreter of its own takes with them. The server stays for the next call,
    and ends with this process. It uses no library, so that it has neither CUDA nor threads when it forks (but for
    OpenBLAS's, which OpenBLAS itself ends before a fork). It does not import deepfake, which may be importable here
    alone.
    """
    if _forks():
        libraries = [*READERS, *(DETECTION if detecting or "torch" in sys.modules else ())]
        forkserver.set_forkserver_preload(libraries)
        with uninterrupted():
            forkserver.ensure_running()
        atexit.unregister(_end_server)
        atexit.register(_end_server, os.getpid())


def _end_server(of: int) -> None:
    """The server would take a second to give its libraries back, and whoever reads this program's output by a pipe
    waits for it."""
    server = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if server is not None and os.getpid() == of:  # not in a process that was forked from this one
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def context(*, detecting: bool) -> BaseContext:
    """How processes start, as soon as they can start at once: a pool that is starting cannot be interrupted."""
    if not _forks():
        return _SpawnContext()
    warm_up(detecting=detecting)
    server = _ForkServerContext()
    first = server.Process(target=_nothing)
    try:
        first.start()
    except (ConnectionError, EOFError) as error:  # the server died of its imports
        raise UserError(DEAD_AT_START) from error
    first.join()
    return server


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that start in here do not run this one's script again, which would have no end without a guard: they
    need nothing of it."""
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        main.update(hidden)


class _ForkServerProcess(multiprocessing.context.ForkServerProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        with _without_main():
            return multiprocessing.context.ForkServerProcess._Popen(process)


class _ForkServerContext(multiprocessing.context.ForkServerContext):
    Process = _ForkServerProcess


class _SpawnProcess(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        with _without_main():
            return multiprocessing.context.SpawnProcess._Popen(process)


class _SpawnContext(multiprocessing.context.SpawnContext):
    Process = _SpawnProcess


def _nothing() -> None:
    pass


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Threads and processes that begin in here, and theirs, never see Ctrl-C: it is this thread's to answer."""
    resource_tracker.ensure_running()  # as it starts, it would let it through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
