"""One fold's training: its epochs, its validation, and its out-of-fold logits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deepfake.commands.train.doubt import learn_doubt
from deepfake.commands.train.setup import build_model, build_recipe, training_batches, training_data, validation_data
from deepfake.commands.train.work import Record, Work, keep, resume, save_if_due
from deepfake.console import listed, progress, say
from deepfake.errors import UserError
from deepfake.files import write_json
from deepfake.knobs import resolved
from deepfake.machine import loader_workers
from deepfake.provenance import Provenance
from deepfake.settings import tta_of
from deepfake.tables import HELD_OUT, OOF
from deepfake.workspace.tta import scored_views

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.board import Board
    from deepfake.learn.data import CropDataset
    from deepfake.learn.models import Detector
    from deepfake.learn.sampling import EpochBatches
    from deepfake.learn.trainer import EpochFigures, Trainer


def train_fold(work: Work) -> None:
    """Train a fold to its end, from where it stands, and write all that it leaves behind."""
    if work.world.leads:
        write_json({"config": resolved(work.cfg), "made_from": work.made_from}, work.fold.config_path)
    _fit(work)
    learn_doubt(work)
    if len(work.val_crops):
        _write_oof(work)
    if work.world.leads:
        write_json({"epochs": len(work.history), "best": work.best}, work.fold.done_path)
    work.world.gather(None)  # nobody looks at what the fold leaves behind before it is there


def score_fold(work: Work) -> None:
    """Write out-of-fold logits of a trained fold anew, by the views that are asked for now."""
    views = ", ".join(scored_views(tta_of(work.cfg)))
    say("train", f"fold {work.name}: trained; out-of-fold logits anew, by {views}")
    _write_oof(work)
    work.world.gather(None)


def score_rows(oof: pd.DataFrame, *, reals_alone: bool = False) -> dict[str, float]:
    """Metrics of out-of-fold rows: of media, those without a face at their fallback as in a submission; and, by names
    that begin with frame_, of single faces. reals_alone: the fakes among them were made for it, as none was given."""
    from deepfake.score.fallback import fallbacks, labels_and_faceless, medium_logits, prior_logit
    from deepfake.score.metrics import binary_metrics

    labels, faceless = labels_and_faceless(oof, reals_alone=reals_alone)
    prior = 0.0 if reals_alone else prior_logit(labels.to_numpy(int))
    logits = medium_logits(oof, fallbacks(prior, faceless.to_numpy(int))["no_face"]["logit"])
    scores = binary_metrics(labels.loc[logits.index].to_numpy(int), logits.to_numpy())
    faces = oof[oof.found]
    of_faces = binary_metrics(faces.label.to_numpy(int), faces.logit.to_numpy())
    return scores | {f"frame_{name}": value for name, value in of_faces.items()}


def _fit(work: Work) -> None:
    """Every epoch that is still to do."""
    from deepfake.learn.data import train_loader
    from deepfake.learn.trainer import Trainer

    cfg = work.cfg
    detector, recipe = build_model(cfg), build_recipe(cfg)
    data = training_data(cfg, work.folder, work.train_crops, detector.spec)
    batches = training_batches(cfg, work.train_crops, work.world)
    steps = [batches.steps(epoch) for epoch in range(recipe.epochs)]
    trainer = Trainer(
        detector,
        recipe,
        steps_of_epochs=steps,
        precision=work.precision,
        world=work.world,
        say=lambda message: say("train", f"fold {work.name}: {message}"),
    )
    resume(work, trainer)
    loader = train_loader(data, batches, num_workers=_loader_workers(work))
    done = sum(steps[: trainer.epoch]) + trainer.step
    with _board(work, data, batches) as board, progress(sum(steps), f"fold {work.name}", "steps", done=done) as bar:

        def on_step(_: int) -> None:
            bar.update()
            save_if_due(work, trainer)

        while len(work.history) < recipe.epochs:
            batches.epoch, batches.start = trainer.epoch, trainer.step
            began, epoch = time.perf_counter(), trainer.epoch
            with _naming_media(work.name, epoch, work.train_crops):
                figures = trainer.train_epoch(loader, on_step=on_step)
            record = _training_record(trainer, figures, epoch, time.perf_counter() - began)
            began = time.perf_counter()
            with _naming_media(work.name, epoch, work.val_crops):
                record |= _validate(work, trainer)
                record |= {"validation_s": round(time.perf_counter() - began, 2)}
                keep(work, trainer, record, board)


def _training_record(trainer: Trainer, figures: EpochFigures, epoch: int, seconds: float) -> Record:
    return {
        "epoch": epoch,
        "trains": trainer.recipe.phases[trainer.phase_number].trains,
        "lr": figures.lr,
        "train_loss": figures.loss,
        "images_per_s": round(figures.crops_per_s, 2),
        "waited": round(figures.waited, 4),
        "train_s": round(seconds, 2),
    }


def _loader_workers(work: Work) -> int:
    return loader_workers(work.cfg.num_workers, processes=work.cfg.gpus)


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
def _board(work: Work, data: CropDataset, batches: EpochBatches) -> Iterator[Board | None]:
    """The fold's TensorBoard, of the process that writes; it begins with crops as the model is shown them."""
    import torch

    from deepfake.learn.board import Board

    if not work.world.leads:
        yield None
        return
    board = Board(work.fold.tensorboard, first_epoch=len(work.history))
    batches.epoch = batches.start = 0
    shown = next(iter(batches))[:16]
    board.crops(torch.stack([data[key][0][:3] for key in shown]))
    try:
        yield board
    finally:
        board.close()


