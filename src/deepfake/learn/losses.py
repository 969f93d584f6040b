"""Losses on logits, as a loss of each crop and its weight in the batch.

The loss of a batch is `(sample_weights(…) * sample_losses(…)).sum()`. The weights know the whole batch, so the sum is
the same whether a batch is computed at once, in pieces, or on several GPUs.
"""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

KINDS = ("bce", "focal", "class_mean")


def sample_losses(
    logits: torch.Tensor, targets: torch.Tensor, *, kind: str, smoothing: float = 0.0, focal_gamma: float = 2.0
) -> torch.Tensor:
    """The loss of each crop, (N,) float32.

    logits: (N,), of any float type. targets: (N,) in [0, 1], the share of fake. kind: one of KINDS; class_mean differs
    from bce in its weights alone. smoothing: s in [0, 1) moves targets 0 and 1 to s/2 and 1 - s/2.
    """
    assert kind in KINDS, kind
    logits, targets = logits.float(), targets.float() * (1 - smoothing) + smoothing / 2
    if kind == "focal":
        return _focal_losses(logits, targets, focal_gamma)
    return binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _focal_losses(logits: torch.Tensor, targets: torch.Tensor, gamma: float) -> torch.Tensor:
    """t (1-p)^γ (-log p) + (1-t) p^γ (-log(1-p)): Lin et al., Focal Loss for Dense Object Detection (2017), eq. 4.

    -log p is softplus(-x), -log(1-p) is softplus(x), and the powers are exponentials of these: a power of a p that has
    become 0 has no gradient for γ below 1.
    """
    minus_log_fake, minus_log_real = softplus(-logits), softplus(logits)
    as_fake = torch.exp(-gamma * minus_log_real) * minus_log_fake
    as_real = torch.exp(-gamma * minus_log_fake) * minus_log_real
    return targets * as_fake + (1 - targets) * as_real


def sample_weights(targets: torch.Tensor, totals: torch.Tensor, *, kind: str) -> torch.Tensor:
    """The weight of each crop's loss, (N,) float32.

    targets: (N,) in [0, 1], not smoothed, of any part of a batch. totals: (2,) = [sum(1 - t), sum(t)] over the whole
    batch, all pieces and GPUs together. kind: one of KINDS. bce and focal: the mean over crops. class_mean: half the
    mean over fakes plus half the mean over reals, as in DFDC's first place. As there, a class that the batch lacks adds
    nothing, and the other one keeps its half.
    """
    assert kind in KINDS, kind
    targets, totals = targets.float(), totals.float()
    if kind != "class_mean":
        return torch.ones_like(targets) / totals.sum()
    reals, fakes = totals.clamp_min(torch.finfo(totals.dtype).tiny)  # where a total is 0, so is what it divides
    return 0.5 * (targets / fakes + (1 - targets) / reals)
