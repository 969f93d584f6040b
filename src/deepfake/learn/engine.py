"""Where and how to compute, and prediction: the same on CPU and CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from deepfake.errors import UserError
from deepfake.learn.models import Detector
from deepfake.learn.views import view_logits
from deepfake.learn.windows import mean_of_windows


@dataclass(frozen=True)
class Precision:
    """Where and how to compute."""

    device: torch.device
    dtype: torch.dtype | None = None
    """Type that autocast computes in; None = float32, without autocast."""
    channels_last: bool = True
    """Whether channels are innermost in memory."""

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales gradients for fp16 alone."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def place(self, detector: Detector) -> Detector:
        """The detector on the device, its weights in the memory format."""
        return detector.to(self.device, memory_format=self.memory_format)

    def send(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """A batch (uint8, pinned where there is a GPU) on the device, in the memory format."""
        return images_NCHW.to(self.device, non_blocking=True).contiguous(memory_format=self.memory_format)


def choose_precision(amp: str, *, channels_last: bool = True, gpu: int = 0) -> Precision:
    """CUDA where there is one. auto: bf16 where the card has it, else fp16; off on CPU.

    gpu: number of the card, for processes that train together; they share cards where these are fewer. UserError: fp16
    on CPU.
    """
    cards = torch.cuda.device_count()
    device = torch.device("cuda", gpu % cards) if cards else torch.device("cpu")
    if amp == "auto" and device.type == "cuda":
        amp = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if amp == "fp16" and device.type == "cpu":
        raise UserError("train.amp=fp16 needs a CUDA device; on a CPU: auto, bf16 or off")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp)
    return Precision(device, dtype, channels_last)


def prepare_process() -> None:
    """Settings of the whole process that make steps faster; once, before the first.

    CUDA: convolutions by the fastest of several ways, tried out for each shape; float32 products in TF32. On a CPU with
    glibc: memory that tensors give back is kept. Otherwise it goes back to the system after each step and is mapped and
    zeroed anew in the next, which takes a fifth of a step's time.
    """
    import ctypes

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and stay in it


def finite_later(value: torch.Tensor) -> Callable[[], bool]:
    """A function that says whether a number is finite. It waits for the GPU's work up to here, and for none after."""
    finite = torch.isfinite(value)
    if value.device.type != "cuda":
        return lambda: bool(finite)
    answer = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def ask() -> bool:
        done.synchronize()
        return bool(answer)

    return ask


class NonFiniteError(RuntimeError):
    """A loss, a weight or a logit is nan or infinite. rows: of its batch in the data set; empty where none is known."""

    def __init__(self, what: str, rows: list[int]) -> None:
        super().__init__(f"{what} is not finite" + (f" in a batch of {len(rows)} crops" if rows else ""))
        self.rows = rows


@torch.inference_mode()
def predict(
    detector: Detector,
    batches: Iterable,
    *,
    views: list[str],
    precision: Precision,
    on_step: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Logits (N, len(views)), float32, of the crops in the order of the batches: means over their windows, which follow
    one another (see ordered_loader). on_step is told how many images each batch had.

    NonFiniteError where one is not finite; UserError where a batch is too large for the GPU.
    """
    detector.eval()
    parts, of = [np.empty((0, len(views)), np.float32)], [np.empty(0, int)]
    for images_NCHW, _, rows in batches:
        images_NCHW = precision.send(images_NCHW)
        try:
            with precision.autocast():
                logits = view_logits([detector], images_NCHW, views)[:, 0]
        except torch.OutOfMemoryError as error:
            raise UserError(f"out of GPU memory with {len(rows)} images at once: a smaller infer.batch_size") from error
        if not torch.isfinite(logits).all():
            raise NonFiniteError("a logit", list(dict.fromkeys(rows.tolist())))
        parts.append(logits.cpu().numpy())
        of.append(rows.numpy())
        on_step(len(rows))
    return mean_of_windows(np.concatenate(parts), np.concatenate(of))
