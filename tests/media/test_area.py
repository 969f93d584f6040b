"""Means over rectangles: what torch's area interpolation gives, for every crop of every picture at once."""

import numpy as np
import pytest
import torch

from deepfake.media.area import SummedArea

TWO_BY_TWO = np.array([[0, 10], [20, 30]], np.uint8)[..., None] + np.array([0, 1, 2], np.uint8)


def noise(height, width, seed=0):
    return np.random.default_rng((seed, height, width)).integers(0, 256, (height, width, 3), np.uint8)


def by_torch(image, height, width):
    """(3, height, width) of a picture (H, W, 3)."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    return torch.nn.functional.interpolate(pixels, (height, width), mode="area")[0]


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)  # of 255: sums of floats round


def crops_are_torchs(images, picture, boxes_xyxy, size):
    crops = SummedArea(images, "cpu").crops(torch.tensor(picture), torch.tensor(boxes_xyxy), size)
    assert (crops.shape, crops.dtype) == ((len(picture), 3, size, size), torch.float32)
    for crop, number, (x0, y0, x1, y1) in zip(crops, picture, boxes_xyxy, strict=True):
        close(crop, by_torch(images[number][y0:y1, x0:x1], size, size))


# --- levels


def test_two_by_two_on_paper():
    tables = SummedArea([TWO_BY_TWO], "cpu")
    assert tables.levels(1, 1).flatten().tolist() == [15, 16, 17]
    assert tables.levels(2, 2)[0, 0].tolist() == [[0, 10], [20, 30]]
    assert tables.levels(1, 3)[0, 0].tolist() == [[10, 15, 20]]  # the middle of three pixels lies in both columns


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (19, 29), (7, 29), (20, 30), (31, 47), (19, 100)])
def test_levels_are_torchs_whatever_the_size(size):
    images = [noise(19, 29), noise(19, 29, seed=1), np.full((19, 29, 3), 255, np.uint8)]
    levels = SummedArea(images, "cpu").levels(*size)
    assert (levels.shape, levels.dtype) == ((3, 3, *size), torch.float32)
    for level, image in zip(levels, images, strict=True):
        close(level, by_torch(image, *size))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_levels_of_tiny_pictures_are_torchs(shape):
    image = noise(*shape)
    close(SummedArea([image], "cpu").levels(5, 7)[0], by_torch(image, 5, 7))


def test_sums_beyond_32_bits_wrap_around_without_harm():
    """17 megapixels of white sum to more than 2**32."""
    white = np.full((4200, 4100, 3), 255, np.uint8)
    assert 255 * 4200 * 4100 > 2**32
    tables = SummedArea([white], "cpu")
    close(tables.levels(7, 11), torch.full((1, 3, 7, 11), 255.0))
    boxes = torch.tensor([[0, 0, 2000, 2000], [2099, 2199, 4100, 4200], [4099, 4199, 4100, 4200]])
    close(tables.crops(torch.zeros(3, dtype=torch.int64), boxes, 3), torch.full((3, 3, 3, 3), 255.0))


# --- crops


def test_crops_on_paper():
    tables = SummedArea([TWO_BY_TWO + 100, TWO_BY_TWO], "cpu")
    boxes = torch.tensor([[0, 0, 2, 2], [1, 0, 2, 2], [1, 1, 2, 2]])
    crops = tables.crops(torch.tensor([0, 1, 1]), boxes, 2)
    assert crops[:, 0].tolist() == [[[100, 110], [120, 130]], [[10, 10], [30, 30]], [[30, 30], [30, 30]]]
    assert tables.crops(torch.tensor([1]), boxes[:1], 1).flatten().tolist() == [15, 16, 17]


@pytest.mark.parametrize("size", [1, 5, 24])
def test_crops_are_torchs_whatever_the_box(size):
    boxes = [[0, 0, 37, 23], [3, 4, 27, 23], [3, 4, 30, 5], [36, 0, 37, 23], [5, 6, 6, 7], [36, 22, 37, 23]]
    crops_are_torchs([noise(23, 37)], [0] * len(boxes), boxes, size)


@pytest.mark.parametrize("seed", range(3))
def test_crops_of_pictures_of_unlike_sizes_are_torchs(seed):
    rng = np.random.default_rng(seed)
    images = [noise(*shape, seed) for shape in [(23, 37), (64, 5), (1, 1), (31, 90)]]
    picture = rng.integers(0, len(images), 40).tolist()
    corners = [[rng.integers(0, side) for side in images[number].shape[1::-1]] for number in picture]
    ends = [
        [rng.integers(low, side) + 1 for low, side in zip(corner, images[number].shape[1::-1], strict=True)]
        for corner, number in zip(corners, picture, strict=True)
    ]
    crops_are_torchs(images, picture, np.concatenate([corners, ends], 1).tolist(), 12)


def test_no_boxes_give_no_crops():
    none = torch.empty((0, 4), dtype=torch.int64)
    assert SummedArea([noise(4, 4)], "cpu").crops(none[:, 0], none, 24).shape == (0, 3, 24, 24)


def test_pictures_that_are_views_of_others_count_as_they_look():
    image = noise(20, 30)
    turned = image[::-1, ::2]
    close(SummedArea([turned], "cpu").levels(20, 15)[0], by_torch(turned, 20, 15))
