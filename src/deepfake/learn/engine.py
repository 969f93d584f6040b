"""The training step, an epoch of it, and prediction: straight loops, the same on CPU and CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from deepfake.errors import UserError
from deepfake.learn.losses import smoothed_bce
from deepfake.learn.models import Detector

VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda images_NCHW: images_NCHW,
    "hflip": lambda images_NCHW: images_NCHW.flip(3),
}


@dataclass(frozen=True)
class Precision:
    """Where and how to compute: device, autocast type (None = full), whether gradients are scaled (fp16)."""

    device: torch.device
    dtype: torch.dtype | None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def choose_precision(amp: str) -> Precision:
    """CUDA where there is one. auto: bf16 where the card has it, else fp16; off on CPU. UserError: fp16 on CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if amp == "auto" and device.type == "cuda":
        amp = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if amp == "fp16" and device.type == "cpu":
        raise UserError("train.amp=fp16 needs a CUDA device; on a CPU: auto, bf16 or off")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp)
    return Precision(device, dtype)


class NonFiniteLossError(RuntimeError):
    """The loss (or a logit) of a batch is nan or infinite. `rows` are the batch's rows of the data set."""

    def __init__(self, rows: list[int], what: str = "the loss") -> None:
        super().__init__(f"{what} is not finite in a batch of {len(rows)} crops")
        self.rows = rows


def train_epoch(
    detector: Detector,
    batches: Iterable,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    scaler: torch.amp.GradScaler,
    *,
    precision: Precision,
    label_smoothing: float,
    on_step: Callable[[int], object] = lambda count: None,
) -> float:
    """One pass over batches of (images_NCHW uint8, labels (N,), rows (N,)); the mean loss of the steps.

    on_step is told how many crops each step had. NonFiniteLossError before such a step changes a weight.
    """
    detector.train()
    losses = []
    for images_NCHW, labels, rows in batches:
        images_NCHW = images_NCHW.to(precision.device, non_blocking=True)
        labels = labels.to(precision.device, non_blocking=True)
        with precision.autocast():
            logits = detector(images_NCHW)
        loss = smoothed_bce(logits, labels, label_smoothing)
        if not torch.isfinite(loss):
            raise NonFiniteLossError(rows.tolist())
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        losses.append(float(loss.detach()))
        on_step(len(rows))
    return float(np.mean(losses))


@torch.inference_mode()
def predict(
    detector: Detector,
    batches: Iterable,
    *,
    views: list[str],
    precision: Precision,
    on_step: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Logits (N, len(views)), float32, in the order of the batches."""
    detector.eval()
    parts = []
    for images_NCHW, _, rows in batches:
        images_NCHW = images_NCHW.to(precision.device, non_blocking=True)
        with precision.autocast():
            logits = torch.stack([detector(VIEWS[view](images_NCHW)) for view in views], 1)
        if not torch.isfinite(logits).all():
            raise NonFiniteLossError(rows.tolist(), "a logit")
        parts.append(logits.cpu().numpy())
        on_step(len(rows))
    return np.concatenate(parts) if parts else np.empty((0, len(views)), np.float32)
