"""train: faces and folds → a model for each fold, and its out-of-fold logits."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import Config, resolved, shaping
from deepfake.errors import UserError
from deepfake.stages.common import (
    check_crops,
    check_extracted,
    is_finished,
    listed,
    loader_workers,
    progress,
    read_run_config,
    say,
    trained_folds,
)
from deepfake.tables import (
    FACES,
    FOLDS,
    OOF,
    Provenance,
    differences,
    git_commit,
    replacing,
    rows_digest,
    sha256,
    write_json,
)

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.dataset import CropDataset
    from deepfake.learn.engine import Precision
    from deepfake.learn.models import Detector

SHAPING = ("crop", "extract", "model", "augment", "optim", "train", "seed")


def check(cfg: Config) -> None:
    """UserError for all that can be known to be wrong before crops are there: crops of other settings, a fold that
    does not exist, another training under the same name, a model or weights that cannot be had."""
    check_crops(cfg)
    _chosen_folds(cfg)
    _check_same_run(cfg)
    if not layout.faces_table(cfg.paths.data, cfg.dataset).is_file():
        _build_detector(cfg)


def run(cfg: Config) -> None:
    """Train cfg.fold (a number, all, or full) of the run; what is finished is left alone, what was cut off goes on."""
    check(cfg)
    todo = []
    for fold in _chosen_folds(cfg):
        folder = layout.fold_folder(cfg.paths.runs, cfg.run, fold)
        if is_finished(folder):
            say("train", f"up to date: {folder}")
        else:
            todo.append(fold)
    if todo:
        crops, made_from = _labelled_crops(cfg), _made_from(cfg)
        for fold in todo:
            _train_fold(cfg, crops, fold, made_from)
    _report_run(cfg)


def _made_from(cfg: Config) -> dict[str, Any]:
    """What shapes a training: settings, starting weights, the folds, and the crops of their media (others may come
    and go)."""
    folds_path = layout.folds_table(cfg.paths.folds, cfg.dataset)
    faces_path = layout.faces_table(cfg.paths.data, cfg.dataset)
    inputs = {"folds": sha256(folds_path)}
    if cfg.model.weights and Path(cfg.model.weights).is_file():
        inputs["weights"] = sha256(Path(cfg.model.weights))
    if faces_path.is_file():
        faces = FACES.read(faces_path)
        inputs["faces"] = rows_digest(faces[faces.media_id.isin(FOLDS.read(folds_path).media_id)])
    return {"config": shaping(cfg, *SHAPING), "inputs": inputs}


def _chosen_folds(cfg: Config) -> list[str]:
    where = layout.folds_table(cfg.paths.folds, cfg.dataset)
    there = [str(number) for number in sorted(FOLDS.read(where).fold.unique())]
    if cfg.fold == "all":
        return there
    if cfg.fold not in ("full", *there):
        raise UserError(f"fold={cfg.fold} is not in {where}; allowed: {', '.join(there)}, all, full")
    return [cfg.fold]


def _check_same_run(cfg: Config) -> None:
    """UserError when a fold of the run, chosen or not, comes of other settings, folds or crops.

    Nothing is thrown away, and out-of-fold logits of different splits are never pooled.
    """
    made_from = json.loads(json.dumps(_made_from(cfg)))
    for path in sorted(layout.run_folder(cfg.paths.runs, cfg.run).glob("*/config.json")):
        old = read_run_config(path.parent)["made_from"]
        changed = differences(old["config"], made_from["config"])
        changed += [f"other {name}" for name, value in made_from["inputs"].items() if value != old["inputs"].get(name)]
        if changed:
            raise UserError(
                f"{path.parent} was trained with other settings ({listed(changed)}): give this run a name of its own "
                f"with name=…, or remove {path.parent}"
            )


def _labelled_crops(cfg: Config) -> pd.DataFrame:
    """The faces table's rows of labelled training media, with label and fold."""
    folds = FOLDS.read(layout.folds_table(cfg.paths.folds, cfg.dataset))
    faces = FACES.read(layout.faces_table(cfg.paths.data, cfg.dataset))
    check_extracted(cfg, folds.media_id, faces)
    crops = faces.merge(folds[["media_id", "label", "fold"]], on="media_id")
    lost = folds[~folds.media_id.isin(crops.media_id)]
    if len(lost):
        say("train", f"{len(lost)} media of the folds have no crops, see extract_problems.csv: {listed(lost.media_id)}")
    return crops


