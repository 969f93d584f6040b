"""The face detector: where a face is in pixels of the frame, and nothing where nothing is."""

import numpy as np
import pytest
import torch

from deepfake.forge.heads import Camera, build_head, render_head
from deepfake.forge.identity import sample_identity
from deepfake.forge.motion import HeadState
from deepfake.media.mtcnn import BATCH, FaceDetector


@pytest.fixture(scope="module")
def face():
    """A rendered head of 2/3 of the frame's height: (image (360, 480, 3), landmarks (5, 2))."""
    camera = Camera(height=360, width=480, px_per_unit=90.0, centre_xy=(200.0, 170.0))
    head = build_head(sample_identity(np.random.default_rng(1)), camera)
    frame = render_head(head, HeadState(), np.random.default_rng(0))
    return frame.image_HW3, frame.points.five_52


@pytest.fixture(scope="module")
def build():
    torch.set_num_threads(1)
    return lambda **changes: FaceDetector(
        **{"detect_size": 0, "min_face": 40, "min_prob": 0.9, "device": "cpu"} | changes
    )


def black(height=120, width=160, count=1):
    return np.zeros((count, height, width, 3), np.uint8)


def test_a_face_is_found_where_it_is(build, face):
    image, five = face
    (found,) = build().detect(image[None])
    assert len(found) == 1
    assert 0.9 <= found.probs[0] <= 1
    x0, y0, x1, y1 = found.boxes_xyxy[0]
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in five)
    assert np.abs(found.landmarks_xy[0] - five).max() < 0.2 * (x1 - x0)
    assert (found.boxes_xyxy.dtype, found.probs.dtype, found.landmarks_xy.dtype) == (np.float32,) * 3


@pytest.mark.parametrize("detect_size", [240, 333])
def test_boxes_are_in_pixels_of_the_frame_whatever_the_network_sees(build, face, detect_size):
    image, _ = face
    (whole,) = build().detect(image[None])
    (shrunk,) = build(detect_size=detect_size, min_face=20).detect(image[None])
    side = whole.boxes_xyxy[0, 2] - whole.boxes_xyxy[0, 0]
    np.testing.assert_allclose(shrunk.boxes_xyxy[0], whole.boxes_xyxy[0], atol=0.12 * side)
    np.testing.assert_allclose(shrunk.landmarks_xy[0], whole.landmarks_xy[0], atol=0.06 * side)


def test_a_frame_is_never_enlarged_for_the_network(build, face):
    image, _ = face
    (as_it_is,), (bounded,) = (build(detect_size=size).detect(image[None]) for size in (0, 5000))
    np.testing.assert_array_equal(as_it_is.boxes_xyxy, bounded.boxes_xyxy)


def test_an_uncertain_face_is_dropped(build, face):
    (certain,) = build().detect(face[0][None])
    (none,) = build(min_prob=float(np.nextafter(certain.probs.max(), np.float32(2)))).detect(face[0][None])
    assert (len(none), none.boxes_xyxy.shape, none.landmarks_xy.shape) == (0, (0, 4), (0, 5, 2))


def test_of_two_faces_the_more_certain_comes_first(build, face):
    faint = (face[0] * 0.25 + 90).astype(np.uint8)
    pair = np.concatenate([faint, face[0]], axis=1)
    (found,) = build(min_prob=0.5).detect(pair[None])
    assert len(found) == 2
    assert found.probs[0] >= found.probs[1]


def test_frames_keep_their_order_across_batches(build, face):
    image = face[0][::3, ::3]
    frames = np.repeat(black(*image.shape[:2]), BATCH + 2, axis=0)
    frames[[1, BATCH]] = image
    found = build(min_face=24).detect(frames)
    assert [len(detections) for detections in found] == [1 if n in (1, BATCH) else 0 for n in range(BATCH + 2)]


@pytest.mark.parametrize("shape", [(16, 16), (19, 400), (400, 12), (1, 1)])
def test_a_frame_smaller_than_the_smallest_face_has_none(build, shape):
    found = build(min_face=20).detect(black(*shape, count=2))
    assert [len(detections) for detections in found] == [0, 0]


@pytest.mark.parametrize("shape", [(20, 20), (21, 30), (40, 23)])
def test_a_frame_of_just_that_size_is_searched(build, shape):
    assert [len(found) for found in build(min_face=20).detect(black(*shape))] == [0]


def test_a_frame_that_only_shrinking_makes_too_small_has_none(build):
    assert [len(found) for found in build(detect_size=100, min_face=24).detect(black(100, 600))] == [0]


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
def test_frames_without_a_face_have_none(build, kind):
    frames = black(count=2) + np.uint8(255 if kind == "white" else 0)
    if kind == "noise":
        frames = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    assert [len(found) for found in build().detect(frames)] == [0, 0]


def test_no_frames_give_no_detections(build):
    assert build().detect(black(count=0)) == []
