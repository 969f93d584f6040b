"""Which crops an epoch shows, and their pixels as the model gets them."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import deepfake
from deepfake.errors import UserError
from deepfake.learn.dataset import (
    CropDataset,
    EpochSampler,
    draw_epoch,
    load_crop,
    ordered_loader,
    steps_of_epochs,
    train_loader,
)

RNG = np.random.default_rng(0)
NOISE = [RNG.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(5)]


def rows_of(media):
    """media: {name: (label, crops)} → media and labels of each row, interleaved."""
    rows = [(name, label, number) for name, (label, count) in media.items() for number in range(count)]
    rows.sort(key=lambda row: (row[2], row[0]))
    return np.array([row[0] for row in rows], object), np.array([row[1] for row in rows])


# 2 reals and 5 fakes, of 1 to 6 crops
MEDIA, LABELS = rows_of(
    {"r1": (0, 6), "r2": (0, 1), "f1": (1, 6), "f2": (1, 2), "f3": (1, 3), "f4": (1, 1), "f5": (1, 4)}
)


def draw(seed, frames_per_medium=3):
    return draw_epoch(MEDIA, LABELS, frames_per_medium=frames_per_medium, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_an_epoch_has_as_many_media_of_each_class(seed):
    shown = {(MEDIA[row], LABELS[row]) for row in draw(seed)}
    assert Counter(label for _, label in shown) == {0: 2, 1: 2}


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_an_epoch_shows_each_chosen_medium_with_what_it_has_up_to_a_limit(most):
    rows = draw(0, most)
    there = Counter(MEDIA)
    assert Counter(MEDIA[rows]) == {name: min(most, there[name]) for name in set(MEDIA[rows])}
    assert len(set(rows)) == len(rows)


def test_over_the_epochs_every_medium_and_every_crop_is_shown():
    assert set(np.concatenate([draw(seed) for seed in range(60)])) == set(range(len(MEDIA)))


def test_an_epoch_is_shuffled_and_not_sorted_by_medium_or_class():
    orders = [list(draw(seed)) for seed in range(20)]
    assert len({LABELS[order[0]] for order in orders}) == 2
    assert any(order != sorted(order) for order in orders)


def test_the_sampler_draws_anew_each_epoch_and_the_same_for_the_same_seed():
    sampler = EpochSampler(MEDIA, LABELS, frames_per_medium=3, seed=4)
    first = list(sampler)
    sampler.epoch = 1
    second = list(sampler)
    assert [row for _, row in first] != [row for _, row in second]
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    again = EpochSampler(MEDIA, LABELS, frames_per_medium=3, seed=4)
    assert list(again) == first
    assert [row for _, row in EpochSampler(MEDIA, LABELS, frames_per_medium=3, seed=5)] != [row for _, row in first]


def test_the_steps_of_each_epoch_are_those_that_its_loader_makes(save_crops):
    media, labels = np.array(list("aabcc")), np.array([0, 0, 1, 1, 1])  # 3 crops an epoch with c, 2 + 1 with b
    sampler = EpochSampler(media, labels, frames_per_medium=2, seed=0)
    loader = train_loader(dataset(save_crops(NOISE)), sampler, batch_size=1, num_workers=0)
    steps = steps_of_epochs(sampler, epochs=8, batch_size=1)
    made = []
    for sampler.epoch in range(8):
        made.append(len(list(loader)))
    assert steps == made
    assert set(steps) == {3, 4}


# --- pixels


def test_a_crop_of_the_right_size_is_left_as_it_is(save_crops):
    (path,) = save_crops(NOISE[:1])
    np.testing.assert_array_equal(load_crop(path, 8, "bicubic"), NOISE[0])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [4, 16])
def test_a_crop_of_another_size_is_resized(save_crops, interpolation, size):
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:, 4:] = 200
    loaded = load_crop(save_crops([halves])[0], size, interpolation)
    assert loaded.shape == (size, size, 3)
    assert loaded[:, 0].max() <= 10
    np.testing.assert_allclose(loaded[:, -1], 200, atol=10)


def test_of_a_picture_that_is_not_square_the_centre_is_cut(save_crops):
    wide = np.repeat(np.arange(0, 240, 20, dtype=np.uint8)[None, :, None], 8, 0).repeat(3, 2)
    np.testing.assert_array_equal(load_crop(save_crops([wide])[0], 8, "bilinear"), wide[:, 2:10])


def test_a_tall_picture_is_shrunk_to_its_shorter_side_first(save_crops):
    tall = np.repeat(np.array([[0], [100], [200]], np.uint8), 8, 0)[..., None].repeat(8, 1).repeat(3, 2)
    loaded = load_crop(save_crops([tall])[0], 4, "bilinear")
    assert loaded.shape == (4, 4, 3)
    np.testing.assert_allclose(loaded, 100, atol=15)


def test_a_missing_or_broken_crop_says_what_to_do(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for name in ("gone.png", "broken.png"):
        with pytest.raises(UserError, match=rf"{name} is missing or broken: remove faces\.parquet"):
            load_crop(tmp_path / name, 8, "bilinear")


def dataset(paths, **changes):
    labels = np.arange(len(paths)) % 2
    return CropDataset(paths, labels, **{"image_size": 8, "interpolation": "bilinear"} | changes)


def test_without_augmentation_an_item_is_the_crop_its_label_and_its_row(save_crops):
    data = dataset(save_crops(NOISE))
    for row, image in enumerate(NOISE):
        crop_CHW, label, number = data[(3, row)]
        np.testing.assert_array_equal(crop_CHW.numpy(), image.transpose(2, 0, 1))
        assert (crop_CHW.dtype, label, number) == (torch.uint8, row % 2, row)


def test_augmentation_is_told_seed_epoch_and_row(save_crops):
    told = []

    def augment(crop_HWC, seed):
        told.append(seed)
        return crop_HWC[:, ::-1]

    data = dataset(save_crops(NOISE), augment=augment, seed=7)
    crop_CHW, _, _ = data[(2, 4)]
    assert told == [(7, 2, 4)]
    np.testing.assert_array_equal(crop_CHW.numpy(), NOISE[4][:, ::-1].transpose(2, 0, 1))


# --- loaders


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_ordered_loader_gives_every_row_once_in_order(save_crops, num_workers):
    loader = ordered_loader(dataset(save_crops(NOISE)), batch_size=2, num_workers=num_workers)
    images, labels, rows = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [0, 1, 0, 1, 0]
    assert (images.shape, images.dtype, labels.dtype) == ((5, 3, 8, 8), torch.uint8, torch.float32)
    np.testing.assert_array_equal(images.numpy(), np.stack(NOISE).transpose(0, 3, 1, 2))


USE_OPENCV_THEN_WORKERS = """
import sys
from pathlib import Path
import cv2, numpy as np
from deepfake.learn.dataset import CropDataset, ordered_loader

