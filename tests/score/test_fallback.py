"""What is submitted for media without a face, with numbers for paper."""

import math

import numpy as np
import pandas as pd
import pytest

from deepfake.score.fallback import fallbacks, labels_and_faceless, medium_logits, prior_logit, training_prior


def rows(**logits):
    """Rows of media with these logits, all of them faces."""
    pairs = [(medium, logit) for medium, values in logits.items() for logit in values]
    return pd.DataFrame(pairs, columns=["media_id", "logit"]).assign(found=True)


def test_a_medium_without_a_face_gets_the_fallback():
    table = rows(a=[0, 2], b=[-2], c=[5, 7])
    table.loc[table.media_id == "c", "found"] = False
    assert medium_logits(table, fallback=0.5).to_dict() == {"a": 1, "b": -2, "c": 0.5}


def test_labels_are_one_a_medium_and_those_without_a_face_apart():
    table = rows(a=[9, 9], b=[1], c=[4]).assign(label=[1, 1, 0, 1])
    table.loc[table.media_id == "c", "found"] = False
    labels, faceless = labels_and_faceless(table)
    assert labels.to_dict() == {"a": 1, "b": 0, "c": 1}
    assert faceless.to_dict() == {"c": 1}
    assert labels_and_faceless(table, reals_alone=True)[1].empty


def test_fallbacks_are_shares_of_fakes_shrunk_towards_all_media():
    found = fallbacks(prior=math.log(3), faceless=[0, 0, 1, 0], unreadable=[1])
    assert found["no_face"]["logit"] == pytest.approx(0)  # (1 + 4 x .75) / 8 = .5
    assert found["unreadable"]["logit"] == pytest.approx(math.log(4))  # (1 + 3) / 5 = .8
    assert found["late"]["logit"] == math.log(3)
    assert found["no_face"]["from"] == "share of fakes in 4 training media without a face"


def test_without_such_media_the_fallback_is_the_prior():
    found = fallbacks(prior=-1.0, faceless=[])
    assert {reason: entry["logit"] for reason, entry in found.items()} == pytest.approx(
        {"no_face": -1, "unreadable": -1, "late": -1}
    )
    assert {entry["from"] for entry in found.values()} == {"share of fakes in training"}


@pytest.mark.parametrize(
    ("labels", "odds"), [([0, 1], 1), ([1, 1, 1, 0], 3.5 / 1.5), ([0, 0], 0.5 / 2.5), ([1], 1.5 / 0.5), ([], 1)]
)
def test_the_prior_counts_half_a_medium_more_of_each_class(labels, odds):
    assert prior_logit(np.array(labels)) == pytest.approx(math.log(odds))


def test_where_no_fake_was_given_the_prior_is_even():
    assert training_prior(np.array([0, 0, 0])) == 0
    assert training_prior(np.array([0, 1, 1])) == prior_logit(np.array([0, 1, 1]))
