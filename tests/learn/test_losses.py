"""The loss: by hand, and by order."""

import math

import pytest
import torch

from deepfake.learn.losses import smoothed_bce


def loss(logits, labels, smoothing=0.0):
    return float(smoothed_bce(torch.tensor(logits), torch.tensor(labels), smoothing))


def test_the_loss_of_no_opinion_is_ln_2():
    assert loss([0.0], [1.0]) == pytest.approx(math.log(2))
    assert loss([0.0, 0.0], [0.0, 1.0], smoothing=0.5) == pytest.approx(math.log(2))


def test_the_loss_is_the_mean_of_minus_log_likelihoods():
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert loss([2.0, 2.0], [1.0, 0.0]) == pytest.approx((right + wrong) / 2)


def test_smoothing_mixes_in_half_its_share_of_the_other_class():
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert loss([2.0], [1.0], smoothing=0.2) == pytest.approx(0.9 * right + 0.1 * wrong)
    assert loss([-2.0], [0.0], smoothing=0.2) == pytest.approx(0.9 * right + 0.1 * wrong)


def test_better_logits_have_a_lower_loss():
    labels = [1.0, 0.0]
    assert loss([3.0, -3.0], labels) < loss([1.0, -1.0], labels) < loss([0.0, 0.0], labels) < loss([-1.0, 1.0], labels)


def test_with_smoothing_certainty_costs():
    best = math.log(0.95 / 0.05)
    assert loss([best], [1.0], smoothing=0.1) < min(loss([best + 1], [1.0], 0.1), loss([best - 1], [1.0], 0.1))


def test_huge_logits_stay_finite():
    assert loss([1e4, -1e4], [1.0, 0.0]) == 0
    assert loss([-1e4], [1.0]) == pytest.approx(1e4)
