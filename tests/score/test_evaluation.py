"""The figures of an evaluation against their definitions, and the order of generators."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfake.score.evaluation import calibration_error, evaluate, figures, share_found


def media(reals, **fakes):
    """Logits of reals, and of the fakes of each method; every medium is a source of its own."""
    rows = [{"label": 0, "method": None, "logit": logit} for logit in reals]
    rows += [{"label": 1, "method": name, "logit": logit} for name, logits in fakes.items() for logit in logits]
    return pd.DataFrame(rows).assign(source=lambda table: [f"s{number}" for number in range(len(table))])


def test_generators_stand_weakest_first_each_against_all_reals():
    table = evaluate(media([-2, -1, 0, 1], strong=[3, 4], weak=[-3, 0.5], middling=[0.5, 2]))
    assert table.method.tolist() == ["all", "weak", "middling", "strong"]
    assert table.reals.tolist() == [4] * 4 and table.fakes.tolist() == [6, 2, 2, 2]
    assert table.auc.tolist()[1:] == pytest.approx([3 / 8, 7 / 8, 1])


def test_of_one_generator_there_is_one_row():
    assert evaluate(media([0, 1], swap=[2, 3])).method.tolist() == ["all"]
    unnamed = media([0, 1], a=[2], b=[3])
    unnamed.loc[unnamed.method == "b", "method"] = None
    assert evaluate(unnamed).method.tolist() == ["all", "a", "fake"]


def test_figures_are_what_their_names_say():
    logits = [-4.0, -1.0, 0.5, 3.5], [-3.5, -0.2, 1.0, 5.0]
    found = figures(media(logits[0], swap=logits[1]), threshold=0.8)
    assert found["accuracy"] == pytest.approx(4 / 8)
    assert found["tuned_accuracy"] == pytest.approx(5 / 8)
    assert found["surely_wrong"] == pytest.approx(2 / 8)
    probs = 1 / (1 + np.exp(-np.array([*logits[0], *logits[1]])))
    truth = np.repeat([0, 1], 4)
    assert found["log_loss"] == pytest.approx(-np.log(np.where(truth, probs, 1 - probs)).mean())
    assert 0 <= found["auc_low"] < found["auc"] < found["auc_high"] <= 1


def test_an_interval_counts_sources_not_media():
    """Ten copies of each medium say no more than the medium."""
    rng = np.random.default_rng(0)
    once = media(rng.normal(0, 1, 40), swap=rng.normal(1, 1, 40))
    copies = pd.concat([once] * 10)
    one, ten = (figures(table, threshold=0.0) for table in (once, copies))
    assert ten["auc"] == pytest.approx(one["auc"])
    assert ten["auc_low"] == pytest.approx(one["auc_low"], abs=0.01)
    apart = figures(copies.assign(source=range(len(copies))), threshold=0.0)
    assert apart["auc_low"] > ten["auc_low"] + 0.03


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    from math import erf

    rng, truth, held = np.random.default_rng(1), 0.5 * (1 + erf(1 / 2)), 0  # of normals one deviation apart
    for _ in range(200):
        found = figures(media(rng.normal(0, 1, 60), swap=rng.normal(1, 1, 60)), threshold=0.0)
        held += found["auc_low"] <= truth <= found["auc_high"]
    assert 180 <= held <= 199


def test_the_share_found_is_at_a_share_of_false_alarms():
    reals, fakes = np.arange(100.0), np.array([50.0, 98.5, 98.0, 99.5])
    labels, logits = np.repeat([0, 1], [100, 4]), np.concatenate([reals, fakes])
    assert share_found(labels, logits, 0.01) == 0.5  # one real lies above 98
    assert share_found(labels, logits, 0.001) == 0.25  # none lies above 99


def test_calibration_is_the_distance_of_what_is_said_from_what_is():
    certain, labels = np.array([-20.0, -20.0, 20.0, 20.0]), np.array([0, 1, 1, 1])
    assert calibration_error(labels, certain) == pytest.approx(0.25, abs=1e-6)
    assert calibration_error(np.array([0, 1]), np.zeros(2)) == pytest.approx(0)


def test_with_one_class_what_needs_both_is_not_a_number():
    found = figures(media([0.5, -1]), threshold=0.0)
    assert all(np.isnan(found[name]) for name in ("auc", "auc_low", "eer", "tpr_1"))
    assert found["accuracy"] == 0.5 and found["log_loss"] > 0


def test_perfect_separation_of_few_sources_is_known_only_roughly():
    few, many = (figures(media([-1] * count, swap=[1] * count), threshold=0.0) for count in (3, 60))
    assert few["auc"] == many["auc"] == few["auc_high"] == 1
    assert few["auc_low"] == pytest.approx(0.05 ** (1 / 3)) and many["auc_low"] > 0.95
    negated = figures(media([1] * 3, swap=[-1] * 3), threshold=0.0)
    assert negated["auc_low"] == 0 and negated["auc_high"] == pytest.approx(1 - few["auc_low"])
