"""Cropping media that are not cropped yet, for extraction and for an inference that scores them as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from deepfake.tables import EXTRACTED, FACE_KEY, FACES, PROBLEMS
from deepfake.workspace.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.media.crop_medium import CroppedMedium, CropSettings
    from deepfake.media.workers import CropTask, Pace, WorkerSetup

# Failures that may be the machine's fault: tried again whenever media are cropped.
RETRIED = ("timeout", "crashed", "missing", "changed", "out_of_memory")

FEW = 500  # entries that are in memory at once
AHEAD = 16  # media that each process may have cropped, or have under way, while models are busy

# A journal's line: media_id, fingerprint, and rows and facts, or error and detail; num_frames where fewer frames were
# asked for than the settings say.
Entry = dict[str, Any]
Entries = dict[str, Entry]  # by media_id


@dataclass(frozen=True)
class Cropper:
    """How media are cropped."""

    settings: CropSettings
    detector: dict[str, Any] | None
    """Arguments of the face detector but for the device; None = whole frames."""
    num_workers: int
    timeout_s: float
    """What a medium may take."""
    reuse_boxes: bool = False
    """Whether training fakes are cropped where their original's faces are."""
    retry_problems: bool = False
    """Whether all media that failed are tried again, and not only where it may have been the machine's fault."""

    def setup(self, dataset: Dataset) -> WorkerSetup:
        """What processes work with."""
        from deepfake.media.workers import WorkerSetup

        return WorkerSetup(dataset.crops, self.detector, self.settings)

    def warm_up(self) -> None:
        """Start what the processes come from ahead of time, and do not wait for it."""
        from deepfake.processes import warm_up

        warm_up(detecting=self.detector is not None)

    def pace(self, *, while_scoring: bool = False) -> Pace:
        """As fast as the cores allow; while models are busy, processes go on."""
        from deepfake.media.workers import Pace

        pace = Pace(self.num_workers, self.timeout_s)
        return replace(pace, ahead=AHEAD) if while_scoring else pace


@dataclass
class Haste:
    """Media of which fewer frames are cropped, as time is short: their crops and their journal lie apart."""

    dataset: Dataset
    """The same data set in a folder that the submission owns."""
    num_frames: Callable[[], int | None]
    """Asked for each video that is handed to a process: frames to be cropped of it; None = all."""
    media_ids: set[str] = field(default_factory=set)
    """Media that were cropped so before, and still stand."""

    def open(self) -> TextIO:
        """The journal, for more."""
        return self.dataset.journal().open(self.media_ids)

    def adjust(self, task: CropTask) -> CropTask:
        """The task as it is handed over. A picture's one frame is all that it has."""
        num_frames = self.num_frames() if task.kind == "video" else None
        return task if num_frames is None else replace(task, num_frames=num_frames, crops=self.dataset.crops)


