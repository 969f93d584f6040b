"""Which crops an epoch shows, in which order, and which of them each GPU gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from deepfake.errors import UserError

Key = tuple[int, int]  # (epoch, row): the epoch travels with the index, so that workers can live on between epochs


@dataclass(frozen=True)
class Rows:
    """What a sampler knows of the rows (crops) of a data set: (N,) integers each.

    All rows of a medium have the same label, method and source.
    """

    media: np.ndarray
    labels: np.ndarray
    """0 real, 1 fake."""
    methods: np.ndarray
    """Generator or manipulation."""
    sources: np.ndarray
    """The original that the medium comes from; a real is its own. Below 0 = unknown."""
    frames: np.ndarray
    """Number of the frame."""

    def __post_init__(self) -> None:
        lengths = {item.name: len(getattr(self, item.name)) for item in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    @classmethod
    def from_names(cls, *, media: Any, labels: Any, methods: Any, sources: Any, frames: Any) -> Rows:
        """From (N,) names of any hashable kind; a missing one (None, NA) becomes -1. labels, frames: numbers."""
        numbers = (np.asarray(labels, np.int64), np.asarray(frames, np.int64))
        return cls(_numbered(media), numbers[0], _numbered(methods), _numbered(sources), numbers[1])


def _numbered(names: Any) -> np.ndarray:
    import pandas as pd

    return pd.factorize(pd.Series(names, dtype=object))[0]


def draw_epoch(rows: Rows, *, sampler: str, frames_per_medium: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of an epoch, in order: up to `frames_per_medium` crops of each medium that is shown, none twice.

    sampler: which media are shown, and in which order.
    balanced: as many reals as fakes, in random order; the larger class is undersampled anew in each epoch.
    methods: as balanced, and the fakes are spread over methods as evenly as their numbers allow.
    all: every medium, in random order.
    pairs: each real medium with one random fake of the same source, and the same frames of both where both have them.
    The two crops of a pair are adjacent, in either order; pairs are in random order. UserError when there is no pair.
    """
    if sampler == "pairs":
        return _draw_pairs(rows, frames_per_medium, rng)
    order = rng.permutation(np.flatnonzero(np.isin(rows.media, _shown_media(rows, sampler, rng))))
    kept = order[_number_within(rows.media[order]) < frames_per_medium]
    return rng.permutation(kept)  # again, as crops of long videos were more often kept when they came early


def _shown_media(rows: Rows, sampler: str, rng: np.random.Generator) -> np.ndarray:
    media, first = np.unique(rows.media, return_index=True)
    if sampler == "all":
        return media
    if sampler not in ("balanced", "methods"):
        raise ValueError(f"sampler={sampler!r}; allowed: balanced, methods, pairs, all")
    reals, fakes = (rng.permutation(np.flatnonzero(rows.labels[first] == label)) for label in (0, 1))
    if sampler == "methods":  # a fake of each method, in random order, then a second one of each, …
        fakes = fakes[np.lexsort([rng.random(len(fakes)), _number_within(rows.methods[first][fakes])])]
    count = min(len(reals), len(fakes))
    return media[np.concatenate([reals[:count], fakes[:count]])]


def _draw_pairs(rows: Rows, frames_per_medium: int, rng: np.random.Generator) -> np.ndarray:
    """Both media of a pair give equally many crops: frames_per_medium, or as many as the shorter one has."""
    pairs = _pair_media(rows, rng)
    (real_pairs, reals), (fake_pairs, fakes) = _by_medium(rows.media, pairs[:, 0]), _by_medium(rows.media, pairs[:, 1])
    real_draws, fake_draws = 1 + rng.random(len(reals)), 1 + rng.random(len(fakes))
    at_real, at_fake = _same_frames((real_pairs, rows.frames[reals]), (fake_pairs, rows.frames[fakes]))
    real_draws[at_real] = fake_draws[at_fake] = rng.random(len(at_real))  # these come first, and in the same order
    sizes = np.minimum(np.bincount(real_pairs), np.bincount(fake_pairs)).clip(max=frames_per_medium)
    sides = []
    for numbers, side, draws in ((real_pairs, reals, real_draws), (fake_pairs, fakes, fake_draws)):
        order = np.lexsort([draws, numbers])
        sides.append(side[order][_number_within(numbers[order]) < sizes[numbers[order]]])
    both = rng.permutation(np.stack(sides, 1))
    # Real before fake or after it at random: else, of two GPUs, one would see reals alone and the other fakes.
    return rng.permuted(both, axis=1).ravel()


