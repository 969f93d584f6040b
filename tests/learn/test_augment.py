"""Augmentation: the same for the same seed, and nothing at all where nothing is asked for."""

import cv2
import numpy as np
import pytest

from deepfake.forgery.arrays import save_as_jpeg
from deepfake.learn.augment import FRONTAL_XY, build_augment, erase_half, erase_part, stretch, zoom
from deepfake.learn.frequency import mask_frequencies

NONE = {
    "hflip": 0.0,
    "shift_scale_rotate": 0.0,
    "scale": 0.1,
    "rotate_deg": 10.0,
    "colour": 0.0,
    "jpeg": 0.0,
    "jpeg_quality_range": (40, 60),
    "blur": 0.0,
    "blur_sigma_range": (0.5, 1.5),
    "noise": 0.0,
}
DRAWN = ["shift_scale_rotate", "colour", "rescale", "blur", "noise", "jpeg"]  # how much, and not only whether
KINDS = [*DRAWN, "hflip", "grey", "clahe", "contrast"]


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


@pytest.mark.parametrize("kind", DRAWN)
def test_the_same_seed_gives_the_same_pixels_and_another_gives_others(crop, kind):
    augment = build_augment(**NONE | {kind: 1.0})
    first, others = augment(crop, (0, 3, 7)), [augment(crop, (0, 3, row)) for row in range(8, 13)]
    assert any((other != first).any() for other in others)
    np.testing.assert_array_equal(augment(crop, (0, 3, 7)), first)


def test_another_instance_gives_the_same_pixels(crop):
    everything = NONE | dict.fromkeys(KINDS, 0.5) | {"min_area": 0.5}
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


# --- one by one


def test_a_grey_picture_has_three_equal_channels(crop):
    grey = build_augment(**NONE | {"grey": 1.0})(crop, (0,))
    assert (grey == grey[..., :1]).all()
    assert len(np.unique(grey)) > 50


def test_blur_takes_more_the_larger_its_sigma(crop):
    def detail(sigma):
        blurred = build_augment(**NONE | {"blur": 1.0, "blur_sigma_range": (sigma, sigma)})(crop, (0,))
        return np.abs(np.diff(blurred.astype(int), axis=1)).max()

    assert detail(0.0) > detail(1.0) > detail(3.0)
    assert detail(0.0) == np.abs(np.diff(crop.astype(int), axis=1)).max()


def test_rescaling_keeps_the_picture_in_its_place_and_takes_its_finest_detail(crop):
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    rescale = build_augment(**NONE | {"rescale": 1.0})
    for seed in range(10):
        np.testing.assert_allclose(rescale(crop, (seed,))[:, 12:-3], crop[:, 12:-3], atol=8)
        assert rescale(noise, (seed,)).std() < 0.9 * noise.std()


def test_contrast_is_stretched_to_the_full_range_and_hues_stay():
    dull = np.array([80, 100, 120], np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None].repeat(40, 1)
    bright = stretch(dull).astype(int)
    assert (bright.min(), bright.max()) == (0, 255)
    inside = bright[5:35]  # channels 20 apart stay as far apart from each other, times the stretch
    gaps = np.diff(inside, axis=-1)
    assert gaps.min() >= 64
    assert gaps.max() <= 68
    flat = np.full((4, 4, 3), 90, np.uint8)
    np.testing.assert_array_equal(stretch(flat), flat)


def test_a_random_window_shows_at_least_its_share_of_the_picture():
    ramp = np.stack([*np.meshgrid(np.arange(200), np.arange(200)), np.zeros((200, 200))], -1).astype(np.uint8)
    shares = []
    for seed in range(100):
        window = zoom(ramp, 0.3, np.random.default_rng(seed)).astype(int)
        assert window.shape == ramp.shape
        width, height = np.ptp(window[..., 0]) + 1, np.ptp(window[..., 1]) + 1
        assert 0.73 < width / height < 1.37 or 200 in (width, height)
        shares.append(width * height / 200**2)
    assert 0.29 < min(shares) < 0.4
    assert 0.85 < max(shares) <= 1


def test_windows_are_off_at_an_area_of_one_and_on_below(crop):
    np.testing.assert_array_equal(build_augment(**NONE | {"min_area": 1.0})(crop, (0,)), crop)
    changed = [build_augment(**NONE | {"min_area": 0.3})(crop, (seed,)) for seed in range(3)]
    assert all(image.shape == crop.shape for image in changed)
    assert (changed[0] != changed[1]).any()


def test_jpeg_spares_brightness_and_thins_out_colour_as_files_do():
    """Chroma is stored at half the size: thin red and blue lines of one brightness blur, grey ones stay."""
    columns = np.arange(32) % 2 == 0
    grey = np.where(columns[None, :, None], 200, 100).repeat(32, 0).repeat(3, 2).astype(np.uint8)
    coloured = np.where(columns[None, :, None], (150, 76, 0), (0, 136, 100)).repeat(32, 0).astype(np.uint8)
    assert np.abs(save_as_jpeg(grey, 95).astype(int) - grey).mean() < 4
    assert np.abs(save_as_jpeg(coloured, 95).astype(int) - coloured).mean() > 20
    luma = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) for image in (save_as_jpeg(coloured, 95), coloured)]
    assert np.abs(luma[0] - luma[1]).mean() < 4


# --- black patches by landmarks

