"""What models say of a medium together, fold by fold, and of its crops."""

import pandas as pd
import pytest

from deepfake.score.blending import Blend, BlendOptions
from deepfake.score.intervals import blended_crops, media_intervals

MEAN = [Blend(("r",), BlendOptions(), (1.0,))]


def rows(*values, run="r", **facts):
    """(media_id, frame_idx, fold, logit) rows of the logits table, of one face a frame."""
    table = pd.DataFrame(values, columns=["media_id", "frame_idx", "fold", "logit"])
    usual = {"face_idx": 0, "track_id": 0, "prob": 1.0, "side": 9.0, "sharpness": 1.0, "view": "identity"}
    return table.assign(run=run, **usual | facts)


def test_a_range_over_folds_is_that_of_each_fold_pooled_alone():
    given = rows(
        ("a", 0, "0", 1), ("a", 9, "0", 3), ("a", 0, "1", -1), ("a", 9, "1", 1), ("b", 0, "0", 5), ("b", 0, "1", 5)
    )
    intervals = media_intervals(given, MEAN)
    assert intervals.loc["a"].tolist() == [1, 0, 2] and intervals.loc["b"].tolist() == [5, 5, 5]
    assert list(intervals.columns) == ["logit", "lowest", "highest"]


def test_each_fold_of_a_blend_is_all_its_runs_models_of_that_fold():
    given = pd.concat([rows(("a", 0, "0", 2), ("a", 0, "1", 4)), rows(("a", 0, "0", -6), ("a", 0, "1", 0), run="s")])
    blend = Blend(("r", "s"), BlendOptions(inverted=("s",)), (0.5, 0.5), bias=1.0)
    assert media_intervals(given, [blend]).loc["a"].tolist() == [
        4,
        3,
        5,
    ]  # (3 + 3) / 2 + 1, (4 + 0) / 2 + 1, (2 + 6) / 2 + 1


@pytest.mark.parametrize("pool", ["mean", "track_max", "noisy_or", "largest_face"])
def test_a_crop_is_judged_as_if_it_were_alone(pool):
    given = rows(("a", 0, "0", 1), ("a", 9, "0", 3), ("a", 0, "1", 2), ("a", 9, "1", 5))
    crops = blended_crops(given, [Blend(("r",), BlendOptions(pool), (2.0,))])
    assert list(crops.columns) == ["media_id", "frame_idx", "face_idx", "logit"]
    assert crops.frame_idx.tolist() == [0, 9] and crops.logit.tolist() == pytest.approx([3, 8])
