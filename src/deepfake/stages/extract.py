"""extract: media → faces. Decode, find faces, cut crops; resumable medium by medium."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.stages.common import crop_settings, listed, progress, raw_root, say, share, worker_count
from deepfake.tables import (
    FACE_KEY,
    FACES,
    MEDIA,
    PROBLEMS,
    Provenance,
    differences,
    digest,
    is_current,
    read_provenance,
    replacing,
    sha256,
)

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.media.cut import CutSettings
    from deepfake.media.mtcnn import FaceDetector


WORTH_ANOTHER_TRY = ("timeout", "crashed", "missing")  # may be the machine's fault, not the medium's


def run(cfg: Config) -> None:
    """Write data/<dataset>/faces.parquet and its crops, of the whole data set or of one split.

    Crops of other settings are replaced; media that were finished with these settings, whenever that was, are kept.
    """
    media_path = layout.media_table(cfg.paths.data, cfg.dataset)
    faces_path = layout.faces_table(cfg.paths.data, cfg.dataset)
    media = MEDIA.read(media_path)
    wanted = media if cfg.extract.split == "all" else media[media.split == cfg.extract.split]
    inputs = {"media": sha256(media_path)}
    provenance = Provenance("extract", crop_settings(cfg), inputs | {"split": cfg.extract.split})
    whole = Provenance("extract", crop_settings(cfg), inputs | {"split": "all"})
    if is_current(faces_path, provenance) or is_current(faces_path, whole):
        say("extract", f"up to date: {faces_path}")
        return
    with _alone(faces_path.parent):
        _remove_other_settings(cfg, faces_path, provenance)
        journal = Journal(layout.faces_journal(cfg.paths.data, cfg.dataset), digest(provenance.config))
        _extract_pending(cfg, media, wanted, journal)
        _finish(wanted, journal, faces_path, provenance)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the data set's lock; UserError when another process extracts it. A killed process holds none."""
    import fcntl

    with open(folder / ".extract.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is extracting into {folder}: wait for it, or stop it") from error
        yield


def _remove_other_settings(cfg: Config, faces_path: Path, provenance: Provenance) -> None:
    old = read_provenance(faces_path)
    if old is None or old.config == provenance.config:
        return
    say("extract", f"cutting {cfg.dataset} anew: {', '.join(differences(old.config, provenance.config))}")
    faces_path.unlink()
    shutil.rmtree(layout.crops_folder(cfg.paths.data, cfg.dataset), ignore_errors=True)


@dataclass
class Journal:
    """Finished media, one JSON line each; what makes extraction resumable at any moment.

    The first line holds a digest of the settings: a journal of other settings is thrown away. A line that a kill
    tore is ignored, and its medium done again. It stays when the table is written, so that media which join the data
    set later are all that has to be cut then.
    """

    path: Path
    settings_digest: str

    def read(self) -> dict[str, dict]:
        """media_id → {media_id, fingerprint, rows} or {media_id, fingerprint, error, detail}."""
        if not self.path.is_file():
            return {}
        head, *lines = self.path.read_bytes().split(b"\n")
        if head.decode(errors="replace") != self.settings_digest:
            return {}
        entries = {}
        for line in lines[:-1]:  # what follows the last newline is empty, or torn
            try:
                entry = json.loads(line)
                entries[entry["media_id"]] = entry
            except (ValueError, KeyError, TypeError):  # a damaged line: its medium is cut again
                continue
        return entries

    def is_of_other_settings(self) -> bool:
        """Whether the file was written with other settings."""
        if not self.path.is_file():
            return False
        with open(self.path, errors="replace") as handle:
            return handle.readline().strip() != self.settings_digest

    def open(self, entries: dict[str, dict]) -> TextIO:
        """The file, rewritten with the entries that hold, open for more."""
        with replacing(self.path) as temporary:
            lines = [self.settings_digest, *(json.dumps(entry) for entry in entries.values())]
            temporary.write_text("\n".join(lines) + "\n")
        return open(self.path, "a")


def _extract_pending(cfg: Config, media: pd.DataFrame, wanted: pd.DataFrame, journal: Journal) -> None:
    """Cut what is wanted and not yet in the journal; what the journal holds of other, unchanged media stays."""
    prints = dict(zip(media.media_id, media.fingerprint, strict=True))
    kept = {name: entry for name, entry in journal.read().items() if prints.get(name) == entry["fingerprint"]}
    kept = {name: entry for name, entry in kept.items() if entry.get("error") not in WORTH_ANOTHER_TRY}
    pending = [row for row in wanted.itertuples() if row.media_id not in kept]
    done = len(wanted) - len(pending)
    if done:
        say("extract", f"going on: {share(done, len(wanted))} media are done")
    elif journal.is_of_other_settings():
        say("extract", "starting anew: what was cut before had other settings")
    with journal.open(kept) as handle, progress(len(wanted), "extract", "media", done=done) as bar:
        for entry in _cut_all(cfg, pending):
            handle.write(json.dumps(entry) + "\n")
            handle.flush()
            bar.update()


