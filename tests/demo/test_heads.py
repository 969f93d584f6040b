"""Rendered heads: found by a detector, where they say they are, different from one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake.demo.heads import Camera, build_head, render_head
from deepfake.demo.identity import Identity, dress_as, sample_identity
from deepfake.demo.motion import HeadState, sample_motion

CAMERA = Camera(height=240, width=256, px_per_unit=58.0, centre_xy=(128.0, 112.0))


def _identity(seed: int) -> Identity:
    return sample_identity(np.random.default_rng(seed))


def test_detector_finds_heads_at_their_landmarks() -> None:
    facenet_pytorch = pytest.importorskip("facenet_pytorch")
    heads, found = [], 0
    for seed in range(8):
        state = sample_motion(np.random.default_rng(seed)).at(0.4)
        heads.append(render_head(build_head(_identity(seed), CAMERA), state, np.random.default_rng(seed)))
    _, probs, five = facenet_pytorch.MTCNN(keep_all=True).detect([head.image_HW3 for head in heads], landmarks=True)
    for seed, head in enumerate(heads):
        if probs[seed][0] is not None and probs[seed][0] >= 0.9:
            found += 1
            assert np.abs(five[seed][0] - head.points.five_52).mean() < 0.12 * CAMERA.px_per_unit, seed
    assert found >= 7


def test_same_seed_same_picture_and_others_differ() -> None:
    heads = [build_head(_identity(seed), CAMERA) for seed in (1, 1, 2)]
    images = [render_head(head, HeadState(), np.random.default_rng(0)).image_HW3 for head in heads]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0].astype(int) - images[2]).mean() > 5


def test_landmarks_follow_the_pose() -> None:
    head = build_head(_identity(1), CAMERA)
    poses = (HeadState(), HeadState(yaw_rad=0.2), HeadState(pitch_rad=-0.2), HeadState(shift_uv=(0.1, 0.0)))
    rest, turned, nodding, moved = (render_head(head, pose).points.five_52 for pose in poses)
    eyes, nose = slice(0, 2), 2
    assert turned[nose, 0] - rest[nose, 0] > (turned - rest)[eyes, 0].mean() > 0
    assert nodding[nose, 1] > rest[nose, 1]
    np.testing.assert_allclose(moved - rest, np.tile((5.8, 0.0), (5, 1)), atol=1e-3)


def test_grain_differs_from_frame_to_frame_and_blinking_changes_only_the_eyes() -> None:
    head = build_head(replace(_identity(1), glasses=0.0), CAMERA)
    still, other = (render_head(head, HeadState(), np.random.default_rng(seed)).image_HW3 for seed in (0, 1))
    assert (still != other).mean() > 0.5
    open_eyes, closed = (render_head(head, HeadState(blink=blink)) for blink in (0.0, 1.0))
    rows = np.nonzero((open_eyes.image_HW3 != closed.image_HW3).any(axis=(1, 2)))[0]
    eye_row = open_eyes.points.five_52[:2, 1].mean()
    assert np.abs(rows - eye_row).max() < 0.25 * CAMERA.px_per_unit


def test_a_dressed_donor_keeps_its_face_and_takes_the_light() -> None:
    donor, target = _identity(3), _identity(4)
    dressed = dress_as(donor, target)
    assert (dressed.skull, dressed.eyes, dressed.mouth) == (donor.skull, donor.eyes, donor.mouth)
    assert (dressed.scene, dressed.glasses, dressed.hair.beard) == (target.scene, target.glasses, target.hair.beard)
