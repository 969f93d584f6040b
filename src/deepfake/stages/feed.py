"""Media for an inference: those that are cut at once, the others as extraction gets them done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.files import digest
from deepfake.journal import Journal
from deepfake.stages.common import alone
from deepfake.stages.cutting import (
    Cutting,
    Entry,
    begin_cutting,
    cut_provenance,
    faces_of,
    is_cut,
    scoring_pace,
    write_cut,
)
from deepfake.tables import FACES, MEDIA, PROBLEMS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TICK_S = 0.5  # after so long without a medium, those that are there are scored


@dataclass(frozen=True)
class Cropped:
    """A medium's rows of the faces table: those from `start` to `stop` of `faces`, which others share."""

    faces: pd.DataFrame
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def has_face(self) -> bool:
        """Whether these are crops of faces, or of whole pictures where those were asked for, and not centre squares."""
        return bool(self.faces.found.to_numpy()[self.start : self.stop].any())

    @property
    def frame_idx(self) -> np.ndarray:
        """(N,) int32, a row each, in order."""
        return self.faces.frame_idx.to_numpy()[self.start : self.stop]


@dataclass
class Feed:
    """Test media on their way to the models.

    ready: media that are cut, by media_id; who takes them away may. sparse: those of which fewer frames than asked for
    were cut, as time was short: every so many-th. problems: media_id → (error, detail). uncut: how many are neither.
    coming: one medium's name each time, once it is in `ready` or `problems`; None as a tick.
    """

    ready: dict[str, Cropped] = field(default_factory=dict)
    sparse: dict[str, int] = field(default_factory=dict)
    problems: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    uncut: int = 0
    coming: Iterator[str | None] = iter(())


@contextmanager
def feeding(cfg: Config, media: pd.DataFrame, stride: Callable[[], int]) -> Iterator[Feed]:
    """The feed of these test media; what was cut on the way is in the faces table at the end, also when that comes
    early. stride: asked for each medium that is to be cut: every so many-th of its frames."""
    if is_cut(cfg, media, "test"):
        yield _of_tables(cfg, media)
        return
    lock = layout.extract_lock(cfg.paths.data, cfg.dataset)
    with alone(lock, f"another process is extracting into {lock.parent}: wait for it, or stop it"):
        journal = Journal(layout.faces_journal(cfg.paths.data, cfg.dataset), digest(cut_provenance(cfg, "test").config))
        everything = MEDIA.read(layout.media_table(cfg.paths.data, cfg.dataset))
        cutting = begin_cutting(cfg, everything, media, journal, sparse=cfg.infer.budget_minutes > 0)
        feed = Feed()
        before = {name: cutting.entries[name] for name in media.media_id if name in cutting.entries}
        known = {name for name, entry in before.items() if not entry["offered"]}  # cut as fakes are cut again
        _take(feed, (entry for entry in journal.read() if entry["media_id"] in known))
        feed.uncut = len(media) - len(feed.ready) - len(feed.problems)
        feed.coming = _coming(cfg, feed, cutting, stride)
        try:
            yield feed
        finally:
            feed.coming.close()
            _write(cfg, feed, everything, journal)


def _of_tables(cfg: Config, media: pd.DataFrame) -> Feed:
    faces = FACES.read(layout.faces_table(cfg.paths.data, cfg.dataset))
    problems = PROBLEMS.read(layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "extract"))
    ready = _by_medium(faces[faces.media_id.isin(media.media_id)])
    ours = problems[problems.media_id.isin(media.media_id)]
    return Feed(ready, problems={row.media_id: (row.error, row.detail) for row in ours.itertuples()})


def _take(feed: Feed, entries: Iterable[Entry]) -> None:
    """Sort entries of extraction in."""

    def sorted_in(entry: Entry) -> Entry:
        if "error" in entry:
            feed.problems[entry["media_id"]] = (entry["error"], entry["detail"])
        if "stride" in entry:
            feed.sparse[entry["media_id"]] = entry["stride"]
        return entry

    feed.ready |= _by_medium(faces_of(map(sorted_in, entries)))


def _by_medium(faces: pd.DataFrame) -> dict[str, Cropped]:
    """Media by name. faces: rows of the faces table; those of a medium lie together."""
    import numpy as np

    names = faces.media_id.to_numpy()
    edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)] if len(names) else []
    return {str(names[start]): Cropped(faces, start, stop) for start, stop in pairwise(edges)}


def _coming(cfg: Config, feed: Feed, cutting: Cutting, stride: Callable[[], int]) -> Iterator[str | None]:
    pace = replace(scoring_pace(cfg), stride=stride, tick_s=TICK_S)
    for entry in cutting.outcomes(pace):
        if entry is None:
            yield None
            continue
        feed.uncut -= 1
        _take(feed, [entry])
        yield entry["media_id"]


def _write(cfg: Config, feed: Feed, media: pd.DataFrame, journal: Journal) -> None:
    """The tables of what is cut; current alone where that is everything, with every frame."""
    provenance = cut_provenance(cfg, "test")
    if feed.uncut or feed.sparse:
        partly = {"uncut": feed.uncut, "with_fewer_frames": len(feed.sparse)}
        provenance = replace(provenance, inputs=provenance.inputs | partly)
    write_cut(cfg, media, journal, provenance)
