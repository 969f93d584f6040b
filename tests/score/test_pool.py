"""From many logits to one a medium, with numbers for paper."""

import math

import numpy as np
import pandas as pd
import pytest

from deepfake.score.pool import (
    POOLINGS,
    confident,
    crop_logits,
    largest_face,
    log_odds,
    mean,
    mean_by_prob,
    mean_by_sharpness,
    mean_by_side,
    mean_logits,
    median,
    noisy_or,
    sharpened,
    sigmoid,
    top_mean,
    track_max,
    trimmed_mean,
    view_rows,
)
from deepfake.tables import LOGITS

UNCLIPPED = set(POOLINGS) - {"confident", "sharpened"}  # these clip probabilities, and `sharpened` moves them too
every_pooling = pytest.mark.parametrize("name", POOLINGS)


def crops(logits, media_id="a", **columns):
    """A medium's rows with these logits, one face a frame; columns in place of what is alike for all."""
    own = {"media_id": media_id, "frame_idx": range(len(logits)), "face_idx": 0, "track_id": 0, "prob": 0.99}
    return pd.DataFrame({"logit": logits} | own | {"side": 100.0, "sharpness": 6.0} | columns)


def logits(*probs):
    return [math.log(p / (1 - p)) for p in probs]


def probability(pooled):
    """Of a pooling's only medium."""
    return float(sigmoid(pooled.item()))


@pytest.fixture
def many(forty):
    """Rows of 40 media."""
    return forty.copy()


@pytest.fixture(scope="module")
def forty():
    """Rows of 40 media in two views and two folds: up to twelve frames of two people, some without a prob."""
    rng, parts = np.random.default_rng(0), []
    for number in rng.permutation(40):
        count = int(rng.integers(1, 13))
        frames, faces = np.divmod(np.arange(2 * count)[int(rng.integers(0, 2)) :], 2)
        for view in ("identity", "hflip"):
            for fold in ("0", "1"):
                values = rng.normal(0, 3, len(frames)) + rng.normal(0, 3)
                seen = {"prob": np.where(frames % 3, 0.9, np.nan), "side": 10.0 * (1 + frames % 4 + faces)}
                seen |= {"sharpness": 1.0 + frames % 5, "view": view, "fold": fold}
                own = {"frame_idx": frames, "face_idx": faces, "track_id": faces}
                parts.append(crops(values, f"{number:02d}.mp4", **own, **seen))
    return LOGITS.check(pd.concat(parts, ignore_index=True).assign(run="people", found=True, fallback=None))


# --- what all poolings have in common


def test_there_are_poolings_and_their_names_are_their_functions():
    assert len(POOLINGS) >= 12
    assert POOLINGS["noisy_or"] is noisy_or


@every_pooling
def test_a_pooling_gives_a_logit_for_each_medium_in_their_order(name, many):
    pooled = POOLINGS[name](many)
    assert list(pooled.index) == sorted(many.media_id.unique())
    assert (pooled.name, pooled.index.name, pooled.dtype) == ("logit", "media_id", np.float64)
    assert len(pooled) == 40 and np.isfinite(pooled).all()


@every_pooling
def test_a_pooling_does_not_mind_the_order_of_rows(name, many):
    shuffled = many.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(POOLINGS[name](shuffled), POOLINGS[name](many), rtol=1e-12)


@every_pooling
def test_a_pooling_does_not_mind_what_other_media_are_there(name, many):
    few = many[many.media_id.isin(["03.mp4", "17.mp4"])]
    expected = POOLINGS[name](many).loc[["03.mp4", "17.mp4"]]
    pd.testing.assert_series_equal(POOLINGS[name](few), expected, rtol=1e-12)


@every_pooling
def test_a_pooling_does_not_change_its_rows(name, many):
    before = many.copy()
    POOLINGS[name](many)
    pd.testing.assert_frame_equal(many, before)


@every_pooling
def test_a_pooling_takes_the_mean_of_a_crops_views_first(name, many):
    pd.testing.assert_series_equal(POOLINGS[name](many), POOLINGS[name](crop_logits(many)), rtol=1e-12)


@every_pooling
def test_a_pooling_stays_finite_for_extreme_logits_and_warns_of_nothing(name):
    for values in ([1e4] * 3, [-1e4] * 3, [1e4, -1e4, 0], [800], [-800]):
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(POOLINGS[name](crops(values, track_id=range(len(values)))).item()), values


@every_pooling
def test_a_pooling_stays_finite_where_nothing_has_weight(name):
    for column in ("prob", "side", "sharpness"):
        assert np.isfinite(POOLINGS[name](crops([1.0, 3.0], **{column: 0.0})).item()), column


