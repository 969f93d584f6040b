"""TensorBoard: a fold's figures an epoch, and what the model is shown."""

from __future__ import annotations

from pathlib import Path

import torch


class Board:
    """Event files in `folder`; what an earlier try has left there of epochs from `first_epoch` on is replaced."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def crops(self, crops_NCHW: torch.Tensor) -> None:
        """A grid of augmented crops, uint8."""
        from torchvision.utils import make_grid

        self._writer.add_image("augmented crops", make_grid(crops_NCHW, nrow=8, pad_value=128), 0)

    def figures(self, record: dict[str, float], epoch: int) -> None:
        """Numbers of an epoch by name: frame_* and medium-level metrics side by side, the rest under `train`."""
        for name, value in record.items():
            if isinstance(value, int | float) and name != "epoch":
                self._writer.add_scalar(_tag(name), value, epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


_METRICS = ("auc", "ap", "log_loss", "accuracy", "eer")


def _tag(name: str) -> str:
    metric = name.removeprefix("frame_")
    return f"{metric}/{'frame' if name != metric else 'medium'}" if metric in _METRICS else f"train/{name}"
