"""infer: a run's trained folds and the test split's crops → logits → submission.csv."""

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
    raw_root,
    run_to_continue,
    say,
    share,
    trained_folds,
)
from deepfake.tables import FACES, LOGITS, MEDIA, OOF, PROBLEMS, Provenance, is_current, replacing, sha256, write_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Job:
    """What is scored by what, and where it goes. sample: a sample submission, or None."""

    media: pd.DataFrame
    faces: pd.DataFrame
    folds: dict[str, Path]
    name: str
    sample: pd.DataFrame | None
    sample_path: Path | None


def run(cfg: Config) -> None:
    """Write submissions/<name>/: logits.parquet, submission.csv, infer_problems.csv, config.json.

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
    a sample submission that is broken or asks for others."""
    from deepfake.score.submission import match_names, read_sample

    check_crops(cfg)
    sample_path = _sample_path(cfg)
    media_ids = _test_media(cfg).media_id
    if sample_path:
        match_names(read_sample(sample_path).iloc[:, 0], media_ids, sample_path)


def _test_media(cfg: Config) -> pd.DataFrame:
    media = MEDIA.read(layout.media_table(cfg.paths.data, cfg.dataset))
    media = media[media.split == "test"].reset_index(drop=True)
    if media.empty:
        raise UserError(f"{cfg.dataset} has no test media; put them in a test folder, or point data.root= at others")
    return media


def _prepare(cfg: Config) -> Job:
    from deepfake.learn.facts import read_facts
    from deepfake.score.submission import read_sample

    folds = _chosen_folds(cfg)
    media = _test_media(cfg)
    faces = FACES.read(layout.faces_table(cfg.paths.data, cfg.dataset))
    faces = faces[faces.media_id.isin(media.media_id)].reset_index(drop=True)
    check_extracted(cfg, media.media_id, faces)
    sample_path = _sample_path(cfg)
    sample = read_sample(sample_path) if sample_path else None
    trained_on = read_facts(layout.best_weights(next(iter(folds.values()))))["dataset"]
    name = cfg.run if cfg.dataset == trained_on else f"{cfg.run}_{cfg.dataset}"
    return Job(media, faces, folds, name, sample, sample_path)


def _chosen_folds(cfg: Config) -> dict[str, Path]:
    """fold=all: the numbered folds, or the full model where there are none."""
    there = trained_folds(cfg.paths.runs, cfg.run)
    if cfg.fold == "all":
        return {name: path for name, path in there.items() if name != "full"} or there
    if cfg.fold not in there:
        raise UserError(f"fold={cfg.fold} of run {cfg.run} is not trained; trained: {', '.join(there)}")
    return {cfg.fold: there[cfg.fold]}


def _sample_path(cfg: Config) -> Path | None:
    if cfg.infer.sample_submission:
        return Path(cfg.infer.sample_submission)
    path = raw_root(cfg) / "sample_submission.csv"
    return path if path.is_file() else None


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
    from deepfake.score.submission import build_submission

    fallback, source = _fallback(cfg, job)
    problems = _problems(cfg, job)
    pooled = medium_logits(logits, fallback).reindex(sorted(job.media.media_id), fill_value=fallback)
    submission = build_submission(job.sample, pooled, job.sample_path or "", columns=cfg.infer.columns)
    path = layout.submission_csv(cfg.paths.submissions, job.name)
    PROBLEMS.write(problems, layout.problems_table(path.parent, "infer"))
    write_json(
        resolved(cfg) | {"folds": list(job.folds), "fallback_logit": fallback, "fallback_source": source},
        layout.submission_config(cfg.paths.submissions, job.name),
    )
    with replacing(path) as temporary:
        submission.to_csv(temporary, index=False)
    if len(problems):
        counts = ", ".join(f"{count} {error}" for error, count in problems.error.value_counts().items())
        say(
            "infer",
            f"{share(len(problems), len(job.media))} test media got the fallback logit {fallback:.3f} "
            f"({source}): {counts}: {listed(problems.media_id)}; see {path.parent / 'infer_problems.csv'}",
        )
    say("infer", f"{len(submission)} rows, folds {', '.join(job.folds)} → {path}")
    _print_test_score(job, pooled)


def _fallback(cfg: Config, job: Job) -> tuple[float, str]:
    """The logit for media without a face, and where it comes from: see score.fallback.fallback_logit."""
    import pandas as pd

    from deepfake.learn.facts import read_facts
    from deepfake.score.fallback import fallback_logit

    oof = [OOF.read(layout.oof_table(fold)) for name, fold in job.folds.items() if name != "full"]
    priors = [read_facts(layout.best_weights(fold))["prior_logit"] for fold in job.folds.values()]
    return fallback_logit(pd.concat(oof) if oof else OOF.empty(), sum(priors) / len(priors))


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
