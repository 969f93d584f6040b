"""From many logits to one a medium, with numbers for paper."""

import math

import numpy as np
import pandas as pd
import pytest

from deepfake.score.pool import fallback_logit, mean_logits, medium_logits, prior_logit, sigmoid, view_rows


def rows(**logits):
    """Rows of media with these logits, all of them faces."""
    pairs = [(medium, logit) for medium, values in logits.items() for logit in values]
    return pd.DataFrame(pairs, columns=["media_id", "logit"]).assign(found=True)


def test_a_medium_has_the_mean_of_its_logits():
    assert mean_logits(rows(a=[0, 2], b=[-2])).to_dict() == {"a": 1, "b": -2}


def test_media_come_in_order_whatever_the_order_of_rows():
    assert list(mean_logits(rows(b=[1], a=[2])).index) == ["a", "b"]


def test_a_medium_without_a_face_gets_the_fallback():
    table = rows(a=[0, 2], b=[-2], c=[5, 7])
    table.loc[table.media_id == "c", "found"] = False
    assert medium_logits(table, fallback=0.5).to_dict() == {"a": 1, "b": -2, "c": 0.5}


def test_the_fallback_is_the_mean_of_media_without_a_face_one_vote_each():
    table = rows(a=[9], b=[1, 1, 1], c=[4])
    table.loc[table.media_id.isin(["b", "c"]), "found"] = False
    logit, source = fallback_logit(table, prior=-1.0)
    assert logit == 2.5
    assert source == "mean out-of-fold logit of 2 media without a face"


@pytest.mark.parametrize("table", [rows(a=[9], b=[1]), rows()], ids=["faces alone", "nothing"])
def test_without_such_media_the_fallback_is_the_prior(table):
    assert fallback_logit(table, prior=-1.0) == (-1.0, "share of fakes in training")


@pytest.mark.parametrize(
    ("labels", "odds"), [([0, 1], 1), ([1, 1, 1, 0], 3.5 / 1.5), ([0, 0], 0.5 / 2.5), ([1], 1.5 / 0.5), ([], 1)]
)
def test_the_prior_counts_half_a_medium_more_of_each_class(labels, odds):
    assert prior_logit(np.array(labels)) == pytest.approx(math.log(odds))


def test_probabilities_of_logits():
    np.testing.assert_allclose(sigmoid(np.log([1 / 3, 1, 3])), [0.25, 0.5, 0.75])


def test_extreme_logits_become_probabilities_without_a_warning():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        values = sigmoid(np.array([-1e4, -700.0, 0.0, 700.0, 1e4]))
    assert values.tolist() == [0.0, pytest.approx(math.exp(-700)), 0.5, 1.0, 1.0]


def test_probabilities_keep_the_order_of_logits():
    assert (np.diff(sigmoid(np.linspace(-30, 30, 61))) > 0).all()


def test_each_view_gives_each_crop_a_row():
    boxes = {"x0": [0, 5], "y0": [-2, 5], "x1": [4, 8], "y1": [7, 8]}
    crops = pd.DataFrame({"media_id": ["a", "b"], "frame_idx": [0, 4]} | boxes, index=[5, 9])
    table = view_rows(crops, np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), ["identity", "hflip"])
    assert table.drop(columns=boxes).to_dict("list") == {
        "media_id": ["a", "b", "a", "b"],
        "frame_idx": [0, 4, 0, 4],
        "side": [6, 3, 6, 3],
        "view": ["identity", "identity", "hflip", "hflip"],
        "logit": [1.0, 3.0, 2.0, 4.0],
    }
    assert list(table.index) == [0, 1, 2, 3]