def _pair_media(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """(P, 2) media: each real that has fakes, and one of these at random."""
    media, first = np.unique(rows.media, return_index=True)
    labels, sources = rows.labels[first], rows.sources[first]
    fakes = np.flatnonzero((labels == 1) & (sources >= 0))
    fakes = fakes[np.argsort(sources[fakes], kind="stable")]
    reals = np.flatnonzero((labels == 0) & np.isin(sources, sources[fakes]))
    if not len(reals):
        raise UserError(
            "train.sampler=pairs, but no fake names a real medium that has crops as its source (source_id): "
            "use train.sampler=balanced, or methods"
        )
    start, stop = (np.searchsorted(sources[fakes], sources[reals], side) for side in ("left", "right"))
    return np.stack([media[reals], media[fakes[rng.integers(start, stop)]]], 1)


def _by_medium(media: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of each wanted medium, one medium after the other; beside each row the medium's number in `wanted`.

    The result is (numbers in `wanted`, row numbers).
    """
    order = np.argsort(media, kind="stable")
    start, stop = (np.searchsorted(media[order], wanted, side) for side in ("left", "right"))
    numbers = np.repeat(np.arange(len(wanted)), stop - start)
    return numbers, order[start[numbers] + _number_within(numbers)]


def _same_frames(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Where two lists of (pair, frame) agree: positions in the one and in the other.

    Of several crops of a frame the first goes with the first, the second with the second.
    """
    frames = np.unique(np.concatenate([one[1], other[1]]))
    keys = []
    for pairs, numbers in (one, other):
        place = pairs.astype(np.int64) * len(frames) + np.searchsorted(frames, numbers)
        keys.append((place, _number_within(place)))
    faces = 1 + max(repeats.max() for _, repeats in keys)
    ours, theirs = (place * faces + repeats for place, repeats in keys)
    return np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)[1:]


def _number_within(groups: np.ndarray) -> np.ndarray:
    """How many of its group come before each element: [a b a a b] → [0 0 1 2 1]."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][:1] - 1))
    numbers = np.empty(len(groups), np.int64)
    numbers[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return numbers


class EpochBatches(Sampler):
    """Batches of keys: one rank's share of each global batch of epoch `epoch`, from step `start` on.

    An epoch's batches are a function of (seed, epoch) alone. The shares of all ranks make up the global batch, each
    crop once. A smaller last batch is dropped unless it is the only one: batch norm cannot learn from a batch of one,
    and each crop of a small batch counts more than those of the others. UserError when a rank would get nothing.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        sampler: str,
        frames_per_medium: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert 0 <= rank < world_size, (rank, world_size)
        if batch_size < world_size:
            raise UserError(f"train.batch_size={batch_size} for {world_size} GPUs; allowed: {world_size} or more")
        self.rows = rows
        self.sampler = sampler
        self.frames_per_medium = frames_per_medium
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0  # set both before each iteration
        self.start = 0

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch. Epochs differ, as media have more or fewer crops."""
        return self._steps(self._draw(epoch))

    def __iter__(self) -> Iterator[list[Key]]:
        keys = [(self.epoch, row) for row in self._draw(self.epoch).tolist()]
        for step in range(self.start, self._steps(keys)):
            yield keys[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.world_size]

    def _steps(self, drawn: Any) -> int:
        return max(1, len(drawn) // self.batch_size)

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch))
        drawn = draw_epoch(self.rows, sampler=self.sampler, frames_per_medium=self.frames_per_medium, rng=rng)
        if len(drawn) < self.world_size:
            raise UserError(
                f"train.sampler={self.sampler} shows {len(drawn)} crops in epoch {epoch}: too few for "
                f"{self.world_size} GPUs, each of which needs one"
            )
        return drawn