@dataclasses.dataclass
class Fold:
    """One fold's training under way. history: a dict an epoch, as in metrics.jsonl; best: that of the best epoch."""

    name: str
    folder: Path
    detector: Detector
    precision: Precision
    train_crops: pd.DataFrame
    val_crops: pd.DataFrame
    history: list[dict] = dataclasses.field(default_factory=list)
    best: dict | None = None


def _train_fold(cfg: Config, crops: pd.DataFrame, name: str, made_from: dict[str, Any]) -> None:
    fold = _prepare(cfg, crops, name)
    write_json({"config": resolved(cfg), "made_from": made_from}, layout.run_config(fold.folder))
    _fit(cfg, fold)
    if len(fold.val_crops):
        _write_oof(cfg, fold, made_from)
    write_json({"epochs": len(fold.history), "best": fold.best}, layout.fold_done(fold.folder))


def _prepare(cfg: Config, crops: pd.DataFrame, name: str) -> Fold:
    """The fold's crops, and its detector on its device."""
    from deepfake.learn.engine import choose_precision

    held_out = crops.fold.astype(str) == name
    train_crops = crops[~held_out & crops.found].reset_index(drop=True)
    if train_crops.label.nunique() < 2:
        raise UserError(f"fold {name} has no crops with a face of one of the classes to train on: see extract's counts")
    if name != "full" and crops[held_out].label.nunique() < 2:
        raise UserError(f"fold {name} has no crops of one of the classes to validate on: ask for fewer folds")
    precision = choose_precision(cfg.train.amp)
    detector = _build_detector(cfg).to(precision.device)
    folder = layout.fold_folder(cfg.paths.runs, cfg.run, name)
    return Fold(name, folder, detector, precision, train_crops, crops[held_out].reset_index(drop=True))


def _build_detector(cfg: Config) -> Detector:
    """The model with its starting weights, the same for the same seed."""
    import torch

    from deepfake.learn.models import build_detector, load_weights, resolve_spec

    torch.manual_seed(cfg.seed)
    model = dataclasses.asdict(cfg.model)
    pretrained, weights = model.pop("pretrained"), model.pop("weights")
    spec = resolve_spec(model.pop("name"), **model)
    detector = build_detector(spec, pretrained=pretrained and not weights)
    if weights:
        load_weights(detector, Path(weights))
    return detector


def _fit(cfg: Config, fold: Fold) -> None:
    """Every epoch that is still to do; last.pt after each, best.safetensors where the metric is best."""
    from deepfake.learn.dataset import EpochSampler, steps_of_epochs, train_loader
    from deepfake.learn.engine import train_epoch
    from deepfake.learn.optim import build_optimizer, build_schedule

    media, labels = fold.train_crops.media_id.to_numpy(), fold.train_crops.label.to_numpy(int)
    sampler = EpochSampler(media, labels, frames_per_medium=cfg.train.frames_per_medium, seed=cfg.seed)
    data = _dataset(cfg, fold, fold.train_crops, augmented=True)
    loader = train_loader(data, sampler, batch_size=cfg.train.batch_size, num_workers=loader_workers(cfg.num_workers))
    optimizer = build_optimizer(fold.detector, lr=cfg.optim.lr, weight_decay=cfg.optim.weight_decay)
    steps = steps_of_epochs(sampler, epochs=cfg.train.epochs, batch_size=cfg.train.batch_size)
    schedule = build_schedule(optimizer, total_steps=sum(steps), warmup=cfg.optim.warmup)
    scaler = fold.precision.scaler()
    start = _resume(cfg, fold, optimizer=optimizer, schedule=schedule, scaler=scaler)
    with progress(sum(steps), f"fold {fold.name}", "steps", done=sum(steps[:start])) as bar:
        for epoch in range(start, cfg.train.epochs):
            sampler.epoch, began = epoch, time.perf_counter()
            with _naming_media(fold.name, epoch, fold.train_crops):
                loss = train_epoch(
                    fold.detector,
                    loader,
                    optimizer,
                    schedule,
                    scaler,
                    precision=fold.precision,
                    label_smoothing=cfg.train.label_smoothing,
                    on_step=lambda _: bar.update(),
                )
            record = {"epoch": epoch, "lr": optimizer.param_groups[0]["lr"], "train_loss": loss}
            with _naming_media(fold.name, epoch, fold.val_crops):
                record |= _validate(cfg, fold)
            record |= {"seconds": round(time.perf_counter() - began, 2)}
            _keep(cfg, fold, record, optimizer=optimizer, schedule=schedule, scaler=scaler)


