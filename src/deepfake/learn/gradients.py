"""The gradients of one batch, computed in as many pieces as memory asks for, on one device or several."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.distributed import World
from deepfake.learn.embeddings import EmbeddingModel, disagreement, two_views
from deepfake.learn.engine import Precision
from deepfake.learn.losses import sample_losses
from deepfake.learn.models import Detector
from deepfake.learn.recipe import Recipe

Seed = tuple[int, ...]


def seed_torch(seed: Seed) -> None:
    """Dropout, stochastic depth and mixing draw from torch's global stream: here it begins anew, from these numbers."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


class BatchGradients:
    """Forward and backward passes of a detector, some of whose weights are frozen; which ones must not change later.

    pieces: in how many parts a batch is computed, one after the other. The number doubles for good when the GPU's
    memory does not hold a part; `say` is told. The gradients are the same for any number, but for rounding, and for
    batch norm, which normalises by the statistics of a part, and for the mixing of embeddings within a part.
    """

    def __init__(
        self,
        detector: Detector,
        recipe: Recipe,
        *,
        precision: Precision,
        scaler: torch.amp.GradScaler,
        world: World,
        pieces: int,
        say: Callable[[str], object],
    ) -> None:
        self.detector = detector
        self.recipe = recipe
        self.precision = precision
        self.scaler = scaler
        self.world = world
        self.pieces = pieces
        self.say = say
        self.model: nn.Module = detector
        self.embeds = bool(recipe.mix_fake or recipe.consistency)
        if self.embeds:
            self.model = EmbeddingModel(detector, mix_fake=recipe.mix_fake, views=2 if recipe.consistency else 1)
        if world.size > 1:  # which gradients it gathers is settled when it is made
            on = [precision.device] if precision.device.type == "cuda" else None
            self.model = nn.parallel.DistributedDataParallel(self.model, device_ids=on)
        self.run_model = torch.compile(self.model) if recipe.compile else self.model

    def compute(
        self, images_NCHW: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, seed: Seed
    ) -> torch.Tensor:
        """Leave in the detector the gradients of sum(weights * losses) over all processes; this process's part of it.

        seed: where torch's random stream begins, also when the batch is computed again in smaller pieces.
        UserError when even one crop is too large for the GPU, or when a process among several runs out of memory.
        """
        while True:
            try:
                return self._compute(images_NCHW, targets, weights, seed)
            except torch.OutOfMemoryError as error:
                self._check_can_halve(len(images_NCHW), error)
            self.pieces = min(2 * self.pieces, len(images_NCHW))  # after `except`, which holds on to the tensors
            if self.precision.device.type == "cuda":
                torch.cuda.empty_cache()
            self.say(f"out of GPU memory: each step is computed in {self.pieces} pieces from here on; its batch stays")

    def _check_can_halve(self, crops: int, error: Exception) -> None:
        told = f"out of GPU memory with a step in {self.pieces} pieces"
        if self.world.size > 1:  # the others wait for gradients of this one, which it cannot begin anew
            raise UserError(f"{told}: train.accumulate={2 * self.pieces} halves them") from error
        if self.pieces >= crops:
            raise UserError(f"{told} of one crop: take a smaller model.image_size, or model.name") from error

    def _compute(
        self, images_NCHW: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, seed: Seed
    ) -> torch.Tensor:
        seed_torch(seed)
        self.detector.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images_NCHW.device)
        count = min(self.pieces, len(images_NCHW))
        for number in range(count):  # as many for every process, though their shares may differ by one
            piece = slice(len(images_NCHW) * number // count, len(images_NCHW) * (number + 1) // count)
            with self._gathering(last=number == count - 1):
                loss = self._loss(images_NCHW[piece], targets[piece], weights[piece])
                # Gradients are averaged over processes, but the loss is a sum over them.
                self.scaler.scale(loss * self.world.size).backward()
            total += loss.detach()
        return total

    def _loss(self, images_NCHW: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        recipe = self.recipe
        if recipe.consistency:
            images_NCHW = two_views(images_NCHW, self.precision.memory_format)
            targets, weights = targets.repeat(2), weights.repeat(2) / 2
        with self.precision.autocast():
            logits, embeddings_ND = self.run_model(images_NCHW, targets) if self.embeds else self._plain(images_NCHW)
        losses = sample_losses(
            logits, targets, kind=recipe.loss, smoothing=recipe.label_smoothing, focal_gamma=recipe.focal_gamma
        )
        loss = (weights * losses).sum()
        if recipe.consistency and embeddings_ND is not None:
            loss = loss + recipe.consistency * (2 * weights.chunk(2)[0] * disagreement(logits, embeddings_ND)).sum()
        return loss

    def _plain(self, images_NCHW: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.run_model(images_NCHW), None

    def _gathering(self, *, last: bool) -> AbstractContextManager:
        """Gradients of several processes are gathered once a step, with its last piece."""
        if last or not isinstance(self.model, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
