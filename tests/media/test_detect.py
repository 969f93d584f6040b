"""The face detector: where faces are in pixels of the frame, and nothing where nothing is; alone and along a video."""

import cv2
import numpy as np
import pytest
import torch
from rendered import landmarks, person, photographed
from torchvision.ops import box_iou

from deepfake.media.detect import FaceDetector
from deepfake.media.likeness import likeness, scenes

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def face():
    """A head of 2/3 of the frame's height: (image (360, 480, 3), landmarks (5, 2))."""
    head = person(1, height=360, width=480, px_per_unit=90.0, centre_xy=(200.0, 170.0))
    return photographed(head), landmarks(head)


@pytest.fixture(scope="module")
def build():
    own = {"detect_size": 0, "min_face": 40, "min_prob": 0.9, "search_every": 8, "device": "cpu"}
    return lambda **changes: FaceDetector(**own | changes)


def black(height=120, width=160):
    return np.zeros((height, width, 3), np.uint8)


def counts(found):
    return [len(detections) for detections in found]


# --- pictures


def test_a_face_is_found_where_it_is(build, face):
    image, five = face
    (found,) = build().detect([image])
    assert len(found) == 1
    assert 0.9 <= found.probs[0] <= 1
    x0, y0, x1, y1 = found.boxes_xyxy[0]
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in five)
    assert np.abs(found.landmarks_xy[0] - five).max() < 0.2 * (x1 - x0)
    assert (found.boxes_xyxy.dtype, found.probs.dtype, found.landmarks_xy.dtype) == (np.float32,) * 3


def same_place(found, whole, *, box=0.12, landmarks=0.06):
    """One face each, corners and landmarks no further apart than so many sides of the face."""
    assert (len(found), len(whole)) == (1, 1)
    side = whole.boxes_xyxy[0, 2] - whole.boxes_xyxy[0, 0]
    np.testing.assert_allclose(found.boxes_xyxy[0], whole.boxes_xyxy[0], rtol=0, atol=box * side)
    np.testing.assert_allclose(found.landmarks_xy[0], whole.landmarks_xy[0], rtol=0, atol=landmarks * side)


@pytest.mark.parametrize("detect_size", [240, 333])
def test_boxes_are_in_pixels_of_the_frame_whatever_the_network_sees(build, face, detect_size):
    image, _ = face
    (whole,), (shrunk,) = build().detect([image]), build(detect_size=detect_size, min_face=20).detect([image])
    same_place(shrunk, whole)


