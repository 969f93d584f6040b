"""Crops on disk → uint8 tensors, and batches of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from deepfake.errors import UserError
from deepfake.forgery.damage import damage, rescaled
from deepfake.learn.augment import Augment, erase_half, erase_part
from deepfake.learn.forging import Forging
from deepfake.learn.sampling import EpochBatches, Key
from deepfake.learn.windows import packed, random_window
from deepfake.learn.windows import windows as windows_of

PREFETCH = 4  # batches that each worker has ready: decoding times differ


def load_crop(path: Path, image_size: int, interpolation: str, **given: Any) -> np.ndarray:
    """A crop from disk as the model sees it; see prepare_crop. UserError when the file is missing or broken."""
    return prepare_crop(read_crop(path), image_size, interpolation, **given)


def prepare_crop(
    crop_HWC: np.ndarray,
    image_size: int,
    interpolation: str,
    *,
    resize: bool = True,
    windows: int = 1,
    window_choice: str = "spread",
) -> np.ndarray:
    """A uint8 RGB crop of any size as the model sees it: (W, image_size, image_size, 3), W windows.

    The shorter side is resized to image_size as timm's evaluation does (Pillow, anti-aliased, the model's own
    interpolation), then windows are taken; a crop that already has the size is left as it is. Without `resize` the
    pixels are kept. One window is the middle; for more, see windows.windows.
    """
    if resize:
        crop_HWC = _resize_shorter(crop_HWC, image_size, interpolation)
    return windows_of(crop_HWC, image_size, windows, window_choice)


def read_crop(path: Path | str) -> np.ndarray:
    """A crop's pixels from disk, uint8 RGB (H, W, 3). UserError when the file is missing or broken."""
    crop_BGR = cv2.imread(str(path))
    if crop_BGR is None:
        raise UserError(f"{path} is missing or broken: remove faces.parquet and extract_journal.jsonl, extract again")
    return cv2.cvtColor(crop_BGR, cv2.COLOR_BGR2RGB)


