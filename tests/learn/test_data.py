"""The pixels of a crop as the model gets them, in training and without, and the loaders that bring them."""

import multiprocessing
import sys

import cv2
import numpy as np
import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn import data as data_module
from deepfake.learn.augment import FRONTAL_XY, build_augment
from deepfake.learn.data import CropDataset, ordered_loader, train_loader
from deepfake.learn.sampling import EpochBatches, Rows

RNG = np.random.default_rng(0)
NOISE = [RNG.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(5)]
NOTHING = {
    "hflip": 0.0,
    "shift_scale_rotate": 0.0,
    "scale": 0.1,
    "rotate_deg": 10.0,
    "colour": 0.0,
    "blur": 0.0,
    "blur_sigma_range": (0.1, 1.5),
    "noise": 0.0,
    "jpeg": 0.0,
    "jpeg_quality_range": (60, 100),
}

# --- pixels


def load_crop(path, image_size, interpolation, **given):
    """The only window."""
    (image_HWC,) = data_module.load_crop(path, image_size, interpolation, **given)
    return image_HWC


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


def test_of_a_picture_that_is_not_square_the_middle_is_taken(save_crops):
    wide = np.repeat(np.arange(0, 240, 20, dtype=np.uint8)[None, :, None], 8, 0).repeat(3, 2)
    np.testing.assert_array_equal(load_crop(save_crops([wide])[0], 8, "bilinear"), wide[:, 2:10])


def test_a_tall_picture_is_shrunk_to_its_shorter_side_first(save_crops):
    tall = np.repeat(np.array([[0], [100], [200]], np.uint8), 8, 0)[..., None].repeat(8, 1).repeat(3, 2)
    loaded = load_crop(save_crops([tall])[0], 4, "bilinear")
    assert loaded.shape == (4, 4, 3)
    np.testing.assert_allclose(loaded, 100, atol=15)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 33), (32, 90)])
def test_without_resizing_the_middle_is_taken_and_its_pixels_are_kept(save_crops, height, width):
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    loaded = load_crop(save_crops([image])[0], 32, "bicubic", resize=False)
    top, left = (height - 32) // 2, (width - 32) // 2
    np.testing.assert_array_equal(loaded, image[top : top + 32, left : left + 32])


def test_without_resizing_what_is_too_small_is_padded_by_reflection(save_crops):
    image = np.array([[10, 20, 30, 40]], np.uint8)[..., None].repeat(3, 2).repeat(8, 0)
    loaded = load_crop(save_crops([image])[0], 8, "bicubic", resize=False)
    assert loaded[0, :, 0].tolist() == [30, 20, 10, 20, 30, 40, 30, 20]
    assert (loaded == loaded[:1, :, :1]).all()


@pytest.mark.parametrize(("height", "width"), [(3, 2), (1, 50), (1, 1)])
def test_pictures_much_smaller_than_the_window_are_reflected_again_and_again(save_crops, height, width):
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    loaded = load_crop(save_crops([image])[0], 40, "bicubic", resize=False)
    assert loaded.shape == (40, 40, 3)
    assert {tuple(pixel) for pixel in loaded.reshape(-1, 3)} <= {tuple(pixel) for pixel in image.reshape(-1, 3)}


