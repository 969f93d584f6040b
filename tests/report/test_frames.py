"""The picture of a prediction: sizes, colours at their places, labels that can be read."""

import numpy as np
import pytest

from deepfake.report.frames import CURVES, LEAST_WIDTH, TITLE, Page, Place, ShownFrame, draw, score_colour
from deepfake.report.labels import place_labels


def frame(width=640, height=480, places=(), caption=""):
    return ShownFrame(np.full((height, width, 3), 255, np.uint8), list(places), caption)


def place(x0, y0, x1, y1, *, prob):
    return Place(np.array([x0, y0, x1, y1], float), 0, prob)


def colours(image_HWC):
    """The set of colours that are there, as (R, G, B)."""
    red, green, blue = image_HWC.astype(int).reshape(-1, 3).T
    codes = np.unique(red << 16 | green << 8 | blue)
    return {(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()}


def rgb(prob, threshold=0.5):
    return tuple(round(255 * channel) for channel in score_colour(prob, threshold))


def near(image_HWC, y, x, colour):
    """Whether the colour is within 3 px of a place, to one level of each channel."""
    part = image_HWC[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).astype(int)
    return (np.abs(part - colour).max(1) <= 1).any()


def test_blue_is_real_amber_is_the_threshold_and_red_is_fake():
    assert score_colour(0.0, 0.3) == pytest.approx((0.10, 0.38, 0.78))
    assert score_colour(0.3, 0.3) == pytest.approx((0.98, 0.74, 0.10))
    assert score_colour(1.0, 0.3) == pytest.approx((0.84, 0.08, 0.10))
    assert score_colour(None, 0.3) == (0.45, 0.45, 0.45)
    assert all(0 <= channel <= 1 for threshold in (0.0, 1.0) for channel in score_colour(0.5, threshold))


def test_a_box_has_its_colour_at_its_place():
    faces = [place(100, 200, 200, 300, prob=0.95), place(400, 200, 500, 300, prob=0.05)]
    image_HWC = draw(Page("a.png", "fake", [frame(places=faces)], 0.5))
    assert image_HWC.dtype == np.uint8 and image_HWC.shape[0] > TITLE + 480 and image_HWC.shape[1] > 640
    scale = (image_HWC.shape[0] - TITLE - 16) / 480  # the frame fills what the title and a margin leave
    left = (image_HWC.shape[1] - scale * 640) / 2
    for y, x, prob in ((250, 100, 0.95), (250, 200, 0.95), (300, 150, 0.95), (250, 400, 0.05), (300, 450, 0.05)):
        at = round(TITLE + scale * y), round(left + scale * x)
        assert near(image_HWC, *at, rgb(prob))
        assert not near(image_HWC, *at, rgb(1 - prob))


def test_every_size_gives_a_picture_of_a_screens_size():
    for width, height, count in ((40, 30, 1), (3840, 2160, 1), (1080, 1920, 6), (320, 240, 5), (20, 2000, 1)):
        frames = [frame(width, height, [place(1, 1, 15, 20, prob=0.7)], f"{number} s") for number in range(count)]
        shape = draw(Page("x" * 300 + ".mp4", "real", frames, 0.5)).shape
        assert LEAST_WIDTH <= shape[1] <= 2060 and 100 < shape[0] <= 1420, (width, height, count)


def test_scores_over_time_stand_below_the_frames():
    frames = [frame(places=[place(100, 100, 200, 200, prob=0.9)], caption="0.00 s")]
    curves = {number: (np.array([0.0, 1.0]), np.array([0.2, 0.9])) for number in range(12)}
    without, with_curves = (draw(Page("a.mp4", "fake", frames, 0.5, each)) for each in ({}, curves))
    assert with_curves.shape[0] == without.shape[0] + CURVES
    below = with_curves[without.shape[0] :]
    assert {(0x1F, 0x77, 0xB4), (0xD9, 0x5F, 0x02), (0xB0, 0xB0, 0xB0)} <= colours(below)


def test_a_square_without_a_face_is_grey_and_names_may_hold_anything():
    image_HWC = draw(Page("$x_{1}$ 你好\n.png", "no face", [frame(places=[place(100, 100, 300, 300, prob=None)])], 0.5))
    assert rgb(None) in colours(image_HWC) and not {rgb(0.0), rgb(0.5), rgb(1.0)} & colours(image_HWC)


def overlap(one, other):
    return np.prod((np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0))


def test_labels_of_a_crowd_do_not_cover_one_another_and_stay_inside():
    boxes = [np.array([x, y, x + 30, y + 36]) for x in range(0, 600, 60) for y in range(0, 400, 60)]
    corners = np.array(place_labels(boxes, [(44.0, 17.0)] * len(boxes), (640, 400)))
    labels = np.hstack([corners, corners + np.array([44, 17])])
    assert labels.min() >= 0 and labels[:, 2].max() <= 640 and labels[:, 3].max() <= 400
    pairs = [(one, other) for number, one in enumerate(labels) for other in labels[:number]]
    assert len(pairs) > 1000 and max(overlap(*pair) for pair in pairs) == 0


def test_a_label_goes_above_its_box_and_below_where_there_is_no_room():
    assert place_labels([np.array([50, 50, 90, 90])], [(40, 16)], (200, 200)) == [(50, 32)]
    assert place_labels([np.array([50, 3, 90, 90])], [(40, 16)], (200, 200)) == [(50, 92)]
    assert place_labels([np.array([0, 0, 200, 200])], [(40, 16)], (200, 200)) == [(0, 0)]
