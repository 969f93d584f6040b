"""extract: media → faces. Decode, find faces, make crops; resumable medium by medium."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from deepfake.commands import Chain
from deepfake.config import Config
from deepfake.console import listed, progress, say, share
from deepfake.pipeline.cropping import Cropper, Cropping, cropped_tables, is_cropped
from deepfake.processes import warm_up
from deepfake.provenance import differences, read_provenance
from deepfake.settings import cropper_of, dataset_of
from deepfake.workspace.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "media → faces: decode, find faces, make crops"
READS = ("paths", "data", "crop", "extract", "num_workers")
ORDER = 30
FILES = "skip"
LONG = True


def prepare(cfg: Config) -> None:
    """What reads media loads its libraries, for seconds, while commands before this one work."""
    is_given = cfg.data.root or cfg.data.listing  # else the demo set is rendered first, which would wait for this
    if is_given and not dataset_of(cfg).faces_path.is_file():
        warm_up(detecting=cfg.crop.mode == "faces")


def run(cfg: Config, chain: Chain) -> Dataset:
    """Write data/<dataset>/faces.parquet, extracted.csv and the crops, of the whole data set or of one split.

    Crops of other settings are replaced; media that were finished with these settings, whenever that was, are kept.
    """
    dataset, cropper, split = dataset_of(cfg), cropper_of(cfg), cfg.extract.split
    wanted = dataset.media if split == "all" else dataset.media[dataset.media.split == split]
    if is_cropped(dataset, cropper, wanted, split):
        say("extract", f"up to date: {dataset.faces_path}{_failures(dataset, wanted)}")
        return dataset
    with dataset.extracting():
        _remove_other_settings(dataset)
        _crop_pending(dataset, cropper, wanted)
        tables = cropped_tables(dataset)
        dataset.write_crops(*tables, dataset.crop_provenance(split))
        _report(dataset, wanted, tables, is_whole=cropper.detector is None)
    return dataset_of(cfg)


def _failures(dataset: Dataset, wanted: pd.DataFrame) -> str:
    """How many of the wanted media could not be read and what to do, in words; "" for none."""
    count = int(dataset.extract_problems.media_id.isin(wanted.media_id).sum())
    return f" ({count} media could not be read; extract.retry=problems tries them again)" if count else ""


def _remove_other_settings(dataset: Dataset) -> None:
    old = read_provenance(dataset.faces_path)
    if old is None or old.config == dataset.crop_settings:
        return
    say("extract", f"cropping {dataset.name} anew: {', '.join(differences(old.config, dataset.crop_settings))}")
    # The journal first: one that outlived its crops would say that they are there.
    dataset.journal().path.unlink(missing_ok=True)
    dataset.faces_path.unlink()
    if dataset.crops.exists():
        shutil.rmtree(dataset.crops)


def _crop_pending(dataset: Dataset, cropper: Cropper, wanted: pd.DataFrame) -> None:
    cropping = Cropping.begin(dataset, cropper, dataset.media, wanted)
    done = int(wanted.media_id.isin(cropping.entries).sum())
    if done:
        say("extract", f"going on: {share(done, len(wanted))} media are done")
    elif dataset.journal().is_of_other_settings():
        say("extract", "starting anew: what was cropped before had other settings")
    with progress(len(wanted), "extract", "media", done=done) as bar:
        for _ in cropping.outcomes(cropper.pace()):
            bar.total = len(wanted) + cropping.again
            bar.update()


def _report(dataset: Dataset, wanted: pd.DataFrame, tables: tuple[pd.DataFrame, ...], *, is_whole: bool) -> None:
    """What came of the wanted media. tables: faces, extracted and problems of the whole data set."""
    faces, extracted, problems = (table[table.media_id.isin(wanted.media_id)] for table in tables)
    assert len(extracted) + len(problems) == len(wanted), "in == out + problems"
    total = len(wanted)
    decoded = f"{share(len(extracted), total)} media decoded"
    if is_whole:
        say("extract", f"{decoded}, {len(faces)} whole frames → {dataset.faces_path}")
    else:
        with_face = int((extracted.boxes != "centre").sum())
        say("extract", f"{decoded}, {share(with_face, total)} with a face, {len(faces)} crops → {dataset.faces_path}")
    if reused := int((extracted.boxes == "original").sum()):
        say("extract", f"{share(reused, total)} media were cropped where their original's faces are")
    if dropped := int(extracted.tracks_dropped.sum()):
        say("extract", f"{dropped} tracks of faces were dropped as false finds (extract.min_track, min_track_prob)")
    noted = extracted[extracted.note.notna()]
    if len(noted):
        damaged = f"{share(len(noted), total)} media are damaged and used in part"
        say("extract", f"{damaged}: {listed(noted.media_id)}; {dataset.extracted_path}")
    if len(problems):
        by_error = ", ".join(f"{count} {error}" for error, count in problems.error.value_counts().items())
        failed = f"{share(len(problems), total)} media could not be read ({by_error}): {listed(problems.media_id)}"
        say("extract", f"{failed}; all in {dataset.problems_path('extract')}")