def test_a_missing_or_broken_crop_says_what_to_do(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for name in ("gone.png", "broken.png"):
        with pytest.raises(UserError, match=rf"{name} is missing or broken: remove faces\.parquet"):
            load_crop(tmp_path / name, 8, "bilinear")


ROWS = Rows.from_names(media=range(5), labels=[0, 1] * 2 + [0], methods=[0] * 5, sources=range(5), frames=[0] * 5)


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


# --- training


@pytest.mark.parametrize("resize", [True, False])
@pytest.mark.parametrize("shape", [(8, 8), (20, 20), (5, 9), (9, 30)])
@pytest.mark.parametrize("augment", [None, build_augment(**NOTHING)])
def test_without_augmentation_training_and_inference_see_the_same_pixels(save_crops, resize, shape, augment):
    paths = save_crops([RNG.integers(0, 256, (*shape, 3), np.uint8)] * 2)
    kept = {"resize": resize, "interpolation": "bicubic"}
    nothing = {"twins": np.array([-1, 0]), "landmarks": np.zeros((2, 5, 2)), "augment": augment}
    data = CropDataset(paths, np.array([0, 1]), image_size=8, **kept, **nothing)
    (image,), *_ = next(iter(ordered_loader(CropDataset(paths, image_size=8, **kept), batch_size=1, num_workers=0)))
    loaded = load_crop(paths[1], 8, "bicubic", resize=resize)
    for epoch in range(5):
        np.testing.assert_array_equal(data[(epoch, 1)][0].numpy().transpose(1, 2, 0), loaded)
    np.testing.assert_array_equal(image.numpy().transpose(1, 2, 0), loaded)


def window_places(data, whole_HWC, epochs=300):
    """Where in the whole picture (whose pixels are all different) the windows of many epochs lie."""
    places = {tuple(pixel): (row, column) for row, line in enumerate(whole_HWC) for column, pixel in enumerate(line)}
    found = set()
    for epoch in range(epochs):
        window = data[(epoch, 0)][0].numpy().transpose(1, 2, 0)
        top, left = places[tuple(window[0, 0])]
        np.testing.assert_array_equal(window, whole_HWC[top : top + len(window), left : left + len(window)])
        found.add((top, left))
    return found


def test_without_resizing_a_random_window_is_anywhere_in_the_whole_stored_picture(save_crops):
    image = RNG.integers(0, 256, (9, 12, 3), np.uint8)
    data = dataset(save_crops([image]), image_size=8, resize=False, random_crop=7)
    assert window_places(data, image) == {(top, left) for top in range(3) for left in range(6)}


def test_without_resizing_a_window_may_be_larger_than_the_models_own_size_and_the_picture(save_crops):
    data = dataset(save_crops([NOISE[0]]), image_size=4, resize=False, random_crop=12)
    np.testing.assert_array_equal(
        data[(0, 0)][0].numpy().transpose(1, 2, 0),
        cv2.copyMakeBorder(NOISE[0], 2, 2, 2, 2, cv2.BORDER_REFLECT_101),
    )


def test_with_resizing_a_random_window_is_taken_from_the_resized_picture(save_crops):
    image = RNG.integers(0, 256, (8, 11, 3), np.uint8)
    data = dataset(save_crops([image]), image_size=8, random_crop=7)
    assert window_places(data, image) == {(top, left) for top in range(2) for left in range(5)}
    halved = dataset(save_crops([image.repeat(2, 0).repeat(2, 1)]), image_size=8, random_crop=7)
    assert halved[(0, 0)][0].shape == (3, 7, 7)


def test_a_window_larger_than_the_resized_crop_is_refused(save_crops):
    with pytest.raises(ValueError, match=r"random_crop=9 of crops resized to 8 px"):
        dataset(save_crops(NOISE), random_crop=9)


# real, fake: 100 and 200 everywhere
PAIR = [np.full((8, 8, 3), value, np.uint8) for value in (100, 200)]


def test_a_fake_is_mixed_with_its_twin_and_its_target_is_its_share(save_crops):
    data = dataset(save_crops(PAIR), twins=np.array([-1, 0]), pair_mixup=1.0)
    shares = []
    for epoch in range(200):
        crop_CHW, target, _ = data[(epoch, 1)]
        assert isinstance(target, np.float32)
        np.testing.assert_allclose(crop_CHW.numpy(), 100 + 100 * target, atol=0.51)
        shares.append(target)
        crop_CHW, target, _ = data[(epoch, 0)]
        assert (np.unique(crop_CHW).tolist(), target) == ([100], 0)
    assert 0 <= min(shares) < 0.02  # Beta(0.5, 0.5) is at its ends most often
    assert 0.98 < max(shares) <= 1
    assert 0.4 < np.mean(shares) < 0.6


def test_the_larger_alpha_is_the_nearer_are_mixtures_to_half_and_half(save_crops):
    data = dataset(save_crops(PAIR), twins=np.array([-1, 0]), pair_mixup=1.0, pair_mixup_alpha=10.0)
    assert np.std([data[(epoch, 1)][1] for epoch in range(200)]) < 0.15


def test_mixing_has_its_probability(save_crops):
    data = dataset(save_crops(PAIR), twins=np.array([-1, 0]), pair_mixup=0.3)
    unmixed = [data[(epoch, 1)][1] == 1 for epoch in range(300)]
    assert 180 < sum(unmixed) < 240


def test_a_twin_of_another_shape_is_left_alone(save_crops):
    paths = save_crops([PAIR[0][:, :6], PAIR[1]])
    data = dataset(paths, twins=np.array([-1, 0]), pair_mixup=1.0)
    crop_CHW, target, _ = data[(0, 1)]
    assert (np.unique(crop_CHW).tolist(), target) == ([200], 1)


def test_pairs_are_mixed_before_windows_are_taken(save_crops):
    real, fake = (RNG.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(2))
    data = dataset(
        save_crops([real, fake]), resize=False, random_crop=6, twins=np.array([-1, 0]), pair_mixup=1.0, seed=3
    )
    crop_CHW, share, _ = data[(0, 1)]
    mixture = np.rint(share * fake + (1 - share) * real)
    windows = np.lib.stride_tricks.sliding_window_view(mixture, (6, 6), (0, 1))
    assert np.abs(windows - crop_CHW.numpy()).max((2, 3, 4)).min() <= 1


FACE = np.stack([np.array([32, 24]) + 14 * FRONTAL_XY] * 2).astype(np.float32)
WHITE = [np.full((64, 64, 3), 255, np.uint8)] * 2


def black_areas(paths, epochs=200, **changes):
    data = dataset(paths, image_size=64, landmarks=FACE, **changes)
    return np.array([(data[(epoch, 1)][0] == 0).float().mean() for epoch in range(epochs)])


def test_parts_and_halves_are_erased_with_their_probabilities_and_never_both(save_crops):
    paths = save_crops(WHITE)
    parts, halves = black_areas(paths, erase_parts=1.0), black_areas(paths, erase_half=1.0)
    assert 0 < parts.min() < parts.max() < halves.min() < halves.max() < 0.25
    both = black_areas(paths, erase_parts=0.3, erase_half=0.2)
    assert 40 < (both > 0).sum() - (both >= halves.min()).sum() < 80
    assert 24 < (both >= halves.min()).sum() < 58
    assert both.max() <= halves.max()


def test_landmarks_are_those_of_the_stored_crop(save_crops):
    small = black_areas(save_crops(WHITE), erase_half=1.0, epochs=8)
    large = CropDataset(
        save_crops([np.full((128, 128, 3), 255, np.uint8)]),
        image_size=64,
        interpolation="bilinear",
        landmarks=FACE * 2,
        erase_half=1.0,
    )
    areas = [(large[(epoch, 0)][0] < 128).float().mean() for epoch in range(8)]
    np.testing.assert_allclose(sorted(areas)[-1], small.max(), rtol=0.1)


def test_settings_without_what_they_need_are_refused(save_crops):
    paths = save_crops(NOISE)
    with pytest.raises(ValueError, match=r"pair_mixup=0.5 needs twins"):
        dataset(paths, pair_mixup=0.5)
    for kind in ("erase_parts", "erase_half"):
        with pytest.raises(ValueError, match=rf"{kind}=0.1.* need landmarks"):
            dataset(paths, **{kind: 0.1})


EVERYTHING = {
    "random_crop": 7,
    "landmarks": np.stack([4 + FRONTAL_XY] * 5),
    "twins": np.array([-1, 0, -1, 2, -1]),
    "pair_mixup": 0.7,
    "erase_parts": 0.3,
    "erase_half": 0.3,
    "augment": build_augment(**NOTHING | {"hflip": 0.5, "noise": 0.5, "min_area": 0.5}),
}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_crop_is_a_function_of_seed_epoch_and_row_alone(save_crops, num_workers):
    data = dataset(save_crops(NOISE), **EVERYTHING, seed=5)
    batches = EpochBatches(ROWS, sampler="all", frames_per_medium=1, batch_size=2, seed=1)
    loader = train_loader(data, batches, num_workers)
    shown = {}
    for batches.epoch in (2, 1, 2):
        for images, targets, rows in loader:
            for image, target, row in zip(images, targets, rows.tolist()):
                crop_CHW, alone, _ = data[(batches.epoch, row)]
                assert torch.equal(image, crop_CHW)
                assert (targets.dtype, float(target)) == (torch.float32, float(alone))
                shown[batches.epoch, row] = image
    other = dataset(save_crops(NOISE), **EVERYTHING, seed=6)
    assert any(not torch.equal(image, other[key][0]) for key, image in shown.items())


# --- loaders


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_ordered_loader_gives_every_row_once_in_order(save_crops, num_workers):
    loader = ordered_loader(dataset(save_crops(NOISE)), batch_size=2, num_workers=num_workers)
    images, labels, rows = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [0, 1, 0, 1, 0]
    assert (images.shape, images.dtype, labels.dtype) == ((5, 3, 8, 8), torch.uint8, torch.float32)
    np.testing.assert_array_equal(images.numpy(), np.stack(NOISE).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_windows_of_a_crop_follow_one_another_and_fill_batches(save_crops, num_workers):
    sizes = [(8, 8), (12, 12), (8, 20), (3, 3), (9, 9)]
    images = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    data = dataset(save_crops(images), resize=False, windows=5)
    batches = list(ordered_loader(data, batch_size=4, num_workers=num_workers))
    assert [len(rows) for _, _, rows in batches] == [4, 4, 4, 2]
    shown, labels, rows = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert rows.tolist() == [0] + [1] * 5 + [2] * 3 + [3] + [4] * 4
    assert labels.tolist() == [row % 2 for row in rows.tolist()]
    for row, image in enumerate(images):
        middle = data_module.prepare_crop(image, 8, "bilinear", resize=False)[0]
        np.testing.assert_array_equal(shown[rows == row][0].numpy(), middle.transpose(2, 0, 1))


def test_training_sees_one_window(save_crops):
    paths = save_crops([RNG.integers(0, 256, (20, 20, 3), np.uint8)])
    crop_CHW, *_ = dataset(paths, resize=False, windows=9, window_choice="texture")[(0, 0)]
    np.testing.assert_array_equal(crop_CHW.numpy().transpose(1, 2, 0), load_crop(paths[0], 8, "bilinear", resize=False))


def use_opencv_then_workers(path):
    """Ends with the number of crops that two workers load."""
    cv2.setNumThreads(2)
    cv2.cvtColor(np.zeros((2000, 2000, 3), np.uint8), cv2.COLOR_RGB2HSV)  # starts OpenCV's threads in this process
    data = CropDataset([path] * 4, np.zeros(4), image_size=8, interpolation="bilinear")
    sys.exit(sum(len(rows) for _, _, rows in ordered_loader(data, batch_size=2, num_workers=2)))


def test_workers_do_not_hang_after_their_parent_has_used_opencv(save_crops):
    process = multiprocessing.get_context("spawn").Process(target=use_opencv_then_workers, args=save_crops(NOISE[:1]))
    process.start()
    process.join(timeout=120)
    process.kill()  # if it hangs; its workers then end by themselves
    assert process.exitcode == 4


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_ordered_loader_gives_the_rows_that_it_is_asked_for(save_crops, num_workers):
    data = dataset(save_crops(NOISE))
    loader = ordered_loader(data, batch_size=2, num_workers=num_workers, rows=np.array([4, 0, 3]))
    images, labels, rows = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert (rows.tolist(), labels.tolist()) == ([4, 0, 3], [0, 0, 1])
    np.testing.assert_array_equal(images[0].numpy(), NOISE[4].transpose(2, 0, 1))
    assert list(ordered_loader(data, batch_size=2, num_workers=0, rows=[])) == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_training_loader_follows_epoch_and_start_of_its_batches(save_crops, num_workers):
    batches = EpochBatches(ROWS, sampler="all", frames_per_medium=1, batch_size=2, seed=1)
    loader = train_loader(dataset(save_crops(NOISE)), batches, num_workers)
    shown = {}
    for batches.epoch in (0, 1, 0):
        shown.setdefault(batches.epoch, []).append([rows.tolist() for _, _, rows in loader])
    assert shown[0][0] == shown[0][1] != shown[1][0]
    assert [len(rows) for rows in shown[0][0]] == [2, 2]
    batches.start = 1
    assert [rows.tolist() for _, _, rows in loader] == shown[0][0][1:]
