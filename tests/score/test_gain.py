"""Metrics as scikit-learn has them, and errors as resampling finds them."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from deepfake.score.gain import METRICS, direction, error_of, errors_needed, gain_and_error, metric_of

BY_SKLEARN = {
    "log_loss": lambda labels, logits: log_loss(labels, 1 / (1 + np.exp(-logits))),
    "auc": roc_auc_score,
    "ap": average_precision_score,
    "accuracy": lambda labels, logits: accuracy_score(labels, logits >= 0),
    "macro_f1": lambda labels, logits: f1_score(labels, logits >= 0, average="macro"),
}


@pytest.fixture
def sample():
    """Labels, tied logits, and groups of two media that are much alike."""
    rng = np.random.default_rng(0)
    pairs = np.arange(400) // 2
    labels = rng.integers(0, 2, 200)[pairs]
    logits = labels + rng.normal(size=200)[pairs] + 0.2 * rng.normal(size=400)
    return labels, logits.round(1), pairs


def test_all_metrics_are_there():
    assert set(METRICS) == set(BY_SKLEARN)
    assert [metric for metric in METRICS if direction(metric) < 0] == ["log_loss"]


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_scikit_learns(metric, sample):
    labels, logits, _ = sample
    assert metric_of(metric, labels, logits) == pytest.approx(BY_SKLEARN[metric](labels, logits), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_errors_are_those_of_resampled_groups(metric, sample):
    labels, logits, groups = sample
    rng, scores = np.random.default_rng(1), []
    for _ in range(600):
        drawn = rng.integers(0, 200, 200)
        rows = np.concatenate([2 * drawn, 2 * drawn + 1])
        scores.append(metric_of(metric, labels[rows], logits[rows]))
    assert error_of(metric, labels, groups, logits) == pytest.approx(np.std(scores), rel=0.12)
    assert error_of(metric, labels, np.arange(400), logits) < 0.9 * np.std(scores)  # as if all were independent


@pytest.mark.parametrize("metric", METRICS)
def test_a_gain_is_positive_where_it_is_better_and_certain_where_all_gain_alike(metric, sample):
    labels, logits, groups = sample
    better = logits + 0.5 * (2 * labels - 1)
    gain, error = gain_and_error(metric, labels, groups, logits, better)
    back, same_error = gain_and_error(metric, labels, groups, better, logits)
    assert gain > 3 * error > 0
    assert (back, same_error) == pytest.approx((-gain, error))
    assert gain_and_error(metric, labels, groups, logits, logits) == (0, 0)


def test_the_error_of_a_mean_is_the_textbooks():
    losses = np.log([4 / 3, 4, 4 / 3, 4 / 3])
    labels, logits = np.array([1, 1, 0, 0]), math.log(3) * np.array([1, -1, -1, -1])
    assert metric_of("log_loss", labels, logits) == pytest.approx(losses.mean())
    assert error_of("log_loss", labels, np.arange(4), logits) == pytest.approx(losses.std(ddof=1) / 2)


@pytest.mark.parametrize("metric", ["auc", "ap"])
def test_without_one_of_the_classes_there_is_no_order_and_no_certainty(metric):
    assert math.isnan(metric_of(metric, np.ones(4), np.arange(4.0)))
    assert error_of(metric, np.ones(4), np.arange(4), np.arange(4.0)) == math.inf


def test_one_group_says_nothing_of_others():
    assert error_of("accuracy", np.array([0, 1]), np.array([7, 7]), np.array([-1.0, 1.0])) == math.inf


def test_more_tries_and_fewer_groups_ask_for_more_errors():
    many = np.arange(10_000)
    assert errors_needed(0.05, 1, many) == pytest.approx(1.645, abs=0.002)  # the normal distribution's
    assert errors_needed(0.05, 10, many) == pytest.approx(2.576, abs=0.002)
    assert errors_needed(0.05, 1, np.array([1, 1, 2, 3, 3])) == pytest.approx(2.920, abs=0.001)  # t of 2 degrees
    assert errors_needed(0.05, 1, np.zeros(9)) == math.inf
