"""The JPEG that a picture once was, read from its pixels, and given to a forgery."""

import cv2
import numpy as np
import pytest
from PIL import Image

from deepfake.forgery.arrays import save_as_jpeg
from deepfake.forgery.history import USUAL, jpeg_steps, resaved
from deepfake.forgery.spectrum import light_of


def scene(seed, height=128, width=136):
    rng = np.random.default_rng(seed)
    picture = 128 + 300 * cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 4)
    picture += 60 * cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 1)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def table(quality):
    """Of libjpeg."""
    scale = 200 - 2 * quality if quality >= 50 else 5000 // quality
    return np.floor((USUAL * scale + 50) / 100).clip(1, 255).reshape(8, 8)


@pytest.mark.parametrize("quality", [50, 75, 85, 92])
def test_steps_are_read_from_pixels(quality):
    for seed in range(5):
        steps = jpeg_steps(light_of(save_as_jpeg(scene(seed), quality)))
        coarse = np.add.outer(np.arange(8), np.arange(8)) < 3
        np.testing.assert_array_equal(steps[coarse], table(quality)[coarse])
        np.testing.assert_allclose(steps, table(quality), atol=2, rtol=0.15)


@pytest.mark.parametrize("change", [lambda p: p, lambda p: save_as_jpeg(p, 80)[3:, 5:], lambda p: p[:, :, ::-1] // 2])
def test_a_picture_without_a_grid_in_its_corner_has_none(change):
    for seed in range(20):
        assert jpeg_steps(light_of(np.ascontiguousarray(change(scene(seed))))) is None


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (64, 64)])
def test_small_and_flat_pictures_have_none(shape):
    assert jpeg_steps(np.full(shape, 77, np.float32)) is None


def test_a_black_border_hides_no_steps():
    picture = scene(0, 512, 512)
    picture[:, :40] = 0
    assert jpeg_steps(light_of(save_as_jpeg(picture, 75))) is not None


def test_a_forgery_gets_the_grid_of_its_real_and_as_much_of_each_frequency():
    real, other = (light_of(save_as_jpeg(scene(seed), 75)) for seed in (1, 2))
    soft = cv2.GaussianBlur(other, (0, 0), 0.6)
    made = resaved(soft, real)
    np.testing.assert_array_equal(jpeg_steps(made), jpeg_steps(real))
    have, wanted = (np.abs(np.fft.rfft2(one))[20:60, 20:60].mean() for one in (made, real))
    assert have == pytest.approx(wanted, rel=0.1)


def test_a_real_that_was_no_jpeg_leaves_a_forgery_alone():
    forged = light_of(scene(3))
    assert resaved(forged, light_of(scene(4))) is forged


def test_other_writers_tables_are_read_too(tmp_path):
    given = [int(10 + row + 2 * column) for row in range(8) for column in range(8)]
    Image.fromarray(scene(0)).save(tmp_path / "own.jpg", qtables=[given, given], subsampling=0)
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "own.jpg")), cv2.COLOR_BGR2RGB)
    steps = jpeg_steps(light_of(picture))
    assert (steps[:2, :2] == np.array(given).reshape(8, 8)[:2, :2]).all()
