"""Cutting media that are not cut yet, for extraction and for an inference that scores them as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from deepfake import layout
from deepfake.config import Config
from deepfake.files import sha256
from deepfake.journal import Journal
from deepfake.stages.common import crop_settings, raw_root, worker_count
from deepfake.tables import EXTRACTED, FACE_KEY, FACES, PROBLEMS, Provenance, is_current, provenance_path

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.media.cut import Cut
    from deepfake.media.workers import Failure, Job, Pace, Setup

RETRIED = (
    "timeout",
    "crashed",
    "missing",
    "changed",
    "out_of_memory",
)  # whenever extraction runs: may be the machine's fault

FEW = 500  # entries that are in memory at once
AHEAD = 16  # media that each process may have cut, or have under way, while models are busy

# {media_id, fingerprint, and rows and facts, or error and detail; stride where it has fewer frames than was asked}
Entry = dict[str, Any]
Entries = dict[str, Entry]  # by media_id


@dataclass
class Cutting:
    """Media of a data set that are being cut, some of them long since.

    entries: of media that need not be cut again, those of `originals`, which fakes may be cut like, with their rows and
    facts. again: how many that had been are being cut anew, as other originals have joined.
    """

    cfg: Config
    media: pd.DataFrame
    wanted: pd.DataFrame
    journal: Journal
    originals: set[str]
    entries: Entries = field(default_factory=dict)
    again: int = 0

    def outcomes(self, pace: Pace) -> Iterator[Entry | None]:
        """Cut what is wanted and has no entry; each new entry once it is in the journal, None as the pace's ticks."""
        from deepfake.media.workers import cut_all

        fakes = _train_fakes(self.cfg, self.wanted)
        with self.journal.open(self.entries) as handle:
            for group in (self.wanted[~fakes], self.wanted[fakes]):
                jobs, known = _jobs(self.cfg, self.media, group, self.entries)
                anew = [job.media_id for job in jobs if job.media_id in self.entries]
                handle.writelines(
                    json.dumps({"media_id": name, "fingerprint": ""}) + "\n" for name in anew
                )  # no longer holds
                handle.flush()
                self.again += len(anew)
                for given in cut_all(jobs, cut_setup(self.cfg), pace):
                    yield given and self._keep(handle, *given, known)

    def _keep(self, handle: TextIO, job: Job, outcome: Cut | Failure, known: Entries) -> Entry:
        is_sparse = job.stride > 1 and job.kind == "video"  # a picture's one frame is all it has
        entry = known[job.media_id] | vars(outcome) | ({"stride": job.stride} if is_sparse else {})
        if job.media_id in self.originals:
            self.entries[job.media_id] = entry
        handle.write(json.dumps(entry) + "\n")
        handle.flush()
        return entry


def begin_cutting(
    cfg: Config, media: pd.DataFrame, wanted: pd.DataFrame, journal: Journal, *, sparse: bool = False
) -> Cutting:
    """What the journal holds of unchanged media stays, but for wanted ones that failed and are to be tried again.

    sparse: whether media that were cut with fewer frames, as time was short, stay too.
    """
    is_good = _goodness(cfg, media, wanted)
    fakes = wanted[_train_fakes(cfg, wanted)]
    is_real = (media.label == 0).fillna(False).astype(bool)
    originals = set(media.media_id[is_real & media.source_id.isin(fakes.source_id.dropna())])
    kept = {
        entry["media_id"]: entry if entry["media_id"] in originals else _without_rows(entry)
        for entry in journal.read()
        if is_good(entry) and (sparse or "stride" not in entry)
    }
    return Cutting(cfg, media, wanted, journal, originals, kept)


def is_cut(cfg: Config, wanted: pd.DataFrame, split: str) -> bool:
    """Whether faces.parquet is that of the present media and settings, of all or of the split, and nothing that failed
    is to be tried again."""
    paths, faces_path = cfg.paths, layout.faces_table(cfg.paths.data, cfg.dataset)
    problems = layout.problems_table(faces_path.parent, "extract")
    if not (problems.is_file() and layout.extracted_table(paths.data, cfg.dataset).is_file()):
        return False
    if cfg.extract.retry != "none" and PROBLEMS.read(problems).media_id.isin(wanted.media_id).any():
        return False
    return any(is_current(faces_path, cut_provenance(cfg, part)) for part in {split, "all"})


def cut_provenance(cfg: Config, split: str) -> Provenance:
    """Of the tables that extraction of a split writes."""
    inputs = {"media": sha256(layout.media_table(cfg.paths.data, cfg.dataset)), "split": split}
    return Provenance("extract", crop_settings(cfg), inputs)


def usual_pace(cfg: Config) -> Pace:
    """As fast as this machine's cores allow."""
    from deepfake.media.workers import Pace

    return Pace(worker_count(cfg.num_workers), cfg.extract.timeout_s)


def scoring_pace(cfg: Config) -> Pace:
    """That of media that are scored as they come: while models are busy, processes go on."""
    return replace(usual_pace(cfg), ahead=AHEAD)


def _goodness(cfg: Config, media: pd.DataFrame, wanted: pd.DataFrame) -> Callable[[Entry], bool]:
    """Tells entries of media that have not changed since, but for wanted ones that failed and are to be tried again."""
    prints = dict(zip(media.media_id, media.fingerprint, strict=True))
    ours = set(wanted.media_id)

    def is_good(entry: Entry) -> bool:
        name, error = entry["media_id"], entry.get("error")
        tried_again = name in ours and error and (cfg.extract.retry == "problems" or error in RETRIED)
        return prints.get(name) == entry["fingerprint"] and not tried_again

    return is_good


