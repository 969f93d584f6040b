"""Mixing the crops of a batch: mixup and CutMix."""

from __future__ import annotations

import torch
from torch import Tensor


def mix_batch(images_NCHW: Tensor, targets: Tensor, *, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """A batch whose crops are each mixed with the one before it, and their targets with the same weights.

    images_NCHW: 0 to 255, uint8 or float; float when mixed. targets: (N,) probability of fake. mixup, cutmix: alpha of
    each one's Beta(alpha, alpha), 0 = off; where both are on, a batch gets one of them at random. Nothing changes when
    both are off, or when there is one crop. Draws from torch's global random stream, which torchvision uses.
    """
    from torchvision.transforms.v2 import CutMix, MixUp

    ways = [way(alpha=alpha) for way, alpha in ((MixUp, mixup), (CutMix, cutmix)) if alpha > 0]
    if not ways or len(targets) < 2:
        return images_NCHW, targets
    way = ways[int(torch.randint(len(ways), ()))]
    images_NCHW, classes = way(images_NCHW.float(), torch.stack([1 - targets, targets], 1))
    return images_NCHW, classes[:, 1]