@every_pooling
def test_a_pooling_puts_high_logits_above_low_ones(name):
    low, mixed, high = crops([-3, -2, -4], "low"), crops([-3, 3, 0], "mixed"), crops([3, 2, 4], "top")
    pooled = POOLINGS[name](pd.concat([high, low, mixed]))
    assert pooled["low"] < pooled["mixed"] < pooled["top"]


@every_pooling
def test_a_pooling_leaves_a_single_logit_where_it_is_but_for_clipping(name):
    for value in (-12.0, -1.0, 0.0, 0.5, 12.0):
        pooled = POOLINGS[name](crops([value])).item()
        assert np.sign(pooled) == np.sign(value), value
        assert name == "sharpened" or pooled == pytest.approx(value, abs=1e-9), value


@every_pooling
def test_a_pooling_of_no_rows_gives_no_media(name):
    assert len(POOLINGS[name](LOGITS.empty())) == 0


@pytest.mark.parametrize("name", sorted(UNCLIPPED))
def test_what_does_not_clip_leaves_a_single_extreme_logit_where_it_is(name):
    for value in (-1e4, -50.0, 50.0, 1e4):
        assert POOLINGS[name](crops([value])).item() == pytest.approx(value, rel=1e-12), value


# --- one by one


def test_a_medium_has_the_mean_of_its_logits():
    rows = pd.DataFrame({"media_id": ["a", "a", "b"], "logit": [0, 2, -2]})
    assert mean_logits(rows).to_dict() == {"a": 1, "b": -2}
    assert list(mean_logits(rows[::-1]).index) == ["a", "b"]


def test_a_crop_has_the_mean_logit_of_its_views_and_folds_and_keeps_its_facts():
    faces = crops([1.0, 5.0], frame_idx=[3, 3], face_idx=[0, 1], track_id=[1, 0], prob=[0.9, None], side=[40.0, 80.0])
    others = faces.assign(logit=[3.0, -1.0], view="hflip")
    table = crop_logits(pd.concat([others, faces.assign(view="identity")]))
    assert table.logit.to_list() == [2, 2]
    assert table[["media_id", "frame_idx", "face_idx", "track_id", "side"]].to_numpy().tolist() == [
        ["a", 3, 0, 1, 40],
        ["a", 3, 1, 0, 80],
    ]
    assert table.prob.isna().to_list() == [False, True]


def test_a_crop_that_has_more_views_than_another_weighs_no_more():
    rows = pd.concat([crops([0.0, 3.0]), crops([2.0], view="hflip")])
    assert mean(rows).item() == (1 + 3) / 2


def test_the_median_is_in_the_middle():
    assert median(crops([9, 1, 2])).item() == 2
    assert median(crops([9, 1, 2, 4])).item() == 3


@pytest.mark.parametrize(
    ("values", "expected"), [([5, 1, 3, 100, -90], 3), ([100, 1, 3, 5], 109 / 4), ([0] * 7 + [9, 9, 99], 1.5)]
)
def test_the_trimmed_mean_leaves_out_a_fifth_at_each_end(values, expected):
    """One of five; none of four; two of ten."""
    assert trimmed_mean(crops(values)).item() == pytest.approx(expected)


def test_the_trimmed_mean_is_scipys():
    from scipy.stats import trim_mean

    rng = np.random.default_rng(0)
    for count in range(1, 41):
        values = rng.normal(size=count)
        assert trimmed_mean(crops(values)).item() == pytest.approx(trim_mean(values, 0.2))


@pytest.mark.parametrize(("values", "expected"), [([2, 7, 1], 7), ([1, 9, 0, 5, 0, 0, 0, 6], 7.5), ([4] * 3 + [8], 8)])
def test_the_top_mean_is_that_of_the_highest_quarter(values, expected):
    assert top_mean(crops(values)).item() == expected


def test_of_two_people_the_more_fake_one_speaks():
    rows = crops([-4, -2, 1, 3, 2, 9], frame_idx=[0, 1, 0, 1, 2, 3], track_id=[0, 0, 1, 1, 1, 2], face_idx=1)
    assert track_max(rows).item() == 9
    assert track_max(rows[rows.track_id < 2]).item() == 2


def test_of_each_frame_the_largest_face_speaks():
    rows = crops([5, 1, 3, 9], frame_idx=[0, 0, 1, 1], face_idx=[0, 1, 0, 1], side=[20.0, 80.0, 60.0, 50.0])
    assert largest_face(rows).item() == (1 + 3) / 2


def test_of_faces_of_one_size_the_first_speaks():
    rows = crops([5, 1, 3], frame_idx=0, face_idx=[2, 0, 1])
    assert largest_face(rows).item() == 1


