"""Blends whose best answer is known: planted runs, and noise in which there is nothing to find."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from deepfake.score.blending import CALIBRATIONS, WEIGHTS, Blend, BlendOptions, fit
from deepfake.score.choose import blends_of_fewer_runs, choose, crossfit, decide, leave_one_out_gains, nested
from deepfake.score.evidence import Evidence, deal_folds
from deepfake.score.gain import gain_and_error, metric_of
from deepfake.score.pool import POOLINGS

MEDIA = 400


def labels_of(rng):
    return rng.integers(0, 2, MEDIA)


def informed(labels, rng, distance=2.0):
    """Honest log-odds: a normal reading of a medium's class, `distance` deviations apart."""
    return distance * ((labels - 0.5) * distance + rng.normal(size=MEDIA))


def evidence(labels, **runs):
    """Runs of one logit a medium, pairs of media as groups, three folds. Two poolings that are the same."""
    logits, groups = np.stack(list(runs.values()), 1), np.arange(MEDIA) // 2
    pooled = {"mean": logits, "median": logits}
    negated = {name: -each for name, each in pooled.items()}
    return Evidence(labels, deal_folds(groups, 3), groups, tuple(runs), pooled, negated)


def noise(rng, scale=1.0):
    return scale * rng.normal(size=MEDIA)


def share(blend, run):
    weights = dict(zip(blend.runs, blend.weights))
    return weights[run] / sum(weights.values())


@pytest.mark.parametrize("metric", ["log_loss", "auc", "ap", "accuracy", "macro_f1"])
@pytest.mark.parametrize("seed", range(3))
def test_pure_noise_changes_nothing(metric, seed):
    rng = np.random.default_rng(seed)
    told = evidence(labels_of(rng), a=noise(rng), b=noise(rng, 4), c=noise(rng))
    decision = decide(told, metric)
    assert decision.options == BlendOptions()
    assert [step.question for step in decision.steps] == ["signal"]
    assert (decision.nested == decision.plain).all()
    assert (decision.gain, decision.error) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_one_useful_run_among_noise_is_found(seed):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng)
    told = evidence(labels, good=informed(labels, rng), **{f"noise{n}": noise(rng, 2) for n in range(4)})
    for metric in ("log_loss", "auc"):
        decision = decide(told, metric)
        assert decision.gain > 4 * decision.error > 0
        assert share(fit(decision.options, told, metric), "good") > 0.8
    values = leave_one_out_gains(decision.options, told, "auc")
    assert max(values, key=lambda run: values[run][0]) == "good"
    assert blends_of_fewer_runs(decision.options, told, "auc")[-1].runs == ("good",)


@pytest.mark.parametrize("seed", range(3))
def test_an_overconfident_run_is_cooled(seed):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng)
    told = evidence(labels, loud=6 * informed(labels, rng))
    options, _ = choose(told, "log_loss")
    assert options.calibration in ("calibrate", "both")
    assert fit(options, told, "log_loss").slope == pytest.approx(1 / 6, rel=0.35)
    assert choose(told, "auc")[0] == BlendOptions()  # the order is as it was


@pytest.mark.parametrize("seed", range(3))
def test_an_overconfident_run_does_not_drown_out_the_others(seed):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng)
    told = evidence(labels, loud=8 * informed(labels, rng), b=informed(labels, rng), c=informed(labels, rng))
    blend = fit(choose(told, "log_loss")[0], told, "log_loss")
    loud, other, third = (weight * scale for weight, scale in zip(blend.weights, (8, 1, 1)))
    assert loud / (loud + other + third) == pytest.approx(1 / 3, abs=0.15)


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
@pytest.mark.parametrize("seed", range(3))
def test_an_inverted_run_is_negated(metric, seed):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng)
    told = evidence(labels, a=informed(labels, rng), wrong=-informed(labels, rng), c=informed(labels, rng))
    decision = decide(told, metric)
    assert decision.options.inverted == ("wrong",)
    assert decision.steps[0].answer == "-wrong"
    assert decision.gain > 4 * decision.error


@pytest.mark.parametrize("seed", range(3))
def test_a_clip_that_pays_is_found(seed):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng)
    logits = informed(labels, rng, 3)
    mislabelled = rng.choice(MEDIA, 20, replace=False)
    logits[mislabelled] = -12 * (2 * labels[mislabelled] - 1)
    told = evidence(labels, a=logits)
    options, _ = choose(told, "log_loss")
    assert options.calibration in ("clip", "both")
    assert fit(options, told, "log_loss").limit <= 5


def test_honest_equal_runs_are_left_alone():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    decision = decide(evidence(labels, a=informed(labels, rng)), "log_loss")
    assert decision.options == BlendOptions()
    assert decision.gain == 0


def test_a_pooling_that_pays_is_found():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    told = evidence(labels, a=informed(labels, rng, 1))
    better = {"mean": told.pooled["mean"], "largest_face": informed(labels, rng, 3)[:, None]}
    told = Evidence(labels, told.folds, told.groups, ("a",), better, {name: -each for name, each in better.items()})
    assert choose(told, "auc")[0].pool == "largest_face"


