"""Views that are worth keeping, planted among copies and noise."""

import math

import numpy as np
import pandas as pd
import pytest

from deepfake.score.choose_views import choose_views
from deepfake.score.gain import metric_of

MEDIA, CROPS = 400, 3
NAMES = np.array([f"medium{number:03}" for number in range(MEDIA)])
ALONE = pd.Series(NAMES, NAMES)
COSTS = {"identity": 1, "hflip": 1, "five_crop": 5, "jpeg": 1}


def labels_of(rng):
    return rng.integers(0, 2, MEDIA)


def informed(labels, rng, distance=2.0):
    """Honest log-odds of a medium by a reading of its own, the same for all of its crops."""
    return np.repeat(distance * ((labels - 0.5) * distance + rng.normal(size=MEDIA)), CROPS)


def rows_of(labels, found=None, **views):
    """Out-of-fold rows of views with logits (MEDIA * CROPS,)."""
    crops = pd.DataFrame(
        {
            "media_id": np.repeat(NAMES, CROPS),
            "frame_idx": np.tile(np.arange(CROPS), MEDIA),
            "face_idx": 0,
            "found": True if found is None else np.repeat(found, CROPS),
            "label": np.repeat(labels, CROPS),
        }
    )
    return pd.concat([crops.assign(view=view, logit=logits.astype("float32")) for view, logits in views.items()])


def loss(labels, logits):
    return metric_of("log_loss", labels, logits.reshape(MEDIA, CROPS).astype("float32").mean(1))


@pytest.mark.parametrize("seed", range(5))
def test_what_adds_information_is_kept_and_copies_and_noise_are_not(seed):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng)
    plain, other = informed(labels, rng), informed(labels, rng)
    noisy = plain + 3 * rng.normal(size=len(plain))
    rows = rows_of(labels, identity=plain, hflip=plain, five_crop=noisy, jpeg=other)
    kept, steps = choose_views(rows, ALONE, COSTS)
    assert kept == ["identity", "jpeg"]
    assert [(step.answer, step.taken) for step in steps[:1]] == [("jpeg", True)]
    assert not steps[-1].taken
    assert steps[0].gain == pytest.approx(loss(labels, plain) - loss(labels, (plain + other) / 2), abs=1e-6)


def test_copies_gain_nothing_at_all():
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    plain = informed(labels, rng) + rng.normal(size=MEDIA * CROPS)
    rows = rows_of(labels, identity=plain, hflip=plain, jpeg=plain).sample(frac=1, random_state=1)
    kept, (step,) = choose_views(rows, ALONE, COSTS)
    assert (kept, step.gain, step.error, step.taken) == (["identity"], 0, 0, False)


@pytest.mark.parametrize(("count", "z"), [(1, 1.645), (2, 1.960), (3, 2.128)])
def test_the_more_candidates_the_surer_a_gain_has_to_be(count, z):
    """All of them together are to err once in twenty times."""
    rng = np.random.default_rng(0)
    labels = labels_of(rng)
    plain = informed(labels, rng)
    views = {view: plain + rng.normal(size=len(plain)) for view in list(COSTS)[-count:]}
    _, (step,) = choose_views(rows_of(labels, identity=plain, **views), ALONE, COSTS)
    assert not step.taken
    assert step.needed / step.error == pytest.approx(z, abs=0.01)  # Student's, of many groups


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(1)
    labels = labels_of(rng)
    views = {name: informed(labels, rng) + rng.normal(size=MEDIA * CROPS) for name in COSTS}
    rows = rows_of(labels, **views)
    expected = choose_views(rows, ALONE, COSTS)
    assert len(expected[0]) > 1
    for seed in range(3):
        assert choose_views(rows.sample(frac=1, random_state=seed), ALONE, COSTS) == expected