def test_a_medium_is_fake_if_one_of_its_people_is():
    """1 - (1 - .5) (1 - .2) = .6; the two crops of the first person count once."""
    rows = crops([*logits(0.5, 0.5), *logits(0.2)], frame_idx=[0, 1, 0], face_idx=[0, 0, 1], track_id=[0, 0, 1])
    assert probability(noisy_or(rows)) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([800, 800], 1600),  # 1 - P = e^-800 · e^-800
        ([800, -800], 800),
        ([-800, -800], -800 + math.log(2)),
        ([-40, -40], -40 + math.log(2)),
        ([0, -1e4], 0),
        ([-29.999, -30.001], -30 + math.log(2)),
    ],
)
def test_the_noisy_or_is_exact_where_probabilities_are_not(tracks, expected):
    assert noisy_or(crops(tracks, track_id=[0, 1])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("probs", "expected"),
    [
        ([0.9] * 12 + [0.1] * 17, 0.9),  # 12 > 11 and 12 > 29 / 2.5 = 11.6
        ([0.9] * 12 + [0.1] * 18, (12 * 0.9 + 18 * 0.1) / 30),  # 12 is not more than 30 / 2.5
        ([0.9] * 11 + [0.7], (11 * 0.9 + 0.7) / 12),  # 11 is not more than 11
        ([0.1] * 19 + [0.9], 0.1),  # 19 > .9 · 20
        ([0.1] * 9 + [0.9], 0.18),  # 9 is not more than .9 · 10
        ([0.3, 0.5], 0.4),
    ],
)
def test_the_confident_crops_speak_where_they_prevail(probs, expected):
    assert probability(confident(crops(logits(*probs)))) == pytest.approx(expected)


def test_the_confident_rule_is_the_published_one():
    def published(probs):
        fakes = np.count_nonzero(probs > 0.8)
        if fakes > len(probs) // 2.5 and fakes > 11:
            return probs[probs > 0.8].mean()
        return probs[probs < 0.2].mean() if np.count_nonzero(probs < 0.2) > 0.9 * len(probs) else probs.mean()

    rng = np.random.default_rng(0)
    for count in range(1, 65):
        probs = rng.beta(0.3, 0.3 * rng.choice([0.2, 1, 10]), count).clip(0.001, 0.999)
        assert probability(confident(crops(logits(*probs)))) == pytest.approx(published(probs))


def test_what_is_certain_is_clipped_to_one_in_a_million():
    assert probability(confident(crops([50.0]))) == pytest.approx(1 - 1e-6)
    assert probability(confident(crops([-50.0]))) == pytest.approx(1e-6)


def test_sharpening_moves_probabilities_away_from_a_half():
    """d = .25: .5 + .5 · .5^.65 = .8186; symmetric; and certain ones are clipped."""
    assert probability(sharpened(crops(logits(0.75)))) == pytest.approx(0.5 + 0.5 * 0.5**0.65)
    assert probability(sharpened(crops(logits(0.25)))) == pytest.approx(0.5 - 0.5 * 0.5**0.65)
    assert [probability(sharpened(crops([value]))) for value in (-50, 0, 50)] == pytest.approx([0.01, 0.5, 0.99])


def test_sharpened_probabilities_weigh_by_how_far_from_a_half_they_were():
    expected = (0.2501 * (0.5 + 0.5 * 0.5**0.65) + 0.0001 * 0.5) / 0.2502
    assert probability(sharpened(crops(logits(0.75, 0.5)))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pooling", "column"), [(mean_by_side, "side"), (mean_by_prob, "prob"), (mean_by_sharpness, "sharpness")]
)
def test_a_weighted_mean_weighs_crops_by_its_column(pooling, column):
    rows = pd.concat([crops([0, 4], **{column: [0.25, 0.75]}), crops([1, 9], "b", **{column: [1.0, 0.0]})])
    assert pooling(rows).to_dict() == {"a": 3, "b": 1}
    assert pooling(crops([0, 4], **{column: 0.0})).item() == 2


def test_without_a_detection_the_weight_is_one():
    assert mean_by_prob(crops([0, 3], prob=[0.5, None])).item() == 2
    assert mean_by_prob(crops([0, 3], prob=[None, None])).item() == 1.5


# --- probabilities and views


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


def test_log_odds_are_what_the_sigmoid_takes_back():
    assert [log_odds(prob) for prob in (0.0, 0.5, 1.0)] == [-math.inf, 0, math.inf]
    assert log_odds(0.75) == pytest.approx(math.log(3), abs=1e-15)
    assert [sigmoid(log_odds(prob)) for prob in (0.0, 1e-9, 0.3, 1.0)] == pytest.approx(
        [0.0, 1e-9, 0.3, 1.0], rel=1e-12
    )
