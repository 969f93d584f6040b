"""How a detector is trained, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Phase:
    """A stretch of training: what trains (see freeze.train_only), for how long, and with which optimiser."""

    trains: str
    epochs: int
    optimizer: str
    lr: float
    """Peak learning rate of the last layers."""


@dataclass(frozen=True)
class Recipe:
    """How to train; names, ranges and meanings are the configuration's."""

    phases: list[Phase]
    seed: int = 0
    weight_decay: float = 0.01
    momentum: float = 0.9
    kwargs: dict[str, Any] = field(default_factory=dict)
    layer_decay: float = 1.0
    schedule: str = "cosine"
    warmup: float = 0.1
    power: float = 0.9
    clip_norm: float = 0.0
    loss: str = "bce"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_fake: float = 0.0
    consistency: float = 0.0
    ema: float = 0.0
    average: int = 0
    accumulate: int = 1
    compile: bool = False
    sync_bn: bool = False

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    def phase_number(self, epoch: int) -> int:
        """The phase that an epoch (from 0) belongs to."""
        ends = np.cumsum([phase.epochs for phase in self.phases])
        return int(np.searchsorted(ends, epoch, side="right"))

    def epochs_of(self, number: int) -> range:
        """The epochs of a phase."""
        first = sum(phase.epochs for phase in self.phases[:number])
        return range(first, first + self.phases[number].epochs)
