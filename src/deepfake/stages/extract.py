"""extract: media → faces. Decode, find faces, cut crops; resumable medium by medium."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import Config
from deepfake.journal import Journal
from deepfake.stages.common import alone, crop_settings, listed, progress, raw_root, say, share, worker_count
from deepfake.tables import (
    EXTRACTED,
    FACE_KEY,
    FACES,
    MEDIA,
    PROBLEMS,
    Provenance,
    differences,
    digest,
    is_current,
    provenance_path,
    read_provenance,
    sha256,
)

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.media.cut import Cut
    from deepfake.media.workers import Job, Setup

RETRIED = (
    "timeout",
    "crashed",
    "missing",
    "changed",
    "out_of_memory",
)  # whenever extraction runs: may be the machine's fault

Entries = dict[str, dict[str, Any]]  # media_id → {media_id, fingerprint, and rows and facts, or error and detail}


def run(cfg: Config) -> None:
    """Write data/<dataset>/faces.parquet, extracted.csv and the crops, of the whole data set or of one split.

    Crops of other settings are replaced; media that were finished with these settings, whenever that was, are kept.
    """
    media_path = layout.media_table(cfg.paths.data, cfg.dataset)
    faces_path = layout.faces_table(cfg.paths.data, cfg.dataset)
    media = MEDIA.read(media_path)
    wanted = media if cfg.extract.split == "all" else media[media.split == cfg.extract.split]
    inputs = {"media": sha256(media_path)}
    provenance = Provenance("extract", crop_settings(cfg), inputs | {"split": cfg.extract.split})
    whole = Provenance("extract", crop_settings(cfg), inputs | {"split": "all"})
    if _is_complete(cfg, wanted) and (is_current(faces_path, provenance) or is_current(faces_path, whole)):
        say("extract", f"up to date: {faces_path}{_failures(cfg, wanted)}")
        return
    lock = layout.extract_lock(cfg.paths.data, cfg.dataset)
    with alone(lock, f"another process is extracting into {lock.parent}: wait for it, or stop it"):
        _remove_other_settings(cfg, faces_path, provenance)
        journal = Journal(layout.faces_journal(cfg.paths.data, cfg.dataset), digest(provenance.config))
        _extract_pending(cfg, media, wanted, journal)
        _finish(cfg, wanted, journal, faces_path, provenance)


def _failures(cfg: Config, wanted: pd.DataFrame) -> str:
    """How many of the wanted media could not be read and what to do, in words; "" for none."""
    problems = PROBLEMS.read(layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "extract"))
    count = int(problems.media_id.isin(wanted.media_id).sum())
    return f" ({count} media could not be read; extract.retry=problems tries them again)" if count else ""


def _is_complete(cfg: Config, wanted: pd.DataFrame) -> bool:
    """Whether extracted.csv and extract_problems.csv are there, and no problem is to be tried again."""
    problems = layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "extract")
    if not (problems.is_file() and layout.extracted_table(cfg.paths.data, cfg.dataset).is_file()):
        return False
    return cfg.extract.retry == "none" or not PROBLEMS.read(problems).media_id.isin(wanted.media_id).any()


def _remove_other_settings(cfg: Config, faces_path: Path, provenance: Provenance) -> None:
    old = read_provenance(faces_path)
    if old is None or old.config == provenance.config:
        return
    say("extract", f"cutting {cfg.dataset} anew: {', '.join(differences(old.config, provenance.config))}")
    # The journal first: one that outlived its crops would say that they are there.
    layout.faces_journal(cfg.paths.data, cfg.dataset).unlink(missing_ok=True)
    faces_path.unlink()
    crops = layout.crops_folder(cfg.paths.data, cfg.dataset)
    if crops.exists():
        shutil.rmtree(crops)


def _extract_pending(cfg: Config, media: pd.DataFrame, wanted: pd.DataFrame, journal: Journal) -> None:
    """Cut what is wanted and not yet in the journal; what the journal holds of other, unchanged media stays."""
    from deepfake.media.workers import cut_all

    entries = _still_good(cfg, media, wanted, journal.read())
    done = int(wanted.media_id.isin(entries).sum())
    if done:
        say("extract", f"going on: {share(done, len(wanted))} media are done")
    elif journal.is_of_other_settings():
        say("extract", "starting anew: what was cut before had other settings")
    fakes, workers = _train_fakes(cfg, wanted), worker_count(cfg.num_workers)
    with journal.open(entries) as handle, progress(len(wanted), "extract", "media", done=done) as bar:
        for group in (wanted[~fakes], wanted[fakes]):
            jobs, known = _jobs(cfg, media, group, entries)
            anew = [job.media_id for job in jobs if job.media_id in entries]
            handle.writelines(
                json.dumps({"media_id": name, "fingerprint": ""}) + "\n" for name in anew
            )  # no longer holds
            handle.flush()
            bar.total += len(anew)
            for job, outcome in cut_all(jobs, _setup(cfg), num_workers=workers, timeout_s=cfg.extract.timeout_s):
                entry = known[job.media_id] | vars(outcome)
                if cfg.extract.reuse_boxes:
                    entries[job.media_id] = entry
                handle.write(json.dumps(entry) + "\n")
                handle.flush()
                bar.update()


def _still_good(cfg: Config, media: pd.DataFrame, wanted: pd.DataFrame, entries: Entries) -> Entries:
    """Entries of media that have not changed since, but for wanted ones that failed and are to be tried again."""
    prints = dict(zip(media.media_id, media.fingerprint, strict=True))
    ours = set(wanted.media_id)
    return {
        name: entry
        for name, entry in entries.items()
        if prints.get(name) == entry["fingerprint"]
        and not (name in ours and "error" in entry and (cfg.extract.retry == "problems" or entry["error"] in RETRIED))
    }


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


def _setup(cfg: Config) -> Setup:
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


def _finish(cfg: Config, wanted: pd.DataFrame, journal: Journal, faces_path: Path, provenance: Provenance) -> None:
    """Journal → faces, extracted and problems; every medium that was wanted is in one of the last two."""
    import pandas as pd

    entries = journal.read().values()
    rows = [row for entry in entries for row in entry.get("rows", [])]
    facts = [{"media_id": entry["media_id"]} | entry["facts"] for entry in entries if "facts" in entry]
    problems = [entry for entry in entries if "error" in entry]
    faces = pd.DataFrame(rows, columns=list(FACES.columns)).sort_values(list(FACE_KEY))
    extracted = pd.DataFrame(facts, columns=list(EXTRACTED.columns)).sort_values("media_id")
    problem_table = pd.DataFrame(problems, columns=list(PROBLEMS.columns)).sort_values("media_id")
    seen = pd.concat([extracted.media_id, problem_table.media_id])
    assert not seen.duplicated().any() and wanted.media_id.isin(seen).all(), "in == out + problems"
    provenance_path(faces_path).unlink(missing_ok=True)  # until the three tables agree again, none is current
    PROBLEMS.write(problem_table, layout.problems_table(faces_path.parent, "extract"))
    EXTRACTED.write(extracted, layout.extracted_table(cfg.paths.data, cfg.dataset))
    FACES.write(faces, faces_path, provenance)
    tables = (table[table.media_id.isin(wanted.media_id)] for table in (faces, extracted, problem_table))
    _report(cfg, *tables, faces_path)


def _report(
    cfg: Config, faces: pd.DataFrame, extracted: pd.DataFrame, problems: pd.DataFrame, faces_path: Path
) -> None:
    total = len(extracted) + len(problems)
    decoded = f"{share(len(extracted), total)} media decoded"
    if cfg.crop.mode == "whole":
        say("extract", f"{decoded}, {len(faces)} whole frames → {faces_path}")
    else:
        with_face = int((extracted.boxes != "centre").sum())
        say("extract", f"{decoded}, {share(with_face, total)} with a face, {len(faces)} crops → {faces_path}")
    if reused := int((extracted.boxes == "original").sum()):
        say("extract", f"{share(reused, total)} media were cut where their original's faces are")
    if dropped := int(extracted.tracks_dropped.sum()):
        say("extract", f"{dropped} tracks of faces were dropped as false finds (extract.min_track, min_track_prob)")
    noted = extracted[extracted.note.notna()]
    if len(noted):
        path = layout.extracted_table(cfg.paths.data, cfg.dataset)
        say(
            "extract",
            f"{share(len(noted), total)} media are damaged and used in part: {listed(noted.media_id)}; {path}",
        )
    if len(problems):
        by_error = ", ".join(f"{count} {error}" for error, count in problems.error.value_counts().items())
        say(
            "extract",
            f"{share(len(problems), total)} media could not be read ({by_error}): "
            f"{listed(problems.media_id)}; all in {layout.problems_table(faces_path.parent, 'extract')}",
        )
