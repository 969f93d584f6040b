"""One detector's training: phases, steps, and a state that can be saved between any two steps.

Every step's randomness is a function of (seed, epoch, step, process) alone, so nothing of it has to be saved, and a
training that goes on from a saved state ends where an undisturbed one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.distributed import ALONE, World
from deepfake.learn.engine import NonFiniteError, Precision, finite_later
from deepfake.learn.freeze import train_only, training_mode
from deepfake.learn.losses import sample_losses, sample_weights
from deepfake.learn.mix import mix_batch
from deepfake.learn.models import Detector
from deepfake.learn.optim import build_optimizer, build_schedule


@dataclass(frozen=True)
class Phase:
    """A stretch of training: what trains (see freeze.train_only), for how long, with which optimiser and rate."""

    trains: str
    epochs: int
    optimizer: str
    lr: float


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
    ema: float = 0.0
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


@dataclass(frozen=True)
class EpochFigures:
    """What an epoch's training was like.

    loss: mean of its steps. lr: rate of the last layers when it began. crops_per_s: of all processes together. waited:
    share of the time in which the model waited for crops.
    """

    loss: float
    lr: float
    crops_per_s: float
    waited: float


class Trainer:
    """Trains `detector`. Between two steps its state is `state()`; `epoch` and `step` say where it stands.

    steps_of_epochs: number of steps of each epoch of the recipe. say: told what the user should know.
    """

    def __init__(
        self,
        detector: Detector,
        recipe: Recipe,
        *,
        steps_of_epochs: list[int],
        precision: Precision,
        world: World = ALONE,
        say: Callable[[str], object] = lambda message: None,
    ) -> None:
        if recipe.sync_bn and precision.device.type == "cuda":
            from timm.layers import convert_sync_batchnorm

            detector.backbone = convert_sync_batchnorm(detector.backbone)
        self.detector = precision.place(detector)
        self.recipe = recipe
        self.steps_of_epochs = steps_of_epochs
        self.precision = precision
        self.world = world
        self.say = say
        self.ema = _moving_average(self.detector, recipe.ema)
        self.scaler = precision.scaler()
        self.pieces = recipe.accumulate
        self.epoch = self.step = 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=precision.device)
        self._unchecked: tuple[int, Callable[[], bool], torch.Tensor] | None = None
        self._last_rows = torch.empty(0)
        check_phases(detector.backbone, recipe)
        self._enter_phase(0)

    @property
    def result(self) -> Detector:
        """What is validated and kept: the moving average of the weights where there is one."""
        return self.ema.module if self.ema else self.detector

    def _enter_phase(self, number: int) -> None:
        """Freeze what the phase does not train; its own optimiser and schedule."""
        self.phase_number = number
        recipe = self.recipe
        self.detector.zero_grad(set_to_none=True)  # of weights that no optimiser clears from here on
        self.optimizer = _phase_optimizer(self.detector.backbone, recipe, recipe.phases[number])
        total = sum(self.steps_of_epochs[epoch] for epoch in recipe.epochs_of(number))
        self.schedule = build_schedule(
            self.optimizer, name=recipe.schedule, total_steps=total, warmup=recipe.warmup, power=recipe.power
        )
        self.model: nn.Module = self.detector
        if self.world.size > 1:  # which gradients it gathers is settled when it is made
            on = [self.precision.device] if self.precision.device.type == "cuda" else None
            self.model = nn.parallel.DistributedDataParallel(self.detector, device_ids=on)
        self.run_model = torch.compile(self.model) if recipe.compile else self.model

    def train_epoch(self, batches: Iterable, *, on_step: Callable[[int], object] = lambda count: None) -> EpochFigures:
        """What is left of the present epoch, over batches of (images_NCHW uint8, targets (N,), rows (N,)).

        on_step is told how many crops each step had, and may take the state. NonFiniteError before a loss that is not
        finite has reached a state.
        """
        if self.recipe.phase_number(self.epoch) != self.phase_number:
            self._enter_phase(self.recipe.phase_number(self.epoch))
        training_mode(self.detector.backbone)
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        began, waited, crops = time.perf_counter(), [0.0], 0
        for images_NCHW, targets, rows in _timed(batches, waited):
            loss = self._take_step_that_fits(images_NCHW, targets)
            self.check()  # the step before, which is done: a GPU never waits for us to look
            self._unchecked, self._last_rows = (self.step, finite_later(loss), rows), rows
            self.loss_sum += loss.double()
            self.step += 1
            crops += len(rows)
            on_step(len(rows))
        self.check()
        self._check_weights()
        seconds = time.perf_counter() - began
        loss = float(self.loss_sum) / max(1, self.step)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum.zero_()
        return EpochFigures(loss, lr, crops * self.world.size / seconds, waited[0] / seconds)

    def _take_step_that_fits(self, images_NCHW: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        try:
            return self._take_step(images_NCHW, targets)
        except torch.OutOfMemoryError as error:  # of the optimiser or of the batch itself, which pieces do not help
            raise UserError("out of GPU memory beside the model's passes: take a smaller model.name") from error

    def _take_step(self, images_NCHW: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One step of the optimiser on this process's share of a batch; the loss of the whole batch."""
        self._seed(0)
        images_NCHW = self.precision.send(images_NCHW)
        targets = targets.to(self.precision.device, non_blocking=True)
        images_NCHW, targets = mix_batch(images_NCHW, targets, mixup=self.recipe.mixup, cutmix=self.recipe.cutmix)
        totals = self.world.sum(torch.stack([(1 - targets).sum(), targets.sum()]))
        weights = sample_weights(targets, totals, kind=self.recipe.loss)
        loss = self._gradients_that_fit(images_NCHW, targets, weights)
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.detector.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.ema:
            self.ema.update(self.detector, step=sum(self.steps_of_epochs[: self.epoch]) + self.step + 1)
        return self.world.sum(loss)

    def _gradients_that_fit(self, *batch: torch.Tensor) -> torch.Tensor:
        """Gradients of a batch, in smaller pieces from here on when the GPU's memory does not hold it."""
        while True:
            try:
                return self._gradients(*batch)
            except torch.OutOfMemoryError as error:
                self._check_can_halve(len(batch[0]), error)
            self.pieces = min(2 * self.pieces, len(batch[0]))  # after `except`, which holds on to the tensors
            if self.precision.device.type == "cuda":
                torch.cuda.empty_cache()
            self.say(f"out of GPU memory: each step is computed in {self.pieces} pieces from here on; its batch stays")

    def _check_can_halve(self, crops: int, error: Exception) -> None:
        told = f"out of GPU memory with a step in {self.pieces} pieces"
        if self.world.size > 1:  # the others wait for gradients of this one, which it cannot begin anew
            raise UserError(f"{told}: train.accumulate={2 * self.pieces} halves them") from error
        if self.pieces >= crops:
            raise UserError(f"{told} of one crop: take a smaller model.image_size, or model.name") from error

    def _gradients(self, images_NCHW: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Gradients of sum(weights * losses) over all processes, piece by piece; this process's part of the sum."""
        self._seed(1)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images_NCHW.device)
        recipe, count = self.recipe, min(self.pieces, len(images_NCHW))
        for number in range(count):  # as many for every process, though their shares may differ by one
            piece = slice(len(images_NCHW) * number // count, len(images_NCHW) * (number + 1) // count)
            with self._gathering(last=number == count - 1):
                with self.precision.autocast():
                    logits = self.run_model(images_NCHW[piece])
                losses = sample_losses(
                    logits,
                    targets[piece],
                    kind=recipe.loss,
                    smoothing=recipe.label_smoothing,
                    focal_gamma=recipe.focal_gamma,
                )
                loss = (weights[piece] * losses).sum()
                # Gradients are averaged over processes, but the loss is a sum over them.
                self.scaler.scale(loss * self.world.size).backward()
            total += loss.detach()
        return total

    def _gathering(self, *, last: bool) -> AbstractContextManager:
        """Gradients of several processes are gathered once a step, with its last piece."""
        return nullcontext() if last or self.world.size == 1 else self.model.no_sync()

    def _seed(self, use: int) -> None:
        """Dropout, stochastic depth and mixing draw from torch's global stream: here it begins, anew in each step."""
        word = (self.recipe.seed, self.epoch, self.step, self.world.rank, use)
        torch.manual_seed(int(np.random.SeedSequence(word).generate_state(1, np.uint64)[0] >> 1))

    def check(self) -> None:
        """NonFiniteError when the loss of the latest step is not finite."""
        unchecked, self._unchecked = self._unchecked, None
        if unchecked and not unchecked[1]():
            raise NonFiniteError(f"the loss of step {unchecked[0]}", unchecked[2].tolist())

    def _check_weights(self) -> None:
        """NonFiniteError when a weight is not finite: after a finite loss whose gradient was not."""
        floats = [value for value in self.detector.state_dict().values() if value.is_floating_point()]
        if not torch.stack([torch.isfinite(value).all() for value in floats]).all():
            raise NonFiniteError(f"a weight after step {self.step - 1}", self._last_rows.tolist())

    def state(self) -> dict[str, Any]:
        """Tensors and plain values to go on from. NonFiniteError rather than a state that is spoilt."""
        self.check()
        self._check_weights()
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": float(self.loss_sum),
            "pieces": self.pieces,
            "model": self.detector.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "phase": self.phase_number,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what state() gave."""
        self._enter_phase(state["phase"])
        self.epoch, self.step, self.pieces = state["epoch"], state["step"], max(state["pieces"], self.pieces)
        self.loss_sum.fill_(state["loss_sum"])
        self.detector.load_state_dict(state["model"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:  # one that is off has none; one that was off starts anew
            self.scaler.load_state_dict(state["scaler"])


def check_phases(backbone: nn.Module, recipe: Recipe) -> None:
    """UserError for a phase that trains nothing, or has an optimiser that is not there: before the first one begins."""
    for phase in recipe.phases:
        _phase_optimizer(backbone, recipe, phase)


def _phase_optimizer(backbone: nn.Module, recipe: Recipe, phase: Phase) -> torch.optim.Optimizer:
    """Freeze what the phase does not train; an optimiser of the rest."""
    train_only(backbone, phase.trains)
    return build_optimizer(
        backbone,
        name=phase.optimizer,
        lr=phase.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        layer_decay=recipe.layer_decay,
        kwargs=recipe.kwargs,
    )


def _moving_average(detector: Detector, decay: float) -> Any:
    """timm's moving average, whose decay rises from 0 to `decay`; None for 0."""
    if not decay:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(detector, decay=decay, use_warmup=True)


def _timed(batches: Iterable, waited: list[float]) -> Iterator:
    """The batches; waited[0] grows by the seconds that each was waited for."""
    iterator = iter(batches)
    while True:
        began = time.perf_counter()
        batch = next(iterator, None)
        waited[0] += time.perf_counter() - began
        if batch is None:
            return
        yield batch
