"""A GPU's first hour in nine minutes: what holds on this machine's card, and how fast, as one page of Markdown.

    benchmarks/gpu.sh [--tiny] [--out FOLDER] [PART …]

Without a PART, all of them. --tiny goes the same way to its end with next to nothing, on a CPU in about two: its
figures mean nothing. Each part is a process with a limit of its own, and one that fails ends no other. It needs no
network, no media and no pretrained weights, and installs nothing: what is missing is named, with the commands that
bring it. Writes benchmarks/results/gpu-<card>.md after each part; the exit status is 1 where something failed or fell
short.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from gpu_parts import PARTS, ROOT, Figure
from gpu_parts import main as run_part
from machine import RESULTS, hardware, python_path, slug, table

TOTAL_S = 540.0
OLDEST_TORCH, OLDEST_PYTHON = (2, 4), (3, 11)
# Packages of requirements.txt that no part needs.
NOT_NEEDED = {"pytest-xdist", "coverage", "pytest-cov", "mypy", "types-PyYAML", "types-tqdm", "ruff", "matplotlib"}
MODULES = {  # where they are not called as their package
    **{"opencv-python-headless": "cv2", "scikit-learn": "sklearn", "pillow": "PIL", "PyYAML": "yaml"},
    **{"absl-py": "absl", "grpcio": "grpc", "protobuf": "google.protobuf"},
}
# What packages need in turn and nothing else here brings; pip --no-deps leaves it out.
COMPANIONS = {
    "albumentations": (
        *("albucore==0.0.24", "stringzilla==5.3.2", "simsimd==6.5.16", "pydantic==2.14.3", "pydantic-core==2.50.4"),
        *("annotated-types==0.8.0", "typing-inspection==0.4.5", "typing-extensions==4.16.0"),
    ),
    "facenet-pytorch": (
        *("requests==2.34.2", "charset-normalizer==3.5.2", "idna==3.20", "urllib3==2.8.0", "certifi==2026.10.18"),
    ),
    "pytest": ("iniconfig==2.3.1", "pluggy==1.7.0", "packaging==26.3", "pygments==2.21.0"),
    "tensorboard": (
        *("absl-py==2.5.1", "grpcio==1.85.1", "markdown==3.11.3", "protobuf==7.36.2", "werkzeug==3.1.9"),
        *("markupsafe==3.0.4", "tensorboard-data-server==0.7.2", "setuptools==84.2.1"),
    ),
}


# --- what has to be there


def module_of(package: str) -> str:
    return MODULES.get(package, package.replace("-", "_"))


def is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(module_of(package)) is not None
    except ModuleNotFoundError:  # of the package that a module lies in
        return False


def missing() -> list[str]:
    """Requirements, as pip takes them, that cannot be imported here; torch and torchvision are not among them."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if "==" in line and not line.startswith("#")]
    wanted += [companion for several in COMPANIONS.values() for companion in several]
    packages = {line: line.split("==")[0] for line in wanted}
    left_out = NOT_NEEDED | {"torch", "torchvision"}
    return [line for line, package in packages.items() if package not in left_out and not is_there(package)]


def check() -> None:
    """SystemExit, with what to do, where something is missing."""
    if not (is_there("torch") and is_there("torchvision")):
        raise SystemExit(f"error: {sys.executable} has no torch and torchvision: name one that has by DEEPFAKE_PYTHON=")
    if sys.version_info < OLDEST_PYTHON:
        raise SystemExit(f"error: {sys.executable} is Python {platform.python_version()}; it needs 3.11 or later")
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        raise SystemExit(f"error: torch {torch.__version__} is older than {'.'.join(map(str, OLDEST_TORCH))}")
    if lacking := missing():
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SystemExit(
            f"error: {sys.executable} lacks {', '.join(lacking)}\n"
            f"They come as wheels that leave the installed torch as it is. With a network, on Linux as here:\n"
            f"  python3 -m pip download --no-deps --only-binary=:all: --python-version {here} --dest wheels "
            f"{' '.join(lacking)}\n"
            f"and here, with wheels/ beside you:\n"
            f"  {sys.executable} -m pip install --no-deps --no-index wheels/*.whl"
        )


# --- one part after another


@dataclass
class Result:
    """What came of a part."""

    name: str
    seconds: float = 0.0
    failure: str = ""
    """Why it did not come to its end."""
    figures: list[Figure] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """A line that the part wrote."""
        found = json.loads(line)
        if isinstance(found, str):
            self.texts.append(found)
            return
        figure = Figure(**found)
        self.figures.append(figure)
        print(f"  {figure.name}: {figure.value:.4g} {figure.unit}{'  SHORT' if figure.falls_short else ''}", flush=True)


