"""What every benchmark says of the machine, and how its results are named and written."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SOURCES = Path(__file__).resolve().parents[1] / "src"


def python_path() -> str:
    """PYTHONPATH with which processes find this checkout, and all that this one finds by it."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([str(SOURCES), *(folder for folder in given if folder not in ("", str(SOURCES)))])


def hardware(*, gpu: bool = False) -> str:
    """The processor's name and its number of cores; with `gpu`, the graphics card's before it where there is one."""
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    cpu = f"CPU {model}, {os.cpu_count()} cores"
    if gpu:
        import torch

        if torch.cuda.is_available():
            return f"GPU {torch.cuda.get_device_name()}, {cpu}"
    return cpu


def slug(words: str) -> str:
    """Small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r", (\d+) cores", r" \1cores", words).lower()).strip("-")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