@pytest.mark.parametrize(("metric", "loudness", "offset"), [("log_loss", 8, 0), ("accuracy", 1, 3), ("macro_f1", 1, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_no_pooling_is_taken_for_what_putting_logits_right_would_do(seed, metric, loudness, offset):
    """The mean of crops is best; other poolings happen to be less loud, or to lie elsewhere."""
    rng = np.random.default_rng(seed)
    frames, media, labels = 8, np.arange(240), np.arange(240) % 2
    of_media = labels - 0.5 + 0.7 * rng.normal(size=240)
    logits = offset + loudness * (of_media[:, None] + 0.5 * rng.normal(size=(240, frames)))
    rows = pd.DataFrame({"media_id": np.repeat(media, frames), "frame_idx": np.tile(np.arange(frames), 240)})
    rows = rows.assign(face_idx=0, track_id=0, prob=0.99, side=50.0, sharpness=5.0, logit=logits.ravel())
    pooled, negated = (
        {name: pool(rows.assign(logit=sign * rows.logit)).to_numpy()[:, None] for name, pool in POOLINGS.items()}
        for sign in (1, -1)
    )
    options, _ = choose(Evidence(labels, media // 2 % 5, media, ("a",), pooled, negated), metric)
    assert options.pool == "mean"
    assert options.calibration in ("calibrate", "both") if metric == "log_loss" else options.threshold


def test_a_threshold_is_tuned_where_it_pays():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    told = evidence(labels, a=informed(labels, rng) + 3)
    for metric in ("accuracy", "macro_f1"):
        decision = decide(told, metric)
        assert decision.options.threshold
        assert fit(decision.options, told, metric).threshold == pytest.approx(3, abs=1)
        nested_score = metric_of(metric, labels, decision.nested - decision.thresholds)
        assert nested_score > metric_of(metric, labels, decision.plain) + 0.1


def test_a_medium_has_no_say_in_its_own_cross_fitted_logit():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    told = evidence(labels, a=informed(labels, rng), b=3 * informed(labels, rng))
    there = told.folds == 2
    flipped = replace(told, labels=np.where(there, 1 - labels, labels))
    for weights, calibration in product(WEIGHTS, CALIBRATIONS):
        options = BlendOptions(weights=weights, calibration=calibration)
        before, after = crossfit(options, told, "log_loss"), crossfit(options, flipped, "log_loss")
        assert (after[there] == before[there]).all(), options
        assert options == BlendOptions() or (after[~there] != before[~there]).any(), options
    assert (nested(flipped, "log_loss")[0][there] == nested(told, "log_loss")[0][there]).all()


def test_choosing_on_its_own_judges_is_not_believed():
    """Forty useless poolings beside a weak run: the best of them looks good, nested scores do not."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = labels_of(rng)
        weak = informed(labels, rng, 1)[:, None]
        pooled = {"mean": weak} | {str(n): weak + noise(rng, 0.5)[:, None] for n in range(40)}
        groups = np.arange(MEDIA)
        told = Evidence(labels, deal_folds(groups), groups, ("a",), pooled, {k: -v for k, v in pooled.items()})
        assert decide(told, "auc").options.pool == "mean"
        gains.append(gain_and_error("auc", labels, groups, weak[:, 0], nested(told, "auc")[0])[0])
    assert max(map(abs, gains)) < 0.01


def test_fewer_runs_come_with_weights_of_their_own():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    told = evidence(labels, good=informed(labels, rng, 3), fair=informed(labels, rng, 1), none=noise(rng))
    blends = blends_of_fewer_runs(BlendOptions(weights="logistic"), told, "log_loss")
    assert [blend.runs for blend in blends] == [("good", "fair", "none"), ("good", "fair"), ("good",)]
    assert blends[2] == fit(BlendOptions(weights="logistic"), told.of_runs(["good"]), "log_loss")


def test_a_blend_is_written_and_read_without_loss():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    told = evidence(labels, a=informed(labels, rng), b=-informed(labels, rng))
    for weights, calibration in product(WEIGHTS, CALIBRATIONS):
        blend = fit(BlendOptions("median", weights, calibration, True, ("b",)), told, "accuracy")
        written = json.loads(json.dumps(blend.to_json()))
        again = Blend.from_json(written)
        assert again == blend
        written["fitted"]["finish"] = written["fitted"].pop("calibration")  # as older versions wrote it
        assert Blend.from_json(written) == blend
        logits = told.logits(blend.options.pool, blend.options.inverted)
        assert (again.apply(logits) == blend.apply(logits)).all()


def test_a_blend_that_is_damaged_is_refused_with_a_value_error():
    whole = Blend(("a",), BlendOptions(), (1.0,)).to_json()
    for damage in (
        *([], None, {}, {**whole, "runs": ["a"]}, {**whole, "runs": {"a": 1.0}}, {**whole, "fitted": None}),
        *({key: value for key, value in whole.items() if key != name} for name in whole),
        *({**whole, name: "1"} for name in ("offset", "slope", "bias", "limit", "threshold")),
        {**whole, "pool": "best"},
        {**whole, "runs": {"a": {"weight": None, "inverted": False}}},
        {**whole, "fitted": {"weights": "equal", "threshold": False}},
        {**whole, "fitted": {"weights": "equal", "calibration": "cold", "threshold": False}},
    ):
        with pytest.raises(ValueError):
            Blend.from_json(damage)
            pytest.fail(f"{damage} was read")


def test_a_blend_is_the_sum_that_it_says():
    blend = Blend(("a", "b"), BlendOptions(), (0.5, 1.0), offset=1.0, slope=2.0, bias=-1.0, limit=6.0)
    assert blend.apply(np.array([[2.0, 1.0], [0.0, -1.0], [40.0, 40.0]])).tolist() == [5.0, -1.0, 6.0]


def test_dealt_folds_keep_groups_whole_and_are_even():
    groups = np.repeat(np.arange(50), 3)
    folds = deal_folds(groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(50))
    assert np.bincount(folds).tolist() == [30] * 5
