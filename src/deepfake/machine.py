"""The machine: its cores, how many processes work on them, and locks between processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake.errors import UserError


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(asked: int) -> int:
    """Number of worker processes, at least 1: as asked, or (-1) one a core that this process may use, at most 16."""
    return max(1, asked if asked >= 0 else min(16, _cores()))


def loader_workers(asked: int, *, processes: int = 1) -> int:
    """Processes that load crops: as asked, or (-1) one a core for a GPU, one for four cores where the model needs them.

    processes: those of this machine that train together, which share the cores.
    """
    import torch

    if asked >= 0:
        return asked
    cores = worker_count(-1) if torch.cuda.is_available() else _cores() // 4
    return max(1, cores // processes)


@contextmanager
def alone(lock: Path | None, otherwise: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file (None: none), which a kill frees; UserError `otherwise` when another process holds it.

    wait_s: seconds in which the other may still let go.
    """
    import fcntl

    if lock is None:
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_s
    with open(lock, "w") as handle:
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock's lives on in a killed process's workers
                break
            except (BlockingIOError, PermissionError) as error:
                if time.monotonic() >= until:
                    raise UserError(otherwise) from error
            time.sleep(0.05)
        yield
