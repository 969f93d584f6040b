"""extract: media → faces. Decode, find faces, cut crops; resumable medium by medium."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.files import digest
from deepfake.journal import Journal
from deepfake.stages.common import alone, listed, progress, say, share
from deepfake.stages.cutting import begin_cutting, cut_provenance, is_cut, usual_pace, write_cut
from deepfake.tables import MEDIA, PROBLEMS, Provenance, differences, read_provenance

if TYPE_CHECKING:
    import pandas as pd


def run(cfg: Config) -> None:
    """Write data/<dataset>/faces.parquet, extracted.csv and the crops, of the whole data set or of one split.

    Crops of other settings are replaced; media that were finished with these settings, whenever that was, are kept.
    """
    faces_path = layout.faces_table(cfg.paths.data, cfg.dataset)
    media = MEDIA.read(layout.media_table(cfg.paths.data, cfg.dataset))
    wanted = media if cfg.extract.split == "all" else media[media.split == cfg.extract.split]
    if is_cut(cfg, wanted, cfg.extract.split):
        say("extract", f"up to date: {faces_path}{_failures(cfg, wanted)}")
        return
    provenance = cut_provenance(cfg, cfg.extract.split)
    lock = layout.extract_lock(cfg.paths.data, cfg.dataset)
    with alone(lock, f"another process is extracting into {lock.parent}: wait for it, or stop it"):
        _remove_other_settings(cfg, faces_path, provenance)
        journal = Journal(layout.faces_journal(cfg.paths.data, cfg.dataset), digest(provenance.config))
        _cut_pending(cfg, media, wanted, journal)
        tables = write_cut(cfg, media, journal, provenance)
        _tell(cfg, wanted, tables, faces_path)


def _failures(cfg: Config, wanted: pd.DataFrame) -> str:
    """How many of the wanted media could not be read and what to do, in words; "" for none."""
    problems = PROBLEMS.read(layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "extract"))
    count = int(problems.media_id.isin(wanted.media_id).sum())
    return f" ({count} media could not be read; extract.retry=problems tries them again)" if count else ""


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


def _cut_pending(cfg: Config, media: pd.DataFrame, wanted: pd.DataFrame, journal: Journal) -> None:
    cutting = begin_cutting(cfg, media, wanted, journal)
    done = int(wanted.media_id.isin(cutting.entries).sum())
    if done:
        say("extract", f"going on: {share(done, len(wanted))} media are done")
    elif journal.is_of_other_settings():
        say("extract", "starting anew: what was cut before had other settings")
    with progress(len(wanted), "extract", "media", done=done) as bar:
        for _ in cutting.outcomes(usual_pace(cfg)):
            bar.total = len(wanted) + cutting.again
            bar.update()


def _tell(cfg: Config, wanted: pd.DataFrame, tables: tuple[pd.DataFrame, ...], faces_path: Path) -> None:
    ours = [table[table.media_id.isin(wanted.media_id)] for table in tables]
    assert len(ours[1]) + len(ours[2]) == len(wanted), "in == out + problems"
    _report(cfg, *ours, faces_path)


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
