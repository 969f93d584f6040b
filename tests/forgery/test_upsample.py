"""Pictures through a decoder's up-sampling: as sharp as before, with its traces, the same for the same draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.forgery.arrays import save_as_jpeg
from deepfake.forgery.kinds import KINDS, forge
from deepfake.forgery.points import Face
from deepfake.forgery.spectrum import as_sharp, cosines, energies, light_of
from deepfake.forgery.upsample import KERNELS, Stage, UpsampleParams, enlarge, halve, sample_upsample, upsample
from deepfake.tables import FORGERIES

PLAIN = (0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
NOWHERE = np.full((5, 2), np.nan)


def scene(seed, height=128, width=120):
    """Discs on a ground whose spectrum falls as that of photographs, with a camera's noise."""
    rng = np.random.default_rng(seed)
    shape, fineness = (height, width, 3), np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    noise = np.fft.fft2(rng.standard_normal(shape), axes=(0, 1))
    ground = np.fft.ifft2(noise / (0.02 + fineness)[..., None], axes=(0, 1)).real
    picture = 128 + 40 * ground / ground.std()
    for _ in range(6):
        middle, radius = rng.integers(0, 120, 2).tolist(), int(rng.integers(5, 40))
        cv2.circle(picture, middle, radius, rng.integers(0, 256, 3).tolist(), cv2.FILLED, cv2.LINE_AA)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.8) + rng.normal(0, 3, shape), 0, 255).astype(np.uint8)


def bands(picture):
    return energies(cosines(light_of(picture))).mean(1)


def upsampled(picture, seed):
    return forge("upsample", Face(picture, NOWHERE), np.random.default_rng(seed)).crop_HW3


def test_every_kind_is_named_and_tells_what_it_is():
    assert tuple(KINDS) == FORGERIES
    assert all(kind.about for kind in KINDS.values())


@pytest.mark.parametrize("shape", [(128, 120), (97, 131), (24, 40)])
def test_a_forgery_has_the_pictures_shape_and_is_the_same_for_the_same_draws(shape):
    picture = scene(0, *shape)
    one, same, other = (upsampled(picture, seed) for seed in (1, 1, 2))
    assert one.shape == picture.shape and one.dtype == np.uint8
    assert (one == same).all() and (one != other).any() and (one != picture).any()


def test_a_forgery_is_as_sharp_as_its_picture_in_every_band():
    for seed in range(20):
        rng, picture = np.random.default_rng(seed), scene(seed)
        forged = upsample(picture, sample_upsample(rng), rng)
        apart = np.log(bands(forged)[1:] / bands(picture)[1:])
        assert np.abs(apart).mean() < 0.2, seed
        assert cv2.PSNR(forged, picture) > 15, seed


def test_a_soft_picture_becomes_as_sharp_as_another_under_a_weight_and_stays_elsewhere():
    picture, weight = scene(3), np.zeros((128, 120), np.float32)
    weight[20:100, 20:100] = 1
    weight = cv2.GaussianBlur(weight, (31, 31), 5)
    soft = cv2.GaussianBlur(picture, (0, 0), 0.7)
    matched = as_sharp(soft.astype(np.float32), picture, weight)
    inside = np.s_[35:85, 35:85]
    assert bands(soft[inside])[25] < 0.5 * bands(picture[inside])[25]
    np.testing.assert_allclose(np.log(bands(matched[inside])[3:36]), np.log(bands(picture[inside])[3:36]), atol=0.8)
    assert (matched[weight == 0] == picture[weight == 0]).all()


def test_an_upsampled_picture_keeps_its_colours_to_the_bit():
    for seed in range(4):
        picture = scene(seed)
        change = upsampled(picture, seed).astype(int) - picture
        assert (change == change[..., :1]).all() and change.any()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_forgery_lies_where_its_picture_does(kernel, count):
    """Whatever the kernel and the number of stages: the middle of a spot stays, without the detail that is put back."""
    rows, columns = np.mgrid[:64, :64].astype(np.float32)
    spot = 40 + 180 * np.exp(-((rows - 33) ** 2 + (columns - 29) ** 2) / (2 * 9**2))
    stage = Stage(kernel, (1, 1, 1, 1), PLAIN, skip=0.0)
    levels = [spot]
    for _ in range(count):
        levels.append(halve(levels[-1], 0.8, stage))
    large = levels[-1]
    for _ in range(count):
        large = enlarge(large, stage)
    weights = large - 40
    middle = (weights * rows).sum() / weights.sum(), (weights * columns).sum() / weights.sum()
    assert middle == pytest.approx((33, 29), abs=0.3)


def test_uneven_gains_show_as_peaks_at_the_ends_of_the_spectrum():
    def peak(picture):
        spectrum = np.abs(np.fft.fft2(picture[..., 1].astype(float) - picture[..., 1].mean()))
        return spectrum[64, 0] / np.median(spectrum[60:69, 0:9])

    picture = scene(5, 128, 128)
    stage = Stage("linear", (0.95, 1.05, 0.95, 1.05), PLAIN, skip=0.5)
    forged = upsample(picture, UpsampleParams((stage,)), np.random.default_rng(0))
    assert peak(forged) > 4 * peak(picture)


def test_a_forgery_saved_as_jpeg_is_as_sharp_as_a_picture_that_was_too():
    """By the variance of the Laplacian, which is what sharpness is measured by."""
    apart = []
    for seed in range(30):
        picture = save_as_jpeg(scene(seed), 92)
        forged = upsampled(picture, seed)
        sharp = [cv2.Laplacian(one, cv2.CV_64F).var() for one in (picture, forged)]
        apart.append(np.log(sharp[1] / sharp[0]))
    assert abs(np.mean(apart)) < 0.05 and np.std(apart) < 0.15
