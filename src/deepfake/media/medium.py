"""What every reader of media gives: frames one after another, or why there are none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


class UnreadableError(Exception):
    """A medium that cannot be decoded. `error` is its kind, for the problems table."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = " ".join(detail.split())[:300]


@dataclass(frozen=True)
class Limits:
    """Media beyond these are refused as `too_large` or `too_long`. 0 = no limit."""

    max_megapixels: float
    """Of a frame."""
    max_minutes: float
    """Of a video."""

    def check_size(self, width: int, height: int) -> None:
        """UnreadableError where a frame of width x height px is too large."""
        megapixels = width * height / 1e6
        if self.max_megapixels and megapixels > self.max_megapixels:
            came = f"{width} x {height} px are {megapixels:.3g} megapixels"
            raise UnreadableError("too_large", f"{came}; extract.max_megapixels={self.max_megapixels:g} are allowed")

    def check_duration(self, duration_s: float) -> None:
        """UnreadableError where a video of that duration is too long."""
        if self.max_minutes and duration_s > 60 * self.max_minutes:
            came = f"{duration_s / 60:.2f} minutes"
            raise UnreadableError("too_long", f"{came}; extract.max_minutes={self.max_minutes:g} are allowed")


@dataclass(frozen=True)
class Frame:
    """One frame, upright."""

    image_HWC: np.ndarray
    """uint8 RGB, C-contiguous."""
    frame_idx: int
    """Its number in the video."""
    pts_s: float
    """Seconds from the first frame."""


class Medium(ABC):
    """A video or an image whose wanted frames are decoded one after another, each time it is iterated.

    An iteration that gives no frame raises UnreadableError.
    """

    num_frames: int
    """How many the file has."""
    frame_idx: np.ndarray
    """Numbers of the wanted ones, int64, rising."""
    note: str = ""
    """What was wrong though frames came, "" = nothing; complete after an iteration."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...


def spread_indices(num_available: int, num_wanted: int) -> np.ndarray:
    """The middles of `num_wanted` equal stretches of 0 … num_available - 1; every index when there are fewer.

    Shape: (min(num_wanted, num_available),), int64, strictly rising.
    """
    count = min(num_wanted, num_available)
    return ((np.arange(count) + 0.5) * num_available / count).astype(np.int64) if count else np.empty(0, np.int64)
