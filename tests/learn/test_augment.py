"""Augmentation: the same for the same seed, and nothing at all where nothing is asked for."""

import numpy as np
import pytest

from deepfake.learn.augment import build_augment

NONE = {
    "hflip": 0.0,
    "shift_scale_rotate": 0.0,
    "scale": 0.1,
    "rotate_deg": 10.0,
    "colour": 0.0,
    "jpeg": 0.0,
    "jpeg_quality_range": (40, 60),
    "blur": 0.0,
    "noise": 0.0,
}
KINDS = ["hflip", "shift_scale_rotate", "colour", "jpeg", "blur", "noise"]


@pytest.fixture
def crop():
    """Smooth colours with a bright bar on the left."""
    rows, columns = np.mgrid[:32, :48]
    image = np.stack([rows * 4, columns * 3, rows + columns + 60], -1).astype(np.uint8)
    image[:, 4:8] = 230
    return image


def test_without_any_probability_the_crop_stays_as_it_is(crop):
    augment = build_augment(**NONE)
    for seed in range(5):
        np.testing.assert_array_equal(augment(crop, (seed,)), crop)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_pixels_but_not_shape_or_type(crop, kind):
    before = crop.copy()
    changed = build_augment(**NONE | {kind: 1.0})(crop, (0, 1, 2))
    assert (changed.shape, changed.dtype) == (crop.shape, np.uint8)
    assert (changed != before).any()
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("kind", ["shift_scale_rotate", "colour", "jpeg", "blur", "noise"])
def test_the_same_seed_gives_the_same_pixels_and_another_gives_others(crop, kind):
    augment = build_augment(**NONE | {kind: 1.0})
    first, others = augment(crop, (0, 3, 7)), [augment(crop, (0, 3, row)) for row in range(8, 13)]
    assert any((other != first).any() for other in others)
    np.testing.assert_array_equal(augment(crop, (0, 3, 7)), first)


def test_another_instance_gives_the_same_pixels(crop):
    everything = NONE | dict.fromkeys(KINDS, 0.5)
    first, second = build_augment(**everything), build_augment(**everything)
    second(crop, (9,))
    for seed in range(10):
        np.testing.assert_array_equal(first(crop, (1, seed)), second(crop, (1, seed)))


def test_global_seeds_change_nothing(crop):
    augment = build_augment(**NONE | {"noise": 1.0})
    np.random.seed(0)
    first = augment(crop, (1,))
    np.random.seed(1)
    np.testing.assert_array_equal(augment(crop, (1,)), first)


def test_a_flip_mirrors_left_and_right(crop):
    np.testing.assert_array_equal(build_augment(**NONE | {"hflip": 1.0})(crop, (0,)), crop[:, ::-1])


def test_a_probability_is_how_often(crop):
    augment = build_augment(**NONE | {"hflip": 0.5})
    flipped = [(augment(crop, (0, row)) != crop).any() for row in range(200)]
    assert 70 < sum(flipped) < 130


def test_lower_jpeg_qualities_lose_more(crop):
    def loss(quality):
        augment = build_augment(**NONE | {"jpeg": 1.0, "jpeg_quality_range": (quality, quality)})
        return np.abs(augment(crop, (0,)).astype(int) - crop).mean()

    assert loss(95) < loss(30)


def test_kinds_of_change_are_drawn_independently_of_each_other(crop):
    augment = build_augment(**NONE | {"hflip": 0.5, "jpeg": 0.5, "jpeg_quality_range": (10, 11)})
    flipped = build_augment(**NONE | {"hflip": 1.0})(crop, (0,))
    counts = {"flipped alone": 0, "damaged": 0}
    for seed in range(200):
        changed = augment(crop, (seed,))
        if np.array_equal(changed, flipped):
            counts["flipped alone"] += 1
        elif not np.array_equal(changed, crop):
            counts["damaged"] += 1
    assert 30 < counts["flipped alone"] < 70  # a quarter; none when one draw serves both
    assert 70 < counts["damaged"] < 130  # half
