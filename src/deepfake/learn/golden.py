"""Golden logits: a trained file is refused that computes something else under another timm or torch, as updates have
made models do in silence."""

from __future__ import annotations

from pathlib import Path

import torch

from deepfake.errors import UserError
from deepfake.learn.metadata import metadata_path
from deepfake.learn.models import Detector

GOLDEN_TOLERANCE = 0.02  # of 1 + |logit|: far above what devices and versions round, far below what another model says


def check_golden(path: Path, golden: list[float], now: list[float], saved: tuple[str, str]) -> None:
    """UserError where the weights at `path` give other logits now than when they were saved.

    saved: versions of timm and torch at that time.
    """
    wrong = [pair for pair in zip(golden, now, strict=True) if not _agree(*pair)]
    if wrong:
        raise UserError(_advice(path, *wrong[0], saved))


def versions() -> dict[str, str]:
    import timm

    return {"timm": timm.__version__, "torch": str(torch.__version__)}


def golden_logits(detector: Detector) -> list[float]:
    """Four logits of a detector in eval mode on the CPU, in full precision, for golden_images of its size."""
    assert not detector.training
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return detector(golden_images(detector.spec.image_size)).tolist()


def golden_images(size: int) -> torch.Tensor:
    """(4, 3, size, size) uint8: ramps, zone plates of all frequencies, checkers, a coloured disc on a fine ground.

    Whole numbers only, so that they are the same everywhere. Nothing fades to a border: padding must show.
    """
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    ramps = [255 * step // (2 * size) for step in (2 * x, 2 * y, 2 * size - x - y)]
    plates = [sweep * (x * x + y * y) // size % 256 for sweep in (64, 32, 16)]  # 64: to Nyquist's frequency at x = size
    checkers = [(x // side + y // side) % 2 * 255 for side in (1 + size // 4, 1 + size // 16, 2)]
    disc = (2 * x - size) ** 2 + (2 * y - size) ** 2 < size * size // 2
    face = [torch.where(disc, inside, outside + (x ^ y) % 64) for inside, outside in ((210, 40), (160, 60), (130, 90))]
    return torch.stack([torch.stack(image) for image in (ramps, plates, checkers, face)]).to(torch.uint8)


def _agree(golden: float, now: float) -> bool:
    """False also where one is not a number."""
    return abs(now - golden) <= GOLDEN_TOLERANCE * (1 + abs(golden))


def _advice(path: Path, golden: float, now: float, saved: tuple[str, str]) -> str:
    here = tuple(versions().values())
    change = f"the first of the golden logits that differ was {golden:.4f} and is {now:.4f}"
    if saved == here:
        return (
            f"{path} and {metadata_path(path)} are not of one training ({change}): copy both files anew, or remove "
            f"{path.parent} and train it again"
        )
    return (
        f"{path} was trained with timm {saved[0]} and torch {saved[1]}, and computes something else with timm "
        f"{here[0]} and torch {here[1]} here ({change}): install those versions, or train it again"
    )
