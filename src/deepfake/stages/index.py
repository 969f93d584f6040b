"""index: a raw folder → media. Which files there are, their labels, and what they come from."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.files import digest, fingerprint, sha256
from deepfake.stages.common import listed, progress, raw_root, say, share, worker_count
from deepfake.tables import MEDIA, PROBLEMS, Provenance, is_current, read_provenance

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.sources import Reading

DEMO_SEED = 0


def run(cfg: Config) -> None:
    """Write data/<dataset>/media.parquet, rendering the built-in demo set first where that is what is asked for."""
    from deepfake.sources import read_dataset

    root = raw_root(cfg)
    if not (cfg.data.root or cfg.data.listing):
        _render_demo(cfg, root)
    listing = Path(cfg.data.listing) if cfg.data.listing else None
    _check_apart(cfg, root)
    reading = read_dataset(root, layout=cfg.data.layout, listing=listing)
    media, provenance = _measure(cfg, root, reading)
    media_path = layout.media_table(cfg.paths.data, cfg.dataset)
    if is_current(media_path, provenance):
        say("index", f"up to date: {media_path} ({_summary(media)})")
        return
    media["fingerprint"] = [fingerprint(root / path) for path in media.path]
    media["content_id"] = _content_ids(root, media)
    _check_same_data(cfg, media, media_path, provenance)
    _check_contradictions(cfg, reading)
    MEDIA.write(media, media_path, provenance)
    say("index", f"{root} is laid out as {reading.layout} ({reading.why})")
    say("index", f"{_summary(media)} → {media_path}")


def _render_demo(cfg: Config, folder: Path) -> None:
    from deepfake.forge.demo import LISTING, render_demo

    if (folder / LISTING).is_file():
        return
    say("index", f"no data.root given: rendering the built-in demo set into {folder}")
    with progress(0, "render", "media") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        render_demo(folder, seed=DEMO_SEED, num_workers=worker_count(cfg.num_workers), on_progress=show)


def _check_apart(cfg: Config, root: Path) -> None:
    """UserError when what is derived would be written into the raw folder, where the next index would find it."""
    derived = layout.dataset_folder(cfg.paths.data, cfg.dataset).resolve()
    if derived.is_relative_to(root.resolve()):
        raise UserError(
            f"data.root={root} is where {derived} would be written, and raw data is never written to: give "
            f"paths.data= a folder outside it, or data.name= another name"
        )


def _check_contradictions(cfg: Config, reading: Reading) -> None:
    """Write index_problems.csv; UserError above the share that is allowed."""
    import pandas as pd

    problems_path = layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "index")
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
    if len(found) > cfg.data.max_contradictions * total:
        raise UserError(
            f"{message}; all in {problems_path}. Mend them, or allow more than "
            f"data.max_contradictions={cfg.data.max_contradictions}"
        )
    say("index", f"{message}; left out, see {problems_path}")


def _measure(cfg: Config, root: Path, reading: Reading) -> tuple[pd.DataFrame, Provenance]:
    """The media table but for contents, and its provenance: settings, names, labels, sizes and times of change."""
    stats = [os.stat(root / path) for path in reading.media.path]
    media = reading.media.assign(media_id=reading.media.path, dataset=cfg.dataset)
    rows = media.astype(object).where(media.notna(), None).to_dict("split")["data"]
    contradictions = [list(item) for item in reading.contradictions]
    times = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
    state = digest([[str(value) for value in row] for row in rows] + times + contradictions)
    config = {"root": str(root.resolve()), "layout": reading.layout, "name": cfg.dataset}
    return media, Provenance("index", config, {"files": state})


def _check_same_data(cfg: Config, media: pd.DataFrame, media_path: Path, provenance: Provenance) -> None:
    """UserError when this data set's name belongs to another folder, unless that one's media have merely moved."""
    old = read_provenance(media_path)
    if old is None or old.config.get("root") == provenance.config["root"]:
        return
    before = MEDIA.read(media_path)
    if dict(zip(before.media_id, before.fingerprint)) != dict(zip(media.media_id, media.fingerprint)):
        raise UserError(
            f"{media_path.parent} holds the data set of {old.config.get('root')}, not of {provenance.config['root']}: "
            f"give this one a name with data.name=…, or remove {media_path.parent}"
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
