"""One fold's training under way, and what is kept of it on disk."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.config import Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import replacing
from deepfake.knobs import resolved
from deepfake.provenance import git_commit
from deepfake.workspace.run import Fold

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.board import Board
    from deepfake.learn.distributed import World
    from deepfake.learn.engine import Precision
    from deepfake.learn.models import Detector
    from deepfake.learn.recipe import Recipe
    from deepfake.learn.trainer import Trainer

Record = dict[str, Any]  # an epoch's figures, as in metrics.jsonl


@dataclass
class Work:
    """One fold's training under way."""

    cfg: Config
    fold: Fold
    folder: Path
    """The data set's, which the crops' paths are relative to."""
    train_crops: pd.DataFrame
    val_crops: pd.DataFrame
    unseen: list[str]
    """Methods, or origins of reals, that it trains without, by which epochs are chosen; empty = by all its media."""
    held_out: pd.DataFrame | None
    """The held-out table; None = it is validated by its media of the split."""
    prior_logit: float
    """Log-odds of fake among the media that were given to train on, whatever is made from them."""
    made_from: dict[str, Any]
    world: World
    precision: Precision
    history: list[Record] = field(default_factory=list)
    best: Record | None = None
    """The best epoch's record."""
    kept_epoch: int = -1
    """Whose weights lay on the disk when this process began."""
    saved_s: float = 0.0
    """When last.pt was written, by the monotonic clock."""

    @property
    def name(self) -> str:
        return self.fold.name


def resume(work: Work, trainer: Trainer) -> None:
    """Go on from last.pt, where there is one. UserError where the best weights, which are not in it, are lost, or where
    processes that train together do not see the same last.pt.
    """
    from deepfake.forgery.damage import missing_encoders
    from deepfake.learn.checkpoint import load_state
    from deepfake.learn.metadata import read_metadata

    path, weights = work.fold.last_path, work.fold.weights
    state = load_state(path) if path.is_file() else None
    if state is not None and state["best"] and not weights.is_file():
        raise UserError(
            f"{weights} is lost, and {path} lacks it: put it back, or remove {path} to train from the start"
        )
    if state is None:
        count, spec = work.train_crops.media_id.nunique(), trainer.detector.spec
        sees = "" if spec.front == "rgb" else f" of {spec.front}"
        what = f"{spec.name} at {spec.image_size} px{sees} on {trainer.precision.device}"
        if work.unseen:
            say("train", f"fold {work.name}: trained without {', '.join(work.unseen)}; epochs are scored by these")
        if work.cfg.augment.damage and (lost := missing_encoders()):
            say("train", f"augment.damage without {', '.join(lost)}: this PyAV has no such encoder")
        forged = (work.train_crops.forge != "").sum()
        made = f", {forged} forged as it goes" if forged else ""
        if work.held_out is not None and work.held_out.made_from.notna().any():
            fakes = work.held_out.made_from.notna().sum()
            say(
                "train",
                f"fold {work.name}: no fake is given: validation is by its reals and {fakes} fakes made of them",
            )
        say("train", f"fold {work.name}: {len(work.train_crops)} crops of {count} media{made}, {what}")
    else:
        trainer.load_state(state["trainer"])
        work.history, work.best = state["history"], state["best"]
        if work.best:
            work.kept_epoch = read_metadata(weights)["metrics"]["epoch"]
        step = f", step {trainer.step}" if trainer.step else ""
        say("train", f"fold {work.name}: going on after epoch {len(work.history)} of {trainer.recipe.epochs}{step}")
    if len(set(work.world.gather((trainer.epoch, trainer.step)))) > 1:
        raise UserError(f"machines that train together need one folder {work.fold.folder}, on a disk that they share")
    work.saved_s = time.monotonic()


def save_if_due(work: Work, trainer: Trainer) -> None:
    """last.pt, every train.save_minutes."""
    if time.monotonic() - work.saved_s >= 60 * work.cfg.train.save_minutes:
        save(work, trainer)


def save(work: Work, trainer: Trainer) -> None:
    """last.pt, whole or not at all: all that is needed to go on from here."""
    from deepfake.learn.checkpoint import save_state

    if work.world.leads:
        state = {"trainer": trainer.state(), "history": work.history, "best": work.best}
        save_state(work.fold.last_path, state)
    work.saved_s = time.monotonic()


def keep(work: Work, trainer: Trainer, record: Record, board: Board | None) -> None:
    """After an epoch: best weights where it is the best (or the last, without validation), metrics, then last.pt."""
    from deepfake.score.metrics import is_better

    work.history.append(record)
    metric, is_last = work.cfg.train.metric, len(work.history) == trainer.recipe.epochs
    best_so_far = None if work.best is None else work.best[metric]
    is_best = is_better(metric, record[metric], best_so_far) if metric in record else is_last
    if is_best or record["epoch"] == work.kept_epoch:  # a kill came between its weights and last.pt
        work.best, is_best = record, True
    if board is None:
        return
    if is_best:
        _save_best(work, trainer.result)
    with replacing(work.fold.metrics_path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in work.history))
    board.figures(record, record["epoch"])
    save(work, trainer)
    say("train", _epoch_line(work, trainer.recipe, record, is_best=is_best))


def _epoch_line(work: Work, recipe: Recipe, record: Record, *, is_best: bool) -> str:
    """One line an epoch for people; * marks the best so far."""
    parts = [f"loss {record['train_loss']:.4f}"]
    if "auc" in record:
        parts += [f"AUC {record['auc']:.4f} (frames {record['frame_auc']:.4f})", f"log loss {record['log_loss']:.4f}"]
        parts += [f"accuracy {record['accuracy']:.4f}"]
    parts += [f"{record['images_per_s']:.1f} images/s", f"{record['waited']:.0%} waiting for data"]
    seconds = record["train_s"] + record["validation_s"]
    phase = f" ({record['trains']})" if len(recipe.phases) > 1 else ""
    where = f"fold {work.name} epoch {len(work.history)}/{recipe.epochs}{phase}"
    return f"{where}: {', '.join(parts)}, {seconds:.0f} s{' *' if is_best else ''}"


def _save_best(work: Work, detector: Detector) -> None:
    from deepfake.learn.checkpoint import save_detector

    metadata = {
        "dataset": work.cfg.dataset,
        "fold": work.name,
        "metrics": work.best,
        "prior_logit": work.prior_logit,
        "config": resolved(work.cfg),
        "folds_sha256": work.made_from["inputs"]["folds"],
        "git_commit": git_commit(),
    }
    save_detector(work.fold.weights, detector, metadata)
