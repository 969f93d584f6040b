"""Windows of a crop: where they lie, and how their logits become one."""

import numpy as np
import pytest
import torch

from deepfake.learn.windows import mean_of_windows, packed, random_window, windows


def places(height, width, size, count, choice="spread"):
    """(top, left) of each window, in a picture whose pixels say where they are."""
    y, x = np.mgrid[:height, :width]
    crop_HWC = np.stack([y, x, (7 * y + 3 * x) % 251], -1).astype(np.uint8)
    found = windows(crop_HWC, size, count, choice)
    assert (found.shape[1:], found.dtype) == ((size, size, 3), np.uint8)
    for window in found:
        top, left = (int(value) for value in window[0, 0, :2])
        np.testing.assert_array_equal(window, crop_HWC[top : top + size, left : left + size])
    return [tuple(int(value) for value in window[0, 0, :2]) for window in found]


MIDDLE_AND_CORNERS = [(10, 20), (0, 0), (0, 40), (20, 0), (20, 40)]


def test_one_window_is_the_middle():
    assert places(30, 51, 10, 1) == [(10, 20)]


def test_five_are_the_middle_and_the_corners_and_nine_a_grid():
    assert places(30, 50, 10, 5) == MIDDLE_AND_CORNERS
    assert sorted(places(30, 50, 10, 9)) == [(top, left) for top in (0, 10, 20) for left in (0, 20, 40)]


@pytest.mark.parametrize("choice", ["spread", "texture"])
def test_a_crop_no_larger_than_a_window_has_one(choice):
    for height, width in ((10, 10), (7, 10), (1, 1)):
        assert len(windows(np.zeros((height, width, 3), np.uint8), 10, 9, choice)) == 1


def test_no_window_is_given_twice():
    assert places(10, 30, 10, 5) == [(0, 10), (0, 0), (0, 20)]
    assert places(11, 11, 10, 9) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_windows_overlap_where_the_crop_is_small():
    assert places(14, 14, 10, 5) == [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]


def test_texture_takes_the_richest_of_the_windows_that_cover_the_crop():
    rng = np.random.default_rng(0)
    crop_HWC = np.full((28, 40, 3), 128, np.uint8)
    crop_HWC[16:, 26:] = rng.integers(0, 256, (12, 14, 3), np.uint8)
    crop_HWC[:12, 13:26] = rng.integers(100, 150, (12, 13, 3), np.uint8)
    found = windows(crop_HWC, 14, 2, "texture")
    np.testing.assert_array_equal(found, [crop_HWC[14:, 26:], crop_HWC[:14, 13:27]])


def test_texture_covers_the_crop_with_as_few_windows_as_it_takes():
    assert sorted(places(20, 25, 10, 9, "texture")) == [(top, left) for top in (0, 10) for left in (0, 7, 15)]


def test_a_random_window_lies_anywhere():
    crop_HWC, rng = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, 2), np.random.default_rng(0)
    assert {int(random_window(crop_HWC, 3, rng)[0, 0, 0]) for _ in range(50)} == {0, 1, 4, 5}


@pytest.mark.parametrize("sizes", [[4, 4, 4], [1, 2, 9], [12], [5, 5, 2], [1] * 12])
def test_batches_are_packed_in_order(sizes):
    numbers = torch.arange(12).split(sizes)
    found = list(packed(([part, part * 2] for part in numbers), 4))
    assert [one.tolist() for one, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert all(torch.equal(other, 2 * one) for one, other in found)


def test_what_does_not_fill_a_batch_is_the_last_one():
    assert [len(one) for (one,) in packed([[torch.arange(6)]], 4)] == [4, 2]
    assert list(packed([], 4)) == []


def test_a_full_batch_is_not_copied():
    part = torch.arange(4)
    ((found,),) = packed([[part]], 4)
    assert found.data_ptr() == part.data_ptr()


def test_logits_of_windows_become_their_mean():
    logits = np.array([[1, 10], [3, 20], [7, -1], [0, 0], [3, 3], [6, 6]], np.float32)
    found = mean_of_windows(logits, np.array([4, 4, 2, 9, 9, 9]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[2, 15], [7, -1], [3, 3]])


def test_a_crop_with_one_window_keeps_its_logit():
    logits = np.random.default_rng(0).normal(0, 9, (50, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(mean_of_windows(logits, np.arange(50)), logits)
    assert mean_of_windows(logits[:0], np.arange(0)).shape == (0, 2, 3)
