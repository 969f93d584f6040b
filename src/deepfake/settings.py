"""From the configuration to the objects and values that commands work with: here `cfg` ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.arguments import continue_run
from deepfake.config import AUTO_VIEWS, Config
from deepfake.errors import UserError
from deepfake.knobs import shaping
from deepfake.machine import worker_count
from deepfake.workspace.dataset import Dataset, crop_settings
from deepfake.workspace.ensemble import Ensemble, read_ensemble
from deepfake.workspace.roots import Roots
from deepfake.workspace.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.predictor import Predictor
    from deepfake.pipeline.cropping import Cropper
    from deepfake.pipeline.single import FilePredictor
    from deepfake.workspace.submission import Expected, Submission


def roots_of(cfg: Config) -> Roots:
    """Where things lie."""
    return Roots(**vars(cfg.paths))


def dataset_of(cfg: Config) -> Dataset:
    """The data set that the configuration names; its raw folder is data.root, the listing's, or the demo set's."""
    roots = roots_of(cfg)
    raw = roots.data / "demo" / "raw"
    if cfg.data.root or cfg.data.listing:
        raw = Path(cfg.data.root) if cfg.data.root else Path(cfg.data.listing).parent
    return Dataset.at(roots, cfg.dataset, raw, crop_settings(shaping(cfg, "crop", "extract")))


def run_of(cfg: Config) -> Run:
    """The run or blend that the configuration names, whether it is there or not."""
    return Run(cfg.paths.runs / cfg.run)


def tta_of(cfg: Config) -> list[str] | None:
    """Test-time views; None = those that pay, by the out-of-fold logits."""
    return None if cfg.infer.tta == AUTO_VIEWS else cfg.infer.tta


def ensemble_of(cfg: Config) -> Ensemble:
    """What speaks in an inference by the run or blend that the configuration names."""
    return read_ensemble(roots_of(cfg), cfg.run, fold=cfg.fold, tta=tta_of(cfg))


def predictor_of(cfg: Config, ensemble: Ensemble) -> Predictor:
    """An ensemble's models, loaded."""
    return ensemble.predictor(
        amp=cfg.train.amp,
        channels_last=cfg.train.channels_last,
        batch_size=cfg.infer.batch_size,
        num_threads=worker_count(cfg.num_workers),
        compiled=cfg.infer.compile,
    )


def cropper_of(cfg: Config) -> Cropper:
    """How media are cropped."""
    from deepfake.media.crop_medium import CropSettings
    from deepfake.media.medium import Limits
    from deepfake.pipeline.cropping import Cropper

    crop, extract = cfg.crop, cfg.extract
    given = vars(crop) | vars(extract) | {"limits": Limits(extract.max_megapixels, extract.max_minutes)}
    settings = CropSettings(**{item.name: given[item.name] for item in dataclasses.fields(CropSettings)})
    names = ("detect_size", "min_face", "min_prob", "search_every", "batch_mpx")
    return Cropper(
        settings,
        {name: getattr(extract, name) for name in names} if crop.mode == "faces" else None,
        worker_count(cfg.num_workers),
        extract.timeout_s,
        extract.reuse_boxes,
        extract.retry == "problems",
    )


def expected_of(cfg: Config, dataset: Dataset, media_ids: pd.Series) -> Expected:
    """What a submission of these media must hold. UserError for a sample submission that does not fit."""
    from deepfake.score.formats import FORMATS
    from deepfake.workspace.submission import Expected

    form, sample = FORMATS[cfg.submit.format], cfg.infer.sample_submission
    if sample and not form.takes_sample:
        raise UserError(
            f"infer.sample_submission={sample} with submit.format={cfg.submit.format}, whose {form.file} has no "
            f"columns to name: leave one of them out"
        )
    is_named_alone = not (cfg.data.root or cfg.data.listing)
    path = Path(sample) if sample else dataset.sample_submission(is_named_alone=is_named_alone)
    return Expected.of(cfg.submit.format, media_ids, path)


def submission_of(cfg: Config, dataset: Dataset, ensemble: Ensemble) -> Submission:
    """What the run's models say of the data set: submissions/<run>, with the data set's name where that is not the one
    that the run was trained on."""
    from deepfake.workspace.submission import Submission

    name = cfg.run if dataset.name == ensemble.dataset else f"{cfg.run}_{dataset.name}"
    return Submission(cfg.paths.submissions / name)


def config_of_run(cfg: Config, options: Sequence[str]) -> Config:
    """The configuration to predict by: that of the run that `cfg` names, else of the only one there is, with options.

    UserError where there are none or several, or it has no trained fold.
    """
    if not (cfg.name or cfg.runs or cfg.data.name or cfg.data.root or cfg.data.listing):
        there = [run.name for run in Run.all(cfg.paths.runs)]
        if len(there) > 1:
            raise UserError(f"{len(there)} runs could predict: choose one of {', '.join(there)} by name=")
        cfg = dataclasses.replace(cfg, name=there[0]) if there else cfg
    return continue_run(cfg.run, run_of(cfg).cropping_run().config, options)


def file_predictor_of(cfg: Config) -> FilePredictor:
    """What predicts files by the run that the configuration names."""
    from deepfake.pipeline.single import FilePredictor

    run_of(cfg).cropping_run().check_trained()
    ensemble = ensemble_of(cfg)
    return FilePredictor(
        ensemble,
        cropper_of(cfg),
        cache(lambda: predictor_of(cfg, ensemble)),  # loaded when they are first asked for, and once
        cfg.infer.batch_size,
        ensemble.decision_logit(cfg.submit.threshold),
    )
