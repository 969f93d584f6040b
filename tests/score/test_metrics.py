"""Metrics of logits, by hand."""

import math

import numpy as np
import pytest

from deepfake.score.metrics import binary_metrics, equal_error_rate, is_better


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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


def test_accuracy_counts_logits_from_nothing_on_as_fake():
    assert binary_metrics([1, 1, 0, 0], [0.1, 0.0, -0.1, 0.1])["accuracy"] == 0.75


@pytest.mark.parametrize(
    ("labels", "logits", "eer"),
    [
        ([0, 0, 1, 1], [-2, -1, 1, 2], 0),
        ([0, 0, 1, 1], [2, 1, -1, -2], 1),
        ([0, 0, 1, 1], [-2, 1, -1, 2], 1 / 2),  # one of two on either side is wrong
        ([0, 0, 0, 1, 1, 1], [-3, -2, 1, -1, 2, 3], 1 / 3),
        ([0, 1, 0, 1], [0, 0, 0, 0], 1 / 2),
        ([0, 0, 0, 1, 1], [-2, -1, 0, 0, 1], 1 / 5),  # line from (0, 1/2) to (1/3, 1) meets fpr = 1 - tpr at 1/5
        ([0, 0, 1], [-1, 1, 0], 1 / 2),  # the curve climbs at fpr = 1/2
        ([0, 1, 1], [0, 1, -1], 1 / 2),  # the curve lies at tpr = 1/2
        ([0, 1], [-1e4, 1e4], 0),
    ],
)
def test_at_the_equal_error_rate_both_classes_err_alike(labels, logits, eer):
    assert equal_error_rate(labels, logits) == pytest.approx(eer)
    assert binary_metrics(labels, logits)["eer"] == pytest.approx(eer)


def test_the_equal_error_rate_does_not_care_for_rows_order_or_scale(rng):
    labels = rng.integers(0, 2, 500)
    logits = (labels + rng.normal(size=500)).round(1)  # with ties
    order = rng.permutation(500)
    eer = equal_error_rate(labels, logits)
    assert 0.2 < eer < 0.4
    assert equal_error_rate(labels[order], 3 * logits[order] - 7) == eer
    assert equal_error_rate(1 - labels, -logits) == pytest.approx(eer)
    assert equal_error_rate(labels, -logits) == pytest.approx(1 - eer)


def test_the_equal_error_rate_is_where_the_interpolated_curve_says(rng):
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    labels = rng.integers(0, 2, 301)
    logits = (labels + rng.normal(size=301)).round(2)
    fpr, tpr, _ = roc_curve(labels, logits)
    usual = brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)
    assert equal_error_rate(labels, logits) == pytest.approx(usual, abs=1e-6)


def test_chance_errs_in_half_of_a_million(rng):
    labels = rng.integers(0, 2, 1_000_000)
    assert equal_error_rate(labels, rng.normal(size=1_000_000)) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize("label", [0, 1])
def test_with_one_class_there_is_no_order_but_there_is_a_loss(label):
    scores = binary_metrics([label, label], [0.0, 0.0])
    assert math.isnan(scores["auc"])
    assert math.isnan(scores["ap"])
    assert math.isnan(scores["eer"])
    assert scores["log_loss"] == pytest.approx(math.log(2))
    assert scores["accuracy"] == label


@pytest.mark.parametrize(
    ("metric", "new", "old", "better"),
    [
        ("auc", 0.9, 0.8, True),
        ("auc", 0.8, 0.9, False),
        ("log_loss", 0.3, 0.4, True),
        ("log_loss", 0.4, 0.3, False),
        ("eer", 0.1, 0.2, True),
        ("eer", 0.2, 0.1, False),
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
