"""What out-of-fold tables tell, with media and logits for paper."""

import numpy as np
import pandas as pd
import pytest

from deepfake.score.evidence import deal_folds, gather
from deepfake.score.pool import POOLINGS
from deepfake.tables import FOLDS, OOF


def rows(media_id, logits, **columns):
    """A medium's out-of-fold rows, one frame each; columns in place of what is alike for all."""
    own = {"media_id": media_id, "frame_idx": range(len(logits)), "face_idx": 0, "view": "identity", "label": 0}
    seen = {"found": True, "track_id": 0, "prob": 0.99, "side": 100.0, "sharpness": 6.0}
    return pd.DataFrame({"logit": logits} | own | seen | columns)


def table(*parts):
    return OOF.check(pd.concat(parts, ignore_index=True))


def folds_of(**media):
    """name=(group, label, fold)."""
    made = [
        {"media_id": name, "group_id": group, "label": label, "method": None, "fold": fold}
        for name, (group, label, fold) in media.items()
    ]
    return FOLDS.check(pd.DataFrame(made))


FOUR = folds_of(d=("q", 1, 2), c=("q", 0, 2), b=("p", 1, 1), a=("o", 0, 0))
ONE = table(*(rows(name, logits) for name, logits in {"c": [4.0], "a": [1.0, 3.0], "b": [-1.0], "d": [8.0]}.items()))
TWO = table(*(rows(name, logits) for name, logits in {"d": [5.0], "b": [0.0, 1.0], "a": [7.0], "c": [6.0]}.items()))


@pytest.fixture(scope="module")
def both():
    """The evidence of both runs, and the labels of media without a face; not to be changed."""
    return gather({"one": ONE, "two": TWO}, FOUR)


def test_media_are_in_order_whatever_that_of_the_tables(both):
    evidence, faceless = both
    assert evidence.runs == ("one", "two")
    assert evidence.labels.tolist() == [0, 1, 0, 1]
    assert evidence.pooled["mean"].tolist() == [[2, 7], [-1, 0.5], [4, 6], [8, 5]]
    assert set(evidence.pooled) == set(evidence.negated) == set(POOLINGS)
    assert len(faceless) == 0


def test_media_that_not_every_run_has_scored_are_left_out():
    two = TWO[TWO.media_id != "b"]
    evidence, _ = gather({"one": ONE[ONE.media_id != "d"], "two": two}, FOUR)
    assert evidence.labels.tolist() == [0, 0]
    assert evidence.pooled["mean"].tolist() == [[2, 7], [4, 6]]


def test_media_without_a_face_are_apart():
    centre = table(rows("b", [-1.0], found=False), rows("a", [1.0]), rows("c", [2.0]), rows("d", [3.0], found=False))
    evidence, faceless = gather({"one": centre}, FOUR)
    assert evidence.pooled["mean"].tolist() == [[1], [2]]
    assert evidence.labels.tolist() == [0, 0]
    assert faceless.tolist() == [1, 1]


def test_a_face_that_one_run_has_found_is_a_face():
    """Runs may have been trained on crops of different settings."""
    blind = ONE.assign(found=False)
    evidence, faceless = gather({"one": blind, "two": TWO[TWO.media_id != "d"]}, FOUR)
    assert evidence.labels.tolist() == [0, 1, 0]
    assert len(faceless) == 0


def test_folds_are_those_of_the_table_where_there_are_three(both):
    evidence, _ = both
    assert evidence.folds.tolist() == [0, 1, 2, 2]


def test_media_of_a_group_have_one_number_and_others_another(both):
    groups = both[0].groups
    assert groups[2] == groups[3]
    assert len(set(groups.tolist())) == 3


@pytest.mark.parametrize("trained", [1, 2])
def test_fewer_than_three_folds_are_dealt_into_five_with_groups_whole(trained):
    names = [f"m{number:02d}" for number in range(20)]
    folds = folds_of(**{name: (f"g{number // 2}", number % 2, number % trained) for number, name in enumerate(names)})
    evidence, _ = gather({"one": table(*(rows(name, [1.0]) for name in names))}, folds)
    assert evidence.folds[::2].tolist() == evidence.folds[1::2].tolist()
    assert np.bincount(evidence.folds).tolist() == [4] * 5


def test_groups_are_dealt_evenly_and_always_alike():
    groups = np.array(["x", "y", "x", "z", "y", "x"])
    dealt = deal_folds(groups, count=3)
    assert len({*zip(groups, dealt.tolist(), strict=True)}) == 3
    assert sorted(set(dealt.tolist())) == [0, 1, 2]
    assert deal_folds(groups, count=3).tolist() == dealt.tolist()


def test_negated_is_the_pooling_of_negated_rows():
    """The most fake person is then the one with the lowest logits: max(3, -1), not -max(-3, 1)."""
    people = table(rows("a", [-2.0, -4.0, 1.0], track_id=[0, 0, 1], face_idx=[0, 0, 1]))
    evidence, _ = gather({"one": people}, FOUR)
    assert (evidence.pooled["track_max"].item(), evidence.negated["track_max"].item()) == (1, 3)
    assert (evidence.pooled["mean"].item(), evidence.negated["mean"].item()) == pytest.approx((-5 / 3, 5 / 3))


def test_inverted_runs_alone_are_negated(both):
    evidence, _ = both
    assert evidence.logits("mean", ()).tolist() == evidence.pooled["mean"].tolist()
    assert evidence.logits("mean", ("two",)).tolist() == [[2, -7], [-1, -0.5], [4, -6], [8, -5]]


def test_some_media_are_taken_by_a_mask_or_by_numbers(both):
    evidence, _ = both
    for taken in (evidence.take(np.array([False, True, False, True])), evidence.take(np.array([1, 3]))):
        assert (taken.labels.tolist(), taken.folds.tolist()) == ([1, 1], [1, 2])
        assert taken.groups.tolist() == evidence.groups[[1, 3]].tolist()
        assert taken.runs == ("one", "two")
        assert taken.pooled["mean"].tolist() == [[-1, 0.5], [8, 5]]
        assert taken.negated["mean"].tolist() == [[1, -0.5], [-8, -5]]


def test_some_runs_are_taken_in_the_order_asked_for(both):
    evidence, _ = both
    swapped, alone = evidence.of_runs(["two", "one"]), evidence.of_runs(["two"])
    assert (swapped.runs, alone.runs) == (("two", "one"), ("two",))
    assert swapped.pooled["mean"].tolist() == [[7, 2], [0.5, -1], [6, 4], [5, 8]]
    assert alone.negated["mean"].tolist() == [[-7], [-0.5], [-6], [-5]]
    assert alone.labels.tolist() == evidence.labels.tolist()
