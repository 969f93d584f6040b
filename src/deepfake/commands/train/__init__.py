"""train: faces and folds → a model for each fold, and its out-of-fold logits."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.commands import Chain
from deepfake.commands.train.crops import (
    able_kinds,
    check_fakes,
    held_out_media,
    inputs_of,
    labelled_crops,
    split_crops,
    unseen_names,
    with_forgeries,
    with_validation_fakes,
    without_unseen,
)
from deepfake.commands.train.fit import score_fold, score_rows, train_fold
from deepfake.commands.train.launch import train_together
from deepfake.commands.train.setup import build_model, build_recipe, check_window
from deepfake.commands.train.work import Work
from deepfake.config import Config
from deepfake.console import listed, say
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.knobs import shaping, with_defaults
from deepfake.machine import alone
from deepfake.provenance import differences
from deepfake.settings import dataset_of, run_of, tta_of
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.run import FULL, Fold, Run, split_of
from deepfake.workspace.tta import kept_views, scored_views

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.distributed import World

ABOUT = "faces and folds → trained folds and their out-of-fold logits"
READS = (
    *("paths", "data", "crop", "extract", "model", "augment", "optim", "train", "infer"),
    *("name", "fold", "seed", "num_workers", "gpus", "nnodes", "rdzv_endpoint"),
)
ORDER = 40
LONG = True

SHAPING = ("crop", "extract", "model", "augment", "optim", "train", "seed")


def check(cfg: Config) -> None:
    """UserError for all that can be known to be wrong before crops are there: crops of other settings, a fold that
    does not exist, another training under the same name, a model or weights that cannot be had."""
    dataset, run = dataset_of(cfg), run_of(cfg)
    dataset.check_crops()
    if run.is_blend:
        raise UserError(
            f"name={cfg.run} is a blend: give the run another name, or remove its folder in {cfg.paths.runs}"
        )
    _chosen_folds(dataset, cfg.fold)
    check_fakes(dataset, cfg.train.forge, cfg.train.hold_out)
    _check_same_run(run, _made_from(cfg, dataset))
    if cfg.train.compile and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("train.compile=true needs a C++ compiler (g++ or clang++), which is not there: leave it out")
    if not dataset.faces_path.is_file():
        _check_model(cfg)


def run(cfg: Config, chain: Chain) -> Run:
    """Train cfg.fold (a number, all, or full) of the run; what is finished is left alone, what was cut off goes on.

    A finished fold whose out-of-fold logits lack a view of infer.tta is scored again, not trained. Where several GPUs
    or machines are asked for, processes of their own do it.
    """
    check(cfg)
    if cfg.gpus * cfg.nnodes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        train_together(cfg)
        return run_of(cfg)
    dataset, todo, views = dataset_of(cfg), [], scored_views(tta_of(cfg))
    for name in _chosen_folds(dataset, cfg.fold):
        fold = run_of(cfg).fold(name)
        if fold.is_finished and (name == FULL or set(views) <= set(fold.oof.view)):
            say("train", f"up to date: {fold.folder}")
        else:
            todo.append(fold)
    if todo:
        _train_folds(cfg, dataset, todo)
    done = run_of(cfg)
    _report(done, dataset, tta_of(cfg))
    return done


def _train_folds(cfg: Config, dataset: Dataset, folds: list[Fold]) -> None:
    """One after the other, by this process alone or together with those that torchrun started beside it."""
    from deepfake.forgery.kinds import need_copies
    from deepfake.learn.distributed import joined_world

    crops, made_from = labelled_crops(dataset, copies=need_copies(cfg.train.forge)), _made_from(cfg, dataset)
    with joined_world() as world:
        for fold in folds:
            lock = fold.lock if world.leads else None
            with alone(lock, f"another process is training {fold.folder}: wait for it, or stop it"):
                work = _work(cfg, dataset, fold, crops, made_from=made_from, world=world)
                (score_fold if fold.is_finished else train_fold)(work)


def _work(
    cfg: Config, dataset: Dataset, fold: Fold, crops: pd.DataFrame, *, made_from: dict[str, Any], world: World
) -> Work:
    """What a fold trains on and is validated by; this process is made ready to compute."""
    from deepfake.score.fallback import training_prior

    given, held_out = split_crops(crops, fold.name)
    kinds, unable = able_kinds(given, cfg.train.forge)
    if unable:
        say("train", f"train.forge without {listed(unable)}: no real crop has the landmarks of a face")
    val_crops = with_validation_fakes(held_out, kinds)
    hold_out = cfg.train.hold_out
    unseen = unseen_names(crops, fold.name, hold_out)
    seen = without_unseen(given, unseen, hold_out, forges=bool(kinds))
    return Work(
        cfg,
        fold,
        folder=dataset.folder,
        train_crops=with_forgeries(seen, kinds, share=cfg.train.forge_share, seed=cfg.seed),
        val_crops=val_crops,
        unseen=unseen,
        held_out=held_out_media(dataset.folds, val_crops, unseen, hold_out),
        prior_logit=training_prior(given.groupby("media_id").label.first().to_numpy(int)),
        made_from=made_from,
        world=world,
        precision=_precision(cfg, world),
    )


def _precision(cfg: Config, world: World) -> Any:
    """How this process computes; it is made ready for that."""
    from deepfake.learn.engine import choose_precision, prepare_process

    precision = choose_precision(cfg.train.amp, channels_last=cfg.train.channels_last, gpu=world.local_rank)
    prepare_process()
    return precision


def _check_model(cfg: Config) -> None:
    from deepfake.learn.trainer import check_phases

    detector = build_model(cfg)
    check_phases(detector.backbone, build_recipe(cfg))
    check_window(cfg, detector.spec)


def _made_from(cfg: Config, dataset: Dataset) -> dict[str, Any]:
    """What shapes a training: settings, starting weights, the folds, and the crops of their media."""
    from deepfake.forgery.kinds import need_copies

    inputs = inputs_of(dataset, copies=need_copies(cfg.train.forge))
    if cfg.model.weights and Path(cfg.model.weights).is_file():
        inputs["weights"] = sha256(Path(cfg.model.weights))
    return {"config": shaping(cfg, *SHAPING), "inputs": inputs}


def _chosen_folds(dataset: Dataset, asked: str) -> list[str]:
    there = [str(number) for number in sorted(dataset.folds.fold.unique())]
    if asked == "all":
        return there
    if asked not in (FULL, *there):
        raise UserError(f"fold={asked} is not in {dataset.folds_path}; allowed: {', '.join(there)}, all, full")
    return [asked]


def _check_same_run(run: Run, made_from: dict[str, Any]) -> None:
    """UserError when a fold of the run, chosen or not, comes of other settings, folds or crops.

    Nothing is thrown away, and out-of-fold logits of different splits are never pooled.
    """
    made_from, defaults = json.loads(json.dumps(made_from)), shaping(Config(), *SHAPING)
    for fold in run.started_folds():
        old = fold.training["made_from"]
        changed = differences(with_defaults(old["config"], defaults), made_from["config"])
        changed += [f"other {name}" for name, value in made_from["inputs"].items() if value != old["inputs"].get(name)]
        if changed:
            raise UserError(
                f"{fold.folder} was trained with other settings ({listed(changed)}): give this run a name of its own "
                f"with name=…, or remove {fold.folder}"
            )


def _report(run: Run, dataset: Dataset, tta: list[str] | None) -> None:
    """The out-of-fold score over every finished fold of the run, and the next command."""
    import pandas as pd

    tables = run.oof_tables()
    if tables:
        oof = pd.concat(tables)
        if tta is None:
            oof = oof[oof.view.isin(kept_views(run.name, None, tables, split_of([run], dataset.folds)))]
        of = ", half of them made from the other half," if run.reals_alone else ""
        _report_scores(run, oof, f"media{of} of folds {', '.join(run.numbered_folds)}")
        if run.unseen:
            _report_scores(run, oof[oof.media_id.isin(run.unseen)], "of these by what their fold had never met")
    say("train", f"trained folds in {run.folder}; next: ./run_infer.sh name={run.name}")


def _report_scores(run: Run, oof: pd.DataFrame, what: str) -> None:
    scores = score_rows(oof, reals_alone=run.reals_alone)
    say(
        "train",
        f"out-of-fold, {oof.media_id.nunique()} {what}, "
        f"medium level: AUC {scores['auc']:.4f}, log loss {scores['log_loss']:.4f}, AP {scores['ap']:.4f}, "
        f"accuracy {scores['accuracy']:.4f}",
    )
