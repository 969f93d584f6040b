"""What a trained fold has never met the like of: its kept weights learn how far their own crops reach."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deepfake.commands.train.setup import validation_data
from deepfake.commands.train.work import Work
from deepfake.console import progress, say
from deepfake.machine import loader_workers

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from deepfake.learn.models import Detector

TRAINED, HELD_OUT = 4000, 1000  # crops at most that are looked at; more say the same


def learn_doubt(work: Work) -> None:
    """The kept weights with their familiarity, by train.doubt; nothing where it is off or they have one already."""
    from deepfake.learn.checkpoint import MADE, load_detector, save_detector
    from deepfake.learn.familiarity import fit_familiarity
    from deepfake.learn.metadata import read_metadata

    if not work.cfg.train.doubt or not work.world.leads:
        return
    detector = work.precision.place(load_detector(work.fold.weights))
    if detector.familiarity is not None:
        return
    stages = _stages(work, detector)
    trained, labels = _looks(work, detector, work.train_crops, stages, most=TRAINED)
    held_out, _ = _looks(work, detector, work.val_crops, stages, most=HELD_OUT)
    detector.familiarity = fit_familiarity(stages, trained, labels, held_out, work.cfg.train.doubt)
    metadata = {key: value for key, value in read_metadata(work.fold.weights).items() if key not in MADE}
    save_detector(work.fold.weights, detector, metadata)
    say("train", f"fold {work.name}: logits shrink beyond a distance of {float(detector.familiarity.reach):.1f}")


def _stages(work: Work, detector: Detector) -> list[int]:
    import torch

    from deepfake.learn.familiarity import middle_stages
    from deepfake.learn.golden import golden_images

    with torch.inference_mode():
        images_NCHW = work.precision.send(golden_images(detector.spec.image_size)[:1])
        return middle_stages(detector.eval().backbone, detector.front(images_NCHW))


def _looks(
    work: Work, detector: Detector, crops: pd.DataFrame, stages: list[int], *, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of `most` crops, evenly from the table, as validation sees them, their first window alone: what the detector's
    maps see, (N, D) on the CPU, and labels (N,)."""
    import torch

    from deepfake.learn.data import ordered_loader
    from deepfake.learn.familiarity import looked_at

    cfg, spec = work.cfg, replace(detector.spec, windows=1)
    data = validation_data(cfg.crop, work.folder, crops, spec, seed=cfg.seed)
    rows = range(0, len(crops), max(1, -(-len(crops) // most)))
    parts, labels = [torch.empty(0, 0)] * (not rows), [torch.empty(0)] * (not rows)
    workers = loader_workers(cfg.num_workers, processes=1)
    batches = ordered_loader(data, batch_size=cfg.infer.batch_size, num_workers=workers, rows=rows)
    with torch.inference_mode(), progress(len(rows), f"fold {work.name}: its reach", "crops") as bar:
        for images_NCHW, targets, _ in batches:
            with work.precision.autocast():
                inputs_NCHW = detector.front(work.precision.send(images_NCHW))
                parts.append(looked_at(detector.backbone, inputs_NCHW, stages)[1].cpu())
            labels.append(targets)
            bar.update(len(targets))
    return torch.cat(parts), torch.cat(labels)