def _cut_all(cfg: Config, pending: list) -> Iterator[dict]:
    """Journal entries of all pending media, as they finish. A worker that dies or hangs takes one medium along."""
    from pebble import ProcessPool

    workers = min(worker_count(cfg.num_workers), max(1, len(pending)))
    todo, running = deque(pending), {}
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPool(max_workers=workers, context=context, initializer=_start_worker, initargs=(cfg,)) as pool:
        try:
            while todo or running:
                while todo and len(running) < 2 * workers:
                    row = todo.popleft()
                    job = (row.media_id, row.path, row.kind)
                    running[pool.schedule(_cut_one, args=job, timeout=cfg.extract.timeout_s)] = row
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    row = running.pop(future)
                    yield {"media_id": row.media_id, "fingerprint": row.fingerprint} | _outcome(future, cfg)
        except BaseException:
            pool.stop()
            raise


def _outcome(future: Future, cfg: Config) -> dict:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return {"error": "timeout", "detail": f"took longer than extract.timeout_s={cfg.extract.timeout_s}"}
    except ProcessExpired as error:
        return {"error": "crashed", "detail": f"the worker died with exit code {error.exitcode}"}


# What a worker process keeps between media; set once by _start_worker in that process, never in the parent.
_worker: tuple[Path, Path, FaceDetector | None, CutSettings] | None = None


def _start_worker(cfg: Config) -> None:
    """Load the detector once in this process, on one thread: the processes are what runs side by side."""
    import cv2
    import torch

    from deepfake.media.cut import CutSettings
    from deepfake.media.mtcnn import FaceDetector

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = None
    if cfg.crop.mode == "faces":
        detector = FaceDetector(
            detect_size=cfg.extract.detect_size,
            min_face=cfg.extract.min_face,
            min_prob=cfg.extract.min_prob,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )
    crop = cfg.crop
    settings = CutSettings(
        cfg.extract.num_frames, crop.mode, crop.align, crop.margin, crop.size, crop.format, crop.quality
    )
    global _worker
    _worker = (raw_root(cfg), layout.crops_folder(cfg.paths.data, cfg.dataset), detector, settings)


def _cut_one(media_id: str, path: str, kind: str) -> dict:
    from deepfake.media.cut import cut_medium
    from deepfake.media.video import UnreadableError

    root, crops, detector, settings = _worker
    try:
        return {"rows": cut_medium(media_id, root / path, kind, crops, detector=detector, settings=settings)}
    except UnreadableError as error:
        return {"error": error.error, "detail": error.detail}


def _finish(wanted: pd.DataFrame, journal: Journal, faces_path: Path, provenance: Provenance) -> None:
    """Journal → faces.parquet and extract_problems.csv; every medium that was wanted is in one of them."""
    import pandas as pd

    entries = journal.read().values()
    rows = [row for entry in entries for row in entry.get("rows", [])]
    problems = [entry for entry in entries if "error" in entry]
    problem_table = pd.DataFrame(problems, columns=list(PROBLEMS.columns)).sort_values("media_id")
    faces = pd.DataFrame(rows, columns=list(FACES.columns)).sort_values(list(FACE_KEY))
    seen = pd.concat([faces.media_id.drop_duplicates(), problem_table.media_id])
    assert not seen.duplicated().any() and wanted.media_id.isin(seen).all(), "in == out + problems"
    PROBLEMS.write(problem_table, layout.problems_table(faces_path.parent, "extract"))
    faces = FACES.write(faces, faces_path, provenance)
    ours = faces.media_id.isin(wanted.media_id)
    _report(wanted, faces[ours], problem_table[problem_table.media_id.isin(wanted.media_id)], faces_path)


def _report(wanted: pd.DataFrame, faces: pd.DataFrame, problems: pd.DataFrame, faces_path: Path) -> None:
    with_face = int(faces.groupby("media_id").found.any().sum())
    say(
        "extract",
        f"{share(faces.media_id.nunique(), len(wanted))} media decoded, {share(with_face, len(wanted))} with a "
        f"face, {len(faces)} crops → {faces_path}",
    )
    if len(problems):
        by_error = ", ".join(f"{count} {error}" for error, count in problems.error.value_counts().items())
        say(
            "extract",
            f"{share(len(problems), len(wanted))} media could not be read ({by_error}): "
            f"{listed(problems.media_id)}; all in {layout.problems_table(faces_path.parent, 'extract')}",
        )
