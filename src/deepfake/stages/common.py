"""What every stage does the same way: talk, find out whether there is work, count what failed."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import Config, shaping
from deepfake.errors import UserError
from deepfake.files import digest
from deepfake.tables import FACES, MEDIA, PROBLEMS, differences, read_provenance

if TYPE_CHECKING:
    import pandas as pd
    from tqdm import tqdm


def raw_root(cfg: Config) -> Path:
    """The folder that media paths are relative to: data.root, else the listing's folder, else the demo set's."""
    if cfg.data.root:
        return Path(cfg.data.root)
    return Path(cfg.data.listing).parent if cfg.data.listing else layout.demo_folder(cfg.paths.data)


def sample_path(cfg: Config) -> Path | None:
    """The sample submission: infer.sample_submission, else the one in the raw folder, where there is one."""
    if cfg.infer.sample_submission:
        return Path(cfg.infer.sample_submission)
    indexed = read_provenance(layout.media_table(cfg.paths.data, cfg.dataset))
    named_alone = not (cfg.data.root or cfg.data.listing) and indexed  # data.name= of what was indexed before
    path = (Path(indexed.config["root"]) if named_alone else raw_root(cfg)) / "sample_submission.csv"
    return path if path.is_file() else None


def test_media(cfg: Config) -> pd.DataFrame:
    """The test split's rows of the media table. UserError where it has none."""
    media = MEDIA.read(layout.media_table(cfg.paths.data, cfg.dataset))
    media = media[media.split == "test"].reset_index(drop=True)
    if media.empty:
        raise UserError(f"{cfg.dataset} has no test media; put them in a test folder, or point data.root= at others")
    return media


def crop_settings(cfg: Config) -> dict[str, Any]:
    """What shapes crops and their rows; kept beside the faces table, and compared before crops are used.

    The table's columns are part of it: what was extracted before it had them all is extracted anew.
    """
    columns = {name: column.dtype for name, column in FACES.columns.items()}
    return shaping(cfg, "crop", "extract") | {"faces_columns": digest(columns)[:8]}


def check_crops(cfg: Config) -> None:
    """UserError when this data set's crops were cut with other settings than this configuration's."""
    faces_path = layout.faces_table(cfg.paths.data, cfg.dataset)
    old = read_provenance(faces_path)
    if old is not None and old.config != crop_settings(cfg):
        changed = ", ".join(differences(old.config, crop_settings(cfg)))
        raise UserError(
            f"{faces_path} was cut with other settings ({changed}): ask for those, keep both with data.name=OTHER, "
            f"or replace the crops by running `python -m deepfake extract` with these settings first"
        )


def check_extracted(cfg: Config, media_ids: pd.Series, faces: pd.DataFrame) -> None:
    """UserError when extraction has not seen some of the media: they are neither in `faces` nor in its problems."""
    path = layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "extract")
    unseen = media_ids[~media_ids.isin(faces.media_id) & ~media_ids.isin(PROBLEMS.read(path).media_id)]
    if len(unseen):
        raise UserError(f"{len(unseen)} media of {cfg.dataset} have not been extracted ({listed(unseen)}): run extract")


def is_finished(fold: Path) -> bool:
    """Whether a fold's folder holds all that training leaves behind."""
    needed = [layout.fold_done(fold), layout.run_config(fold), layout.best_weights(fold)]
    needed += [layout.best_weights(fold).with_suffix(".json")]
    needed += [] if fold.name == "full" else [layout.oof_table(fold)]
    return all(path.is_file() for path in needed)


