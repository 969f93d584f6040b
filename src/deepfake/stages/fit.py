"""One fold's training: its crops, its epochs, what is kept of them, and its out-of-fold logits."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import Config, resolved
from deepfake.errors import UserError
from deepfake.files import replacing, write_json
from deepfake.stages.common import listed, loader_workers, progress, say
from deepfake.stages.setup import build_model, build_recipe, crop_data, training_batches, training_data
from deepfake.stages.views import scored_views
from deepfake.tables import OOF, Provenance, git_commit

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.board import Board
    from deepfake.learn.dataset import CropDataset
    from deepfake.learn.distributed import World
    from deepfake.learn.engine import Precision
    from deepfake.learn.models import Detector
    from deepfake.learn.sampling import EpochBatches
    from deepfake.learn.trainer import EpochFigures, Recipe, Trainer


@dataclasses.dataclass
class Fold:
    """One fold's training under way.

    history: a dict an epoch, as in metrics.jsonl; best: that of the best epoch; kept_epoch: whose weights lay on the
    disk when this process began; saved_s: when last.pt was written, by the monotonic clock.
    """

    name: str
    folder: Path
    train_crops: pd.DataFrame
    val_crops: pd.DataFrame
    made_from: dict[str, Any]
    world: World
    history: list[dict] = dataclasses.field(default_factory=list)
    best: dict | None = None
    kept_epoch: int = -1
    saved_s: float = 0.0


def train_fold(cfg: Config, crops: pd.DataFrame, name: str, made_from: dict[str, Any], world: World) -> None:
    """Train a fold to its end, from where it stands, and write all that it leaves behind."""
    from deepfake.learn.engine import choose_precision, prepare_process

    fold = _split(cfg, crops, name, made_from, world)
    precision = choose_precision(cfg.train.amp, channels_last=cfg.train.channels_last, gpu=world.local_rank)
    prepare_process()
    if world.leads:
        write_json({"config": resolved(cfg), "made_from": made_from}, layout.run_config(fold.folder))
    _fit(cfg, fold, precision)
    if len(fold.val_crops):
        _write_oof(cfg, fold, precision)
    if world.leads:
        write_json({"epochs": len(fold.history), "best": fold.best}, layout.fold_done(fold.folder))
    world.gather(None)  # nobody looks at what the fold leaves behind before it is there


def score_fold(cfg: Config, crops: pd.DataFrame, name: str, made_from: dict[str, Any], world: World) -> None:
    """Write out-of-fold logits of a fold that is trained anew, by the views that are asked for now."""
    from deepfake.learn.engine import choose_precision, prepare_process

    fold = _split(cfg, crops, name, made_from, world)
    precision = choose_precision(cfg.train.amp, channels_last=cfg.train.channels_last, gpu=world.local_rank)
    prepare_process()
    say("train", f"fold {name}: trained; out-of-fold logits anew, by {', '.join(scored_views(cfg))}")
    _write_oof(cfg, fold, precision)
    world.gather(None)


def score_rows(oof: pd.DataFrame) -> dict[str, float]:
    """Metrics of out-of-fold rows: of media, those without a face at their fallback as in a submission; and, by names
    that begin with frame_, of single faces."""
    from deepfake.score.fallback import fallbacks, labels_and_faceless, medium_logits, prior_logit
    from deepfake.score.metrics import binary_metrics

    labels, faceless = labels_and_faceless(oof)
    logits = medium_logits(oof, fallbacks(prior_logit(labels), faceless)["no_face"]["logit"])
    scores = binary_metrics(labels.loc[logits.index], logits)
    faces = oof[oof.found]
    return scores | {f"frame_{name}": value for name, value in binary_metrics(faces.label, faces.logit).items()}


def _split(cfg: Config, crops: pd.DataFrame, name: str, made_from: dict[str, Any], world: World) -> Fold:
    held_out = crops.fold.astype(str) == name
    train_crops = crops[~held_out & crops.found].reset_index(drop=True)
    if train_crops.label.nunique() < 2:
        raise UserError(f"fold {name} has no crops with a face of one of the classes to train on: see extract's counts")
    if name != "full" and crops[held_out].label.nunique() < 2:
        raise UserError(f"fold {name} has no crops of one of the classes to validate on: ask for fewer folds")
    folder = layout.fold_folder(cfg.paths.runs, cfg.run, name)
    return Fold(name, folder, train_crops, crops[held_out].reset_index(drop=True), made_from, world)


def _fit(cfg: Config, fold: Fold, precision: Precision) -> None:
    """Every epoch that is still to do."""
    from deepfake.learn.dataset import train_loader
    from deepfake.learn.trainer import Trainer

    detector, recipe = build_model(cfg), build_recipe(cfg)
    data = training_data(cfg, fold.train_crops, detector.spec)
    batches = training_batches(cfg, fold.train_crops, fold.world)
    steps = [batches.steps(epoch) for epoch in range(recipe.epochs)]
    trainer = Trainer(
        detector,
        recipe,
        steps_of_epochs=steps,
        precision=precision,
        world=fold.world,
        say=lambda message: say("train", f"fold {fold.name}: {message}"),
    )
    _resume(fold, trainer)
    loader = train_loader(data, batches, num_workers=_loader_workers(cfg))
    done = sum(steps[: trainer.epoch]) + trainer.step
    with _board(fold, data, batches) as board, progress(sum(steps), f"fold {fold.name}", "steps", done=done) as bar:

        def on_step(_: int) -> None:
            bar.update()
            _save_if_due(cfg, fold, trainer)

        while len(fold.history) < recipe.epochs:
            batches.epoch, batches.start = trainer.epoch, trainer.step
            began, epoch = time.perf_counter(), trainer.epoch
            with _naming_media(fold.name, epoch, fold.train_crops):
                figures = trainer.train_epoch(loader, on_step=on_step)
            record = _training_record(trainer, figures, epoch, time.perf_counter() - began)
            began = time.perf_counter()
            with _naming_media(fold.name, epoch, fold.val_crops):
                record |= _validate(cfg, fold, trainer)
                record |= {"validation_s": round(time.perf_counter() - began, 2)}
                _keep(cfg, fold, trainer, record, board)


def _training_record(trainer: Trainer, figures: EpochFigures, epoch: int, seconds: float) -> dict[str, float | str]:
    return {
        "epoch": epoch,
        "trains": trainer.recipe.phases[trainer.phase_number].trains,
        "lr": figures.lr,
        "train_loss": figures.loss,
        "images_per_s": round(figures.crops_per_s, 2),
        "waited": round(figures.waited, 4),
        "train_s": round(seconds, 2),
    }


def _loader_workers(cfg: Config) -> int:
    return loader_workers(cfg.num_workers, processes=cfg.gpus)


@contextmanager
def _naming_media(fold: str, epoch: int, crops: pd.DataFrame) -> Iterator[None]:
    from deepfake.learn.engine import NonFiniteError

    try:
        yield
    except NonFiniteError as error:
        media = f" ({listed(crops.media_id.iloc[error.rows].unique(), most=256)})" if error.rows else ""
        raise UserError(
            f"fold {fold}, epoch {epoch}: {error}{media}. What was kept before stays; try a lower optim.lr or an "
            f"optim.clip_norm under another name=…"
        ) from error


@contextmanager
def _board(fold: Fold, data: CropDataset, batches: EpochBatches) -> Iterator[Board | None]:
    """The fold's TensorBoard, of the process that writes; it begins with crops as the model is shown them."""
    import torch

    from deepfake.learn.board import Board

    if not fold.world.leads:
        yield None
        return
    board = Board(layout.tensorboard_folder(fold.folder), first_epoch=len(fold.history))
    batches.epoch = batches.start = 0
    shown = next(iter(batches))[:16]
    board.crops(torch.stack([data[key][0] for key in shown]))
    try:
        yield board
    finally:
        board.close()


