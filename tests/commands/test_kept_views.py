"""Which test-time views inference keeps, as it is told to or by out-of-fold logits."""

import logging

import numpy as np
import pandas as pd
import pytest

from deepfake.errors import UserError
from deepfake.workspace.tta import kept_views, scored_views

GIVEN = ["identity", "hflip"]
LABELS = np.tile([0, 1], 150)
NAMES = np.array([f"medium{number:03}" for number in range(300)])


def table(first=0, last=300, **views):
    """Out-of-fold rows of one crop a medium."""
    media = pd.DataFrame({"media_id": NAMES, "frame_idx": 0, "face_idx": 0, "found": True, "label": LABELS})
    return pd.concat([media.assign(view=view, logit=logit)[first:last] for view, logit in views.items()])


def folds(group_ids):
    return pd.DataFrame({"media_id": NAMES, "group_id": group_ids, "label": LABELS, "fold": 0})


@pytest.fixture
def readings():
    """Two honest logits of each medium that are independent given its class."""
    rng = np.random.default_rng(0)
    return [2 * (2 * (LABELS - 0.5) + rng.normal(size=300)) for _ in range(2)]


@pytest.fixture
def said(caplog):
    """`said()` is what was said."""
    caplog.set_level(logging.INFO, logger="deepfake")
    return lambda: [record.getMessage() for record in caplog.records]


def test_training_scores_what_is_asked_for_and_for_auto_all():
    assert scored_views(GIVEN) == ["identity", "hflip"]
    assert len(scored_views(None)) == 8


def test_a_list_is_kept_as_it_is(said):
    assert kept_views("r", GIVEN, [], None) == ["identity", "hflip"]
    assert said() == []


def test_auto_keeps_what_pays_and_says_so_in_a_line(readings, said):
    plain, other = readings
    tables = [
        table(0, 150, identity=plain, hflip=plain, jpeg=other),
        table(150, identity=plain, hflip=plain, jpeg=other),
    ]
    assert kept_views("r", None, tables, folds(NAMES)) == ["identity", "jpeg"]
    (line,) = said()
    assert line.startswith(
        "infer    infer.tta=auto keeps identity, jpeg of identity, hflip, jpeg; gain in out-of-fold "
    )
    assert ": jpeg +0." in line and ", not hflip, " in line
    assert kept_views("r", None, tables, None) == ["identity", "jpeg"]


def test_media_that_hang_together_are_one_witness(readings, said):
    tables = [table(identity=readings[0], hflip=readings[1])]
    assert kept_views("r", None, tables, folds("one")) == ["identity"]
    assert ": not hflip, +0." in said()[0] and "± inf" in said()[0]
    assert kept_views("r", None, tables, folds("one")[:0]) == ["identity", "hflip"]  # media that no fold knows


def test_views_that_a_fold_lacks_are_not_there(readings, said):
    plain, other = readings
    tables = [table(0, 150, identity=plain, hflip=plain, jpeg=other), table(150, identity=plain, hflip=plain)]
    assert kept_views("r", None, tables, None) == ["identity"]
    assert "keeps identity of identity, hflip; " in said()[0]


def test_without_faces_there_is_nothing_to_choose_by(readings, said):
    faceless = table(identity=readings[0], hflip=readings[1]).assign(found=False)
    assert kept_views("r", None, [faceless], None) == ["identity"]
    assert said() == ["infer    infer.tta=auto keeps identity of identity, hflip; no medium has a face to choose by"]


@pytest.mark.parametrize("tables", [[], [table(identity=LABELS)]])
def test_auto_needs_logits_of_more_than_one_view(tables):
    has = "those of identity alone" if tables else "none"
    with pytest.raises(UserError, match=rf"run r has {has}: train with infer\.tta=auto, or name the views") as caught:
        kept_views("r", None, tables, None)
    assert "\n" not in str(caught.value)
