"""Forgeries are pure, stay inside the face and leave the traces they are named after."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.forgery.arrays import Image
from deepfake.forgery.face_decoder import FaceDecoderParams, decode, sample_face_decoder, through_face_decoder
from deepfake.forgery.grid import FaceGrid
from deepfake.forgery.masks import MaskParams, soft_mask
from deepfake.forgery.points import FIVE_TEMPLATE, FacePoints, apply_affine, similarity
from deepfake.forgery.reenact import reenact, sample_reenact
from deepfake.forgery.self_blend import sample_self_blend, self_blend
from deepfake.forgery.swap import sample_swap, swap

PX_PER_UNIT, CENTRE_XY = 56.0, (120.0, 110.0)


def _photo(seed: int) -> Image:
    """A picture that no renderer made: blurred noise with grain."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (240, 260, 3)), (0, 0), 6)
    return np.clip(128 + 300 * smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def points() -> FacePoints:
    return FacePoints.from_five(FIVE_TEMPLATE * PX_PER_UNIT + np.array(CENTRE_XY, np.float32))


def _swap(frame: Image, points: FacePoints, seed: int) -> Image:
    params = sample_swap(np.random.default_rng(seed))
    return swap(frame, points, _photo(99), points, params)


def _face_decoder(frame: Image, points: FacePoints, seed: int) -> Image:
    return through_face_decoder(frame, points, sample_face_decoder(np.random.default_rng(seed)))


def _self_blend(frame: Image, points: FacePoints, seed: int) -> Image:
    return self_blend(frame, points, sample_self_blend(np.random.default_rng(seed)))


def _reenact(frame: Image, points: FacePoints, seed: int) -> Image:
    return reenact(frame, points, sample_reenact(np.random.default_rng(seed)), time_s=0.3)


FORGERS = [_swap, _face_decoder, _self_blend, _reenact]


def test_changes_the_face_and_nothing_else(points: FacePoints) -> None:
    frame = _photo(0)
    widest = soft_mask(points.outline_K2, PX_PER_UNIT, frame.shape[:2], MaskParams(scale=1.35, softness=0.1))
    outside = np.ones(frame.shape[:2], bool)
    outside[widest.rows, widest.cols] = widest.mask_HW == 0
    for forge in FORGERS:
        before, forged = frame.copy(), forge(frame, points, 5)
        np.testing.assert_array_equal(frame, before, forge.__name__)
        np.testing.assert_array_equal(forged[outside], frame[outside], forge.__name__)
        rows, cols = np.nonzero((forged != frame).any(axis=-1))
        assert len(rows) > 500, forge.__name__
        assert abs(cols.mean() - CENTRE_XY[0]) < 10, forge.__name__


def test_same_parameters_same_picture(points: FacePoints) -> None:
    frame = _photo(0)
    for forge in FORGERS:
        forged = forge(frame, points, 5)
        np.testing.assert_array_equal(forged, forge(frame.copy(), points, 5), forge.__name__)
        assert (forged != forge(frame, points, 6)).any(), forge.__name__


def test_a_face_at_the_edge_or_beyond_it_is_no_error(points: FacePoints) -> None:
    frame = _photo(0)
    at_edge = FacePoints.from_five(points.five_52 - np.array(CENTRE_XY, np.float32))
    beyond = FacePoints.from_five(points.five_52 + np.float32(4000))
    for forge in FORGERS:
        assert forge(frame, at_edge, 5).shape == frame.shape, forge.__name__
        np.testing.assert_array_equal(forge(frame, beyond, 5), frame, forge.__name__)


def _peak(face_SS3: np.ndarray, period_px: int) -> float:
    """Power at a period over the median power of its neighbours, summed over rows."""
    grey = face_SS3.mean(axis=-1)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 3)
    power = (np.abs(np.fft.rfft(detail, axis=1)) ** 2).mean(axis=0)
    at = grey.shape[1] // period_px
    around = np.r_[power[at - 5 : at - 1], power[at + 2 : at + 6]]
    return float(power[at] / np.median(around))


def test_upsampling_leaves_replicated_spectra_that_the_real_face_lacks(points: FacePoints) -> None:
    """Grid and picture share their pixels here (56 px a unit), so that the period of four pixels is seen as it is."""
    frame, grid = _photo(0), FaceGrid(112)
    mask = MaskParams(scale=1.6, softness=0.05)
    kernels = ((0.49, 1.02, 0.49), (0.51, 0.98, 0.51))
    params = FaceDecoderParams(mask=mask, grid_px=112, kernels=kernels, skip=0.5)
    forged = through_face_decoder(frame, points, params)
    middle = np.s_[28:84, 28:84]
    assert _peak(grid.crop(frame, points)[middle], 4) < 3
    assert _peak(grid.crop(forged, points)[middle], 4) > 10


def test_a_decoder_with_even_kernels_keeps_a_flat_picture() -> None:
    flat = np.full((16, 16, 3), 90, np.float32)
    even, uneven = ((0.5, 1.0, 0.5),) * 2, ((0.45, 1.1, 0.45),) * 2
    np.testing.assert_allclose(decode(flat, even, skip=0.0), flat, atol=1e-3)
    assert decode(flat, uneven, skip=0.0).std() > 1


def test_similarity_recovers_a_known_move() -> None:
    turn, scale, shift = 0.3, 40.0, np.array([100.0, 50.0])
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = (FIVE_TEMPLATE @ linear.T + shift).astype(np.float32)
    matrix = similarity(FIVE_TEMPLATE, moved)
    np.testing.assert_allclose(matrix, np.hstack([linear, shift[:, None]]), rtol=1e-4)
    np.testing.assert_allclose(apply_affine(matrix, FIVE_TEMPLATE), moved, atol=1e-3)


def test_points_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        FacePoints(np.zeros((4, 2), np.float32), np.zeros((8, 2), np.float32))
