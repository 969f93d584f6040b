"""infer: trained folds and the test split → logits → a submission."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from deepfake.arguments import continue_run, load_config
from deepfake.commands import Chain
from deepfake.commands.infer.job import Job
from deepfake.config import Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import digest, sha256
from deepfake.knobs import resolved, shaping
from deepfake.machine import alone
from deepfake.pipeline.cropping import is_cropped
from deepfake.pipeline.inference import Inference, Outcome
from deepfake.provenance import Provenance, is_current
from deepfake.settings import cropper_of, dataset_of, ensemble_of, expected_of, predictor_of, run_of, submission_of
from deepfake.tables import LOGITS
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.ledger import Ledger
from deepfake.workspace.submission import Submission

ABOUT = "trained folds and test crops → what is handed in, checked"
READS = (
    *("paths", "data", "crop", "extract", "infer", "submit", "name", "fold", "num_workers"),
    *("input", "json", "pictures"),
)
ORDER = 60
FILES = "predict"


def configure(options: Sequence[str], chain: Chain) -> Config | None:
    """Without training before it, inference goes by the configuration of the run that it continues, and needs crops of
    the test split alone."""
    if "train" in chain.names:
        return None
    cfg = load_config(options)
    if "blend" in chain.names and cfg.runs:  # what is still to be blended goes by the first of its runs
        saved = run_of(replace(cfg, name=cfg.runs[0], runs=[])).config
    else:
        saved = run_of(cfg).cropping_run().config
    return continue_run(cfg.run, saved, ["extract.split=test", *options])


def check(cfg: Config) -> None:
    """UserError for all that can be known to be wrong before the work begins: crops of other settings, no test media,
    a sample submission that is broken or asks for others, a hand-in that could not be done."""
    dataset = dataset_of(cfg)
    dataset.check_crops()
    expected_of(cfg, dataset, dataset.test_media().media_id)
    Ledger.of(cfg.paths.submissions).read()
    if cfg.submit.to == "kaggle" and not shutil.which("kaggle"):
        raise UserError("submit.to=kaggle needs the kaggle command, which is not installed: pip install kaggle")


def run(cfg: Config, chain: Chain) -> Submission:
    """Write submissions/<name>/: logits.parquet, scores.csv, infer_problems.csv, config.json, and what is handed in.

    <name> is the run's, with the data set's where that is not the one that the run was trained on. Test media that are
    not cropped yet are cropped on the way. The clock of infer.budget_minutes counts from the start of the command line,
    or from here where it trained before.
    """
    started_s = time.monotonic() if "train" in chain.names else chain.started_s
    run_of(cfg).cropping_run().check_trained()
    check(cfg)
    job = _job(cfg)
    submission = job.submission
    with alone(submission.lock, f"another process infers into {submission.folder}: wait for it, or stop it"):
        cropped = is_cropped(job.dataset, cropper_of(cfg), job.media, "test")
        if cropped and is_current(submission.logits_path, _of_crops(job)):
            say("infer", f"up to date: {submission.logits_path}")
            job.submit(LOGITS.read(submission.logits_path), None)
            submission.clear()  # what a kill left behind
        else:
            _infer(job, _inference(cfg, job, started_s))
    return submission


def _job(cfg: Config) -> Job:
    dataset, ensemble = dataset_of(cfg), ensemble_of(cfg)
    return Job(
        dataset,
        ensemble,
        submission_of(cfg, dataset, ensemble),
        expected_of(cfg, dataset, dataset.test_media().media_id),
        cfg.submit,
        resolved(cfg) | {"name": cfg.run},
        _provenance(cfg, dataset, ensemble),
    )


def _provenance(cfg: Config, dataset: Dataset, ensemble: Ensemble) -> Provenance:
    """Of all that shapes logits but the crops."""
    inputs = ensemble.inputs() | {"media": sha256(dataset.media_path)}
    return Provenance("infer", shaping(cfg, "infer") | {"crops": dataset.crop_settings}, inputs)


def _of_crops(job: Job) -> Provenance:
    """Of logits of the very crops that are there now."""
    faces = sha256(job.dataset.faces_path)
    return replace(job.provenance, inputs=job.provenance.inputs | {"faces": faces})


def _infer(job: Job, inference: Inference) -> None:
    """Score what is not scored yet, and submit it; a draft is there from the start."""
    import pandas as pd

    from deepfake.score.fallback import fallback_rows

    submission = job.submission
    parts = submission.parts(digest(job.provenance.to_json()))
    for rows in parts.rows:
        job.pool(rows)
    job.write_config()  # beside the draft, so that it can be checked
    if parts.rows or not submission.stands(job.expected):
        job.draft()  # else what lies there is no worse, until the first step
    outcome = inference.run(parts, submission.haste, job.on_step)
    job.degraded = outcome.degraded
    rows = pd.concat([*parts.rows, fallback_rows(outcome.reasons, job.ensemble.fallbacks)])
    logits = LOGITS.write(rows, submission.logits_path, _finished(job, outcome))
    job.submit(logits, outcome.problems)
    if not outcome.degraded:
        submission.clear()


def _finished(job: Job, outcome: Outcome) -> Provenance:
    provenance = _of_crops(job)
    if not outcome.degraded:
        return provenance
    say("infer", f"{outcome.degraded}; the same command goes on, without infer.budget_minutes to the full")
    return replace(provenance, inputs=provenance.inputs | {"incomplete": outcome.degraded})


def _inference(cfg: Config, job: Job, started_s: float) -> Inference:
    return Inference(
        "infer",
        job.dataset,
        job.media,
        cropper_of(cfg),
        job.ensemble,
        lambda: predictor_of(cfg, job.ensemble),
        batch_size=cfg.infer.batch_size,
        started_s=started_s,
        budget_s=60 * cfg.infer.budget_minutes,
    )
