"""The kinds of forgery that training makes of faces: where they are, how sharp, from whom."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.forgery import kinds as kinds_module
from deepfake.forgery.arrays import save_as_jpeg
from deepfake.forgery.history import jpeg_steps
from deepfake.forgery.kinds import KINDS, forge
from deepfake.forgery.points import FIVE_TEMPLATE, Face, FacePoints, normalised
from deepfake.forgery.pose import nearest_poses
from deepfake.forgery.spectrum import light_of

DRAWN = [name for name, kind in KINDS.items() if not kind.needs_copy]
FIVE = FIVE_TEMPLATE * 52 + np.array([80, 78], np.float32)


def portrait(seed, side=160):
    """Grain on blurred noise, with a dark spot at each landmark."""
    rng = np.random.default_rng(seed)
    picture = 128 + 400 * cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 8)
    for x, y in FIVE:
        cv2.circle(picture, (round(float(x)), round(float(y))), 7, (30, 20, 20), cv2.FILLED, cv2.LINE_AA)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def forged(kind, seed, picture=None):
    real = Face(portrait(1) if picture is None else picture, FIVE)
    return forge(kind, real, np.random.default_rng(seed), Face(portrait(2), FIVE))


@pytest.mark.parametrize("kind", DRAWN)
def test_a_mask_says_what_changed_and_the_rest_stays(kind):
    shares = []
    for seed in range(12):
        made = forged(kind, seed)
        assert made.crop_HW3.dtype == np.uint8 and made.mask_HW.shape == made.crop_HW3.shape[:2]
        assert made.mask_HW.min() >= 0 and made.mask_HW.max() <= 1
        changed = (made.crop_HW3 != portrait(1)).any(-1)
        assert not changed[made.mask_HW == 0].any()
        shares.append(changed[made.mask_HW > 0.9 * made.mask_HW.max()].mean())
    assert min(shares) > 0.3 and np.mean(shares) > 0.6  # the weakest change less than a level here and there


@pytest.mark.parametrize("kind", DRAWN)
def test_the_same_draws_make_the_same_forgery(kind):
    one, same, other = (forged(kind, seed).crop_HW3 for seed in (4, 4, 5))
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize("kind", DRAWN)
def test_a_forgery_is_as_sharp_as_its_real(kind):
    """By the variance of the Laplacian of the inner face; a generator of 64 px would have taken most of it."""
    inner = np.s_[50:120, 50:110]
    real = cv2.Laplacian(cv2.cvtColor(portrait(1)[inner], cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    apart = [
        np.log(cv2.Laplacian(cv2.cvtColor(forged(kind, seed).crop_HW3[inner], cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
        for seed in range(20)
    ]
    assert abs(np.mean(apart) - np.log(real)) < 0.35


def test_a_swap_shows_the_donors_face():
    plain = np.full((160, 160, 3), 128, np.uint8)
    shares = []
    for seed in range(10):
        made = forge("swap", Face(plain, FIVE), np.random.default_rng(seed), Face(portrait(2), FIVE))
        grey = cv2.GaussianBlur(made.crop_HW3.mean(-1), (0, 0), 3)
        shares.append([grey[int(y), int(x)] < grey[40:130, 45:115].mean() for x, y in FIVE[:3]])
    assert np.mean(shares) > 0.8


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.needs_face])
def test_a_face_beyond_the_crop_or_without_a_donor_goes_through_upsample(kind, monkeypatch):
    monkeypatch.setitem(
        kinds_module.__dict__, "_upsample", lambda real, donor, rng: kinds_module.Forgery(real.crop_HW3, None)
    )
    away = Face(portrait(1), FIVE + np.float32(4000))
    assert forge(kind, away, np.random.default_rng(0), Face(portrait(2), FIVE)).mask_HW is None
    a_point = Face(portrait(1), np.full((5, 2), 80, np.float32))
    assert forge(kind, a_point, np.random.default_rng(0), Face(portrait(2), FIVE)).mask_HW is None
    if KINDS[kind].needs_donor:
        assert forge(kind, Face(portrait(1), FIVE), np.random.default_rng(0)).mask_HW is None


def test_a_reconstruction_is_shown_whole_or_mixed_with_its_real():
    copy = np.ascontiguousarray(portrait(1)[:, ::-1])  # whose energies are the real's: nothing has to be matched
    made = [
        forge("reconstruct", Face(portrait(1), FIVE), np.random.default_rng(seed), Face(copy, FIVE)).crop_HW3.astype(
            int
        )
        for seed in range(200)
    ]
    whole = np.mean([np.abs(one - copy).max() <= 1 for one in made])
    assert 0.5 < whole < 0.7  # six of ten; two are mixed in pixels, two in coefficients
    shares = [((one - copy) * (portrait(1) - copy.astype(int))).mean() for one in made]
    assert len({round(share) for share in shares}) > 10


def test_a_reconstruction_has_the_detail_and_the_jpeg_of_its_real():
    real = save_as_jpeg(portrait(1), 80)
    soft = cv2.GaussianBlur(real, (0, 0), 0.8)
    for seed in range(8):
        made = forge("reconstruct", Face(real, FIVE), np.random.default_rng(seed), Face(soft, FIVE)).crop_HW3
        sharp = [cv2.Laplacian(one, cv2.CV_64F).var() for one in (real, soft, made)]
        assert sharp[1] < 0.5 * sharp[0] and sharp[2] == pytest.approx(sharp[0], rel=0.15)
        steps = [jpeg_steps(light_of(one)) for one in (real, made)]
        np.testing.assert_array_equal(steps[0][:3, :3], steps[1][:3, :3])


def test_landmarks_in_face_units_forget_place_size_and_turn():
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    moved = np.stack([FIVE, 3 * FIVE @ turn.T + 7])
    np.testing.assert_allclose(normalised(moved), np.stack([FIVE_TEMPLATE] * 2), atol=1e-4)


def test_a_face_that_looks_aside_is_narrower_on_that_side():
    aside = FIVE + np.array([[0, 0], [0, 0], [15, 0], [0, 0], [0, 0]], np.float32)
    ahead, turned = (FacePoints.from_five(five).outline_K2[:, 0] for five in (FIVE, aside))
    middle = float(FIVE[:, 0].mean() + 3)  # a fifth of what the nose has moved
    assert np.allclose([80 - ahead.min(), ahead.max() - 80], 30.4, atol=0.1)
    assert turned.max() - middle < 0.8 * (middle - turned.min())


def test_donors_are_the_nearest_poses_of_other_sources():
    noses = np.array([0, 1, 9, 10, 20, 2], float)  # how far the nose points to the right, px
    fives = np.stack([FIVE + np.array([[0, 0], [0, 0], [nose, 0], [0, 0], [0, 0]]) for nose in noses])
    fives[5] = np.nan
    found = nearest_poses(fives, np.array([0, 0, 1, 2, 3, 4]), 2)
    assert found.tolist() == [[2, 3], [2, 3], [3, 1], [2, 1], [3, 2], [-1, -1]]
    assert (nearest_poses(fives, np.zeros(6, int), 2) == -1).all()
