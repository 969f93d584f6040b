"""Square windows of a crop: which of them a detector sees, and how their logits become the crop's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch

Place = tuple[int, int]  # top, left of a window, px

# Shares of the room to the bottom and to the right, the order in which windows are taken: middle, corners, sides.
_SPREAD = [(0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1), (0, 0.5), (0.5, 0), (0.5, 1), (1, 0.5)]
CHOICES = ("spread", "texture")


def windows(crop_HWC: np.ndarray, size: int, count: int = 1, choice: str = "spread") -> np.ndarray:
    """(W, size, size, 3) of a crop (H, W, 3) uint8: `count` windows (1 to 9), fewer where there are no more.

    spread: the middle, then the corners, then the middles of the sides; they overlap where the crop is small, and none
    is given twice. texture: those of the most texture, the richest first, of as few windows, evenly spread, as cover
    the crop. What is smaller than a window is padded by reflection.
    """
    crop_HWC = _padded(crop_HWC, size)
    rows, columns = (side - size for side in crop_HWC.shape[:2])
    if choice == "spread":
        places = dict.fromkeys((int(rows * down), int(columns * right)) for down, right in _SPREAD[:count])
    else:
        places = dict.fromkeys(_richest(crop_HWC, size)[:count])
    return np.stack([crop_HWC[top : top + size, left : left + size] for top, left in places])


def random_window(crop_HWC: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3): a window at a place that rng draws; what is too small is padded by reflection."""
    crop_HWC = _padded(crop_HWC, size)
    top, left = rng.integers([side - size for side in crop_HWC.shape[:2]], endpoint=True)
    return crop_HWC[top : top + size, left : left + size]


def _padded(crop_HWC: np.ndarray, size: int) -> np.ndarray:
    missing = [max(0, size - side) for side in crop_HWC.shape[:2]]
    if not any(missing):
        return crop_HWC
    (above, left), (below, right) = ([n // 2 for n in missing], [n - n // 2 for n in missing])
    return cv2.copyMakeBorder(crop_HWC, above, below, left, right, cv2.BORDER_REFLECT_101)


def _richest(crop_HWC: np.ndarray, size: int) -> list[Place]:
    """Places of windows that cover the crop, by their mean difference between neighbouring pixels, largest first.

    The difference is of grey levels, along rows and columns, as patches are ranked by Zhong et al. 2023 (PatchCraft).
    """
    grey_HW = cv2.cvtColor(np.ascontiguousarray(crop_HWC), cv2.COLOR_RGB2GRAY)
    tops, lefts = (np.linspace(0, side - size, -(-side // size)).astype(int).tolist() for side in grey_HW.shape)
    places = [(top, left) for top in tops for left in lefts]
    if len(places) == 1:
        return places
    found = [_texture(grey_HW[top : top + size, left : left + size]) for top, left in places]
    return [places[number] for number in np.argsort(found, kind="stable")[::-1]]


def _texture(grey_HW: np.ndarray) -> float:
    along = cv2.absdiff(grey_HW[:, 1:], grey_HW[:, :-1])
    down = cv2.absdiff(grey_HW[1:], grey_HW[:-1])
    return cv2.mean(along)[0] + cv2.mean(down)[0]


def packed(parts: Iterable[list[torch.Tensor]], size: int) -> Iterator[list[torch.Tensor]]:
    """The same rows in the same order, `size` at a time. A part: tensors of as many rows; a full one is not copied."""
    held: list[torch.Tensor] = []
    for part in parts:
        held = [torch.cat(pair) for pair in zip(held, part, strict=True)] if held else list(part)
        while held and len(held[0]) >= size:
            yield [tensor[:size] for tensor in held]
            held = [tensor[size:] for tensor in held] if len(held[0]) > size else []
    if held:
        yield held


def mean_of_windows(logits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Logits (M, …) float32 of windows → (N, …) float32 of crops: means over neighbours that are of the same row.

    rows: (M,), whose window each one is. A crop with one window keeps its logit to the last bit.
    """
    if not len(rows):
        return logits
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    counts = np.diff(np.r_[starts, len(rows)]).reshape(-1, *[1] * (logits.ndim - 1))
    return (np.add.reduceat(logits.astype(np.float64), starts, axis=0) / counts).astype(np.float32)
