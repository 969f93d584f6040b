"""predict: files that somebody names → a table: how probably each is fake, and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.arguments import load_config
from deepfake.commands import Chain
from deepfake.commands.predict.pictures import draw_pictures, picture_names
from deepfake.commands.predict.text import as_json, as_table, count_verdicts
from deepfake.config import Config
from deepfake.console import listed, say
from deepfake.errors import UserError
from deepfake.files import write_json
from deepfake.settings import config_of_run, file_predictor_of

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.sources.named import Named

ABOUT = "single files → a table: how probably each is fake; what infer does where files are named"
READS = (
    *("paths.runs", "extract.max_megapixels", "extract.max_minutes", "extract.timeout_s"),
    *("infer.batch_size", "infer.tta", "infer.compile", "submit.threshold"),
    *("name", "fold", "num_workers", "input", "json", "pictures"),
)
ORDER = 70
FILES = "many"


def configure(options: Sequence[str], chain: Chain) -> Config | None:
    """By itself it goes by the configuration of the run that predicts."""
    return config_of_run(load_config(options), options) if chain.names == ("predict",) else None


def check(cfg: Config) -> None:
    """UserError where no file is named."""
    if not cfg.input:
        raise UserError("predict needs files: ./run_infer.sh clip.mp4, a folder, or a pattern in quotes")


def run(cfg: Config, chain: Chain) -> pd.DataFrame:
    """Print a table of the files in input= and give it back; write json= and pictures= where they are asked for, and
    nothing else."""
    from deepfake.model import as_frame
    from deepfake.sources.named import find_named

    check(cfg)
    named = find_named(cfg.input)
    _check_outputs(cfg, named)
    by = file_predictor_of(cfg)
    predictions = by.predict(named.media)
    try:  # before the table: whoever reads it may have read enough, and close the pipe
        if cfg.json:
            write_json(as_json(by, predictions, named.others), Path(cfg.json))
        if cfg.pictures:
            draw_pictures(Path(cfg.pictures), by, predictions)
    finally:
        print(as_table(by, predictions))
    say("predict", f"{count_verdicts(predictions)}; by {listed(by.ensemble.members)}")
    if named.others:
        say("predict", f"no media, left out ({len(named.others)}): {listed(named.others)}")
    return as_frame(predictions)


def _check_outputs(cfg: Config, named: Named) -> None:
    """UserError for outputs that could not be written, or would replace what is read."""
    if cfg.pictures and find_spec("matplotlib") is None:  # else that would be said when all is predicted
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    if cfg.json and Path(cfg.json).is_dir():
        raise UserError(f"json={cfg.json} is a folder: name a file")
    if cfg.pictures and Path(cfg.pictures).exists() and not Path(cfg.pictures).is_dir():
        raise UserError(f"pictures={cfg.pictures} is a file: name a folder")
    written = [Path(cfg.json)] if cfg.json else []
    written += [Path(cfg.pictures) / name for name in picture_names(named.media).values()] if cfg.pictures else []
    lost = {path.resolve() for path in written} & {Path(path).resolve() for path in named.media}
    if lost:
        raise UserError(f"{listed(sorted(lost))} would be replaced: choose another json= or pictures=")
    for path in written:  # what cannot be is better known before the work
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path.parent} cannot be made ({error.strerror}): choose another folder") from error
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"{path.parent} cannot be written to: choose another folder for json= or pictures=")