CENTRE, EYES_PX = np.array([50, 40]), 24
FACE = CENTRE + EYES_PX * FRONTAL_XY  # eyes at y 40, nose at 54, mouth at 68
POINTS = np.rint(FACE).astype(int)
WHITE = np.full((100, 100, 3), 255, np.uint8)


def patches(erase, landmarks_xy=FACE, count=60):
    """The different sets of landmarks that are covered, as (left eye, right eye, nose, mouth left, mouth right)."""
    covered = set()
    points = np.rint(landmarks_xy).astype(int)
    for seed in range(count):
        erased = erase(WHITE, landmarks_xy, np.random.default_rng(seed))
        assert set(np.unique(erased)) == {0, 255}
        covered.add(tuple((erased[points[:, 1], points[:, 0]] == 0).all(-1).tolist()))
    return covered


EYES, NOSE, MOUTH = (True, True, False, False, False), (False, False, True, False, False), (False,) * 3 + (True,) * 2


def test_a_part_is_both_eyes_or_the_nose_or_the_mouth():
    assert patches(erase_part) == {EYES, NOSE, MOUTH}


def turned(degrees):
    angle = np.radians(degrees)
    return CENTRE + (FACE - CENTRE) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("degrees", [-40, 25, 90, 180])
def test_parts_are_found_on_turned_faces(degrees):
    around = turned(degrees) - turned(degrees).mean(0) + 50
    assert patches(erase_part, around) == {EYES, NOSE, MOUTH}


def test_patches_grow_with_the_face():
    def area(scale):
        face = 50 + (FACE - FACE.mean(0)) * scale
        return sum((erase_part(WHITE, face, np.random.default_rng(seed)) == 0).sum() for seed in range(20))

    assert 3.5 < area(1.0) / area(0.5) < 4.5


def test_half_of_a_face_is_its_left_right_upper_or_lower_one():
    left, right = (True, False, False, True, False), (False, True, False, False, True)
    upper, lower = (True, True, True, False, False), MOUTH
    without_nose = {(*points[:2], False, *points[3:]) for points in patches(erase_half)}  # it lies on the edge
    assert without_nose == {(*points[:2], False, *points[3:]) for points in (left, right, upper, lower)}


def test_the_four_halves_are_equally_large_and_leave_what_is_around_the_face():
    areas = {}
    for seed in range(40):
        erased = erase_half(WHITE, FACE, np.random.default_rng(seed)) == 0
        areas[erased.tobytes()] = erased[..., 0].sum()
        assert not erased[[2, -2]].any()
        assert not erased[:, [2, -2]].any()
    assert len(areas) == 4
    assert max(areas.values()) < 1.1 * min(areas.values())


@pytest.mark.parametrize("erase", [erase_part, erase_half])
def test_unknown_landmarks_leave_the_crop_as_it_is(erase):
    unknown = FACE.astype(np.float32)
    unknown[3, 0] = np.nan
    np.testing.assert_array_equal(erase(WHITE, unknown, np.random.default_rng(0)), WHITE)


@pytest.mark.parametrize("erase", [erase_part, erase_half])
@pytest.mark.parametrize("moved", [-70, 70, 10_000])
def test_a_face_that_reaches_out_of_the_crop_is_no_error_and_the_crop_itself_is_not_painted_on(erase, moved):
    for seed in range(20):
        erased = erase(WHITE, (FACE + moved).astype(np.float32), np.random.default_rng(seed))
        assert erased.shape == WHITE.shape
    assert (WHITE == 255).all()


# --- frequency masking


def test_a_share_of_the_frequencies_is_lost_the_same_for_a_real_and_its_forgery():
    """Sparse grey noise far from black and white, so that nothing is clipped: what is lost is lost wholly."""
    rng = np.random.default_rng(0)
    pair = rng.integers(110, 146, (2, 64, 48, 3), np.uint8)
    masked = [mask_frequencies(crop, np.random.default_rng(1)) for crop in pair]
    lost = [np.abs(np.fft.rfft2(crop.astype(float), axes=(0, 1))).max(2) < 60 for crop in masked]
    assert np.array_equal(*lost)
    assert lost[0].mean() == pytest.approx(0.15, abs=0.02) and not lost[0][0, 0]
    kept = np.fft.rfft2(pair[0].astype(float), axes=(0, 1)) - np.fft.rfft2(masked[0].astype(float), axes=(0, 1))
    assert np.abs(kept[~lost[0]]).max() < 80  # rounding


def test_a_crop_is_the_same_but_for_the_mask():
    crop = np.random.default_rng(0).integers(100, 156, (48, 48, 3), np.uint8)
    settings = {**dict.fromkeys(("hflip", "shift_scale_rotate", "colour", "blur", "noise", "jpeg"), 0.5)}
    settings |= {"scale": 0.1, "rotate_deg": 10, "blur_sigma_range": (0.1, 1), "jpeg_quality_range": (60, 100)}
    plain, masks = build_augment(**settings), build_augment(**settings, frequency_mask=0.5)
    shown = [(plain(crop, (0, n)), masks(crop, (0, n))) for n in range(40)]
    same = np.array([np.array_equal(*pair) for pair in shown])
    assert 8 < same.sum() < 32
    for before, after in (pair for pair, one in zip(shown, same) if not one):
        assert after.astype(float).mean() == pytest.approx(before.mean(), abs=1)  # its mean stays
