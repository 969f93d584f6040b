"""The models of an inference, side by side: a crop is prepared once for all models that want the same pixels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from deepfake.errors import UserError
from deepfake.learn.checkpoint import load_detector
from deepfake.learn.data import load_crop, prepare_crop
from deepfake.learn.engine import NonFiniteError, Precision
from deepfake.learn.models import Detector, ModelSpec
from deepfake.learn.views import view_logits
from deepfake.learn.windows import mean_of_windows, packed

Crop = TypeVar("Crop", Path, np.ndarray)

GPU_SHARE = 0.5  # of the free memory that weights may fill; activations need the rest


@dataclass(frozen=True)
class Preparation:
    """What makes two models see the same pixels: arguments of load_crop."""

    image_size: int
    interpolation: str
    resize: bool
    windows: int
    window_choice: str

    @classmethod
    def of(cls, spec: ModelSpec) -> Preparation:
        return cls(**{item.name: getattr(spec, item.name) for item in dataclasses.fields(cls)})


class Predictor:
    """Detectors loaded from weight files, in order. Callers that may ask for fewer of them give the strongest first.

    All of them lie in the GPU's memory if it holds them. Otherwise they take turns: as many as fit lie there, and the
    others wait in the main memory. compiled: by torch.compile. UserError as load_detector raises it.
    """

    def __init__(
        self,
        weights: Sequence[Path],
        precision: Precision,
        *,
        batch_size: int,
        num_threads: int,
        compiled: bool = False,
    ) -> None:
        self.detectors = [load_detector(path) for path in weights]
        self.precision = precision
        self.batch_size = batch_size
        self.threads = ThreadPoolExecutor(num_threads)
        if compiled:
            for detector in self.detectors:
                (detector.backbone if detector.familiarity is None else detector).compile()
        self.shares = _shares([_weight_bytes(detector) for detector in self.detectors], _free_bytes(precision))
        if len(self.shares) == 1:
            for detector in self.detectors:
                precision.place(detector)

    def score(self, crops: Sequence[Path], *, views: list[str], members: int) -> np.ndarray:
        """Logits (len(crops), members, len(views)), float32, of the first `members` detectors: means over windows.

        NonFiniteError where one is not finite, with the crop's number; UserError where a crop is broken, or a batch too
        large for the GPU.
        """
        return self._score(crops, load_crop, views, members)

    def score_arrays(self, images: Sequence[np.ndarray], *, views: list[str], members: int) -> np.ndarray:
        """As score, for crops that are uint8 RGB arrays (H, W, 3) of any size instead of files."""
        return self._score(images, prepare_crop, views, members)

    @torch.inference_mode()
    def _score(
        self, crops: Sequence[Crop], load: Callable[..., np.ndarray], views: list[str], members: int
    ) -> np.ndarray:
        """load: (crop, image_size, interpolation, …) → the windows that a detector sees, as load_crop."""
        logits = np.empty((len(crops), members, len(views)), np.float32)
        for share in self.shares:
            numbers = [number for number in share if number < members]
            for preparation, alike in self._by_preparation(numbers).items():
                read = functools.partial(load, **dataclasses.asdict(preparation))
                batches = packed(self._parts(crops, read, preparation.windows), self.batch_size)
                logits[:, alike] = self._score_alike(alike, batches, views)
        wrong = np.flatnonzero(~np.isfinite(logits).all((1, 2)))
        if len(wrong):
            raise NonFiniteError("a logit", wrong.tolist())
        return logits

    def _by_preparation(self, numbers: list[int]) -> dict[Preparation, list[int]]:
        groups: dict[Preparation, list[int]] = {}
        for number in numbers:
            groups.setdefault(Preparation.of(self.detectors[number].spec), []).append(number)
        return groups

    def _score_alike(self, numbers: list[int], batches: Iterable[list[torch.Tensor]], views: list[str]) -> np.ndarray:
        """Logits (crops, len(numbers), len(views)) of detectors that want the same pixels; each view is made once for
        all of them."""
        swapped = len(self.shares) > 1
        for number in numbers if swapped else ():
            self.precision.place(self.detectors[number])
        detectors = [self.detectors[number] for number in numbers]
        parts, of = [np.empty((0, len(numbers), len(views)), np.float32)], [np.empty(0, int)]
        for images_NCHW, crops in batches:
            images_NCHW = images_NCHW.pin_memory() if torch.cuda.is_available() else images_NCHW
            try:
                with self.precision.autocast():
                    batch = view_logits(detectors, self.precision.send(images_NCHW), views)
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"out of GPU memory with {len(images_NCHW)} images: a smaller infer.batch_size"
                ) from error
            parts.append(batch.float().cpu().numpy())
            of.append(crops.numpy())
        for number in numbers if swapped else ():
            self.detectors[number].to("cpu")
        return mean_of_windows(np.concatenate(parts), np.concatenate(of))

    def _parts(
        self, crops: Sequence[Crop], read: Callable[[Crop], np.ndarray], windows: int
    ) -> Iterator[list[torch.Tensor]]:
        """(images_NCHW uint8, number of each one's crop) of a few crops, a batch at most; the next are read in the
        meantime."""
        step = max(1, self.batch_size // windows)
        ahead = self.threads.map(read, crops[:step])
        for start in range(0, len(crops), step):
            ready = list(ahead)
            ahead = self.threads.map(read, crops[start + step : start + 2 * step])
            images_NHWC = np.concatenate(ready)
            numbers = np.repeat(np.arange(start, start + len(ready)), [len(images) for images in ready])
            yield [torch.from_numpy(np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2))), torch.from_numpy(numbers)]


def _weight_bytes(detector: Detector) -> int:
    return sum(weight.numel() * weight.element_size() for weight in detector.parameters())


def _free_bytes(precision: Precision) -> float:
    """How many bytes weights may fill on the device; infinity on a CPU, where they lie anyway."""
    if precision.device.type != "cuda":
        return float("inf")
    return GPU_SHARE * torch.cuda.mem_get_info(precision.device)[0]


def _shares(sizes: Sequence[int], room: float) -> list[list[int]]:
    """Numbers of the models, in order, in groups whose sizes add up to `room` at most; one that is larger is alone."""
    shares: list[list[int]] = []
    left = 0.0
    for number, size in enumerate(sizes):
        if not shares or size > left:
            shares.append([])
            left = room
        shares[-1].append(number)
        left -= size
    return shares
