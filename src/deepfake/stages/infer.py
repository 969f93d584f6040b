"""infer: a run's trained folds and the test split's crops → logits → a submission."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config, resolved, shaping
from deepfake.errors import UserError
from deepfake.stages.common import (
    check_crops,
    check_extracted,
    listed,
    loader_workers,
    progress,
    run_to_continue,
    say,
    share,
    test_media,
    trained_folds,
)
from deepfake.stages.submit import check_submit, write_submission
from deepfake.tables import FACES, LOGITS, OOF, PROBLEMS, Provenance, is_current, sha256, write_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Job:
    """What is scored by what, and the name under which it goes out."""

    media: pd.DataFrame
    faces: pd.DataFrame
    folds: dict[str, Path]
    name: str


def run(cfg: Config) -> None:
    """Write submissions/<name>/: logits.parquet, infer_problems.csv, config.json, and what is handed in.

    <name> is the run's, with the data set's where that is not the one that the run was trained on.
    """
    run_to_continue(cfg)  # refuses a run without trained folds
    check(cfg)
    job = _prepare(cfg)
    logits_path = layout.logits_table(cfg.paths.submissions, job.name)
    inputs = {f"fold {name}": sha256(layout.best_weights(folder)) for name, folder in job.folds.items()}
    inputs["faces"] = sha256(layout.faces_table(cfg.paths.data, cfg.dataset))
    provenance = Provenance("infer", shaping(cfg, "infer") | {"run": cfg.run}, inputs)
    if is_current(logits_path, provenance):
        say("infer", f"up to date: {logits_path}")
        logits = LOGITS.read(logits_path)
    else:
        logits = LOGITS.write(_score_crops(cfg, job), logits_path, provenance)
    _submit(cfg, job, logits)


def check(cfg: Config) -> None:
    """UserError for all that can be known to be wrong before crops are there: crops of other settings, no test media,
    a sample submission that is broken or asks for others, a hand-in that could not be done."""
    check_crops(cfg)
    check_submit(cfg, test_media(cfg).media_id)


def _prepare(cfg: Config) -> Job:
    from deepfake.learn.facts import read_facts

    folds = _chosen_folds(cfg)
    media = test_media(cfg)
    faces = FACES.read(layout.faces_table(cfg.paths.data, cfg.dataset))
    faces = faces[faces.media_id.isin(media.media_id)].reset_index(drop=True)
    check_extracted(cfg, media.media_id, faces)
    trained_on = read_facts(layout.best_weights(next(iter(folds.values()))))["dataset"]
    name = cfg.run if cfg.dataset == trained_on else f"{cfg.run}_{cfg.dataset}"
    return Job(media, faces, folds, name)


def _chosen_folds(cfg: Config) -> dict[str, Path]:
    """fold=all: the numbered folds, or the full model where there are none."""
    there = trained_folds(cfg.paths.runs, cfg.run)
    if cfg.fold == "all":
        return {name: path for name, path in there.items() if name != "full"} or there
    if cfg.fold not in there:
        raise UserError(f"fold={cfg.fold} of run {cfg.run} is not trained; trained: {', '.join(there)}")
    return {cfg.fold: there[cfg.fold]}


def _score_crops(cfg: Config, job: Job) -> pd.DataFrame:
    """Every fold's logit of every crop and view: rows of the logits table."""
    import pandas as pd
    import torch

    from deepfake.learn.checkpoint import load_detector
    from deepfake.learn.dataset import CropDataset, ordered_loader
    from deepfake.learn.engine import choose_precision, predict, prepare_process
    from deepfake.score.pool import view_rows

    precision = choose_precision(
        cfg.train.amp if torch.cuda.is_available() else "auto", channels_last=cfg.train.channels_last
    )
    prepare_process()
    folder = layout.dataset_folder(cfg.paths.data, cfg.dataset)
    paths = [folder / path for path in job.faces.path]
    tables = []
    with progress(len(paths) * len(job.folds), "infer", "crops") as bar:
        for name, fold in job.folds.items():
            detector = precision.place(load_detector(layout.best_weights(fold)))
            spec = detector.spec
            data = CropDataset(paths, image_size=spec.image_size, interpolation=spec.interpolation, resize=spec.resize)
            loader = ordered_loader(data, batch_size=cfg.infer.batch_size, num_workers=loader_workers(cfg.num_workers))
            logits = predict(detector, loader, views=cfg.infer.tta, precision=precision, on_step=bar.update)
            rows = view_rows(job.faces, logits, cfg.infer.tta).assign(run=cfg.run, fold=name)
            tables.append(rows[list(LOGITS.columns)])
    return pd.concat(tables)


