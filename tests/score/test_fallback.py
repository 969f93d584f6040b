"""What is submitted for media without a face, with numbers for paper."""

import math

import numpy as np
import pandas as pd
import pytest

from deepfake.score.fallback import fallback_logit, medium_logits, prior_logit


def rows(**logits):
    """Rows of media with these logits, all of them faces."""
    pairs = [(medium, logit) for medium, values in logits.items() for logit in values]
    return pd.DataFrame(pairs, columns=["media_id", "logit"]).assign(found=True)


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
