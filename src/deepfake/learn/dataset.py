"""Crops on disk → uint8 tensors, and which of them an epoch shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfake.errors import UserError
from deepfake.learn.augment import Augment

Key = tuple[int, int]  # (epoch, row): the epoch travels with the index, so that workers can live on between epochs


def load_crop(path: Path, image_size: int, interpolation: str) -> np.ndarray:
    """A crop as the model sees it: (image_size, image_size, 3) uint8 RGB.

    The shorter side is resized to image_size as timm's evaluation does (Pillow, anti-aliased, the model's own
    interpolation) and the centre cut out; a crop that already has the size is left as it is.
    """
    from PIL import Image

    crop_BGR = cv2.imread(str(path))
    if crop_BGR is None:
        raise UserError(f"{path} is missing or broken: remove faces.parquet and extract_journal.jsonl, extract again")
    crop_HWC = crop_BGR[..., ::-1]
    height, width = crop_HWC.shape[:2]
    if min(height, width) != image_size:
        scale = image_size / min(height, width)
        new_size = (max(image_size, round(width * scale)), max(image_size, round(height * scale)))
        resample = Image.Resampling[interpolation.upper()]
        crop_HWC = np.asarray(Image.fromarray(crop_HWC).resize(new_size, resample))
    top, left = (crop_HWC.shape[0] - image_size) // 2, (crop_HWC.shape[1] - image_size) // 2
    return crop_HWC[top : top + image_size, left : left + image_size]


class CropDataset(Dataset):
    """(epoch, row) → (crop_CHW uint8, label float, row). Augmented by (seed, epoch, row) alone, whoever the worker."""

    def __init__(
        self,
        paths: Sequence[Path],
        labels: np.ndarray | None = None,
        *,
        image_size: int,
        interpolation: str,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.paths = list(paths)
        self.labels = np.zeros(len(self.paths), np.float32) if labels is None else labels.astype(np.float32)
        self.image_size = image_size
        self.interpolation = interpolation
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, float, int]:
        epoch, row = key
        crop_HWC = load_crop(self.paths[row], self.image_size, self.interpolation)
        if self.augment:
            crop_HWC = self.augment(crop_HWC, (self.seed, epoch, row))
        crop_CHW = torch.from_numpy(np.ascontiguousarray(crop_HWC.transpose(2, 0, 1)))
        return crop_CHW, self.labels[row], row


def draw_epoch(
    media: np.ndarray, labels: np.ndarray, *, frames_per_medium: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows of one epoch, shuffled: as many media of each class, up to `frames_per_medium` crops of each.

    media, labels: (N,) medium (any integers) and label of each row. The larger class is undersampled, anew each epoch.
    """
    names, first = np.unique(media, return_index=True)
    classes = [names[labels[first] == label] for label in (0, 1)]
    count = min(len(members) for members in classes)
    chosen = np.concatenate([rng.permutation(members)[:count] for members in classes])
    order = rng.permutation(len(media))
    order = order[np.isin(media[order], chosen)]
    starts = np.argsort(media[order], kind="stable")
    _, counts = np.unique(media[order], return_counts=True)
    rank = np.concatenate([np.arange(size) for size in counts])
    return rng.permutation(order[starts[rank < frames_per_medium]])


class EpochSampler(Sampler):
    """Keys of the epoch that `epoch` says; the same keys for the same seed and epoch. media: (N,) names."""

    def __init__(self, media: np.ndarray, labels: np.ndarray, *, frames_per_medium: int, seed: int) -> None:
        self.media = np.unique(media, return_inverse=True)[1]
        self.labels = labels
        self.frames_per_medium = frames_per_medium
        self.seed = seed
        self.epoch = 0

    def rows(self, epoch: int) -> np.ndarray:
        """Rows of an epoch, in order."""
        rng = np.random.default_rng((self.seed, epoch))
        return draw_epoch(self.media, self.labels, frames_per_medium=self.frames_per_medium, rng=rng)

    def __iter__(self) -> Iterator[Key]:
        return iter([(self.epoch, int(row)) for row in self.rows(self.epoch)])


def steps_of_epochs(sampler: EpochSampler, *, epochs: int, batch_size: int) -> list[int]:
    """Number of steps of each epoch: whole batches, at least one. Epochs differ, as media have more or fewer crops."""
    return [max(1, len(sampler.rows(epoch)) // batch_size) for epoch in range(epochs)]


class WholeBatches(Sampler):
    """Batches of the sampler's epoch; the last, smaller batch is dropped unless it is the only one.

    Batch norm cannot learn from a batch of one, and a small batch counts its crops more than the others do.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        keys = list(self.sampler)
        count = max(1, len(keys) // self.batch_size)
        return (keys[step * self.batch_size : (step + 1) * self.batch_size] for step in range(count))


def train_loader(data: CropDataset, sampler: EpochSampler, *, batch_size: int, num_workers: int) -> DataLoader:
    """Whole batches of the sampler's epoch."""
    return _loader(data, num_workers, batch_sampler=WholeBatches(sampler, batch_size))


def ordered_loader(data: CropDataset, *, batch_size: int, num_workers: int) -> DataLoader:
    """Every row once, in order."""
    return _loader(data, num_workers, sampler=[(0, row) for row in range(len(data))], batch_size=batch_size)


def _loader(data: CropDataset, num_workers: int, **batches: Any) -> DataLoader:
    if num_workers:  # a forked worker hangs when it touches threads that OpenCV had in its parent
        cv2.setNumThreads(1)
    return DataLoader(
        data,
        num_workers=num_workers,
        generator=torch.Generator(),  # the loader's own seeds, which nothing uses, must not move the global stream
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        **batches,
    )
