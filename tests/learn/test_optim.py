"""The optimiser decays matrices alone; the rate rises in a line and falls in half a cosine."""

import math

import pytest
import torch
from torch import nn

from deepfake.learn.optim import build_optimizer, build_schedule


def test_vectors_are_not_decayed_and_every_weight_is_learnt_once():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.5)
    decay = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    expected = {id(weight): 0.5 if weight.ndim > 1 else 0.0 for weight in model.parameters()}
    assert decay == expected
    assert sorted(decay.values()) == [0, 0, 0, 0, 0.5, 0.5]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_decay_alone_moves_matrices_and_leaves_vectors():
    model = nn.Linear(2, 1)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), 0.95 * weight)
    torch.testing.assert_close(model.bias.detach(), bias)


def test_frozen_weights_are_left_out():
    model = nn.Linear(2, 1)
    model.weight.requires_grad_(False)
    groups = build_optimizer(model, lr=0.1, weight_decay=0.5).param_groups
    assert [weight for group in groups for weight in group["params"]] == [model.bias]


def rates(total_steps, warmup):
    """The rate of each step, and that after the last, with a peak of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, total_steps=total_steps, warmup=warmup)
    seen = []
    for _ in range(total_steps + 1):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    seen = rates(10, 0.4)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert seen[7] == pytest.approx(0.5)
    assert seen[10] == pytest.approx(0.0, abs=1e-12)
    assert seen[4:] == sorted(seen[4:], reverse=True)


def test_without_warmup_it_starts_at_the_peak():
    assert rates(4, 0.0) == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(5)])


@pytest.mark.parametrize(("total_steps", "warmup"), [(1, 0.0), (1, 1.0), (3, 1.0), (2, 0.1), (7, 0.9)])
def test_every_step_has_a_rate_above_nothing(total_steps, warmup):
    steps = rates(total_steps, warmup)[:total_steps]
    assert min(steps) > 0
    assert max(steps) <= 1
