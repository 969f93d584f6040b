"""Media on their way to the models: those that are cropped at once, the others as soon as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.pipeline.cropping import Cropper, Cropping, Entry, Haste, cropped_tables, faces_of, is_cropped
from deepfake.workspace.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TICK_S = 0.5  # after so long without a medium, those that are there are scored


@dataclass(frozen=True)
class Crops:
    """One medium's rows of the faces table."""

    faces: pd.DataFrame
    """A table that other media share."""
    start: int
    stop: int
    """Its first row there, and the one after its last; sorted by (frame_idx, face_idx)."""
    folder: Path
    """The crops' paths are relative to it."""
    num_frames: int | None = None
    """Frames that were asked for, where those were fewer than the settings say."""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def media_id(self) -> str:
        return str(self.faces.media_id.iloc[self.start])

    @property
    def has_face(self) -> bool:
        """Whether these are crops of faces, or of whole pictures where those were asked for, and not centre squares."""
        return bool(self.faces.found.to_numpy()[self.start : self.stop].any())

    @property
    def frame_idx(self) -> np.ndarray:
        """(N,) int32, a row each, in order."""
        return self.faces.frame_idx.to_numpy()[self.start : self.stop]


def _nothing() -> Generator[str | None]:
    yield from ()


@dataclass
class Arrivals:
    """Test media on their way to the models."""

    ready: dict[str, Crops] = field(default_factory=dict)
    """Media that are cropped; whoever takes them away may."""
    problems: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """media_id → (error, detail) of media that cannot be read."""
    uncropped: int = 0
    """How many are neither."""
    coming: Generator[str | None] = field(default_factory=_nothing)
    """One medium's name each time, once it is in `ready` or `problems`; None as a tick."""

    def take(self, entries: Iterable[Entry], folder: Path) -> None:
        """Sort entries of a journal in, whose crops lie below the folder."""
        asked: dict[str, int] = {}

        def sorted_in(entry: Entry) -> Entry:
            if "error" in entry:
                self.problems[entry["media_id"]] = (entry["error"], entry["detail"])
            if "num_frames" in entry:
                asked[entry["media_id"]] = entry["num_frames"]
            return entry

        crops = by_medium(faces_of(map(sorted_in, entries)), folder)
        self.ready |= {name: replace(one, num_frames=asked.get(name)) for name, one in crops.items()}


def by_medium(faces: pd.DataFrame, folder: Path) -> dict[str, Crops]:
    """Media by name. faces: rows of the faces table; those of a medium lie together."""
    import numpy as np

    names = faces.media_id.to_numpy()
    edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)] if len(names) else []
    return {str(names[start]): Crops(faces, start, stop, folder) for start, stop in pairwise(edges)}


@contextmanager
def arriving(
    dataset: Dataset, cropper: Cropper, media: pd.DataFrame, *, haste: Path, num_frames: Callable[[], int | None] | None
) -> Iterator[Arrivals]:
    """The arrival of these rows of the media table; what was cropped on the way is in the data set's tables at the end,
    also when that comes early.

    num_frames: asked for each video that is yet to be cropped, see Haste; what is cropped with fewer frames lies below
    the folder `haste`. None: there is time for all frames, and what was cropped in haste is cropped again.
    """
    if is_cropped(dataset, cropper, media, "test"):
        yield _of_tables(dataset, media)
        return
    with dataset.extracting():
        cropping = Cropping.begin(dataset, cropper, dataset.media, media)
        hurried = _hurried(cropping, haste, num_frames)
        arrivals = Arrivals()
        before = {name: cropping.entries[name] for name in media.media_id if name in cropping.entries}
        known = {name for name, entry in before.items() if not entry["offered"]}  # cropped as fakes are cropped again
        arrivals.take((entry for entry in dataset.journal().read() if entry["media_id"] in known), dataset.folder)
        if hurried:
            arrivals.take(_standing(hurried), hurried.dataset.folder)
        arrivals.uncropped = len(media) - len(arrivals.ready) - len(arrivals.problems)
        arrivals.coming = _coming(arrivals, cropping, hurried)
        try:
            yield arrivals
        finally:
            arrivals.coming.close()
            _write(dataset)


def _of_tables(dataset: Dataset, media: pd.DataFrame) -> Arrivals:
    faces, problems = dataset.faces(), dataset.extract_problems
    ready = by_medium(faces[faces.media_id.isin(media.media_id)], dataset.folder)
    ours = problems[problems.media_id.isin(media.media_id)]
    return Arrivals(ready, {row.media_id: (row.error, row.detail) for row in ours.itertuples()})


def _hurried(cropping: Cropping, folder: Path, num_frames: Callable[[], int | None] | None) -> Haste | None:
    """What was cropped with fewer frames before, where time is short again; none of it is wanted anew."""
    if num_frames is None:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    haste = Haste(replace(cropping.dataset, folder=folder), num_frames)
    is_good = cropping.goodness()
    haste.media_ids = {
        entry["media_id"]
        for entry in haste.dataset.journal().read()
        if is_good(entry) and entry["media_id"] not in cropping.entries
    }
    cropping.wanted = cropping.wanted[~cropping.wanted.media_id.isin(haste.media_ids)]
    return haste


def _standing(haste: Haste) -> Iterator[Entry]:
    return (entry for entry in haste.dataset.journal().read() if entry["media_id"] in haste.media_ids)


def _coming(arrivals: Arrivals, cropping: Cropping, haste: Haste | None) -> Generator[str | None]:
    pace = replace(cropping.cropper.pace(while_scoring=True), tick_s=TICK_S)
    for entry in cropping.outcomes(pace, haste):
        if entry is None:
            yield None
            continue
        arrivals.uncropped -= 1
        is_hasty = haste is not None and "num_frames" in entry
        arrivals.take([entry], haste.dataset.folder if haste and is_hasty else cropping.dataset.folder)
        yield entry["media_id"]


def _write(dataset: Dataset) -> None:
    """The data set's tables of what is cropped with all its frames; current only where that is all of the split."""
    tables, provenance = cropped_tables(dataset), dataset.crop_provenance("test")
    seen = set(tables[1].media_id) | set(tables[2].media_id)
    uncropped = int((~dataset.test_media().media_id.isin(seen)).sum())
    if uncropped:
        provenance = replace(provenance, inputs=provenance.inputs | {"uncropped": uncropped})
    dataset.write_crops(*tables, provenance)