def _resize_shorter(crop_HWC: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    from PIL import Image

    height, width = crop_HWC.shape[:2]
    if min(height, width) == size:
        return crop_HWC
    scale = size / min(height, width)
    new_size = (max(size, round(width * scale)), max(size, round(height * scale)))
    return np.asarray(Image.fromarray(crop_HWC).resize(new_size, Image.Resampling[interpolation.upper()]))


class CropDataset(Dataset):
    """(epoch, row) → (crop_CHW uint8, target float32, row). Random changes are a function of (seed, epoch, row) alone.

    labels: (N,) 0 or 1; None = all 0. image_size, interpolation, resize: as in prepare_crop; windows, window_choice as
    well, for `scored` alone: training sees one window. The rest is for training:

    random_crop: side, px, of a random window that is shown instead of the middle; 0 = off. The window is taken from the
    resized crop or, without resize, from the whole stored one.
    sizes: range of factors by which half of the crops are shrunk or enlarged before, by one of several filters, not
    below the window's side.
    augment: what is done last.
    twins: (N,) row of the real crop that a fake's crop is aligned with, or -1.
    pair_mixup: probability that a fake becomes λ * fake + (1 - λ) * twin, with λ from Beta(alpha, alpha), and its
    target λ.
    erase_parts, erase_half: probabilities of black patches; a crop has one of the two at most. landmarks: (N, 5, 2), px
    of the stored crop, say where the patches lie; NaN = unknown.
    forging: what is made of which crop. A forgery and its real have the same random changes.
    second_view: crops have 6 channels, the crop and the same one damaged once more (see forgery.damage).
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: np.ndarray | None = None,
        *,
        image_size: int,
        interpolation: str,
        resize: bool = True,
        windows: int = 1,
        window_choice: str = "spread",
        random_crop: int = 0,
        sizes: tuple[float, float] = (1.0, 1.0),
        augment: Augment | None = None,
        seed: int = 0,
        landmarks: np.ndarray | None = None,
        twins: np.ndarray | None = None,
        pair_mixup: float = 0.0,
        pair_mixup_alpha: float = 0.5,
        erase_parts: float = 0.0,
        erase_half: float = 0.0,
        forging: Forging | None = None,
        second_view: bool = False,
    ) -> None:
        if resize and random_crop > image_size:
            raise ValueError(f"random_crop={random_crop} of crops resized to {image_size} px; allowed: {image_size}")
        if pair_mixup and twins is None:
            raise ValueError(f"pair_mixup={pair_mixup} needs twins")
        if (erase_parts or erase_half) and landmarks is None:
            raise ValueError(f"erase_parts={erase_parts}, erase_half={erase_half} need landmarks")
        # Bytes in one array: a million Path objects would be copied into each worker, as counting references writes.
        self.paths = np.array([os.fsencode(path) for path in paths], dtype=bytes)
        self.labels = np.zeros(len(self.paths), np.float32) if labels is None else labels.astype(np.float32)
        self.image_size = image_size
        self.interpolation = interpolation
        self.resize = resize
        self.windows = windows
        self.window_choice = window_choice
        self.random_crop = random_crop
        self.sizes = sizes
        self.augment = augment
        self.seed = seed
        self.landmarks = landmarks
        self.twins = twins
        self.pair_mixup = pair_mixup
        self.pair_mixup_alpha = pair_mixup_alpha
        self.erase_parts = erase_parts
        self.erase_half = erase_half
        self.forging = forging
        self.second_view = second_view

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, np.float32, int]:
        epoch, row = key
        seed = (self.seed, epoch, self._real(row))
        rng = np.random.default_rng(seed)
        crop_HWC, target = self._mixed(row, rng)
        crop_HWC = self._forged(crop_HWC, row, np.random.default_rng((*seed, row)))
        crop_HWC = self._sized(self._erased(crop_HWC, row, rng), rng)
        if self.augment:
            crop_HWC = self.augment(crop_HWC, seed)
        if self.second_view:
            crop_HWC = np.concatenate([crop_HWC, damage(crop_HWC, np.random.default_rng((*seed, 0, 2)))], 2)
        return torch.from_numpy(np.ascontiguousarray(crop_HWC.transpose(2, 0, 1))), target, row

    def scored(self, row: int) -> list[torch.Tensor]:
        """images_NCHW uint8 of the crop's N windows; its target and row, N times. Nothing of them is random but what is
        forged, which is the same each time."""
        rng = np.random.default_rng((self.seed, 0, self._real(row), row))
        images_NHWC = prepare_crop(
            self._forged(self._stored(row), row, rng),
            self.image_size,
            self.interpolation,
            resize=self.resize,
            windows=self.windows,
            window_choice=self.window_choice,
        )
        images_NCHW = torch.from_numpy(np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2)))
        target, count = torch.tensor(self.labels[row]), len(images_NCHW)
        return [images_NCHW, target.expand(count), torch.tensor(row).expand(count)]

    def _stored(self, row: int) -> np.ndarray:
        return read_crop(os.fsdecode(self.paths[row]))

    def _mixed(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.float32]:
        """The stored crop and its target; both mixed with the twin's where there is one of that shape, by chance."""
        crop_HWC = self._stored(row)
        if self.pair_mixup and self.twins is not None and self.twins[row] >= 0 and rng.random() < self.pair_mixup:
            real_HWC, share = self._stored(self.twins[row]), rng.beta(self.pair_mixup_alpha, self.pair_mixup_alpha)
            if real_HWC.shape == crop_HWC.shape:
                return cv2.addWeighted(crop_HWC, share, real_HWC, 1 - share, 0), np.float32(share)
        return crop_HWC, self.labels[row]

    def _real(self, row: int) -> int:
        return row if self.forging is None else int(self.forging.reals[row])

    def _forged(self, crop_HWC: np.ndarray, row: int, rng: np.random.Generator) -> np.ndarray:
        return crop_HWC if self.forging is None else self.forging.forged(crop_HWC, row, self._stored, rng)

    def _erased(self, crop_HWC: np.ndarray, row: int, rng: np.random.Generator) -> np.ndarray:
        draw = rng.random()  # one for both, so that no crop loses a part and then half of what is left
        if self.landmarks is None:
            return crop_HWC
        if draw < self.erase_parts:
            return erase_part(crop_HWC, self.landmarks[row], rng)
        if draw >= 1 - self.erase_half:
            return erase_half(crop_HWC, self.landmarks[row], rng)
        return crop_HWC

    def _sized(self, crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.resize:
            crop_HWC = _resize_shorter(crop_HWC, self.image_size, self.interpolation)
        if self.sizes != (1.0, 1.0) and rng.random() < 0.5:
            factor = float(np.exp(rng.uniform(*np.log(self.sizes))))
            crop_HWC = rescaled(crop_HWC, factor, rng, least=self.random_crop or self.image_size)
        if self.random_crop:
            return random_window(crop_HWC, self.random_crop, rng)
        return windows_of(crop_HWC, self.image_size)[0]


def train_loader(data: CropDataset, batches: EpochBatches, num_workers: int) -> DataLoader:
    """The batches of the epoch that `batches` says when the iteration begins."""
    return _loader(data, num_workers, batch_sampler=batches)


def ordered_loader(
    data: CropDataset, *, batch_size: int, num_workers: int, rows: Iterable[int] | None = None
) -> Iterator[list[torch.Tensor]]:
    """Every row once, in order; or these rows: (images_NCHW uint8, targets (N,), rows (N,)) as a detector scores them.

    A crop's windows follow one another, and may lie in two batches. A batch has batch_size images; the last may have
    fewer.
    """
    chosen = range(len(data)) if rows is None else [int(row) for row in rows]
    crops = max(1, batch_size // data.windows)  # what workers have ready holds no more than batch_size images each
    loader = _loader(_Scored(data), num_workers, sampler=chosen, batch_size=crops, collate_fn=_together)
    return packed(loader, batch_size)


class _Scored(Dataset):
    """row → its windows, target and row, as CropDataset.scored."""

    def __init__(self, data: CropDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> list[torch.Tensor]:
        return self.data.scored(row)


def _together(crops: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.cat(parts) for parts in zip(*crops, strict=True)]


def _loader(data: Dataset, num_workers: int, **batches: Any) -> DataLoader:
    if num_workers:  # a forked worker hangs when it touches threads that OpenCV had in its parent
        cv2.setNumThreads(1)
    return DataLoader(
        data,
        num_workers=num_workers,
        generator=torch.Generator(),  # the loader's own seeds, which nothing uses, must not move the global stream
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        prefetch_factor=PREFETCH if num_workers else None,
        **batches,
    )