def test_five_passes_are_to_gain_five_times_as_much():
    rng = np.random.default_rng(2)
    labels = labels_of(rng)
    plain, other = informed(labels, rng), informed(labels, rng)
    better = informed(labels, rng, 2.5)
    rows = rows_of(labels, identity=plain, five_crop=better, jpeg=other)
    dear, cheap = choose_views(rows, ALONE, COSTS), choose_views(rows, ALONE, COSTS | {"five_crop": 1})
    assert dear[1][0].answer == "jpeg"
    assert cheap[1][0].answer == "five_crop"
    assert dear[1][0].gain < cheap[1][0].gain < 5 * dear[1][0].gain
    kept, _ = choose_views(rows_of(labels, identity=plain, five_crop=better, jpeg=plain), ALONE, COSTS)
    assert kept == ["identity", "five_crop"]  # where nothing cheap pays, it may cost


def test_it_begins_with_identity_or_with_the_first_that_is_there():
    rng = np.random.default_rng(3)
    labels = labels_of(rng)
    plain = informed(labels, rng)
    turned = {view: COSTS[view] for view in reversed(COSTS)}
    assert choose_views(rows_of(labels, identity=plain, jpeg=plain), ALONE, turned)[0] == ["identity"]
    assert choose_views(rows_of(labels, jpeg=plain, hflip=plain), ALONE, COSTS)[0] == ["hflip"]
    assert choose_views(rows_of(labels, jpeg=plain), ALONE, COSTS) == (["jpeg"], [])


def test_media_without_a_face_have_no_say():
    rng = np.random.default_rng(4)
    labels = labels_of(rng)
    plain, found = informed(labels, rng), np.arange(MEDIA) % 2 == 0
    oracle = np.where(np.repeat(found, CROPS), plain, 10 * (np.repeat(labels, CROPS) * 2 - 1))
    rows = rows_of(labels, found, identity=plain, hflip=oracle)
    assert choose_views(rows, ALONE, COSTS)[0] == ["identity"]
    assert choose_views(rows.assign(found=True), ALONE, COSTS)[0] == ["identity", "hflip"]
    assert choose_views(rows.assign(found=False), ALONE, COSTS) == (["identity"], [])


def test_media_that_hang_together_count_once():
    """Of one group of media nothing can be learnt about others."""
    rng = np.random.default_rng(5)
    labels = labels_of(rng)
    rows = rows_of(labels, identity=informed(labels, rng), hflip=informed(labels, rng))
    kept, (step,) = choose_views(rows, pd.Series("one", NAMES), COSTS)
    assert (kept, step.error, step.needed) == (["identity"], math.inf, math.inf)
    pairs = choose_views(rows, pd.Series(NAMES[np.arange(MEDIA) // 20 * 20], NAMES), COSTS)[1][0]
    assert 0 < pairs.error < math.inf
    assert pairs.gain == step.gain > 0


def test_of_several_runs_the_mean_counts():
    rng = np.random.default_rng(6)
    labels = labels_of(rng)
    plain, other = informed(labels, rng), informed(labels, rng)
    errors = 2 * np.repeat(rng.normal(size=MEDIA), CROPS)  # of one run and, the other way, of the other
    runs = [
        rows_of(labels, identity=plain, hflip=other + sign * errors).assign(run=name)
        for name, sign in (("a", 1), ("b", -1))
    ]
    kept, steps = choose_views(pd.concat(runs), ALONE, COSTS)
    assert kept == ["identity", "hflip"]
    assert steps[0].gain == pytest.approx(loss(labels, plain) - loss(labels, (plain + other) / 2), abs=1e-6)
    of_one = choose_views(runs[0], ALONE, COSTS)[1][0]
    assert of_one.gain < steps[0].gain


def test_runs_are_compared_on_the_media_and_views_that_all_have():
    rng = np.random.default_rng(7)
    labels = labels_of(rng)
    plain = informed(labels, rng)
    whole = rows_of(labels, identity=plain, hflip=informed(labels, rng), jpeg=informed(labels, rng)).assign(run="a")
    part = rows_of(labels, identity=plain, hflip=informed(labels, rng)).assign(run="b")
    part = part[part.media_id.isin(NAMES[:300])]
    kept, steps = choose_views(pd.concat([whole, part]), ALONE, COSTS)
    common = whole[whole.media_id.isin(NAMES[:300]) & (whole.view != "jpeg")]
    assert (kept, steps) == choose_views(pd.concat([common, part]), ALONE, COSTS)
    assert (kept, len(steps)) == (["identity", "hflip"], 1)