@contextmanager
def _naming_media(fold: str, epoch: int, crops: pd.DataFrame) -> Iterator[None]:
    from deepfake.learn.engine import NonFiniteLossError

    try:
        yield
    except NonFiniteLossError as error:
        media = listed(crops.media_id.iloc[error.rows].unique())
        raise UserError(
            f"fold {fold}, epoch {epoch}: {error} ({media}). The last good state is kept; a lower optim.lr helps"
        ) from error


def _dataset(cfg: Config, fold: Fold, crops: pd.DataFrame, *, augmented: bool = False) -> CropDataset:
    from deepfake.learn.augment import build_augment
    from deepfake.learn.dataset import CropDataset

    folder = layout.dataset_folder(cfg.paths.data, cfg.dataset)
    return CropDataset(
        [folder / path for path in crops.path],
        crops.label.to_numpy(int),
        image_size=fold.detector.spec.image_size,
        interpolation=fold.detector.spec.interpolation,
        augment=build_augment(**dataclasses.asdict(cfg.augment)) if augmented else None,
        seed=cfg.seed,
    )


def _predict(cfg: Config, fold: Fold, views: list[str]) -> pd.DataFrame:
    """Out-of-fold rows of the fold's present weights."""
    from deepfake.learn.dataset import ordered_loader
    from deepfake.learn.engine import predict
    from deepfake.score.pool import view_rows

    data = _dataset(cfg, fold, fold.val_crops)
    loader = ordered_loader(data, batch_size=cfg.infer.batch_size, num_workers=loader_workers(cfg.num_workers))
    logits = predict(fold.detector, loader, views=views, precision=fold.precision)
    return view_rows(fold.val_crops, logits, views)[list(OOF.columns)]


def _validate(cfg: Config, fold: Fold) -> dict[str, float]:
    """Medium-level metrics of the held-out media, without test-time views; empty for fold=full."""
    if not len(fold.val_crops):
        return {}
    return score_oof(_predict(cfg, fold, ["identity"]))


def score_oof(oof: pd.DataFrame) -> dict[str, float]:
    """Medium-level metrics of out-of-fold rows, media without a face at their fallback, as in a submission."""
    from deepfake.score.metrics import binary_metrics
    from deepfake.score.pool import fallback_logit, medium_logits

    fallback, _ = fallback_logit(oof, prior=0.0)
    logits = medium_logits(oof, fallback)
    return binary_metrics(oof.groupby("media_id").label.first().loc[logits.index], logits)


