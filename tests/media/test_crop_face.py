"""Crops: where a mark lands, which pixels stay as they are, and what lies beyond the frame."""

import numpy as np
import pytest

from deepfake.media.crop_face import TEMPLATE_XY, centre_square, crop_face, shrink_whole, similarity

NOISE = np.random.default_rng(0).integers(1, 256, (40, 60, 3), np.uint8)


def crop(frame, box, *, size, margin=0.0):
    return crop_face(frame, np.array(box, np.float32), None, align="box", margin=margin, size=size)


def blob(height, width, x, y, reach=2.0):
    """A black frame with a soft round mark at x, y (continuous: pixel centres at .5)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    bright = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * reach**2))
    return bright.astype(np.uint8)[..., None].repeat(3, 2)


def centre_of(image):
    """Where the light lies on average, x and y."""
    light = image[..., 0].astype(float)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


# --- box


def test_a_square_at_its_own_size_keeps_every_pixel():
    np.testing.assert_array_equal(crop(NOISE, [10, 0, 50, 40], size=40), NOISE[:, 10:50])


def test_a_margin_widens_on_each_side_by_its_share():
    np.testing.assert_array_equal(crop(NOISE, [20, 15, 30, 25], size=20, margin=0.5), NOISE[10:30, 15:35])


def test_the_longer_side_counts():
    np.testing.assert_array_equal(crop(NOISE, [20, 18, 40, 22], size=20), NOISE[10:30, 20:40])


@pytest.mark.parametrize("size", [24, 80, 160])
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_a_mark_lands_where_the_box_says(size, margin):
    frame = blob(200, 300, 130.0, 90.0, reach=6)
    x0, y0, side = 100.0, 70.0, 80.0
    landed = centre_of(crop(frame, [x0, y0, x0 + side, y0 + side], size=size, margin=margin))
    expected = (np.array([130.0 - x0, 90.0 - y0]) / side + margin) / (1 + 2 * margin) * size
    np.testing.assert_allclose(landed, expected, atol=0.15)


def test_beyond_the_frame_it_is_black():
    corner = crop(NOISE, [-10, -10, 10, 10], size=20)
    np.testing.assert_array_equal(corner[10:, 10:], NOISE[:10, :10])
    assert corner[:10].max() == corner[:, :10].max() == 0
    assert crop(NOISE, [100, 100, 120, 120], size=16).max() == 0


def test_black_does_not_bleed_into_a_crop_that_touches_no_border():
    white = np.full((100, 100, 3), 255, np.uint8)
    for size in (10, 33, 70, 120):
        assert crop(white, [20, 20, 80, 80], size=size).min() == 255


@pytest.mark.parametrize("size", [32, 20, 7])
def test_shrinking_averages_instead_of_picking_pixels(size):
    checkers = (255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.abs(crop(checkers, [0, 0, 64, 64], size=size).astype(int) - 128).max() <= 10


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [9, 9, 5, 5], [-3, 20, -3, 20]])
def test_a_box_without_an_inside_still_gives_a_crop(box):
    image = crop(NOISE, box, size=8)
    assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)


# --- landmarks


@pytest.mark.parametrize("turn_deg", [0, 30, -75, 180])
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_a_known_turn_scale_and_shift_is_found(turn_deg, scale):
    turn = np.deg2rad(turn_deg)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    known = np.column_stack([linear, [7.0, -3.0]])
    source = np.array([[0, 0], [4, 1], [2, 3], [0, 5], [4, 6]], float)
    np.testing.assert_allclose(similarity(source, source @ linear.T + known[:, 2]), known, atol=1e-9)


def test_a_similarity_never_mirrors_or_shears():
    mirrored = TEMPLATE_XY * [-1, 1]
    (a, minus_b, _), (b, d, _) = similarity(TEMPLATE_XY, mirrored)
    assert (a, b) == pytest.approx((d, -minus_b))


@pytest.mark.parametrize("point", range(5))
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_a_mark_on_a_landmark_lands_on_its_place_in_the_template(point, margin):
    turn, size = np.deg2rad(25), 120
    linear = 90 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = TEMPLATE_XY @ linear.T + [110, 60]
    frame = blob(220, 260, *landmarks[point], reach=3)
    image = crop_face(frame, np.zeros(4), landmarks, align="similarity", margin=margin, size=size)
    expected = (TEMPLATE_XY[point] + margin) / (1 + 2 * margin) * size
    np.testing.assert_allclose(centre_of(image), expected, atol=0.15)


def test_the_template_is_a_face():
    left_eye, right_eye, nose, left_corner, right_corner = TEMPLATE_XY
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_corner[0] < nose[0] < right_corner[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_corner[1], right_corner[1])
    assert 0 < TEMPLATE_XY.min() < TEMPLATE_XY.max() < 1


def test_without_landmarks_the_box_counts():
    box = np.array([10, 0, 50, 40])
    image = crop_face(NOISE, box, None, align="similarity", margin=0.0, size=40)
    np.testing.assert_array_equal(image, NOISE[:, 10:50])


# --- squares and whole pictures


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 20, [5, 0, 15, 10]), (20, 10, [0, 5, 10, 15]), (7, 7, [0, 0, 7, 7]), (4, 7, [1.5, 0, 5.5, 4])],
)
def test_the_centre_square_is_the_largest_in_the_middle(height, width, expected):
    assert centre_square(height, width).tolist() == expected


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((40, 60), 30, (20, 30)),
        ((60, 40), 30, (30, 20)),
        ((40, 60), 60, (40, 60)),
        ((40, 60), 100, (40, 60)),
        ((40, 60), 0, (40, 60)),
        ((1, 60), 10, (1, 10)),
    ],
)
def test_whole_pictures_are_shrunk_to_the_longest_side_and_never_enlarged(shape, size, expected):
    assert shrink_whole(np.zeros((*shape, 3), np.uint8), size).shape == (*expected, 3)


def test_a_whole_picture_that_fits_keeps_every_pixel():
    np.testing.assert_array_equal(shrink_whole(NOISE, 60), NOISE)


def test_whole_pictures_are_shrunk_by_areas():
    quads = np.kron(np.array([[10, 30], [50, 70]], np.uint8), np.ones((4, 4), np.uint8))[..., None].repeat(3, 2)
    np.testing.assert_array_equal(shrink_whole(quads, 2)[..., 0], [[10, 30], [50, 70]])
