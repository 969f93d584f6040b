"""Which crops become fakes as they are read, and out of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.kinds import KINDS, forge
from deepfake.forgery.points import Face

Stored = Callable[[int], Image]
"""The stored crop of a row."""


@dataclass(frozen=True, eq=False)
class Forging:
    """Rows of N crops and what is made of them. A row that is forged has the file of its real crop, or of what its kind
    needs in place of that."""

    kinds: np.ndarray
    """(N,) bytes: the kind of forgery (see forgery.kinds), empty = none."""
    reals: np.ndarray
    """(N,) the row of the real crop that each is made from, else its own: the two have the same random changes."""
    landmarks: Array | None = None
    """(N, 5, 2), px of the stored crop; NaN = unknown."""
    donors: np.ndarray | None = None
    """(N, K) rows of real crops of other people: one lends its face where the kind needs one; -1 = none."""

    @classmethod
    def of(
        cls, kinds: Sequence[str], reals: np.ndarray, landmarks: Array | None = None, donors: np.ndarray | None = None
    ) -> Forging:
        """Of the kinds' names. In bytes: a million strings would be copied into each worker, as counting references
        writes."""
        return cls(np.array(kinds, dtype=bytes), reals, landmarks, donors)

    def forged(self, crop_HW3: Image, row: int, stored: Stored, rng: np.random.Generator) -> Image:
        """What is made of a row's stored crop."""
        kind = self.kinds[row].decode()
        if not kind:
            return crop_HW3
        real, other = self._face(crop_HW3, row), None
        if KINDS[kind].needs_copy:  # which is what is stored of this row
            real, other = self._face(stored(self.reals[row]), row), real
        elif KINDS[kind].needs_donor:
            other = self._donor(row, stored, rng)
        return forge(kind, real, rng, other).crop_HW3

    def _face(self, crop_HW3: Image, row: int) -> Face:
        return Face(crop_HW3, np.full((5, 2), np.nan) if self.landmarks is None else self.landmarks[row])

    def _donor(self, row: int, stored: Stored, rng: np.random.Generator) -> Face | None:
        rows = np.empty(0, int) if self.donors is None else self.donors[row][self.donors[row] >= 0]
        if not len(rows):
            return None
        donor = int(rng.choice(rows))
        return self._face(stored(donor), donor)
