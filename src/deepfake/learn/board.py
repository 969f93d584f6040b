"""TensorBoard: a fold's figures of each epoch, and crops as the model is shown them."""

from __future__ import annotations

from pathlib import Path

import torch


class Board:
    """Event files in `folder`; those of epochs from `first_epoch` on, which an earlier try left there, are replaced."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def crops(self, crops_NCHW: torch.Tensor) -> None:
        """A grid of augmented crops, uint8."""
        from torchvision.utils import make_grid

        self._writer.add_image("augmented crops", make_grid(crops_NCHW, nrow=8, pad_value=128), 0)

    def figures(self, record: dict[str, float], epoch: int) -> None:
        """Numbers of an epoch by name: a metric of frames beside that of media, the rest under `train`."""
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