def _predict(work: Work, detector: Detector, views: list[str]) -> pd.DataFrame:
    """Out-of-fold rows of a detector; each process scores its share, and all have the whole."""
    import numpy as np

    from deepfake.learn.data import ordered_loader
    from deepfake.learn.engine import predict
    from deepfake.score.pool import view_rows

    cfg, world = work.cfg, work.world
    data = validation_data(cfg.crop, work.folder, work.val_crops, detector.spec, seed=cfg.seed)
    rows = np.arange(len(data))[world.rank :: world.size]
    loader = ordered_loader(data, batch_size=cfg.infer.batch_size, num_workers=_loader_workers(work), rows=rows)
    parts = world.gather(predict(detector, loader, views=views, precision=work.precision))
    logits = np.empty((len(data), len(views)), np.float32)
    for rank, part in enumerate(parts):
        logits[rank :: world.size] = part
    return view_rows(work.val_crops, logits, views)[list(OOF.columns)]


def _validate(work: Work, trainer: Trainer) -> dict[str, float]:
    """Metrics of the held-out media, without test-time views, of unseen ones alone where some are; empty for
    fold=full."""
    if not len(work.val_crops):
        return {}
    work.world.share_buffers(trainer.detector)
    work.world.share_buffers(trainer.result)
    oof, table = _predict(work, trainer.result, ["identity"]), work.held_out
    if table is not None and work.unseen:
        oof = oof[oof.media_id.isin(table.media_id[table.unseen])]
    return score_rows(oof, reals_alone=table is not None and bool(table.made_from.notna().any()))


def _write_oof(work: Work) -> None:
    from deepfake.learn.checkpoint import load_detector

    work.world.gather(None)  # nobody reads the best weights before they are written
    detector = work.precision.place(load_detector(work.fold.weights))
    oof = _predict(work, detector, scored_views(tta_of(work.cfg)))
    if work.world.leads:
        if work.held_out is not None:
            HELD_OUT.write(work.held_out, work.fold.held_out_path)
        provenance = Provenance("train", work.made_from["config"], work.made_from["inputs"])
        OOF.write(oof, work.fold.oof_path, provenance)