def _predict(cfg: Config, fold: Fold, detector: Detector, precision: Precision, views: list[str]) -> pd.DataFrame:
    """Out-of-fold rows of a detector; each process scores its share, and all have the whole."""
    import numpy as np

    from deepfake.learn.dataset import ordered_loader
    from deepfake.learn.engine import predict
    from deepfake.score.pool import view_rows

    data = crop_data(cfg, fold.val_crops, detector.spec)
    count, size = len(data), fold.world.size
    rows = np.arange(count)[fold.world.rank :: size]
    loader = ordered_loader(data, batch_size=cfg.infer.batch_size, num_workers=_loader_workers(cfg), rows=rows)
    parts = fold.world.gather(predict(detector, loader, views=views, precision=precision))
    logits = np.empty((count, len(views)), np.float32)
    for rank, part in enumerate(parts):
        logits[rank::size] = part
    return view_rows(fold.val_crops, logits, views)[list(OOF.columns)]


def _validate(cfg: Config, fold: Fold, trainer: Trainer) -> dict[str, float]:
    """Metrics of the held-out media, without test-time views; empty for fold=full."""
    if not len(fold.val_crops):
        return {}
    fold.world.share_buffers(trainer.detector)
    fold.world.share_buffers(trainer.result)
    return score_rows(_predict(cfg, fold, trainer.result, trainer.precision, ["identity"]))


