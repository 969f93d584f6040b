"""Losses on logits."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def smoothed_bce(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean binary cross-entropy of logits (N,) against labels (N,) in {0, 1}, moved to s/2 and 1 - s/2."""
    return binary_cross_entropy_with_logits(logits, labels * (1 - smoothing) + smoothing / 2)