def measure(name: str, folder: Path, limit_s: float, *, tiny: bool) -> Result:
    """A part in a process group of its own, which is killed after limit_s seconds."""
    result, began = Result(name), time.monotonic()
    print(f"{name}: {PARTS[name].about} (at most {limit_s:.0f} s)", flush=True)
    lines, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    lines.touch()
    command = [sys.executable, __file__, "--part", name, "--to", str(lines), "--limit", str(limit_s)]
    with log.open("w") as said, lines.open() as found:
        process = subprocess.Popen(
            [*command, *(["--tiny"] if tiny else [])], stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() - began < limit_s:
                time.sleep(0.2)
                for line in iter(found.readline, ""):
                    result.take(line)
        finally:
            status = process.poll()
            end_group(process)
        for line in iter(found.readline, ""):
            result.take(line)
    result.seconds = time.monotonic() - began
    if status is None:
        result.failure = f"not done after {limit_s:.0f} s"
    elif status:
        result.failure = last_words(log.read_text(errors="replace"))
    if result.failure:
        print(f"  FAILED: {result.failure}", flush=True)
    return result


def end_group(process: subprocess.Popen) -> None:
    """The part and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_words(said: str) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    return lines[-1][:400] if lines else "it ended without a word"


# --- the page


def environment() -> str:
    """Versions, in one line."""
    import timm
    import torch

    from deepfake.provenance import git_commit

    words = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"timm {timm.__version__}"]
    if torch.cuda.is_available():
        words.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
        words.append(f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB")
    if commit := git_commit():
        words.append(f"commit {commit}")
    return ", ".join([*words, date.today().isoformat()])


def page(results: Sequence[Result], *, tiny: bool) -> str:
    """What failed, what fell short, then all figures, then the tables that they stem from."""
    wrong = [f"- **{one.name}** failed: {one.failure}" for one in results if one.failure]
    wrong += [
        f"- {one.name}: {figure.name} is {figure.value:.4g} {figure.unit}".rstrip() + f", to be {figure.aim}"
        for one in results
        for figure in one.figures
        if figure.falls_short
    ]
    rows = [
        [f"{one.name}: {figure.name}", f"{figure.value:.4g}", figure.unit, figure.aim, "**no**" * figure.falls_short]
        for one in results
        for figure in one.figures
    ]
    took = ", ".join(f"{one.name} {one.seconds:.0f} s" for one in results)
    parts = [
        f"# A GPU's first hour on {hardware(gpu=True)}",
        f"{environment()}.\nTook {sum(one.seconds for one in results) / 60:.1f} minutes: {took}.",
        *(["Made with --tiny: whether it runs, not how fast."] if tiny else []),
        "## What failed or fell short",
        "\n".join(wrong) or "Nothing.",
        "## Figures",
        table(["figure", "value", "unit", "aim", "holds"], rows)
        .strip()
        .replace("| ---: | ---: |\n", "| --- | --- |\n"),
    ]
    for one in results:
        parts += [f"## {one.name}: {PARTS[one.name].about}", *(re.sub("^#", "##", text.strip()) for text in one.texts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--tiny", action="store_true", help="whether it runs, on a CPU too, in about two minutes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the page")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    os.environ["PYTHONPATH"] = python_path()  # for the processes that parts start
    if args.part:
        run_part(args.part, args.to, args.limit, tiny=args.tiny)
        return 0
    if unknown := [name for name in args.parts if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]}; allowed: {', '.join(PARTS)}")
    check()
    import torch

    if not (args.tiny or torch.cuda.is_available()):
        raise SystemExit("error: torch sees no CUDA device; --tiny tries out the way on a CPU")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a part that is under way is ended too
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"gpu-{'tiny-' if args.tiny else ''}{slug(hardware(gpu=True))}.md"
    began, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.parts or PARTS:
            limit_s = PARTS[name].tiny_limit_s if args.tiny else PARTS[name].limit_s
            left_s = TOTAL_S - (time.monotonic() - began)
            if left_s < 10:
                results.append(Result(name, failure="no time was left"))
            else:
                results.append(measure(name, Path(folder), min(limit_s, left_s), tiny=args.tiny))
            path.write_text(page(results, tiny=args.tiny))
    print(f"wrote {path}, {(time.monotonic() - began) / 60:.1f} minutes")
    short = any(figure.falls_short for one in results for figure in one.figures)
    return int(short or any(one.failure for one in results))


if __name__ == "__main__":
    sys.exit(main())
