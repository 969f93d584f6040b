"""The figures of an evaluation against their definitions, the order of generators, and the parts that are told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfake.score.evaluation import (
    by_face,
    by_frame,
    by_real_source,
    calibration_error,
    evaluate,
    figures,
    most_wrong,
    ranking,
    real_sources,
    share_found,
    under_damage,
)


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


def test_where_reals_come_from_is_the_first_folder_in_which_they_differ_or_their_method():
    def sources(*paths, methods=None):
        table = pd.DataFrame({"path": [*paths, "fakes/x.png"], "label": [0] * len(paths) + [1]})
        return real_sources(table.assign(method=[*(methods or ["real"] * len(paths)), "swap"])).tolist()

    assert sources("test/a/0_real/1.png", "test/b/0_real/1.png") == ["a", "b", ""]
    assert sources("real/1.png", "real/2.png") == ["", "", ""]
    assert sources("real/1.png", "real/ffhq/2.png") == [".", "ffhq", ""]
    assert sources("1.png", "2.png", methods=["ffhq", "celeba"]) == ["ffhq", "celeba", ""]
    assert set(sources(*[f"person{number}/1.png" for number in range(21)])) == {""}
    assert sources() == [""]


def test_by_source_of_the_reals_each_stands_against_each_method():
    table = media([-2, -1, 1, 2], swap=[0, 3], gan=[5, 5]).assign(real_source=["a", "a", "b", "b", "", "", "", ""])
    found = by_real_source(table)
    aucs = {(row.part, row.method): row.auc for row in found.itertuples()}
    assert aucs[("a", "swap")] == 1 and aucs[("b", "swap")] == 0.5 and aucs[("b", "all")] == 0.75
    assert found.auc.is_monotonic_increasing and len(found) == 6
    assert by_real_source(table.assign(real_source="")).empty


def test_by_face_and_by_frame_say_nothing_where_all_are_of_one_kind():
    table = media([-1, 0], swap=[-1, 2]).assign(found=[True, False, False, True])
    assert by_face(table).part.tolist() == ["face found", "no face found"]
    assert by_face(table).auc.tolist() == [1.0, 0.0] and by_face(table[table.found]).empty
    crops = media([-3, 1], swap=[0, 4])  # two of each medium with a face
    found = by_frame(table, crops)
    assert found.part.tolist() == ["medium", "crop"]
    assert found.auc.tolist() == [1.0, 0.75] and found.reals.tolist() == [1, 2]
    assert by_frame(table, crops[:2]).empty


def test_the_most_wrong_are_the_ends_of_the_ranking():
    table = media([-1, 0, 3], swap=[-2, 1]).assign(path=["a", "b", "c", "d", "e"])
    table.loc[5] = {"label": None, "logit": 9.0, "path": "f"}
    order = ranking(table.astype({"label": "Int8"}))
    assert order.path.tolist() == ["f", "c", "e", "b", "a", "d"] and order.prob_fake.iloc[3] == 0.5
    reals, fakes = most_wrong(order, 2)
    assert reals.path.tolist() == ["c", "b"] and fakes.path.tolist() == ["d", "e"]


def test_under_damage_verdicts_are_compared_with_those_before():
    table = media([-1, -1, 2], swap=[1, 3]).assign(found=[True, True, True, True, False], media_id=[*"abcde"])
    damaged = {"same": table.set_index("media_id").logit, "worse": pd.Series([-1, 1, -2, 0.2, -3], [*"abcde"])}
    found = under_damage(table, damaged, threshold=0.5).set_index("condition")
    assert found.index.tolist() == ["none", "same", "worse"]
    assert found.auc["same"] == found.auc["none"] == pytest.approx(5 / 6)
    assert found.flipped.tolist() == [0, 0, 3 / 4]  # b, c and d; nobody spoke for e
    assert found.to_fake["worse"] == pytest.approx(1 / 3) and np.isnan(found.to_fake["same"])
