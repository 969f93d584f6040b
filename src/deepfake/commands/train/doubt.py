"""What a trained fold has never met the like of: its kept weights learn how far their own crops reach."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deepfake.commands.train.setup import validation_data
from deepfake.commands.train.work import Work
from deepfake.console import progress, say
from deepfake.machine import loader_workers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from deepfake.learn.models import Detector

TRAINED, HELD_OUT = 4000, 1000  # crops at most that are looked at; more say the same


def learn_doubt(work: Work) -> None:
    """The kept weights with their familiarity, by train.doubt; nothing where it is off or they have one already. Where
    there is nothing to measure by, it is said, and they stay as they are."""
    import numpy as np

    from deepfake.learn.checkpoint import MADE, load_detector, save_detector
    from deepfake.learn.familiarity import fit_familiarity
    from deepfake.learn.metadata import read_metadata

    if not work.cfg.train.doubt or not work.world.leads:
        return
    detector = work.precision.place(load_detector(work.fold.weights))
    if detector.familiarity is not None:
        return
    stages, crops = _stages(work, detector), work.train_crops
    own, others = np.flatnonzero(crops.found), np.flatnonzero(work.val_crops.found)
    if len(others):
        held_out, _ = _looks(work, detector, work.val_crops, stages, _some(others, HELD_OUT))
    else:  # half of the sources stand in for them; a forgery is of its real's half
        half = crops.source_id.factorize()[0][own] % 2
        held_out, _ = _looks(work, detector, crops, stages, _some(own[half == 1], HELD_OUT))
        own = own[half == 0]
    trained, labels = _looks(work, detector, crops, stages, _some(own, TRAINED))
    try:
        detector.familiarity = fit_familiarity(stages, trained, labels, held_out, work.cfg.train.doubt)
    except ValueError as error:  # the training is done and good: it is not lost for this
        say("train", f"fold {work.name}: WITHOUT train.doubt, {error}")
        return
    metadata = {key: value for key, value in read_metadata(work.fold.weights).items() if key not in MADE}
    save_detector(work.fold.weights, detector, metadata)
    say("train", f"fold {work.name}: logits shrink beyond a distance of {float(detector.familiarity.reach):.1f}")


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly from among them."""
    return rows[:: max(1, -(-len(rows) // most))]


def _stages(work: Work, detector: Detector) -> list[int]:
    import torch

    from deepfake.learn.familiarity import middle_stages
    from deepfake.learn.golden import golden_images

    with torch.inference_mode():
        images_NCHW = work.precision.send(golden_images(detector.spec.image_size)[:1])
        return middle_stages(detector.eval().backbone, detector.front(images_NCHW))


def _looks(
    work: Work, detector: Detector, crops: pd.DataFrame, stages: list[int], rows: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of these rows, as validation sees them, their first window alone: what the detector's maps see, (N, D) on the
    CPU, and labels (N,)."""
    import torch

    from deepfake.learn.data import ordered_loader
    from deepfake.learn.familiarity import looked_at

    cfg, spec = work.cfg, replace(detector.spec, windows=1)
    data = validation_data(cfg.crop, work.folder, crops, spec, seed=cfg.seed)
    parts, labels = [torch.empty(0, 0)], [torch.empty(0)]
    workers = loader_workers(cfg.num_workers, processes=1)
    batches = ordered_loader(data, batch_size=cfg.infer.batch_size, num_workers=workers, rows=rows)
    with torch.inference_mode(), progress(len(rows), f"fold {work.name}: its reach", "crops") as bar:
        for images_NCHW, targets, _ in batches:
            with work.precision.autocast():
                inputs_NCHW = detector.front(work.precision.send(images_NCHW))
                parts.append(looked_at(detector.backbone, inputs_NCHW, stages)[1].cpu())
            labels.append(targets)
            bar.update(len(targets))
    return torch.cat(parts[len(rows) > 0 :]), torch.cat(labels)
