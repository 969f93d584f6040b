"""train: faces and folds → a model for each fold, and its out-of-fold logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import AUTO_VIEWS, Config, shaping
from deepfake.errors import UserError
from deepfake.files import rows_digest, sha256
from deepfake.stages.common import (
    alone,
    check_crops,
    check_extracted,
    is_finished,
    listed,
    read_run_config,
    say,
    trained_folds,
)
from deepfake.stages.fit import score_fold, score_rows, train_fold
from deepfake.stages.setup import build_model, build_recipe, check_window
from deepfake.stages.views import kept_views, scored_views
from deepfake.tables import FACES, FOLDS, MEDIA, OOF, differences

if TYPE_CHECKING:
    import pandas as pd

SHAPING = ("crop", "extract", "model", "augment", "optim", "train", "seed")


def check(cfg: Config) -> None:
    """UserError for all that can be known to be wrong before crops are there: crops of other settings, a fold that
    does not exist, another training under the same name, a model or weights that cannot be had."""
    check_crops(cfg)
    if layout.blend_file(cfg.paths.runs, cfg.run).is_file():
        raise UserError(
            f"name={cfg.run} is a blend: give the run another name, or remove its folder in {cfg.paths.runs}"
        )
    _chosen_folds(cfg)
    _check_same_run(cfg)
    if cfg.train.compile and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("train.compile=true needs a C++ compiler (g++ or clang++), which is not there: leave it out")
    if not layout.faces_table(cfg.paths.data, cfg.dataset).is_file():
        _check_model(cfg)


def run(cfg: Config) -> None:
    """Train cfg.fold (a number, all, or full) of the run; what is finished is left alone, what was cut off goes on.

    A finished fold whose out-of-fold logits lack a view of infer.tta is scored again, not trained.
    """
    check(cfg)
    todo = []
    for fold in _chosen_folds(cfg):
        folder = layout.fold_folder(cfg.paths.runs, cfg.run, fold)
        if is_finished(folder) and _has_views(folder, scored_views(cfg)):
            say("train", f"up to date: {folder}")
        else:
            todo.append(fold)
    if todo:
        _train_folds(cfg, todo)
    _report_run(cfg)


def _has_views(folder: Path, views: list[str]) -> bool:
    """Whether a finished fold has out-of-fold logits of the views; fold=full never has any, and wants none."""
    return folder.name == "full" or set(views) <= set(OOF.read(layout.oof_table(folder)).view)


def _train_folds(cfg: Config, names: list[str]) -> None:
    """One after the other, by this process alone or together with those that torchrun started beside it."""
    from deepfake.learn.distributed import joined_world

    crops, made_from = _labelled_crops(cfg), _made_from(cfg)
    with joined_world() as world:
        for name in names:
            folder = layout.fold_folder(cfg.paths.runs, cfg.run, name)
            lock = layout.fold_lock(folder) if world.leads else None
            with alone(lock, f"another process is training {folder}: wait for it, or stop it"):
                work = score_fold if is_finished(folder) else train_fold
                work(cfg, crops, name, made_from, world)


def _check_model(cfg: Config) -> None:
    from deepfake.learn.trainer import check_phases

    detector = build_model(cfg)
    check_phases(detector.backbone, build_recipe(cfg))
    check_window(cfg, detector.spec)


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
    """The faces table's rows of labelled training media, with label, method, source_id and fold."""
    folds = FOLDS.read(layout.folds_table(cfg.paths.folds, cfg.dataset))
    faces = FACES.read(layout.faces_table(cfg.paths.data, cfg.dataset))
    check_extracted(cfg, folds.media_id, faces)
    media = MEDIA.read(layout.media_table(cfg.paths.data, cfg.dataset))[["media_id", "source_id"]]
    known = folds[["media_id", "label", "method", "fold"]].merge(media, on="media_id", how="left")
    known["source_id"] = known.source_id.fillna(known.media_id)
    known["method"] = known.method.fillna("")
    crops = faces.merge(known, on="media_id")
    lost = folds[~folds.media_id.isin(crops.media_id)]
    if len(lost):
        say("train", f"{len(lost)} media of the folds have no crops, see extract_problems.csv: {listed(lost.media_id)}")
    return crops


def _report_run(cfg: Config) -> None:
    """The out-of-fold score over every finished fold of the run, and the next command."""
    import pandas as pd

    folds = trained_folds(cfg.paths.runs, cfg.run)
    tables = [OOF.read(layout.oof_table(path)) for name, path in folds.items() if name != "full"]
    if tables:
        oof = pd.concat(tables)
        if cfg.infer.tta == AUTO_VIEWS:
            kept = kept_views(cfg, tables, FOLDS.read(layout.folds_table(cfg.paths.folds, cfg.dataset)))
            oof = oof[oof.view.isin(kept)]
        scores = score_rows(oof)
        say(
            "train",
            f"out-of-fold, {oof.media_id.nunique()} media of folds {', '.join(n for n in folds if n != 'full')}, "
            f"medium level: AUC {scores['auc']:.4f}, log loss {scores['log_loss']:.4f}, AP {scores['ap']:.4f}, "
            f"accuracy {scores['accuracy']:.4f}",
        )
    say("train", f"trained folds in {layout.run_folder(cfg.paths.runs, cfg.run)}; next: ./run_infer.sh name={cfg.run}")