def _resume(cfg: Config, fold: Fold, **parts: Any) -> int:
    """Load last.pt, where there is one, into the model and the parts; the number of finished epochs.

    From the start again where the best weights, which last.pt does not hold, are lost.
    """
    import torch

    from deepfake.learn.checkpoint import load_state

    path = layout.last_checkpoint(fold.folder)
    state = load_state(path) if path.is_file() else None
    if state is None or (state["best"] and not layout.best_weights(fold.folder).is_file()):
        count, spec = fold.train_crops.media_id.nunique(), fold.detector.spec
        what = f"{spec.name} at {spec.image_size} px on {fold.precision.device}"
        say("train", f"fold {fold.name}: {len(fold.train_crops)} crops of {count} media, {what}")
        return 0
    fold.detector.load_state_dict(state["model"])
    for name, part in parts.items():
        if state[name]:  # a scaler that is off has none, and one that is on starts anew
            part.load_state_dict(state[name])
    torch.set_rng_state(state["rng"])
    if len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    fold.history, fold.best = state["history"], state["best"]
    say("train", f"fold {fold.name}: going on after epoch {len(fold.history)} of {cfg.train.epochs}")
    return len(fold.history)


def _keep(cfg: Config, fold: Fold, record: dict, **parts: Any) -> None:
    """After an epoch: best weights where it is the best (or the last, without validation), metrics, then last.pt."""
    import torch

    from deepfake.learn.checkpoint import save_state
    from deepfake.score.metrics import is_better

    fold.history.append(record)
    metric, last = cfg.train.metric, len(fold.history) == cfg.train.epochs
    best_so_far = None if fold.best is None else fold.best[metric]
    if is_better(metric, record[metric], best_so_far) if metric in record else last:
        fold.best = record
        _save_best(cfg, fold)
    with replacing(layout.metrics_log(fold.folder)) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in fold.history))
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"model": fold.detector.state_dict(), "rng": torch.get_rng_state()}
    state |= {"cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
    save_state(layout.last_checkpoint(fold.folder), state | {"history": fold.history, "best": fold.best})
    shown = ", ".join(f"{key} {record[key]:.4f}" for key in ("train_loss", "auc", "log_loss") if key in record)
    mark = " *" if fold.best is record else ""
    say("train", f"fold {fold.name} epoch {len(fold.history)}/{cfg.train.epochs}: {shown}, {record['seconds']} s{mark}")


def _save_best(cfg: Config, fold: Fold) -> None:
    from deepfake.learn.checkpoint import save_detector
    from deepfake.score.pool import prior_logit

    labels = fold.train_crops.groupby("media_id").label.first()
    facts = {
        "dataset": cfg.dataset,
        "fold": fold.name,
        "metrics": fold.best,
        "prior_logit": prior_logit(labels),
        "git_commit": git_commit(),
    }
    path = layout.best_weights(fold.folder)
    save_detector(path, fold.detector.backbone.state_dict(), fold.detector.spec, facts)


def _write_oof(cfg: Config, fold: Fold, made_from: dict[str, Any]) -> None:
    from deepfake.learn.checkpoint import load_detector

    fold.detector = load_detector(layout.best_weights(fold.folder)).to(fold.precision.device)
    oof = _predict(cfg, fold, cfg.infer.tta)
    OOF.write(oof, layout.oof_table(fold.folder), Provenance("train", made_from["config"], made_from["inputs"]))


def _report_run(cfg: Config) -> None:
    """The out-of-fold score over every finished fold of the run, and the next command."""
    import pandas as pd

    folds = trained_folds(cfg.paths.runs, cfg.run)
    tables = [OOF.read(layout.oof_table(path)) for name, path in folds.items() if name != "full"]
    if tables:
        oof = pd.concat(tables)
        scores = score_oof(oof)
        say(
            "train",
            f"out-of-fold, {oof.media_id.nunique()} media of folds {', '.join(n for n in folds if n != 'full')}, "
            f"medium level: AUC {scores['auc']:.4f}, log loss {scores['log_loss']:.4f}, AP {scores['ap']:.4f}, "
            f"accuracy {scores['accuracy']:.4f}",
        )
    say("train", f"trained folds in {layout.run_folder(cfg.paths.runs, cfg.run)}; next: ./run_infer.sh name={cfg.run}")
