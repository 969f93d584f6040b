"""One medium to its crops: which crops there are, the rows that say so, and the files."""

import cv2
import numpy as np
import pytest
from PIL import Image

from deepfake.media.cut import CutSettings, cut_medium, find_faces
from deepfake.media.mtcnn import Detections
from deepfake.media.video import Frames, UnreadableError
from deepfake.tables import FACES

NOISE = np.random.default_rng(0).integers(1, 256, (40, 60, 3), np.uint8)
BOX = [20.0, 10.0, 40.0, 30.0]
POINTS = [[25.0, 15.0], [35.0, 15.0], [30.0, 20.0], [26.0, 25.0], [34.0, 25.0]]


class Finds:
    """Finds BOX, shifted right by a pixel each, as often as it is told for each frame."""

    def __init__(self, *counts):
        self.counts = counts

    def detect(self, images_NHWC):
        assert len(images_NHWC) == len(self.counts)
        return [self.one(count) for count in self.counts]

    def one(self, count):
        shift = np.arange(count, dtype=np.float32)
        boxes = np.array(BOX, np.float32) + shift[:, None] * [1, 0, 1, 0]
        points = np.array(POINTS, np.float32) + shift[:, None, None] * [1, 0]
        return Detections(boxes.astype(np.float32), np.float32(0.99) - 0.01 * shift, points.astype(np.float32))


def frames(count, height=40, width=60):
    return Frames(np.zeros((count, height, width, 3), np.uint8), np.arange(count), np.zeros(count, np.float32))


def settings(**changes):
    own = {"num_frames": 4, "mode": "faces", "align": "box", "margin": 0.0, "size": 20, "format": "png", "quality": 90}
    return CutSettings(**own | changes)


# --- which crops


def test_without_a_face_anywhere_every_frame_gives_its_centre_square():
    found = find_faces(frames(3), Finds(0, 0, 0))
    assert [[face.found for face in faces] for faces in found] == [[False]] * 3
    assert [faces[0].box_xyxy.tolist() for faces in found] == [[10, 0, 50, 40]] * 3
    assert found[0][0].prob is None
    assert found[0][0].landmarks_xy is None


def test_one_face_in_one_frame_is_all_that_is_cut():
    found = find_faces(frames(3), Finds(0, 1, 0))
    assert [len(faces) for faces in found] == [0, 1, 0]
    (face,) = found[1]
    assert (face.found, face.box_xyxy.tolist(), face.landmarks_xy.tolist()) == (True, BOX, POINTS)
    assert face.prob == pytest.approx(0.99)


def test_every_face_of_a_frame_is_cut_in_the_order_of_the_detector():
    (faces,) = find_faces(frames(1), Finds(3))
    assert [face.box_xyxy[0] for face in faces] == [20, 21, 22]


def test_without_a_detector_every_frame_is_cut_whole():
    found = find_faces(frames(2), None)
    assert [[(face.found, face.box_xyxy.tolist()) for face in faces] for faces in found] == [
        [(True, [0, 0, 60, 40])]
    ] * 2


# --- rows