cv2.setNumThreads(2)
cv2.cvtColor(np.zeros((2000, 2000, 3), np.uint8), cv2.COLOR_RGB2HSV)  # starts OpenCV's threads in this process
data = CropDataset([Path(sys.argv[1])] * 4, np.zeros(4), image_size=8, interpolation="bilinear")
print(sum(len(rows) for _, _, rows in ordered_loader(data, batch_size=2, num_workers=2)))
"""


def test_workers_do_not_hang_after_their_parent_has_used_opencv(save_crops):
    (path,) = save_crops(NOISE[:1])
    command = [sys.executable, "-c", USE_OPENCV_THEN_WORKERS, str(path)]
    source = Path(deepfake.__file__).parents[1]
    done = subprocess.run(command, cwd=source, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "4\n")


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2]), (4, [4]), (3, [3]), (9, [4])])
def test_the_training_loader_drops_a_smaller_last_batch_unless_it_is_the_only_one(save_crops, batch_size, sizes):
    sampler = EpochSampler(np.array(list("abcd")), np.array([0, 1, 0, 1]), frames_per_medium=1, seed=0)
    loader = train_loader(dataset(save_crops(NOISE[:4])), sampler, batch_size=batch_size, num_workers=0)
    assert [len(rows) for _, _, rows in loader] == sizes


def test_the_training_loader_follows_the_epoch_of_its_sampler(save_crops):
    sampler = EpochSampler(np.arange(5), np.array([0, 1, 0, 1, 0]), frames_per_medium=1, seed=1)
    loader = train_loader(dataset(save_crops(NOISE)), sampler, batch_size=2, num_workers=0)
    shown = {}
    for sampler.epoch in (0, 1, 0):
        shown.setdefault(sampler.epoch, []).append(torch.cat([rows for _, _, rows in loader]).tolist())
    assert shown[0][0] == shown[0][1] != shown[1][0]
