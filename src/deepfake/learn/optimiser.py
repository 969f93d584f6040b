"""Optimiser and schedule: timm's optimisers by name, torch's schedules."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from deepfake.errors import UserError, closest, raised_within


def build_optimizer(
    model: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    layer_decay: float = 1.0,
    kwargs: dict[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """timm's optimiser `name` for the weights of a timm model that require gradients.

    lr: peak learning rate of the last layers. A layer that timm counts k layers before them has lr * layer_decay**k.
    weight_decay: not of norms, of biases, and of what the model itself excepts. momentum: for optimisers that have one.
    kwargs: further arguments of the optimiser's constructor.
    UserError for an optimiser that timm does not have or that this machine cannot use, and for arguments that the
    optimiser does not take.
    """
    import timm.optim

    kwargs = dict(kwargs or {})
    _check_kwargs(name, kwargs, _optimizer_class(name))
    groups = _param_groups(model, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay)
    assert groups, "no weight requires a gradient"
    try:
        return timm.optim.create_optimizer_v2(
            groups, opt=name, lr=lr, weight_decay=weight_decay, momentum=momentum, **kwargs
        )
    except Exception as error:
        if not raised_within(error, "timm", "torch"):
            raise
        given = f"optim.momentum={momentum}, optim.kwargs={kwargs}"
        raise UserError(f"optim.name={name} does not take {given}: {_one_line(error)}") from error


def _optimizer_class(name: str) -> Callable[..., torch.optim.Optimizer]:
    """The class behind timm's name, or behind x in lookahead_x."""
    import timm.optim

    base = name.lower().removeprefix("lookahead_")
    known = timm.optim.list_optimizers()
    if base not in known:
        hint = closest(base, known) or " Some that it has: adam, adamw, lamb, lion, momentum, radam, sgd."
        raise UserError(f"optim.name={name} is not an optimiser of timm {timm.__version__}.{hint}")
    if timm.optim.get_optimizer_info(base).second_order:
        raise UserError(f"optim.name={name} needs gradients of gradients, which training here does not compute")
    try:
        return timm.optim.get_optimizer_class(base, bind_defaults=False)
    except Exception as error:  # NVIDIA's apex and bitsandbytes
        if not raised_within(error, "timm"):
            raise
        raise UserError(f"optim.name={name} cannot be used on this machine: {_one_line(error)}") from error


def _check_kwargs(name: str, kwargs: dict[str, Any], optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    """UserError for arguments that the constructor lacks, and for lists of another length than its own.

    timm drops some unknown arguments without a word, and a list of another length would fail in the first step.
    """
    own_keys = {"params", "lr", "weight_decay", "momentum"}
    parameters = inspect.signature(optimizer).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items() if key not in own_keys}
    for key, value in kwargs.items():
        if key not in defaults:
            raise UserError(
                f"optim.kwargs.{key} is no argument of optim.name={name}; it takes {', '.join(defaults)}, "
                f"beside optim.lr, optim.weight_decay and optim.momentum"
            )
        default = defaults[key]
        if isinstance(default, tuple) and isinstance(value, tuple | list) and len(value) != len(default):
            raise UserError(f"optim.kwargs.{key}={value}: optim.name={name} takes {len(default)}, as in {default}")


def _param_groups(model: nn.Module, *, lr: float, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """timm's groups of the weights that require gradients, each with its learning rate as `lr`."""
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    not_decayed: set[str] = getattr(model, "no_weight_decay", set)()
    if layer_decay == 1:
        groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=not_decayed)
    else:
        groups = param_groups_layer_decay(
            model, weight_decay, no_weight_decay_list=not_decayed, layer_decay=layer_decay
        )
    for group in groups:  # lr_scale is heeded by timm's schedules alone, and ours are torch's
        group["lr"] = lr * group.pop("lr_scale", 1.0)
    return [group for group in groups if group["params"]]


def build_schedule(
    optimizer: torch.optim.Optimizer, *, name: str, total_steps: int, warmup: float, power: float = 0.9
) -> LRScheduler:
    """The learning rate of each step; each group's own is its peak. It is above 0 in steps 0 to total_steps - 1.

    name: cosine, poly or constant: the learning rate rises in a line from near 0 over the first
    round(warmup * total_steps) steps. Then it falls as half a cosine, falls as (1 - done)**power, or stays; `done` goes
    from 0 to 1. one_cycle: torch's OneCycleLR, whose rise takes the share `warmup` of all steps; see _one_cycle.
    """
    if name == "one_cycle":
        return _one_cycle(optimizer, total_steps=total_steps, warmup=warmup)
    fall = {
        "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
        "poly": lambda done: (1 - done) ** power,
        "constant": lambda done: 1.0,
    }[name]
    warmup_steps = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return fall(min(1.0, done))

    return LambdaLR(optimizer, factor)


def _one_cycle(optimizer: torch.optim.Optimizer, *, total_steps: int, warmup: float) -> OneCycleLR:
    """OneCycleLR: from 1/25 of the peak learning rate up to it, then down to 4e-6 of it; momentum goes against it.

    The peak is in step warmup * total_steps - 1. As torch divides by the lengths of rise and fall, a rise of one step
    or less is left out, and one step is kept for the fall. A cycle has two steps at least: the only step of a cycle of
    one would be its end.
    """
    steps = max(2, total_steps)
    share = min(warmup, 1 - 1 / steps)
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=share if share * steps > 1 else 0.0,
        cycle_momentum=_has_one_momentum(optimizer),
    )


def _has_one_momentum(optimizer: torch.optim.Optimizer) -> bool:
    """Whether OneCycleLR's momentum, 0.95 to 0.85, has a place: a momentum that is on, or the first of Adam's betas.

    Adan has none, as its three betas mean something else, nor has Muon, as torch would change its fallback's alone.
    """
    group = optimizer.param_groups[0]
    if "betas" in group:
        return len(group["betas"]) == 2 and "momentum" not in group
    return bool(group.get("momentum"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