def _without_rows(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key not in ("rows", "facts")}


def _train_fakes(cfg: Config, wanted: pd.DataFrame) -> pd.Series:
    """Which media are cut after the others, at the places of their originals' faces; bool, one a row."""
    is_fake = (wanted.label == 1).fillna(False).astype(bool)
    return is_fake & (wanted.split == "train") & cfg.extract.reuse_boxes


def _jobs(cfg: Config, media: pd.DataFrame, group: pd.DataFrame, entries: Entries) -> tuple[list[Job], Entries]:
    """What of a group is not in the entries, or was cut when other originals were there; and how its entries begin."""
    from deepfake.media.workers import Job

    offers = _offers(media, group, entries) if _train_fakes(cfg, group).any() else {}
    root, jobs, known = raw_root(cfg), [], {}
    for row in group.itertuples():
        offer = offers.get(row.source_id, [])
        begin = {"media_id": row.media_id, "fingerprint": row.fingerprint, "offered": [name for name, _ in offer]}
        if row.media_id not in entries or entries[row.media_id]["offered"] != begin["offered"]:
            jobs.append(Job(row.media_id, root / row.path, row.kind, tuple(cut for _, cut in offer), row.fingerprint))
            known[row.media_id] = begin
    return jobs, known


def _offers(media: pd.DataFrame, group: pd.DataFrame, entries: Entries) -> dict[str, list[tuple[str, Cut]]]:
    """source_id → what its reals gave, each with its name and fingerprint."""
    from deepfake.media.cut import Cut

    offers: dict[str, list[tuple[str, Cut]]] = {}
    is_real = (media.label == 0).fillna(False).astype(bool)
    for real in media[is_real & media.source_id.isin(group.source_id)].itertuples():
        entry = entries.get(real.media_id, {})
        if "rows" in entry:
            offer = (f"{real.media_id}:{real.fingerprint}", Cut(entry["rows"], entry["facts"]))
            offers.setdefault(real.source_id, []).append(offer)
    return offers


def cut_setup(cfg: Config) -> Setup:
    """What processes cut with: crops go below paths.data."""
    from deepfake.media.cut import CutSettings
    from deepfake.media.medium import Limits
    from deepfake.media.workers import Setup

    crop, extract = cfg.crop, cfg.extract
    names = ("detect_size", "min_face", "min_prob", "search_every", "batch_mpx")
    detector = {name: getattr(extract, name) for name in names}
    settings = CutSettings(
        num_frames=extract.num_frames,
        mode=crop.mode,
        align=crop.align,
        margin=crop.margin,
        size=crop.size,
        format=crop.format,
        quality=crop.quality,
        faces=extract.faces,
        min_track=extract.min_track,
        min_track_prob=extract.min_track_prob,
        limits=Limits(extract.max_megapixels, extract.max_minutes),
    )
    crops = layout.crops_folder(cfg.paths.data, cfg.dataset)
    return Setup(crops, detector if crop.mode == "faces" else None, settings)


def faces_of(entries: Iterable[Entry]) -> pd.DataFrame:
    """The faces table of what these entries gave. Few of them are held as Python's own values, which take ten times the
    room."""
    import pandas as pd

    rest, parts = iter(entries), [FACES.empty()]
    while some := list(islice(rest, FEW)):
        rows = [row for entry in some for row in entry.get("rows", [])]
        parts.append(FACES.check(pd.DataFrame(rows, columns=list(FACES.columns))))
    return pd.concat(parts).sort_values(list(FACE_KEY), ignore_index=True)


def write_cut(
    cfg: Config, media: pd.DataFrame, journal: Journal, provenance: Provenance
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Journal → faces, extracted and problems, which are given back; every medium is in one of the last two.

    media: the media table. What the journal holds of others, or of files that were there under their names before, is
    in none of them.
    """
    import pandas as pd

    faces_path = layout.faces_table(cfg.paths.data, cfg.dataset)
    facts, problems = [], []
    prints = dict(zip(media.media_id, media.fingerprint, strict=True))
    present = (entry for entry in journal.read() if prints.get(entry["media_id"]) == entry["fingerprint"])

    def sorted_in(entry: Entry) -> Entry:
        if "error" in entry:
            problems.append(entry)
        elif "facts" in entry:
            facts.append({"media_id": entry["media_id"]} | entry["facts"])
        return entry

    faces = faces_of(map(sorted_in, present))
    extracted = pd.DataFrame(facts, columns=list(EXTRACTED.columns)).sort_values("media_id")
    problem_table = pd.DataFrame(problems, columns=list(PROBLEMS.columns)).sort_values("media_id")
    seen = pd.concat([extracted.media_id, problem_table.media_id])
    assert not seen.duplicated().any(), "in == out + problems"
    provenance_path(faces_path).unlink(missing_ok=True)  # until the three tables agree again, none is current
    PROBLEMS.write(problem_table, layout.problems_table(faces_path.parent, "extract"))
    EXTRACTED.write(extracted, layout.extracted_table(cfg.paths.data, cfg.dataset))
    FACES.write(faces, faces_path, provenance)
    return faces, extracted, problem_table
