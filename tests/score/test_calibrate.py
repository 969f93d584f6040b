"""Slopes, biases, limits and thresholds that are known beforehand."""

import math

import numpy as np
import pandas as pd
import pytest

from deepfake.score.calibrate import (
    LIMITS,
    calibration_error,
    fit_limit,
    fit_slope_and_bias,
    fit_threshold,
    reliability,
    smoothed_targets,
)
from deepfake.score.formats import FORMATS
from deepfake.score.gain import metric_of
from deepfake.score.pool import sigmoid


def honest(count, rng):
    """Logits, and labels that come up as often as the logits say."""
    logits = rng.normal(0, 2, count)
    return (rng.random(count) < sigmoid(logits)).astype(int), logits


def test_targets_are_platts():
    assert smoothed_targets(np.array([1, 1, 0])).tolist() == pytest.approx([3 / 4, 3 / 4, 1 / 3])


@pytest.mark.parametrize(("stretch", "shift"), [(1, 0), (4, 0), (0.25, 1), (1e6, 3), (1e-6, -2)])
def test_what_stretched_and_moved_logits_is_undone(stretch, shift):
    labels, logits = honest(20_000, np.random.default_rng(0))
    slope, bias = fit_slope_and_bias(labels, stretch * (logits + shift))
    assert slope * stretch == pytest.approx(1, abs=0.04)
    assert bias + shift * slope * stretch == pytest.approx(0, abs=0.05)


def test_the_fit_is_scikit_learns_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    labels, logits = honest(20_000, np.random.default_rng(1))
    theirs = LogisticRegression(C=1e9, tol=1e-8).fit(logits[:, None], labels)
    assert fit_slope_and_bias(labels, logits) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=2e-3)


def test_separable_and_inverted_and_constant_logits_have_finite_fits():
    labels = np.array([0, 0, 0, 1])
    slope, bias = fit_slope_and_bias(labels, np.array([-1.0, -2.0, -1.5, 800.0]))
    assert slope > 0
    assert math.isfinite(slope * 800 + bias)
    for useless in (np.array([1.0, 2.0, 1.5, -800.0]), np.zeros(4)):
        slope, bias = fit_slope_and_bias(labels, useless)
        # the smoothed targets' mean is (3/5 + 2/3) / 4 = .3167
        assert slope * useless[3] + bias == pytest.approx(math.log(0.316667 / 0.683333), abs=1e-3)


def test_a_limit_pays_where_the_surest_are_wrong_and_else_there_is_none():
    labels, logits = np.array([1] * 50 + [0] * 50), np.array([3.0] * 50 + [-3.0] * 50)
    assert fit_limit(labels, logits) is None
    logits[:2] = -20
    limit = fit_limit(labels, logits)
    losses = {each: metric_of("log_loss", labels, np.clip(logits, -each, each)) for each in LIMITS}
    assert limit == min(losses, key=losses.get) == 3.0


def test_a_threshold_lies_in_the_middle_of_the_widest_gap_that_is_best():
    labels, logits = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 6.0, 7.0])
    assert fit_threshold("accuracy", labels, logits) == 4
    assert fit_threshold("macro_f1", labels, logits) == 4
    assert fit_threshold("accuracy", labels, np.zeros(4)) == 0


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_logit_at_the_threshold_is_scored_as_it_is_submitted(tmp_path, metric):
    labels, logits = np.array([0, 1, 1]), np.array([1.0, 2.0, 3.0])
    assert metric_of(metric, labels, logits - 2.0) == 1
    FORMATS["aifactory"].write(pd.DataFrame({"name": list("abc"), "logit": logits}), tmp_path / "x.csv", threshold=2.0)
    assert FORMATS["aifactory"].read(tmp_path / "x.csv").score.tolist() == labels.tolist()


def test_a_threshold_for_macro_f1_cares_for_the_rare_class():
    rng = np.random.default_rng(0)
    labels = (rng.random(5000) < 0.05).astype(int)
    logits = 1.5 * labels + rng.normal(size=5000)
    by_accuracy, by_f1 = (fit_threshold(metric, labels, logits) for metric in ("accuracy", "macro_f1"))
    assert by_f1 < by_accuracy
    assert metric_of("macro_f1", labels, logits - by_f1) > metric_of("macro_f1", labels, logits - by_accuracy) + 0.01


def test_reliability_sets_probability_beside_the_share_of_fakes():
    labels, logits = np.array([0, 1, 1, 1]), np.array([-math.log(3), -math.log(3), 0, math.log(3)])
    low, high = reliability(labels, logits, bins=2)
    assert low == {"media": 2, "probability": pytest.approx(1 / 4), "share_fake": 0.5}
    assert high == {"media": 2, "probability": pytest.approx(5 / 8), "share_fake": 1.0}


def test_the_calibration_error_grows_with_overconfidence():
    labels, logits = honest(5000, np.random.default_rng(2))
    assert calibration_error(labels, logits) < 0.03 < calibration_error(labels, 3 * logits)