@pytest.fixture
def image(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def cut(image, tmp_path):
    """`cut(detector, **settings)`: the rows of the noise image, below tmp_path/set/crops."""

    def cut(detector, **changes):
        crops = tmp_path / "set" / "crops"
        return cut_medium("sub/a.png", image, "image", crops, detector=detector, settings=settings(**changes))

    return cut


def stored(tmp_path, row):
    """Pixels of a row's crop, RGB."""
    return cv2.imread(str(tmp_path / "set" / row["path"]))[..., ::-1]


def test_a_row_says_what_was_found_where_and_when(cut):
    first, second = cut(Finds(2))
    assert (first["media_id"], first["frame_idx"], first["face_idx"], second["face_idx"]) == ("sub/a.png", 0, 0, 1)
    assert (first["found"], [first[name] for name in ("x0", "y0", "x1", "y1")]) == (True, BOX)
    assert [first[f"{name}_{axis}"] for name in ("left_eye", "mouth_right") for axis in "xy"] == [
        *POINTS[0],
        *POINTS[4],
    ]
    assert first["path"] == "crops/sub/a.png/000000_0.png"
    assert second["path"] == "crops/sub/a.png/000000_1.png"


@pytest.mark.parametrize("detector", [Finds(2), Finds(0), None], ids=["faces", "no face", "whole"])
def test_rows_are_rows_of_the_faces_table(cut, detector):
    import pandas as pd

    rows = cut(detector, mode="whole" if detector is None else "faces")
    table = FACES.check(pd.DataFrame(rows, columns=list(FACES.columns)))
    assert len(table) == len(rows) > 0
    assert table.prob.isna().tolist() == [not row["prob"] for row in rows]


def test_rows_go_through_json(cut):
    import json

    rows = cut(Finds(1))
    assert json.loads(json.dumps(rows)) == rows


def test_a_video_gives_a_row_for_each_face_of_each_frame(write_mp4, tmp_path):
    path = write_mp4(tmp_path / "v.mp4", [NOISE] * 10, fps=10)
    rows = cut_medium("v.mp4", path, "video", tmp_path / "crops", detector=Finds(1, 0, 2, 1), settings=settings())
    assert [(row["frame_idx"], row["face_idx"]) for row in rows] == [(1, 0), (6, 0), (6, 1), (8, 0)]
    assert [row["pts_s"] for row in rows] == pytest.approx([0.1, 0.6, 0.6, 0.8], abs=1e-3)
    assert all((tmp_path / row["path"]).is_file() for row in rows)
    assert len({row["path"] for row in rows}) == len(rows)


def test_what_cannot_be_read_leaves_nothing_behind(tmp_path):
    with pytest.raises(UnreadableError):
        cut_medium("a", tmp_path / "a.png", "image", tmp_path / "crops", detector=None, settings=settings())
    assert not (tmp_path / "crops").exists()


# --- pixels


@pytest.mark.parametrize(("name", "suffix"), [("png", ".png"), ("webp_lossless", ".webp")])
def test_lossless_crops_keep_every_pixel(cut, tmp_path, name, suffix):
    (row,) = cut(Finds(1), format=name)
    assert row["path"].endswith(suffix)
    np.testing.assert_array_equal(stored(tmp_path, row), NOISE[10:30, 20:40])


def test_jpeg_crops_are_near_and_nearer_with_quality(cut, tmp_path):
    def loss(quality):
        (row,) = cut(Finds(1), format="jpeg", quality=quality)
        assert row["path"].endswith(".jpg")
        return np.abs(stored(tmp_path, row).astype(int) - NOISE[10:30, 20:40]).mean()

    assert 0 < loss(100) < loss(30)


def test_a_margin_widens_faces_but_not_centre_squares(cut, tmp_path):
    (face,) = cut(Finds(1), margin=0.5, size=40)
    np.testing.assert_array_equal(stored(tmp_path, face), NOISE[0:40, 10:50])
    (square,) = cut(Finds(0), margin=0.5, size=40)
    np.testing.assert_array_equal(stored(tmp_path, square), NOISE[:, 10:50])
    assert (square["found"], square["prob"], square["nose_x"]) == (False, None, None)


@pytest.mark.parametrize(("size", "shape"), [(0, (40, 60, 3)), (30, (20, 30, 3))])
def test_whole_pictures_are_stored_whole(cut, tmp_path, size, shape):
    (row,) = cut(None, mode="whole", size=size)
    assert stored(tmp_path, row).shape == shape
    assert [row[name] for name in ("x0", "y0", "x1", "y1")] == [0, 0, 60, 40]
    if size == 0:
        np.testing.assert_array_equal(stored(tmp_path, row), NOISE)
