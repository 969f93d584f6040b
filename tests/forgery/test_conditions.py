"""Damage at fixed strengths: what each does to a picture, and that it does the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake.forgery.conditions import CONDITIONS


@pytest.fixture
def picture():
    """Smooth shades with fine grain, of odd sides."""
    down, right = np.mgrid[:75, :101]
    shades = np.stack([down, right, down + right], 2) + np.random.default_rng(0).normal(0, 12, (75, 101, 3))
    return np.clip(shades + 20, 0, 255).astype(np.uint8)


def under(name, picture_HW3, seed=0):
    return CONDITIONS[name](picture_HW3, np.random.default_rng(seed))


def lost(name, picture_HW3):
    """Mean distance from the undamaged picture, in levels."""
    return float(np.abs(under(name, picture_HW3).astype(float) - picture_HW3).mean())


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_gives_a_picture_that_is_another_and_the_same_each_time(name, picture):
    before = picture.copy()
    damaged = under(name, picture)
    assert damaged.dtype == np.uint8 and damaged.flags.c_contiguous
    assert damaged.shape != picture.shape or (damaged != picture).any()
    np.testing.assert_array_equal(damaged, under(name, picture))
    np.testing.assert_array_equal(picture, before)


def test_more_is_worse(picture):
    for weak, strong in (("jpeg 90", "jpeg 30"), ("blur 1", "blur 2"), ("noise 4", "noise 8"), ("h264 23", "h264 32")):
        assert 0.5 < lost(weak, picture) < lost(strong, picture) < 20


def test_resizing_leaves_the_picture_small():
    grey = np.full((40, 60, 3), 99, np.uint8)
    assert under("resize 0.5", grey).shape == (20, 30, 3) and under("resize 0.75", grey).shape == (30, 45, 3)
    assert under("resize 0.5", grey[:1, :1]).shape == (1, 1, 3)


def test_noise_has_its_deviation_and_h264_keeps_shades_and_odd_sides(picture):
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert (under("noise 8", grey).astype(float) - 128).std() == pytest.approx(8, rel=0.03)
    assert under("h264 23", picture).shape == picture.shape
    assert np.abs(under("h264 23", grey).astype(int) - 128).max() <= 2
