"""What the user sees: lines of the log, progress bars, and the few words that all of them share."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def speaks() -> bool:
    """Whether this process tells what happens: of those that torchrun started together, the first."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def say(command: str, message: str) -> None:
    """One line of the log: time, command, message."""
    logging.getLogger("deepfake").info("%-8s %s", command, message)


class _BarFriendly(logging.Handler):
    """Writes lines to standard error, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(self.format(record), file=sys.stderr)
        else:
            sys.stderr.write(self.format(record) + "\n")


def start_log() -> None:
    """Send the log's lines to standard error, with the time before them."""
    handler = _BarFriendly()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("deepfake")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if speaks() else logging.ERROR)


class _Lines:
    """A stand-in for a terminal: each state of a progress bar becomes a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip("\r\n") + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress(total: int, label: str, unit: str, done: int = 0) -> tqdm:
    """A bar with rate and time left; where the output is not a terminal, a line every ten seconds or so."""
    from tqdm import tqdm

    if not speaks():
        return tqdm(disable=True)
    shown: dict[str, Any] = {"mininterval": 0.2}
    if not sys.stderr.isatty():
        shown = {"mininterval": 10.0, "file": _Lines(), "ncols": 100}
    return tqdm(total=total, initial=done, desc=f"         {label:<8}", unit=f" {unit}", dynamic_ncols=True, **shown)


def share(part: int, whole: int) -> str:
    """`3 of 40 (7.5 %)`."""
    return f"{part} of {whole} ({100 * part / max(1, whole):.1f} %)"


def listed(items: Iterable[Any], most: int = 5) -> str:
    """The first few items, and how many more there are."""
    names = [str(item) for item in items]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