@dataclass
class Cropping:
    """Media of a data set that are being cropped, some of them long since."""

    dataset: Dataset
    cropper: Cropper
    media: pd.DataFrame
    """The media table."""
    wanted: pd.DataFrame
    """Those rows of it that are to be cropped."""
    originals: set[str]
    """Media whose faces' places fakes may take."""
    entries: Entries = field(default_factory=dict)
    """Of media that need not be cropped again; those of `originals` with their rows and facts."""
    again: int = 0
    """How many that had been cropped are cropped anew, as other originals have joined."""

    @classmethod
    def begin(cls, dataset: Dataset, cropper: Cropper, media: pd.DataFrame, wanted: pd.DataFrame) -> Cropping:
        """Go on from what the journal holds of unchanged media, but for wanted ones that are to be tried again."""
        fakes = wanted[_train_fakes(cropper, wanted)]
        originals = set(media.media_id[_is_real(media) & media.source_id.isin(fakes.source_id.dropna())])
        cropping = cls(dataset, cropper, media, wanted, originals)
        is_good = cropping.goodness()
        for entry in dataset.journal().read():
            if is_good(entry):
                name = entry["media_id"]
                cropping.entries[name] = entry if name in originals else _without_rows(entry)
        return cropping

    def goodness(self) -> Callable[[Entry], bool]:
        """Tells entries of unchanged media, but for wanted ones that failed and are to be tried again."""
        prints = dict(zip(self.media.media_id, self.media.fingerprint, strict=True))
        ours, retry = set(self.wanted.media_id), self.cropper.retry_problems

        def is_good(entry: Entry) -> bool:
            name, error = entry["media_id"], entry.get("error")
            is_tried_again = name in ours and error and (retry or error in RETRIED)
            in_haste = "stride" in entry  # with fewer frames, as versions before 0.1 wrote into the data set's journal
            return prints.get(name) == entry["fingerprint"] and not (is_tried_again or in_haste)

        return is_good

    def outcomes(self, pace: Pace, haste: Haste | None = None) -> Generator[Entry | None]:
        """Crop what is wanted and has no entry; each new entry once it is in a journal, None as the pace's ticks."""
        from deepfake.media.workers import crop_all

        pace = replace(pace, adjust=haste.adjust) if haste else pace
        fakes = _train_fakes(self.cropper, self.wanted)
        with self.dataset.journal().open(self.entries) as handle, haste.open() if haste else nullcontext() as hasty:
            for group in (self.wanted[~fakes], self.wanted[fakes]):
                tasks, known = self._tasks(group)
                anew = [task.media_id for task in tasks if task.media_id in self.entries]
                # Their old entries no longer hold.
                handle.writelines(json.dumps({"media_id": name, "fingerprint": ""}) + "\n" for name in anew)
                handle.flush()
                self.again += len(anew)
                for given in crop_all(tasks, self.cropper.setup(self.dataset), pace):
                    if given is None:
                        yield None
                        continue
                    task, outcome = given
                    entry = known[task.media_id] | vars(outcome)
                    if hasty and task.num_frames is not None and "rows" in entry:
                        entry["num_frames"] = task.num_frames
                        _write(hasty, entry)
                    else:
                        self._keep(entry)
                        _write(handle, entry)
                    yield entry

    def _keep(self, entry: Entry) -> None:
        if entry["media_id"] in self.originals:
            self.entries[entry["media_id"]] = entry

    def _tasks(self, group: pd.DataFrame) -> tuple[list[CropTask], Entries]:
        """What of a group has no entry, or was cropped when other originals were there; and how its entries begin."""
        from deepfake.media.workers import CropTask

        offers = self._offers(group) if _train_fakes(self.cropper, group).any() else {}
        tasks, known = [], {}
        for row in group.itertuples():
            offer = offers.get(row.source_id, [])
            begin = {"media_id": row.media_id, "fingerprint": row.fingerprint, "offered": [name for name, _ in offer]}
            if row.media_id not in self.entries or self.entries[row.media_id]["offered"] != begin["offered"]:
                path, originals = self.dataset.raw / row.path, tuple(crops for _, crops in offer)
                tasks.append(CropTask(row.media_id, path, row.kind, originals, row.fingerprint))
                known[row.media_id] = begin
        return tasks, known

    def _offers(self, group: pd.DataFrame) -> dict[str, list[tuple[str, CroppedMedium]]]:
        """source_id → what its reals gave, each with its name and fingerprint."""
        from deepfake.media.crop_medium import CroppedMedium

        offers: dict[str, list[tuple[str, CroppedMedium]]] = {}
        for real in self.media[_is_real(self.media) & self.media.source_id.isin(group.source_id)].itertuples():
            entry = self.entries.get(real.media_id, {})
            if "rows" in entry:
                offer = (f"{real.media_id}:{real.fingerprint}", CroppedMedium(entry["rows"], entry["facts"]))
                offers.setdefault(real.source_id, []).append(offer)
        return offers


def is_cropped(dataset: Dataset, cropper: Cropper, wanted: pd.DataFrame, split: str) -> bool:
    """Whether the faces table is that of the present media and settings, of all or of the split, and nothing that
    failed is to be tried again."""
    if cropper.retry_problems and dataset.extract_problems.media_id.isin(wanted.media_id).any():
        return False
    return dataset.is_cropped(split)


def faces_of(entries: Iterable[Entry]) -> pd.DataFrame:
    """The faces table of what these entries gave. Few of them are held as Python's own values, which take ten times the
    room."""
    import pandas as pd

    rest, parts = iter(entries), [FACES.empty()]
    while some := list(islice(rest, FEW)):
        rows = [row for entry in some for row in entry.get("rows", [])]
        parts.append(FACES.check(pd.DataFrame(rows, columns=list(FACES.columns))))
    return pd.concat(parts).sort_values(list(FACE_KEY), ignore_index=True)


def cropped_tables(dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Journal → faces, extracted and problems; every medium is in one of the last two.

    What the journal holds of media that are gone, or of files that were there under their names before, is in none.
    """
    import pandas as pd

    facts, problems = [], []
    prints = dict(zip(dataset.media.media_id, dataset.media.fingerprint, strict=True))
    present = (entry for entry in dataset.journal().read() if prints.get(entry["media_id"]) == entry["fingerprint"])

    def sorted_in(entry: Entry) -> Entry:
        if "error" in entry:
            problems.append(entry)
        elif "facts" in entry:
            facts.append({"media_id": entry["media_id"]} | entry["facts"])
        return entry

    faces = faces_of(map(sorted_in, present))
    extracted = pd.DataFrame(facts, columns=list(EXTRACTED.columns)).sort_values("media_id")
    problem_table = pd.DataFrame(problems, columns=list(PROBLEMS.columns)).sort_values("media_id")
    assert not pd.concat([extracted.media_id, problem_table.media_id]).duplicated().any(), "in == out + problems"
    return faces, extracted, problem_table


def _write(handle: TextIO, entry: Entry) -> None:
    """An entry counts once it is flushed."""
    handle.write(json.dumps(entry) + "\n")
    handle.flush()


def _train_fakes(cropper: Cropper, wanted: pd.DataFrame) -> pd.Series:
    """Which media are cropped after the others, at the places of their originals' faces; bool, one a row."""
    is_fake = (wanted.label == 1).fillna(False).astype(bool)
    return is_fake & (wanted.split == "train") & cropper.reuse_boxes


def _is_real(media: pd.DataFrame) -> pd.Series:
    return (media.label == 0).fillna(False).astype(bool)


def _without_rows(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key not in ("rows", "facts")}