def _resume(fold: Fold, trainer: Trainer) -> None:
    """Go on from last.pt, where there is one. UserError where the best weights, which are not in it, are lost, or where
    processes that train together do not see the same last.pt.
    """
    from deepfake.learn.checkpoint import load_state
    from deepfake.learn.facts import read_facts

    path = layout.last_checkpoint(fold.folder)
    state, best = load_state(path) if path.is_file() else None, layout.best_weights(fold.folder)
    if state is not None and state["best"] and not best.is_file():
        raise UserError(f"{best} is lost, and {path} lacks it: put it back, or remove {path} to train from the start")
    if state is None:
        count, spec = fold.train_crops.media_id.nunique(), trainer.detector.spec
        what = f"{spec.name} at {spec.image_size} px on {trainer.precision.device}"
        say("train", f"fold {fold.name}: {len(fold.train_crops)} crops of {count} media, {what}")
    else:
        trainer.load_state(state["trainer"])
        fold.history, fold.best = state["history"], state["best"]
        if fold.best:
            fold.kept_epoch = read_facts(best)["metrics"]["epoch"]
        step = f", step {trainer.step}" if trainer.step else ""
        say("train", f"fold {fold.name}: going on after epoch {len(fold.history)} of {trainer.recipe.epochs}{step}")
    if len(set(fold.world.gather((trainer.epoch, trainer.step)))) > 1:
        raise UserError(f"machines that train together need one folder {fold.folder}, on a disk that they share")
    fold.saved_s = time.monotonic()


def _save_if_due(cfg: Config, fold: Fold, trainer: Trainer) -> None:
    if time.monotonic() - fold.saved_s >= 60 * cfg.train.save_minutes:
        _save(fold, trainer)


def _save(fold: Fold, trainer: Trainer) -> None:
    """last.pt, whole or not at all: all that is needed to go on from here."""
    from deepfake.learn.checkpoint import save_state

    if fold.world.leads:
        state = {"trainer": trainer.state(), "history": fold.history, "best": fold.best}
        save_state(layout.last_checkpoint(fold.folder), state)
    fold.saved_s = time.monotonic()


def _keep(cfg: Config, fold: Fold, trainer: Trainer, record: dict, board: Board | None) -> None:
    """After an epoch: best weights where it is the best (or the last, without validation), metrics, then last.pt."""
    from deepfake.score.metrics import is_better

    fold.history.append(record)
    metric, last = cfg.train.metric, len(fold.history) == trainer.recipe.epochs
    best_so_far = None if fold.best is None else fold.best[metric]
    best = is_better(metric, record[metric], best_so_far) if metric in record else last
    if best or record["epoch"] == fold.kept_epoch:  # a kill came between its weights and last.pt
        fold.best, best = record, True
    if board is None:
        return
    if best:
        _save_best(cfg, fold, trainer.result)
    with replacing(layout.metrics_log(fold.folder)) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in fold.history))
    board.figures(record, record["epoch"])
    _save(fold, trainer)
    say("train", _epoch_line(fold, trainer.recipe, record, best))


def _epoch_line(fold: Fold, recipe: Recipe, record: dict, best: bool) -> str:
    """One line an epoch for people; * marks the best so far."""
    parts = [f"loss {record['train_loss']:.4f}"]
    if "auc" in record:
        parts += [f"AUC {record['auc']:.4f} (frames {record['frame_auc']:.4f})", f"log loss {record['log_loss']:.4f}"]
        parts += [f"accuracy {record['accuracy']:.4f}"]
    parts += [f"{record['images_per_s']:.1f} images/s", f"{record['waited']:.0%} waiting for data"]
    seconds = record["train_s"] + record["validation_s"]
    phase = f" ({record['trains']})" if len(recipe.phases) > 1 else ""
    where = f"fold {fold.name} epoch {len(fold.history)}/{recipe.epochs}{phase}"
    return f"{where}: {', '.join(parts)}, {seconds:.0f} s{' *' if best else ''}"


def _save_best(cfg: Config, fold: Fold, detector: Detector) -> None:
    from deepfake.learn.checkpoint import save_detector
    from deepfake.score.fallback import prior_logit

    labels = fold.train_crops.groupby("media_id").label.first()
    facts = {
        "dataset": cfg.dataset,
        "fold": fold.name,
        "metrics": fold.best,
        "prior_logit": prior_logit(labels),
        "config": resolved(cfg),
        "folds_sha256": fold.made_from["inputs"]["folds"],
        "git_commit": git_commit(),
    }
    save_detector(layout.best_weights(fold.folder), detector, facts)


def _write_oof(cfg: Config, fold: Fold, precision: Precision) -> None:
    from deepfake.learn.checkpoint import load_detector

    fold.world.gather(None)  # nobody reads the best weights before they are written
    detector = precision.place(load_detector(layout.best_weights(fold.folder)))
    oof = _predict(cfg, fold, detector, precision, scored_views(cfg))
    if fold.world.leads:
        provenance = Provenance("train", fold.made_from["config"], fold.made_from["inputs"])
        OOF.write(oof, layout.oof_table(fold.folder), provenance)
