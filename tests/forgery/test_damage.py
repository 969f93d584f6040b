"""What happens to pictures on their way: random in strength, the same for a real picture and its forgery."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.forgery import damage as damage_module
from deepfake.forgery.damage import CHANCES, ENCODERS, STEPS, damage, filmed, missing_encoders, video


def stripes(height=90, width=120):
    rng = np.random.default_rng(0)
    ground = np.linspace(40, 200, width)[None, :, None] + 25 * np.sin(np.arange(height) / 2)[:, None, None]
    return np.clip(ground + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_step_keeps_the_shape_and_differs_in_strength(step):
    picture = stripes()
    changed = [step(picture, np.random.default_rng(seed)) for seed in range(8)]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in changed)
    strengths = {round(cv2.PSNR(one, picture), 1) for one in changed}
    assert max(strengths) < 60
    assert len(strengths) > (0 if step.__name__ == "grey" else 1)


def test_damage_is_the_same_for_the_same_draws_and_differs_from_one_to_the_next():
    picture = stripes()
    made = [damage(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert all((one == damage(picture, np.random.default_rng(seed))).all() for seed, one in enumerate(made))
    assert len({one.tobytes() for one in made}) > 25


def test_a_real_picture_and_its_forgery_go_the_same_way(monkeypatch):
    """The same steps at the same strengths, whatever the forgery changed."""
    gone = []
    monkeypatch.setattr(
        damage_module,
        "STEPS",
        [lambda picture, rng, step=step: gone.append((step, rng.random())) or picture[::-1] for step in STEPS],
    )
    for seed in range(30):
        for picture in (stripes(), 255 - stripes()):
            damage(picture, np.random.default_rng(seed))
        half = len(gone) // 2
        assert gone[:half] == gone[half:] and half in (1, 2, 3)
        gone.clear()


def test_small_pictures_survive_every_step():
    for side in (1, 2, 9):
        picture = np.full((side, side, 3), 90, np.uint8)
        assert all(step(picture, np.random.default_rng(3)).shape == picture.shape for step in STEPS)


def test_chances_add_up():
    assert CHANCES.sum() == pytest.approx(1) and (CHANCES > 0).all()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("shape", [(90, 120), (33, 47), (1, 1)])
def test_a_coarser_video_loses_more_and_any_size_comes_back(encoder, shape):
    if encoder in missing_encoders():
        pytest.skip(f"this PyAV has no {encoder}")
    picture = stripes(*shape)
    fine, coarse = (filmed(picture, encoder, crf, 2) for crf in (18, 40))
    assert fine.shape == coarse.shape == picture.shape
    assert shape == (1, 1) or cv2.PSNR(fine, picture) > cv2.PSNR(coarse, picture) + 1
    assert (filmed(picture, encoder, 18, 2) == fine).all()


def test_without_the_encoder_a_picture_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(damage_module, "missing_encoders", lambda: tuple(ENCODERS))
    assert (video(stripes(), np.random.default_rng(0)) == stripes()).all()
