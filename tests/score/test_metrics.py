"""Metrics of logits, by hand."""

import math

import numpy as np
import pytest

from deepfake.score.metrics import HIGHER_IS_BETTER, binary_metrics, is_better


def test_no_opinion_costs_ln_2():
    assert binary_metrics([0, 1], [0.0, 0.0])["log_loss"] == pytest.approx(math.log(2))


def test_the_log_loss_is_the_mean_of_minus_log_likelihoods():
    half_sure = math.log(3)  # probability 3/4
    scores = binary_metrics([1, 0, 1], [half_sure, half_sure, -half_sure])
    assert scores["log_loss"] == pytest.approx(-(math.log(3 / 4) + 2 * math.log(1 / 4)) / 3)


def test_huge_logits_neither_overflow_nor_are_clipped():
    with np.errstate(all="raise", under="ignore"):
        scores = binary_metrics([1, 0, 1, 0], [1e4, -1e4, -1e4, 1e4])
    assert scores["log_loss"] == pytest.approx(5000)
    assert binary_metrics([1, 0], [1e4, -1e4])["log_loss"] == 0


@pytest.mark.parametrize(
    ("logits", "auc"), [([-2, -1, 1, 2], 1.0), ([2, 1, -1, -2], 0.0), ([-2, 1, -1, 2], 0.75), ([0, 0, 0, 0], 0.5)]
)
def test_auc_is_the_share_of_pairs_in_order(logits, auc):
    assert binary_metrics([0, 0, 1, 1], logits)["auc"] == pytest.approx(auc)


def test_ap_is_the_mean_precision_at_the_fakes():
    assert binary_metrics([1, 0, 1], [3.0, 2.0, 1.0])["ap"] == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_accuracy_counts_logits_above_nothing_as_fake():
    assert binary_metrics([1, 1, 0, 0], [0.1, 0.0, 0.0, 0.1])["accuracy"] == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_with_one_class_there_is_no_order_but_there_is_a_loss(label):
    scores = binary_metrics([label, label], [0.0, 0.0])
    assert math.isnan(scores["auc"])
    assert math.isnan(scores["ap"])
    assert scores["log_loss"] == pytest.approx(math.log(2))
    assert scores["accuracy"] == 1 - label


def test_the_metrics_are_those_that_have_a_direction():
    assert set(binary_metrics([0, 1], [0.0, 1.0])) == set(HIGHER_IS_BETTER)


@pytest.mark.parametrize(
    ("metric", "new", "old", "better"),
    [
        ("auc", 0.9, 0.8, True),
        ("auc", 0.8, 0.9, False),
        ("log_loss", 0.3, 0.4, True),
        ("log_loss", 0.4, 0.3, False),
        ("auc", 0.8, 0.8, False),
        ("log_loss", 0.8, 0.8, False),
        ("auc", 0.1, None, True),
        ("log_loss", 9.0, None, True),
        ("auc", math.nan, 0.5, False),
        ("auc", math.nan, None, False),
    ],
)
def test_better_is_higher_or_lower_and_never_equal_or_nan(metric, new, old, better):
    assert is_better(metric, new, old) is better
