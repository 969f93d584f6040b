"""The average of a model's weights over its last epochs."""

from __future__ import annotations

import copy
from typing import Any

from deepfake.learn.models import Detector


class WeightMean:
    """The uniform mean of a detector's weights at several moments (stochastic weight averaging: Izmailov et al.,
    "Averaging weights leads to wider optima and better generalization", 2018).

    Batch norm's running statistics are averaged with them. They are not estimated anew.
    """

    def __init__(self, detector: Detector) -> None:
        self.module = copy.deepcopy(detector).requires_grad_(False)
        self.count = 0

    def add(self, detector: Detector) -> None:
        """Take the weights of this moment in."""
        self.count += 1
        values = detector.state_dict()
        for name, mean in self.module.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(values[name], 1 / self.count)
            else:  # a counter
                mean.copy_(values[name])

    def state(self) -> dict[str, Any]:
        """Tensors and plain values to go on from."""
        return {"count": self.count, "model": self.module.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what state() gave."""
        self.count = state["count"]
        self.module.load_state_dict(state["model"])