@pytest.mark.parametrize(("scale", "odd"), [(3, 0), (8, 0), (8, 5)])
def test_boxes_of_large_frames_are_in_their_pixels_too(build, face, scale, odd):
    """1440 and 3840 px wide for a network that sees 240: frames are first folded by 4 and 10."""
    (small,) = build().detect([face[0]])
    large = cv2.resize(face[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    large = cv2.copyMakeBorder(large, 0, odd, 0, odd, cv2.BORDER_REPLICATE)  # rows and columns that no block holds
    detector = build(detect_size=240, min_face=20)
    (found,) = detector.detect([large])
    assert detector._fold(*large.shape[:2]) == {3: 4, 8: 10}[scale]
    found.boxes_xyxy[:] /= scale
    found.landmarks_xy[:] /= scale
    same_place(found, small)


def test_a_frame_is_never_enlarged_for_the_network(build, face):
    image, _ = face
    (as_it_is,), (bounded,) = (build(detect_size=size).detect([image]) for size in (0, 5000))
    np.testing.assert_array_equal(as_it_is.boxes_xyxy, bounded.boxes_xyxy)
    assert len(as_it_is) == 1


def test_an_uncertain_face_is_dropped(build, face):
    (certain,) = build().detect([face[0]])
    (none,) = build(min_prob=float(np.nextafter(certain.probs.max(), np.float32(2)))).detect([face[0]])
    assert (len(none), none.boxes_xyxy.shape, none.landmarks_xy.shape) == (0, (0, 4), (0, 5, 2))


def test_a_face_just_as_certain_as_asked_for_stays(build, face):
    (certain,) = build().detect([face[0]])
    assert counts(build(min_prob=float(certain.probs.max())).detect([face[0]])) == [1]


def test_of_two_faces_the_more_certain_comes_first(build, face):
    faint = (face[0] * 0.25 + 90).astype(np.uint8)
    for pair in ([faint, face[0]], [face[0], faint]):
        (found,) = build(min_prob=0.5).detect([np.concatenate(pair, axis=1)])
        assert len(found) == 2
        assert found.probs[0] >= found.probs[1]


def test_frames_keep_their_order_across_batches(build, face):
    image = face[0][::3, ::3]
    frames = [image if number in (1, 6) else black() for number in range(8)]
    found = build(min_face=24, batch_mpx=3.1 * 120 * 160 / 1e6).detect(frames)  # three at once
    assert counts(found) == [0, 1, 0, 0, 0, 0, 1, 0]
    np.testing.assert_array_equal(found[1].boxes_xyxy, found[6].boxes_xyxy)


def test_pictures_of_unlike_sizes_go_in_one_call(build, face):
    image, _ = face
    pictures = [image, image[::2, ::2], black(10, 10), image[:, :400], image[::2, ::2], black(360, 480)]
    detector = build(min_face=24)
    found = detector.detect(pictures)
    assert counts(found) == [1, 1, 0, 1, 1, 0]
    for detections, picture in zip(found, pictures, strict=True):
        (alone,) = detector.detect([picture])
        np.testing.assert_allclose(detections.boxes_xyxy, alone.boxes_xyxy, rtol=0, atol=1e-2)
        np.testing.assert_allclose(detections.landmarks_xy, alone.landmarks_xy, rtol=0, atol=1e-2)


@pytest.mark.parametrize("shape", [(16, 16), (19, 400), (400, 12), (1, 1)])
def test_a_frame_smaller_than_the_smallest_face_has_none(build, shape):
    for found in (build(min_face=20).detect([black(*shape)] * 2), build(min_face=20).follow([black(*shape)] * 4)):
        assert set(counts(found)) == {0}


@pytest.mark.parametrize("shape", [(20, 20), (21, 30), (40, 23)])
def test_a_frame_of_just_that_size_is_searched(build, shape):
    detector = build(min_face=20)
    searched = count_searched(detector)
    assert counts(detector.detect([black(*shape)])) == [0]
    assert searched == [1]


def test_a_frame_that_only_shrinking_makes_too_small_has_none(build):
    detector = build(detect_size=100, min_face=24)
    searched = count_searched(detector)
    assert counts(detector.detect([black(100, 600)])) == [0]
    assert searched == []


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
def test_frames_without_a_face_have_none(build, kind):
    frames = np.stack([black()] * 2) + np.uint8(255 if kind == "white" else 0)
    if kind == "noise":
        frames = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    assert counts(build().detect(frames)) == [0, 0]


def test_no_frames_give_no_detections(build):
    assert build().detect([]) == []
    assert build().follow([]) == []


# --- videos


def count_searched(detector):
    """A list that gets the number of pictures of each full search from now on."""
    searched, propose = [], detector.cascade.propose

    def counting(tables, scales):
        searched.append(len(tables.height))
        return propose(tables, scales)

    detector.cascade.propose = counting
    return searched


@pytest.fixture(scope="module")
def follower(build):
    return build(min_face=24)


@pytest.fixture
def searched(follower, monkeypatch):
    monkeypatch.setattr(follower.cascade, "propose", follower.cascade.propose)  # taken back afterwards
    return count_searched(follower)


def alike(found, expected, iou=0.7, landmarks=0.15):
    """The same number of faces in each frame, each near one of the other's; landmarks by so many sides of the face."""
    assert counts(found) == counts(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if len(theirs):
            overlap, same = box_iou(torch.from_numpy(theirs.boxes_xyxy), torch.from_numpy(ours.boxes_xyxy)).max(1)
            assert overlap.min() >= iou
            sides = (theirs.boxes_xyxy[:, 2:] - theirs.boxes_xyxy[:, :2]).max(1)
            way = np.abs(ours.landmarks_xy[same] - theirs.landmarks_xy).max((1, 2))
            assert (way < landmarks * sides).all()


def empty_room(frame):
    """A frame with its face painted over."""
    return cv2.GaussianBlur(frame, (0, 0), 25)


@pytest.fixture(scope="module")
def walk():
    """16 frames of a head that crosses 1.4 of its widths, nods and talks."""
    head = person(1)
    return [
        photographed(head, shift_uv=(0.13 * t - 0.4, 0.02 * t), yaw_rad=0.02 * t - 0.1, mouth_open=0.3 * (t % 2))
        for t in range(16)
    ]


def test_a_moving_face_is_found_in_all_frames_though_few_are_searched(follower, searched, walk):
    found = follower.follow(walk)
    assert sum(searched) == 3  # frames 0, 8 and 15
    assert counts(found) == [1] * 16
    alike(found, follower.detect(walk))
    centres = [float(one.boxes_xyxy[0, ::2].mean()) for one in found]
    assert centres[15] - centres[0] > 60
    assert (np.diff(centres) > 0).all()


def test_a_frame_searched_in_full_has_the_faces_of_detect(follower, walk):
    found = follower.follow(walk)
    for number in (0, 8, 15):
        (alone,) = follower.detect([walk[number]])
        np.testing.assert_allclose(found[number].boxes_xyxy, alone.boxes_xyxy, rtol=0, atol=1e-2)


def test_two_faces_are_followed_at_once(follower, searched):
    left, right = person(1), person(3)
    frames = [
        np.concatenate(
            [photographed(left, shift_uv=(0.05 * t, 0.0)), photographed(right, shift_uv=(-0.05 * t, 0.02 * t))], 1
        )
        for t in range(9)
    ]
    found = follower.follow(frames)
    assert counts(found) == [2] * 9
    alike(found, follower.detect(frames))
    assert searched[0] == 2  # before detect: frames 0 and 8


def test_a_face_that_vanishes_is_gone_from_there_on(follower, walk):
    frames = [frame if number < 6 else empty_room(frame) for number, frame in enumerate(walk)]
    found = follower.follow(frames)
    assert counts(found) == [1] * 6 + [0] * 10
    alike(found, follower.detect(frames))


def test_a_face_that_is_hidden_between_two_searched_frames_is_not_seen_there(follower, walk):
    frames = [empty_room(frame) if number in (3, 4) else frame for number, frame in enumerate(walk[:9])]
    found = follower.follow(frames)
    assert counts(found) == [1, 1, 1, 0, 0, 1, 1, 1, 1]


def test_a_face_that_is_hidden_in_the_searched_frames_alone_is_found():
    """A small head, so that frames with it and without are one scene."""
    detector = FaceDetector(detect_size=0, min_face=24, min_prob=0.9, search_every=8, device="cpu")
    shown = photographed(person(1, height=360, width=480, px_per_unit=30.0, centre_xy=(240.0, 200.0)))
    (one,) = detector.detect([shown])
    x0, y0, x1, y1 = one.boxes_xyxy[0].astype(int) + np.array([-5, -5, 5, 5])
    hidden = shown.copy()
    hidden[y0:y1, x0:x1] = empty_room(shown)[y0:y1, x0:x1]
    frames = [hidden if number in (0, 8, 15) else shown for number in range(16)]
    assert list(scenes(frames)) == [(0, 15)]
    assert counts(detector.follow(frames)) == [int(number not in (0, 8, 15)) for number in range(16)]


def test_a_face_that_appears_at_the_end_is_found_from_there_on(follower, walk):
    frames = [empty_room(frame) if number < 13 else frame for number, frame in enumerate(walk)]
    found = follower.follow(frames)
    assert counts(found) == [0] * 13 + [1] * 3
    alike(found, follower.detect(frames))


def test_a_cut_to_another_face_elsewhere_is_seen(follower, searched, walk):
    other = person(4, px_per_unit=38.0, centre_xy=(170.0, 100.0))
    cut = walk[:5] + [photographed(other, shift_uv=(0.02 * t, 0.0)) for t in range(6)]
    assert list(scenes(cut)) == [(0, 4), (5, 10)]
    found = follower.follow(cut)
    assert counts(found) == [1] * 11
    assert sum(searched) == 4  # both ends of both scenes
    alike(found, follower.detect(cut))


def test_somebody_who_is_shown_for_one_frame_is_a_scene_of_his_own(follower, walk):
    frames = [walk[0]] * 3 + [photographed(person(4, px_per_unit=38.0, centre_xy=(170.0, 100.0)))] + [walk[0]] * 3
    alike(follower.follow(frames), follower.detect(frames))


def test_with_every_frame_searched_it_is_detect(build, walk):
    detector = build(min_face=24, search_every=1)
    searched = count_searched(detector)
    followed = detector.follow(walk[:5])
    assert sum(searched) == 5
    for ours, theirs in zip(followed, detector.detect(walk[:5]), strict=True):
        np.testing.assert_array_equal(ours.boxes_xyxy, theirs.boxes_xyxy)
        np.testing.assert_array_equal(ours.probs, theirs.probs)
        np.testing.assert_array_equal(ours.landmarks_xy, theirs.landmarks_xy)


def test_a_single_frame_is_searched(follower, searched, walk):
    assert counts(follower.follow(walk[:1])) == [1]
    assert searched == [1]


def test_black_frames_have_no_faces(follower):
    assert counts(follower.follow([black()] * 5)) == [0] * 5


def test_black_frames_at_both_ends_hide_no_face(follower, walk):
    frames = [np.zeros_like(walk[0])] * 3 + walk[:4] + [np.zeros_like(walk[0])] * 3
    assert counts(follower.follow(frames)) == [0] * 3 + [1] * 4 + [0] * 3


def test_frames_may_change_their_size_on_the_way(follower, walk):
    frames = walk[:4] + [cv2.resize(frame, (200, 150), interpolation=cv2.INTER_AREA) for frame in walk[4:8]]
    found = follower.follow(frames)
    assert counts(found) == [1] * 8
    alike(found, follower.detect(frames))


def test_a_place_beyond_a_smaller_frame_is_no_error(follower, searched, walk):
    """The face lies at some 500 px of 960 at first, and is looked for there in a frame of 240."""
    large = [cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR) for frame in walk[11:]]
    found = follower.follow([large[0], walk[12], walk[13], large[3], large[4]])
    assert counts(found) == [1] * 5
    assert found[0].boxes_xyxy[0, 0] > 240 * 1.5
    assert sum(searched) == 4  # the ends, and the small frames, in which the face was elsewhere
    alike(found[1:3], follower.detect(walk[12:14]))


def test_a_face_beside_another_is_found_where_it_shows_in_any_searched_frame(follower, searched, walk):
    """Hidden in frames 0 and 8, but not in frame 15."""
    beside = photographed(person(3))
    (one,) = follower.detect([beside])
    x0, y0, x1, y1 = one.boxes_xyxy[0].astype(int)
    hidden = beside.copy()
    hidden[y0:y1, x0:x1] = empty_room(beside)[y0:y1, x0:x1]
    frames = [np.concatenate([frame, hidden if t in (0, 8) else beside], 1) for t, frame in enumerate(walk)]
    searched.clear()
    assert counts(follower.follow(frames)) == [1 if t in (0, 8) else 2 for t in range(16)]
    assert sum(searched) == 3


@pytest.mark.parametrize(
    ("start", "step"), [((-0.8, 0), (-0.1, 0)), ((1.5, 0), (0.13, 0)), ((0, -0.4), (0, -0.09)), ((0, 0.5), (0, 0.11))]
)
def test_a_face_is_followed_to_every_edge(follower, searched, start, step):
    """And a little beyond: left, right, top and bottom."""
    head = person(1)
    frames = [photographed(head, shift_uv=(start[0] + t * step[0], start[1] + t * step[1])) for t in range(9)]
    found = follower.follow(frames)
    assert sum(searched) == 2
    assert counts(found) == [1] * 9
    alike(found, follower.detect(frames))
    boxes_xyxy = np.concatenate([one.boxes_xyxy for one in found])
    assert (boxes_xyxy[:, :2].min() < 2) or (boxes_xyxy[:, 2].max() > 238) or (boxes_xyxy[:, 3].max() > 178)


def test_large_frames_are_followed_in_their_own_pixels(build, walk):
    detector = build(detect_size=240, min_face=24)
    searched = count_searched(detector)
    large = [cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR) for frame in walk[:5]]
    found = detector.follow(large)
    assert detector._fold(*large[0].shape[:2]) == 2
    assert (counts(found), sum(searched)) == ([1] * 5, 2)
    for ours, theirs in zip(found, detector.detect(walk[:5]), strict=True):
        overlap = box_iou(torch.from_numpy(ours.boxes_xyxy / 4), torch.from_numpy(theirs.boxes_xyxy))
        assert overlap.item() >= 0.7


# --- scenes


def test_a_scene_lasts_while_frames_are_like_the_one_before(walk):
    assert list(scenes(walk)) == [(0, 15)]
    assert list(scenes([*walk[:3], 255 - walk[3], 255 - walk[4], walk[5]])) == [(0, 2), (3, 4), (5, 5)]
    assert list(scenes([walk[0], walk[0] // 2 + 60, walk[0][::2, ::2]])) == [(0, 2)]
    assert list(scenes([black(), black()])) == [(0, 0), (1, 1)]  # a flat picture tells nothing


def test_pictures_are_likest_to_themselves(walk):
    assert likeness(walk[0], walk[0]) == pytest.approx(1)
    assert likeness(walk[0], 255 - walk[0]) == pytest.approx(-1)
    assert 1 > likeness(walk[0], walk[1]) > likeness(walk[0], walk[15])
    assert likeness(walk[0], black()) == 0