def _submit(cfg: Config, job: Job, logits: pd.DataFrame) -> None:
    from deepfake.score.fallback import medium_logits

    fallback, source = _fallback(cfg, job)
    problems = _problems(cfg, job)
    pooled = medium_logits(logits, fallback).reindex(sorted(job.media.media_id), fill_value=fallback)
    problems_path = layout.problems_table(layout.submission_folder(cfg.paths.submissions, job.name), "infer")
    PROBLEMS.write(problems, problems_path)
    write_json(
        resolved(cfg) | {"folds": list(job.folds), "fallback_logit": fallback, "fallback_source": source},
        layout.submission_config(cfg.paths.submissions, job.name),
    )
    if len(problems):
        counts = ", ".join(f"{count} {error}" for error, count in problems.error.value_counts().items())
        say(
            "infer",
            f"{share(len(problems), len(job.media))} test media got the fallback logit {fallback:.3f} "
            f"({source}): {counts}: {listed(problems.media_id)}; see {problems_path}",
        )
    _print_test_score(job, pooled)
    write_submission(cfg, job.name, pooled, runs=[cfg.run])


def _fallback(cfg: Config, job: Job) -> tuple[float, str]:
    """The logit for media without a face, and where it comes from: see score.fallback.fallbacks."""
    import pandas as pd

    from deepfake.learn.facts import read_facts
    from deepfake.score.fallback import fallbacks, labels_and_faceless

    oof = [OOF.read(layout.oof_table(fold)) for name, fold in job.folds.items() if name != "full"]
    priors = [read_facts(layout.best_weights(fold))["prior_logit"] for fold in job.folds.values()]
    _, faceless = labels_and_faceless(pd.concat(oof) if oof else OOF.empty())
    found = fallbacks(sum(priors) / len(priors), faceless)["no_face"]
    return found["logit"], found["from"]


def _problems(cfg: Config, job: Job) -> pd.DataFrame:
    """Test media on which no model could speak for a face: without one, or unreadable (with extract's reason)."""
    import pandas as pd

    unread = PROBLEMS.read(layout.problems_table(layout.dataset_folder(cfg.paths.data, cfg.dataset), "extract"))
    unread = unread[unread.media_id.isin(job.media.media_id)]
    found = job.faces.groupby("media_id").found.any()
    faceless = pd.DataFrame({"media_id": found.index[~found.to_numpy(bool)], "error": "no_face", "detail": None})
    return pd.concat([unread, faceless]).sort_values("media_id") if len(faceless) else unread


def _print_test_score(job: Job, pooled: pd.Series) -> None:
    from deepfake.score.metrics import binary_metrics

    known = job.media[job.media.label.notna()].set_index("media_id")
    if known.empty:
        return
    scores = binary_metrics(known.label.to_numpy(int), pooled.loc[known.index])
    say(
        "infer",
        f"test, {share(len(known), len(job.media))} media with a known label, medium level: "
        f"AUC {scores['auc']:.4f}, log loss {scores['log_loss']:.4f}, AP {scores['ap']:.4f}, "
        f"accuracy {scores['accuracy']:.4f}",
    )
    for method, rows in known[known.label == 1].groupby(known.method.fillna("fake")):
        reals = known[known.label == 0]
        if len(reals) and known.method.nunique() > 2:
            both = [*reals.index, *rows.index]
            auc = binary_metrics(known.label.loc[both].to_numpy(int), pooled.loc[both])["auc"]
            say("infer", f"  {method}: AUC {auc:.4f} over {len(rows)} fakes and {len(reals)} reals")
