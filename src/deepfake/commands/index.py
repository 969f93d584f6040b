"""index: a raw folder → media. Which files there are, their labels, and what they come from."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.commands import Chain
from deepfake.config import Config
from deepfake.console import listed, progress, say, share
from deepfake.errors import UserError
from deepfake.files import digest, fingerprint, sha256
from deepfake.machine import worker_count
from deepfake.provenance import Provenance, is_current, read_provenance
from deepfake.settings import dataset_of
from deepfake.tables import MEDIA, PROBLEMS
from deepfake.workspace.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.sources import Reading

ABOUT = "a raw folder → media: which files, which labels"
READS = ("paths", "data", "num_workers")
ORDER = 10
FILES = "skip"

DEMO_SEED = 0


def run(cfg: Config, chain: Chain) -> Dataset:
    """Write data/<dataset>/media.parquet, rendering the built-in demo set first where that is what is asked for."""
    from deepfake.sources import read_dataset

    dataset = dataset_of(cfg)
    if not (cfg.data.root or cfg.data.listing):
        _render_demo(dataset.raw, worker_count(cfg.num_workers))
    listing = Path(cfg.data.listing) if cfg.data.listing else None
    _check_apart(dataset)
    reading = read_dataset(dataset.raw, layout=cfg.data.layout, listing=listing)
    media, provenance = _measure(dataset, reading)
    if is_current(dataset.media_path, provenance):
        say("index", f"up to date: {dataset.media_path} ({_summary(media)})")
        return dataset
    media["fingerprint"] = [fingerprint(dataset.raw / path) for path in media.path]
    media["content_id"] = _content_ids(dataset.raw, media)
    _check_same_data(dataset, media, provenance)
    _check_contradictions(dataset, reading, cfg.data.max_contradictions)
    MEDIA.write(media, dataset.media_path, provenance)
    say("index", f"{dataset.raw} is laid out as {reading.layout} ({reading.why})")
    say("index", f"{_summary(media)} → {dataset.media_path}")
    return dataset


def _render_demo(folder: Path, num_workers: int) -> None:
    from deepfake.demo.render import LISTING, render_demo

    if (folder / LISTING).is_file():
        return
    say("index", f"no data.root given: rendering the built-in demo set into {folder}")
    with progress(0, "render", "media") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        render_demo(folder, seed=DEMO_SEED, num_workers=num_workers, on_progress=show)


def _check_apart(dataset: Dataset) -> None:
    """UserError when what is derived would be written into the raw folder, where the next index would find it."""
    derived = dataset.folder.resolve()
    if derived.is_relative_to(dataset.raw.resolve()):
        raise UserError(
            f"data.root={dataset.raw} is where {derived} would be written, and raw data is never written to: give "
            f"paths.data= a folder outside it, or data.name= another name"
        )


def _check_contradictions(dataset: Dataset, reading: Reading, allowed: float) -> None:
    """Write index_problems.csv; UserError above the share that is allowed."""
    import pandas as pd

    problems_path = dataset.problems_path("index")
    found = pd.DataFrame(
        [(item.path, item.error, item.detail) for item in reading.contradictions], columns=list(PROBLEMS.columns)
    ).drop_duplicates("media_id")
    PROBLEMS.write(found, problems_path)
    if found.empty:
        return
    by_error = ", ".join(f"{count} {error}" for error, count in Counter(found.error).items())
    total = len(reading.media) + len(found)
    message = (
        f"{share(len(found), total)} labels and files contradict each other ({by_error}): {listed(found.media_id)}"
    )
    if len(found) > allowed * total:
        raise UserError(
            f"{message}; all in {problems_path}. Mend them, or allow more than data.max_contradictions={allowed}"
        )
    say("index", f"{message}; left out, see {problems_path}")


def _measure(dataset: Dataset, reading: Reading) -> tuple[pd.DataFrame, Provenance]:
    """The media table but for contents, and its provenance: settings, names, labels, sizes and times of change."""
    stats = [os.stat(dataset.raw / path) for path in reading.media.path]
    media = reading.media.assign(media_id=reading.media.path, dataset=dataset.name)
    rows = media.astype(object).where(media.notna(), None).to_dict("split")["data"]
    contradictions = [list(item) for item in reading.contradictions]
    times = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
    state = digest([[str(value) for value in row] for row in rows] + times + contradictions)
    config = {"root": str(dataset.raw.resolve()), "layout": reading.layout, "name": dataset.name}
    return media, Provenance("index", config, {"files": state})


def _check_same_data(dataset: Dataset, media: pd.DataFrame, provenance: Provenance) -> None:
    """UserError when this data set's name belongs to another folder, unless that one's media have merely moved."""
    old = read_provenance(dataset.media_path)
    if old is None or old.config.get("root") == provenance.config["root"]:
        return
    before = MEDIA.read(dataset.media_path)
    if dict(zip(before.media_id, before.fingerprint)) != dict(zip(media.media_id, media.fingerprint)):
        raise UserError(
            f"{dataset.folder} holds the data set of {old.config.get('root')}, not of {provenance.config['root']}: "
            f"give this one a name with data.name=…, or remove {dataset.folder}"
        )


def _content_ids(root: Path, media: pd.DataFrame) -> list[str | None]:
    """sha256 of each file that has another's fingerprint, None for the rest, which are not identical to any."""
    doubled = media.fingerprint.duplicated(keep=False)
    return [sha256(root / path) if same else None for path, same in zip(media.path, doubled, strict=True)]


def _summary(media: pd.DataFrame) -> str:
    """`120 train (60 real, 60 fake: 60 StyleGAN), 40 test (40 unlabelled), 3 images and 157 videos`."""
    parts = []
    for split, rows in media.groupby("split", sort=False):
        fakes = Counter(rows.method[rows.label == 1].fillna("fake"))
        counts = [f"{(rows.label == 0).sum()} real", f"{sum(fakes.values())} fake"] if rows.label.notna().any() else []
        counts += [f"{rows.label.isna().sum()} unlabelled"] if rows.label.isna().any() else []
        methods = f": {listed((f'{n} {name}' for name, n in sorted(fakes.items())), 12)}" if len(fakes) > 1 else ""
        parts.append(f"{len(rows)} {split} ({', '.join(counts)}{methods})")
    kinds = Counter(media.kind)
    return f"{', '.join(parts)}; {kinds['image']} images, {kinds['video']} videos"
