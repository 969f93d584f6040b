"""Python processes that come with the heavy packages imported: each is forked off a server that has run nothing.

A cold interpreter takes some seconds of a core until torch and the rest are there, and the tests start hundreds: every
command in a process of its own, and every process that multiprocessing spawns for one. `Server.start` gives a process
that behaves as `python -m …` or `python -c …` in a folder, with an environment, open files and signals of its own, a
child of who asked for it. `Server.warms_spawning` lets multiprocessing's spawn (and forkserver) have such processes;
what it hands to them is pickled as ever.

Linux alone: a process that the server forked becomes the asking one's child as that is a "subreaper".
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import os
import pickle
import pkgutil
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
LIMITED = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
HEAVY = (
    *("albumentations", "av", "cv2", "facenet_pytorch", "numpy", "omegaconf", "pandas", "pebble", "PIL.Image"),
    *("pyarrow.parquet", "safetensors.torch", "scipy.optimize", "scipy.special", "scipy.stats", "sklearn.metrics"),
    *("timm", "torch", "torch.utils.tensorboard", "torchvision", "tqdm", "yaml"),
)


@dataclass(frozen=True)
class Wish:
    """What a process is to be."""

    argv: list[str]
    """As for a cold one, without interpreter and flags: -m MODULE … or -c CODE …"""
    environment: dict[str, str]
    folder: str
    files: tuple[int, ...]
    """Numbers that its open files have in it; the files themselves go along in this order."""
    prelude: str = ""
    """Python that it runs first, and that every process it spawns runs first."""
    new_session: bool = False
    deaf: bool = False
    """Whether Ctrl-C is ignored."""
    masked: tuple[int, ...] = ()
    """Signals that are blocked."""
    limits: tuple[tuple[int, tuple[int, int]], ...] = ()
    """Number, and soft and hard limit, of each resource."""


class Server:
    """The asking side. start: thread-safe; gives the number of a process that is this one's child."""

    def __init__(self, connection: socket.socket, prelude: str = "") -> None:
        self._connection, self._prelude, self._lock = connection, prelude, threading.Lock()
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    @classmethod
    def launch(cls, environment: dict[str, str]) -> Server:
        """A server that imports nothing until it is asked for its first process; it ends with this process."""
        ours, theirs = socket.socketpair()
        code = f"import warm; warm.main({theirs.fileno()})"
        command = [sys.executable, *util._args_from_interpreter_flags(), "-c", code]
        environment = environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{Path(__file__).parent}"}
        with theirs, open(os.devnull, "r+b") as nothing:
            subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=nothing, stdout=nothing, env=environment)
        return cls(ours)

    def start(
        self,
        argv: list[str],
        files: dict[int, int],
        *,
        environment: dict[str, str] | None = None,
        folder: Path | None = None,
        **rest: object,
    ) -> int:
        """files: its number for each file, and ours. It has this process's limits, and unless said otherwise its
        environment and folder; no signal is blocked or ignored."""
        limits = tuple((number, resource.getrlimit(number)) for number in LIMITED)
        wish = Wish(argv, environment or {**os.environ}, str(folder or Path.cwd()), (*files,), limits=limits, **rest)
        message = pickle.dumps(wish)
        with self._lock:
            socket.send_fds(self._connection, [len(message).to_bytes(4, "big")], [*files.values()])
            self._connection.sendall(message)
            answer = self._connection.recv(4)
        if not answer:
            raise RuntimeError("the server of warm processes has died")
        return int.from_bytes(answer, "big")

    def warms_spawning(self) -> None:
        """From here on, processes that multiprocessing spawns in this one are warm."""
        cold = util.spawnv_passfds

        def spawn(path: str, args: list[str], passfds: list[int]) -> int:
            code = args.index("-c") if "-c" in args else 0
            if not any(f"multiprocessing.{method} " in args[code + 1] for method in ("spawn", "forkserver")):
                return cold(path, args, passfds)
            return self.start(
                args[code:],
                {number: number for number in (0, 1, 2, *passfds)},
                prelude=self._prelude,
                deaf=signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
                masked=tuple(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            )

        util.spawnv_passfds = spawn


@dataclass
class Process:
    """A child of this process. status: as subprocess.Popen's returncode."""

    number: int
    status: int | None = None

    def poll(self) -> int | None:
        if self.status is None:
            ended, status = os.waitpid(self.number, os.WNOHANG)
            if ended:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, timeout_s: float = 60) -> int:
        deadline = time.monotonic() + timeout_s
        while self.poll() is None:
            assert time.monotonic() < deadline, f"process {self.number} does not end"
            time.sleep(0.005)
        return self.status

    def signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.number, number)


