"""One thread, crops on disk, and a detector small enough for a test."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepfake.learn.engine import Precision
from deepfake.learn.models import Detector, ModelSpec

HALF = (0.5, 0.5, 0.5)
TOY = ModelSpec("toy", 8, HALF, HALF, "bilinear")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture
def cpu() -> Precision:
    """Full precision on the CPU, whatever this machine has."""
    return Precision(torch.device("cpu"), None)


@pytest.fixture
def toy() -> Detector:
    """A logit that is linear in the pixels of an 8 x 8 crop."""
    torch.manual_seed(0)
    return Detector(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1)), TOY)


@pytest.fixture
def save_crops(tmp_path: Path) -> Callable[[Sequence[np.ndarray]], list[Path]]:
    """`save_crops(images)` stores uint8 RGB images as PNG and gives their paths."""

    def save(images: Sequence[np.ndarray]) -> list[Path]:
        paths = [tmp_path / f"{number}.png" for number in range(len(images))]
        for path, image in zip(paths, images):
            Image.fromarray(image).save(path)
        return paths

    return save