def read_run_config(fold: Path) -> dict[str, Any]:
    """`config` and `made_from` of a training. UserError when the file is damaged."""
    path = layout.run_config(fold)
    try:
        saved = json.loads(path.read_text())
        return {"config": saved["config"], "made_from": saved["made_from"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): remove {fold} and train it again") from error


def trained_folds(runs: Path, run: str) -> dict[str, Path]:
    """Finished folds of a run, by name (`0`, `1`, …, `full`), numbers first."""
    folder = layout.run_folder(runs, run)
    finished = [path.parent for path in folder.glob("*/done.json") if is_finished(path.parent)]
    names = {path.name.removeprefix("fold"): path for path in finished}
    return dict(sorted(names.items(), key=lambda item: (item[0] == "full", len(item[0]), item[0])))


def run_to_continue(cfg: Config) -> dict[str, Any]:
    """The saved configuration of the run that `cfg` names, of a blend its first run's. UserError when it has no trained
    fold."""
    blend = layout.blend_file(cfg.paths.runs, cfg.run)
    run = next(iter(read_blend(blend)["weights_sha256"])) if blend.is_file() else cfg.run
    folds = trained_folds(cfg.paths.runs, run)
    if not folds:
        there = sorted(path.name for path in cfg.paths.runs.glob("*") if trained_folds(cfg.paths.runs, path.name))
        blends = sorted(path.parent.name for path in cfg.paths.runs.glob("*/blend.json"))
        known = f"runs with trained folds: {', '.join(there)} (name=…)" if there else "no run has a trained fold yet"
        known += f"; blends: {', '.join(blends)}" if blends else ""
        folder = layout.run_folder(cfg.paths.runs, run)
        raise UserError(f"{folder} holds no trained fold; {known}. Train with ./run_train.sh first")
    return read_run_config(next(iter(folds.values())))["config"]


def run_to_judge(cfg: Config) -> tuple[str, dict[str, Any]]:
    """The name and the saved configuration of the run or blend that judges: the one that `cfg` names, else the only one
    there is. UserError where there are none or several, or it has no trained fold."""
    if not (cfg.name or cfg.runs or cfg.data.name or cfg.data.root or cfg.data.listing):
        folders = sorted(path.name for path in cfg.paths.runs.glob("*"))
        blends = [name for name in folders if layout.blend_file(cfg.paths.runs, name).is_file()]
        there = [name for name in folders if name in blends or trained_folds(cfg.paths.runs, name)]
        if len(there) > 1:
            raise UserError(f"{len(there)} runs could judge: choose one of {', '.join(there)} by name=")
        cfg = replace(cfg, name=there[0]) if there else cfg
    return cfg.run, run_to_continue(cfg)


def read_blend(path: Path) -> dict[str, Any]:
    """A blend's file. UserError when it is damaged."""
    try:
        record = json.loads(path.read_text())
        if not record["weights_sha256"]:
            raise ValueError("no runs")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged_blend(path, error) from error


def damaged_blend(path: Path, error: Exception) -> UserError:
    """The one line about a blend's file that cannot be used."""
    return UserError(f"{path} is damaged ({type(error).__name__}: {error}): make the blend again")


def submission_to_check(cfg: Config) -> tuple[Path, dict[str, Any]]:
    """Where the configuration of the submission in cfg.input lies, and what it holds: nothing where there is none."""
    folder = Path(cfg.input).resolve().parent
    path = layout.submission_config(folder.parent, folder.name)
    if not path.is_file():
        return path, {}
    try:
        return path, dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): run infer again") from error


def speaks() -> bool:
    """Whether this process tells what happens: of those that torchrun started together, the first."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def say(stage: str, message: str) -> None:
    """One line of the log: time, stage, message."""
    logging.getLogger("deepfake").info("%-8s %s", stage, message)


class _Lines:
    """A stand-in for a terminal: each state of a progress bar becomes a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip("\r\n") + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress(total: int, label: str, unit: str, done: int = 0) -> tqdm:
    """A bar with rate and time left; where the output is not a terminal, a line every ten seconds or so."""
    from tqdm import tqdm

    if not speaks():
        return tqdm(disable=True)
    shown = {"mininterval": 0.2} if sys.stderr.isatty() else {"mininterval": 10.0, "file": _Lines(), "ncols": 100}
    return tqdm(total=total, initial=done, desc=f"         {label:<8}", unit=f" {unit}", dynamic_ncols=True, **shown)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def alone(lock: Path | None, otherwise: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file (None: none), which a kill frees; UserError `otherwise` when another process holds it.

    wait_s: seconds in which the other may still let go.
    """
    import fcntl

    if lock is None:
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_s
    with open(lock, "w") as handle:
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock's lives on in a killed process's workers
                break
            except (BlockingIOError, PermissionError) as error:
                if time.monotonic() >= until:
                    raise UserError(otherwise) from error
            time.sleep(0.05)
        yield


def worker_count(asked: int) -> int:
    """Number of worker processes, at least 1: as asked, or (-1) one a core that this process may use, at most 16."""
    return max(1, asked if asked >= 0 else min(16, _cores()))


def loader_workers(asked: int, *, processes: int = 1) -> int:
    """Processes that load crops: as asked, or (-1) one a core for a GPU, one for four cores where the model needs them.

    processes: those of this machine that train together, which share the cores.
    """
    import torch

    if asked >= 0:
        return asked
    cores = worker_count(-1) if torch.cuda.is_available() else _cores() // 4
    return max(1, cores // processes)


def share(part: int, whole: int) -> str:
    """`3 of 40 (7.5 %)`."""
    return f"{part} of {whole} ({100 * part / max(1, whole):.1f} %)"


def listed(items: Iterable[Any], most: int = 5) -> str:
    """The first few items, and how many more there are."""
    names = [str(item) for item in items]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
