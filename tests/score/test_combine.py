"""From rows of the logits table to one logit a medium, by blends for paper."""

import pandas as pd
import pytest

from deepfake.score.blending import Blend, BlendOptions
from deepfake.score.combine import combine
from deepfake.tables import LOGITS

ALONE = Blend(("one",), BlendOptions(), (1.0,))
BOTH = Blend(("one", "two"), BlendOptions(), (0.25, 0.75))


def rows(media_id, run, logits, **columns):
    """A medium's rows by a run, one frame each; columns in place of what is alike for all."""
    own = {"media_id": media_id, "frame_idx": range(len(logits)), "face_idx": 0, "run": run, "fold": "0"}
    seen = {"found": True, "track_id": 0, "prob": 0.99, "side": 100.0, "sharpness": 6.0, "fallback": None}
    return pd.DataFrame({"logit": logits, "view": "identity"} | own | seen | columns)


def table(*parts):
    return LOGITS.check(pd.concat(parts, ignore_index=True))


def test_one_run_alone_is_the_plain_mean_over_frames_folds_and_views():
    logits = table(
        rows("b", "one", [3.0, 5.0]),
        rows("a", "one", [0.0, 2.0]),
        rows("a", "one", [2.0, 4.0], fold="1"),
        rows("b", "one", [1.0, -1.0], view="hflip"),
    )
    combined = combine(logits, [ALONE])
    assert combined.to_dict() == {"a": 2, "b": 2}
    assert list(combined.index) == ["a", "b"]


def test_two_runs_speak_with_their_weights():
    """1/4 · 4 + 3/4 · (-2 + 2) / 2; then slope, offset and bias: 3 · (1 + 2) - 1."""
    logits = table(rows("a", "one", [4.0]), rows("a", "two", [-2.0, 2.0]))
    assert combine(logits, [BOTH]).to_dict() == {"a": 1}
    moved = Blend(BOTH.runs, BlendOptions(), BOTH.weights, offset=2.0, slope=3.0, bias=-1.0)
    assert combine(logits, [moved]).to_dict() == {"a": 8}


def test_a_run_weighs_no_more_for_its_folds_and_frames():
    many = [rows("a", "one", [4.0] * 5, fold=fold) for fold in "01234"]
    assert combine(table(*many, rows("a", "two", [0.0])), [BOTH]).to_dict() == {"a": 1}


def test_an_inverted_run_is_negated_and_the_others_are_not():
    inverted = Blend(("one", "two"), BlendOptions(inverted=("one",)), (0.5, 0.5))
    logits = table(rows("a", "one", [-4.0]), rows("a", "two", [2.0]))
    assert combine(logits, [inverted]).to_dict() == {"a": 3}


def test_an_inverted_run_is_negated_before_it_is_pooled():
    """The most fake person is the one with the lowest logits: max(3, -1), not -max(-3, 1)."""
    logits = table(rows("a", "one", [-2.0, -4.0, 1.0], track_id=[0, 0, 1], face_idx=[0, 0, 1]))
    plain = Blend(("one",), BlendOptions("track_max"), (1.0,))
    negated = Blend(("one",), BlendOptions("track_max", inverted=("one",)), (1.0,))
    assert combine(logits, [plain]).to_dict() == {"a": 1}
    assert combine(logits, [negated]).to_dict() == {"a": 3}


def test_a_blend_of_fewer_runs_speaks_where_only_those_have_scored():
    logits = table(rows("a", "one", [4.0]), rows("a", "two", [0.0]), rows("b", "one", [4.0]))
    assert combine(logits, [BOTH, ALONE]).to_dict() == {"a": 1, "b": 4}


def test_where_no_medium_was_scored_by_all_fewer_speak():
    assert combine(table(rows("a", "one", [4.0])), [BOTH, ALONE]).to_dict() == {"a": 4}


def test_media_that_no_blends_runs_have_scored_are_left_out():
    logits = table(rows("a", "one", [4.0]), rows("b", "two", [4.0]), rows("c", "", [1.0], fallback="late"))
    assert combine(logits, [BOTH, ALONE]).to_dict() == {"a": 4}


@pytest.mark.filterwarnings("error")
def test_no_rows_give_no_media():
    """As where no medium of a step has a face."""
    combined = combine(LOGITS.empty(), [BOTH, ALONE])
    assert combined.to_dict() == {}
    assert combined.dtype == float


def test_the_order_of_rows_does_not_matter():
    inverted = Blend(("one", "two"), BlendOptions("track_max", inverted=("two",)), (0.25, 0.75), limit=3.0)
    logits = table(
        rows("a", "one", [1.0, 2.5, -1.0], track_id=[0, 1, 1], face_idx=[0, 1, 1]),
        rows("a", "two", [-1.5, 0.5]),
        rows("b", "two", [8.0, 2.0], view="hflip"),
        rows("b", "one", [7.0]),
        rows("c", "one", [0.5]),
    )
    expected = combine(logits, [inverted, ALONE])
    assert expected.to_dict() == {"a": 0.25 + 0.75 * 0.5, "b": -2.0, "c": 0.5}
    for shuffled in (logits[::-1], logits.sample(frac=1, random_state=1)):
        pd.testing.assert_series_equal(combine(shuffled, [inverted, ALONE]), expected)