# --- the serving side


def serve(connection: socket.socket) -> Wish:
    """Fork a process for each wish that comes; returns in that process. Ends with who wishes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        head, theirs, _, _ = socket.recv_fds(connection, 4, 64)
        if not head:
            os._exit(0)
        size, message = int.from_bytes(head, "big"), b""
        while len(message) < size:
            message += connection.recv(size - len(message))
        _import_heavy()
        told, telling = os.pipe()
        if not (middle := os.fork()):
            middle = os.getpid()
            if child := os.fork():
                os.write(telling, child.to_bytes(4, "big"))
                os._exit(0)  # and who wished inherits the child
            for number in (told, connection.fileno()):
                os.close(number)
            connection.detach()
            wish = pickle.loads(message)
            telling = _take_on(wish, theirs, telling)
            while os.getppid() == middle:
                time.sleep(0.001)
            os.close(telling)
            return wish
        for number in (telling, *theirs):
            os.close(number)
        os.waitpid(middle, 0)
        child = os.read(told, 4)
        assert os.read(told, 1) == b""  # it is what it was to be
        os.close(told)
        connection.sendall(child)


def _import_heavy() -> None:
    if "torch" in sys.modules:
        return
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command itself does, before torch is there
    for name in HEAVY:
        importlib.import_module(name)
    package = importlib.import_module("deepfake")
    for module in pkgutil.walk_packages(package.__path__, "deepfake."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # what is there now is never looked at again, so that its pages stay shared


def _take_on(wish: Wish, theirs: list[int], telling: int) -> int:
    """Session, files, folder, environment, limits and signals of a process that has just been forked.

    theirs: the files, where they are now. Gives the number that `telling` has now, out of the way of theirs.
    """
    if wish.new_session:
        os.setsid()
    *high, telling_now = [fcntl.fcntl(number, fcntl.F_DUPFD, 1 + max(wish.files)) for number in (*theirs, telling)]
    for number in (*theirs, telling):
        os.close(number)
    for number, place in zip(high, wish.files, strict=True):
        os.dup2(number, place)
        os.close(number)
    os.chdir(wish.folder)
    os.environ.clear()
    os.environ.update(wish.environment)
    tempfile.tempdir = None  # as TMPDIR says now
    for number, limits in wish.limits:
        if resource.getrlimit(number) != limits:
            resource.setrlimit(number, limits)
    signal.signal(signal.SIGINT, signal.SIG_IGN if wish.deaf else signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, wish.masked)
    return telling_now


def become(wish: Wish) -> None:
    """Run what was wished for. A module may spawn: it gets a server of its own, which has run as little as this one."""
    flag, what, *rest = wish.argv
    sys.orig_argv = [sys.executable, *wish.argv]
    sys.path[0] = wish.folder  # in place of this file's
    if flag == "-m":
        ours, theirs = socket.socketpair()
        server = Server(ours, wish.prelude)
        if not os.fork():
            ours.close()
            become(serve(theirs))
            return
        theirs.close()
        server.warms_spawning()
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(wish.prelude, {**names})
    sys.argv = [flag, *rest]
    if flag == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {**names})


def main(connection: int) -> None:
    """The server, and each process that it forks, which ends as the interpreter would, but leaves the clearing up of
    all that is imported, a second's work, to the system."""
    try:
        become(serve(socket.socket(fileno=connection)))
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except Exception:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status & 0xFF)
