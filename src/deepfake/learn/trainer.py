"""One detector's training: phases, steps, and a state that can be saved between any two steps.

Every step's randomness is a function of (seed, epoch, step, process) alone, so nothing of it has to be saved, and a
training that goes on from a saved state ends where an undisturbed one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.average import WeightMean
from deepfake.learn.distributed import ALONE, World
from deepfake.learn.engine import NonFiniteError, Precision, finite_later
from deepfake.learn.freeze import train_only, training_mode
from deepfake.learn.gradients import BatchGradients, seed_torch
from deepfake.learn.losses import sample_weights
from deepfake.learn.mix import mix_batch
from deepfake.learn.models import Detector
from deepfake.learn.optimiser import build_optimizer, build_schedule
from deepfake.learn.recipe import Phase, Recipe


@dataclass(frozen=True)
class EpochFigures:
    """What an epoch's training was like."""

    loss: float
    """Mean of its steps."""
    lr: float
    """Learning rate of the last layers when it began."""
    crops_per_s: float
    """Of all processes together."""
    waited: float
    """Share of the time in which the model waited for crops."""


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
        self.detector = _placed(detector, precision, sync_bn=recipe.sync_bn)
        self.recipe = recipe
        self.steps_of_epochs = steps_of_epochs
        self.precision = precision
        self.world = world
        self.say = say
        self.ema = _moving_average(self.detector, recipe.ema)
        self.mean = WeightMean(self.detector) if recipe.average else None
        self.scaler = precision.scaler()
        self.epoch = self.step = 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=precision.device)
        self._unchecked: tuple[int, Callable[[], bool], torch.Tensor] | None = None
        self._last_rows = torch.empty(0)
        check_phases(detector.backbone, recipe)
        self._enter_phase(0, pieces=recipe.accumulate)

    @property
    def result(self) -> Detector:
        """What is validated and kept: the mean over epochs of the weights where there is one by now, else their moving
        average where there is one."""
        if self.mean and self.mean.count:
            return self.mean.module
        return self.ema.module if self.ema else self.detector

    def _enter_phase(self, number: int, *, pieces: int) -> None:
        """Freeze what the phase does not train; its own optimiser and schedule. pieces: as in BatchGradients."""
        self.phase_number = number
        recipe = self.recipe
        self.detector.zero_grad(set_to_none=True)  # of weights that no optimiser clears from here on
        self.optimizer = _phase_optimizer(self.detector.backbone, recipe, recipe.phases[number])
        total = sum(self.steps_of_epochs[epoch] for epoch in recipe.epochs_of(number))
        self.schedule = build_schedule(
            self.optimizer, name=recipe.schedule, total_steps=total, warmup=recipe.warmup, power=recipe.power
        )
        self.gradients = BatchGradients(
            self.detector,
            recipe,
            precision=self.precision,
            scaler=self.scaler,
            world=self.world,
            pieces=pieces,
            say=self.say,
        )

    def train_epoch(self, batches: Iterable, *, on_step: Callable[[int], object] = lambda count: None) -> EpochFigures:
        """What is left of the present epoch, over batches of (images_NCHW uint8, targets (N,), rows (N,)).

        on_step is told how many crops each step had, and may ask for state(). NonFiniteError when a loss is not finite,
        before any state holds it.
        """
        if self.recipe.phase_number(self.epoch) != self.phase_number:
            self._enter_phase(self.recipe.phase_number(self.epoch), pieces=self.gradients.pieces)
        training_mode(self.detector.backbone)
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        began, waited, crops = time.perf_counter(), [0.0], 0
        for images_NCHW, targets, rows in _timed(batches, waited):
            with _memory_beside_passes():
                loss = self._take_step(images_NCHW, targets)
            self.check()  # the step before, which is done: a GPU never waits for us to look
            self._unchecked, self._last_rows = (self.step, finite_later(loss), rows), rows
            self.loss_sum += loss.double()
            self.step += 1
            crops += len(rows)
            on_step(len(rows))
        self.check()
        _check_weights(self.detector, self.step, self._last_rows)
        seconds = time.perf_counter() - began
        loss = float(self.loss_sum) / max(1, self.step)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum.zero_()
        if self.mean and self.epoch > self.recipe.epochs - self.recipe.average:
            self.mean.add(self.ema.module if self.ema else self.detector)
        return EpochFigures(loss, lr, crops * self.world.size / seconds, waited[0] / seconds)

    def _take_step(self, images_NCHW: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One step of the optimiser on this process's share of a batch; the loss of the whole batch."""
        seed = (self.recipe.seed, self.epoch, self.step, self.world.rank)
        seed_torch((*seed, 0))
        images_NCHW = self.precision.send(images_NCHW)
        targets = targets.to(self.precision.device, non_blocking=True)
        images_NCHW, targets = mix_batch(images_NCHW, targets, mixup=self.recipe.mixup, cutmix=self.recipe.cutmix)
        totals = self.world.sum(torch.stack([(1 - targets).sum(), targets.sum()]))
        weights = sample_weights(targets, totals, kind=self.recipe.loss)
        loss = self.gradients.compute(images_NCHW, targets, weights, (*seed, 1))
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.detector.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.ema:
            self.ema.update(self.detector, step=sum(self.steps_of_epochs[: self.epoch]) + self.step + 1)
        return self.world.sum(loss)

    def check(self) -> None:
        """NonFiniteError when the loss of the latest step is not finite."""
        unchecked, self._unchecked = self._unchecked, None
        if unchecked and not unchecked[1]():
            raise NonFiniteError(f"the loss of step {unchecked[0]}", unchecked[2].tolist())

    def state(self) -> dict[str, Any]:
        """Tensors and plain values to go on from. NonFiniteError where they would be spoilt."""
        self.check()
        _check_weights(self.detector, self.step, self._last_rows)
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": float(self.loss_sum),
            "pieces": self.gradients.pieces,
            "model": self.detector.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "mean": self.mean.state() if self.mean else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "phase": self.phase_number,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what state() gave."""
        self._enter_phase(state["phase"], pieces=max(state["pieces"], self.gradients.pieces))
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss_sum.fill_(state["loss_sum"])
        self.detector.load_state_dict(state["model"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        if self.mean and state.get("mean"):
            self.mean.load_state(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:  # one that is off has none; one that was off starts anew
            self.scaler.load_state_dict(state["scaler"])


def _placed(detector: Detector, precision: Precision, *, sync_bn: bool) -> Detector:
    """The detector where it computes; on GPUs, with batch norm over all of them where that is asked for."""
    if sync_bn and precision.device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        detector.backbone = convert_sync_batchnorm(detector.backbone)
    return precision.place(detector)


def _check_weights(detector: Detector, step: int, rows: torch.Tensor) -> None:
    """NonFiniteError when a weight is not finite, as after a finite loss whose gradient was not.

    step: the one to come. rows: of the latest step.
    """
    floats = [value for value in detector.state_dict().values() if value.is_floating_point()]
    if not torch.stack([torch.isfinite(value).all() for value in floats]).all():
        raise NonFiniteError(f"a weight after step {step - 1}", rows.tolist())


@contextmanager
def _memory_beside_passes() -> Iterator[None]:
    """UserError when memory runs out outside the passes of BatchGradients, where smaller pieces do not help."""
    try:
        yield
    except torch.OutOfMemoryError as error:  # of the optimiser, or of the batch itself
        raise UserError("out of GPU memory beside the model's passes: take a smaller model.name") from error


def check_phases(backbone: nn.Module, recipe: Recipe) -> None:
    """UserError for a phase that trains nothing or whose optimiser cannot be built, before the first phase begins."""
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
    """timm's moving average of the weights, whose decay rises from 0 to `decay`; None where that is 0."""
    if not decay:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(detector, decay=decay, use_warmup=True)


def _timed(batches: Iterable, waited: list[float]) -> Iterator:
    """The batches; waited[0] grows by the seconds that each kept the caller waiting."""
    iterator = iter(batches)
    while True:
        began = time.perf_counter()
        batch = next(iterator, None)
        waited[0] += time.perf_counter() - began
        if batch is None:
            return
        yield batch
