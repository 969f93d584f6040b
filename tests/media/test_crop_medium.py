"""One medium to its crops: which crops there are, the rows and facts that say so, and the files."""

import json
import math

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepfake.media import crop_medium as crop_module
from deepfake.media.crop_medium import CroppedMedium, CropSettings, crop_medium
from deepfake.media.detect import NO_FACE, Detections
from deepfake.media.medium import Limits, UnreadableError
from deepfake.tables import BOX, EXTRACTED, FACES

NOISE = np.random.default_rng(0).integers(1, 256, (40, 60, 3), np.uint8)
POINTS = np.array([[0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [0.3, 0.75], [0.7, 0.75]])  # in a box of side 1
ONE = (20, 10, 20, 0.99)  # a face: left, top, side, px, and its probability


class Finds:
    """Stands for the detector: finds the given faces, those of one frame after another."""

    def __init__(self, *frames):
        self.left = list(frames)

    def follow(self, images_HWC):
        now, self.left = self.left[: len(images_HWC)], self.left[len(images_HWC) :]
        assert len(now) == len(images_HWC)
        return [self.one(faces) for faces in now]

    def one(self, faces):
        if not faces:
            return NO_FACE
        left, top, side, prob = np.array(faces, np.float32).T
        corner = np.stack([left, top], 1)
        boxes = np.concatenate([corner, corner + side[:, None]], 1)
        landmarks = corner[:, None] + side[:, None, None] * POINTS.astype(np.float32)
        return Detections(boxes, prob, landmarks)


class NeverAsked:
    def follow(self, images_HWC):
        raise AssertionError("the detector was asked")


def settings(**changes):
    own = {"num_frames": 4, "mode": "faces", "align": "box", "margin": 0.0, "size": 20, "format": "png", "quality": 90}
    tracks = {"faces": "all", "min_track": 0.1, "min_track_prob": 0.95}
    return CropSettings(**own | tracks | {"limits": Limits(100, 60)} | changes)


@pytest.fixture
def crop(tmp_path):
    """`crop(path, detector, **settings)`: a medium's CroppedMedium, its crops below tmp_path/set/crops."""

    def crop(path, detector, originals=(), **changes):
        kind = "image" if path.suffix == ".png" else "video"
        crops = tmp_path / "set" / "crops"
        own = settings(**changes)
        return crop_medium(f"sub/{path.name}", path, kind, crops, detector=detector, settings=own, originals=originals)

    return crop


@pytest.fixture
def image(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def footage(seed, count, height=40, width=60):
    """Frames of smooth colours, which drift a little and survive a codec."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 10, 3)).astype(np.float32)
    large = cv2.resize(coarse, (width + 40, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    return [np.ascontiguousarray(large[:, number : number + width]) for number in range(count)]


@pytest.fixture
def video(write_mp4, tmp_path):
    """`video(name, seed=0, count=4)`: a clip of `footage`."""
    return lambda name, seed=0, count=4, **size: write_mp4(tmp_path / name, footage(seed, count, **size))


def boxes(rows):
    return [[row[name] for name in BOX] for row in rows]


def places(rows):
    return [(row["frame_idx"], row["face_idx"], row["track_id"]) for row in rows]


def stored(tmp_path, row):
    """Pixels of a row's crop, RGB."""
    return cv2.imread(str(tmp_path / "set" / row["path"]))[..., ::-1]


def files(tmp_path):
    """Every file below the crops' folder and its bytes."""
    folder = tmp_path / "set"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


# --- which crops


def test_without_a_face_anywhere_every_frame_gives_its_centre_square(crop, video):
    done = crop(video("v.mp4"), Finds([], [], [], []))
    assert boxes(done.rows) == [[10, 0, 50, 40]] * 4
    assert places(done.rows) == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    assert [(row["found"], row["prob"], row["left_eye_x"]) for row in done.rows] == [(False, None, None)] * 4
    assert (done.facts["boxes"], done.facts["tracks"], done.facts["tracks_dropped"]) == ("centre", 0, 0)


def test_one_face_in_one_frame_is_all_that_is_cropped(crop, video):
    (row,) = crop(video("v.mp4"), Finds([], [ONE], [], [])).rows
    assert (row["found"], row["frame_idx"], boxes([row])) == (True, 1, [[20, 10, 40, 30]])
    assert row["prob"] == pytest.approx(0.99)


def test_every_face_of_a_frame_is_cropped_in_the_order_of_the_detector(crop, image):
    rows = crop(image, Finds([(0, 0, 8, 0.99), (30, 0, 20, 0.98), (10, 20, 14, 0.97)])).rows
    assert [row["x0"] for row in rows] == [0, 30, 10]
    assert [row["face_idx"] for row in rows] == [0, 1, 2]


def test_without_a_detector_every_frame_is_cropped_whole(crop, video):
    done = crop(video("v.mp4", count=2), None, mode="whole")
    assert boxes(done.rows) == [[0, 0, 60, 40]] * 2
    assert [(row["found"], row["prob"], row["nose_x"]) for row in done.rows] == [(True, None, None)] * 2
    assert done.facts["boxes"] == "whole"


# --- tracks


LARGE, SMALL, MIDDLE = (30, 4, 24, 0.99), (4, 10, 10, 0.999), (5, 24, 14, 0.98)


def test_two_people_are_told_apart_the_larger_first(crop, video):
    done = crop(video("v.mp4"), Finds([SMALL, LARGE], [LARGE, SMALL], [LARGE], [SMALL, LARGE]))
    assert places(done.rows) == [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 0, 0), (3, 0, 1), (3, 1, 0)]
    assert (done.facts["tracks"], done.facts["tracks_dropped"]) == (2, 0)


@pytest.mark.parametrize(("faces", "kept"), [("all", [24, 14, 10]), ("largest", [24]), ("top2", [24, 14])])
def test_of_three_people_as_many_are_kept_as_asked_for(crop, video, tmp_path, faces, kept):
    done = crop(video("v.mp4", count=2), Finds([SMALL, MIDDLE, LARGE], [LARGE, MIDDLE, SMALL]), faces=faces)
    sides = {row["track_id"]: row["x1"] - row["x0"] for row in done.rows}
    assert sides == dict(enumerate(kept))
    assert len(done.rows) == 2 * len(kept)
    assert (done.facts["tracks"], done.facts["tracks_dropped"]) == (len(kept), 0)
    assert sorted(files(tmp_path)) == sorted(row["path"] for row in done.rows)
    assert [row["face_idx"] for row in done.rows] == [*range(len(kept))] * 2


def test_a_false_find_in_one_frame_of_sixteen_is_dropped_and_counted(crop, video, tmp_path):
    frames = [[LARGE]] * 16
    frames[5] = [SMALL, LARGE]
    done = crop(video("v.mp4", count=16), Finds(*frames), num_frames=16)
    assert places(done.rows) == [(number, 0, 0) for number in range(16)]
    assert [row["x0"] for row in done.rows] == [30] * 16
    assert (done.facts["tracks"], done.facts["tracks_dropped"]) == (1, 1)
    assert len(files(tmp_path)) == 16


def test_crops_stay_with_their_faces_where_others_are_dropped(crop, video, tmp_path):
    """The false find stands before the face: it is the face's pixels that must be stored."""
    path, frames = video("v.mp4", count=16), [[LARGE]] * 16
    alone = crop(path, Finds(*frames), num_frames=16)
    expected = files(tmp_path)
    frames[5] = [SMALL, LARGE]
    assert crop(path, Finds(*frames), num_frames=16).rows == alone.rows
    assert files(tmp_path) == expected


def test_where_all_finds_are_weak_centre_squares_are_cropped(crop, video):
    weak = (*LARGE[:3], 0.94)
    done = crop(video("v.mp4"), Finds(*[[weak]] * 4))
    assert [(row["found"], row["prob"]) for row in done.rows] == [(False, None)] * 4
    assert boxes(done.rows) == [[10, 0, 50, 40]] * 4
    assert (done.facts["boxes"], done.facts["tracks"], done.facts["tracks_dropped"]) == ("centre", 0, 1)


def test_tracks_are_numbered_without_those_that_were_dropped(crop, video):
    weak = (*LARGE[:3], 0.94)
    done = crop(video("v.mp4"), Finds(*[[weak, SMALL, MIDDLE]] * 4))
    assert places(done.rows)[:2] == [(0, 0, 1), (0, 1, 0)]
    assert {row["track_id"]: row["x0"] for row in done.rows} == {0: 5, 1: 4}
    assert (done.facts["tracks"], done.facts["tracks_dropped"]) == (2, 1)


def test_a_person_who_is_sure_once_is_kept_in_all_frames(crop, video):
    weak = (*LARGE[:3], 0.91)
    done = crop(video("v.mp4"), Finds([weak], [LARGE], [weak], [weak]))
    assert [row["prob"] for row in done.rows] == pytest.approx([0.91, 0.99, 0.91, 0.91])
    assert done.facts["tracks_dropped"] == 0


# --- rows and facts


def test_a_row_says_what_was_found_where_and_when(crop, image):
    first, second = crop(image, Finds([ONE, (0, 20, 10, 0.96)])).rows
    assert (first["media_id"], first["frame_idx"], first["face_idx"], second["face_idx"]) == ("sub/a.png", 0, 0, 1)
    assert (first["found"], boxes([first]), first["pts_s"]) == (True, [[20, 10, 40, 30]], 0)
    assert [first[f"{name}_{axis}"] for name in ("left_eye", "mouth_right") for axis in "xy"] == [25, 15, 34, 25]
    assert first["path"] == "crops/sub/a.png/000000_0.png"
    assert second["path"] == "crops/sub/a.png/000000_1.png"


@pytest.mark.parametrize("kind", ["faces", "no face", "whole"])
def test_rows_and_facts_are_rows_of_their_tables(crop, image, kind):
    detector = {"faces": Finds([ONE, LARGE]), "no face": Finds([]), "whole": None}[kind]
    done = crop(image, detector, mode="whole" if kind == "whole" else "faces")
    faces = FACES.check(pd.DataFrame(done.rows, columns=list(FACES.columns)))
    assert len(faces) == {"faces": 2, "no face": 1, "whole": 1}[kind]
    assert faces.prob.isna().tolist() == [kind != "faces"] * len(faces)
    facts = EXTRACTED.check(pd.DataFrame([{"media_id": "a"} | done.facts], columns=list(EXTRACTED.columns)))
    assert facts.boxes.tolist() == [{"faces": "detector", "no face": "centre", "whole": "whole"}[kind]]


def test_a_cropped_medium_goes_through_json(crop, image):
    done = crop(image, Finds([ONE]))
    assert CroppedMedium(**json.loads(json.dumps(vars(done)))) == done


def test_a_video_gives_a_row_for_each_face_of_each_frame(crop, video, tmp_path):
    finds = Finds([LARGE], [], [LARGE, SMALL], [LARGE])
    done = crop(video("v.mp4", count=10), finds, min_track=0.0)
    assert [(row["frame_idx"], row["face_idx"]) for row in done.rows] == [(1, 0), (6, 0), (6, 1), (8, 0)]
    assert [row["pts_s"] for row in done.rows] == pytest.approx([0.1, 0.6, 0.6, 0.8], abs=1e-3)
    assert sorted(files(tmp_path)) == sorted({row["path"] for row in done.rows})
    assert len(files(tmp_path)) == 4


def test_facts_of_an_image_and_of_a_video(crop, image, video):
    own = {"width": 60, "height": 40, "boxes": "detector", "original": None}
    own |= {"tracks": 1, "tracks_dropped": 0, "note": None}
    assert crop(image, Finds([ONE])).facts == own | {"num_frames": 1, "frames_read": 1}
    clip = video("v.mp4", count=10, height=48, width=80)
    facts = crop(clip, Finds(*[[ONE]] * 4)).facts
    assert facts == own | {"width": 80, "height": 48, "num_frames": 10, "frames_read": 4}


def test_of_a_damaged_video_what_came_is_cropped_and_noted(crop, write_mp4, tmp_path):
    path = write_mp4(tmp_path / "v.mp4", footage(0, 40), movflags="faststart")
    path.write_bytes(path.read_bytes()[: int(0.75 * path.stat().st_size)])
    done = crop(path, Finds(*[[ONE]] * 8), num_frames=8)
    assert 0 < len(done.rows) == done.facts["frames_read"] <= 8
    assert "the file ends after" in done.facts["note"]
    assert len(files(tmp_path)) == len(done.rows)


def test_what_cannot_be_read_leaves_nothing_behind(crop, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for name, error in (("a.png", "corrupt"), ("b.png", "missing")):
        with pytest.raises(UnreadableError) as caught:
            crop(tmp_path / name, None, mode="whole")
        assert caught.value.error == error
    assert not (tmp_path / "set").exists()


def test_what_is_beyond_the_limits_is_refused(crop, image):
    with pytest.raises(UnreadableError, match="too_large"):
        crop(image, NeverAsked(), limits=Limits(0.002, 60))


# --- files


def test_what_an_earlier_attempt_left_is_gone(crop, image, tmp_path):
    crop(image, Finds([ONE, LARGE]))
    (tmp_path / "set" / "crops" / "sub" / "a.png" / "000099_0.jpg").write_bytes(b"half a cr")
    (row,) = crop(image, Finds([ONE])).rows
    assert list(files(tmp_path)) == [row["path"]]


def test_frames_beyond_what_is_held_give_the_same(crop, video, tmp_path, monkeypatch):
    path, frames = video("v.mp4", count=9), [[LARGE, SMALL], [SMALL], [], [LARGE], [SMALL, LARGE], [LARGE]] + [[]] * 3
    whole = crop(path, Finds(*frames), num_frames=9)
    expected, parts, follow = files(tmp_path), [], Finds.follow

    def counted(self, images_HWC):
        parts.append(len(images_HWC))
        return follow(self, images_HWC)

    monkeypatch.setattr(Finds, "follow", counted)
    monkeypatch.setattr(crop_module, "HELD_BYTES", 2 * NOISE.nbytes)
    assert crop(path, Finds(*frames), num_frames=9) == whole
    assert parts == [3, 3, 3]
    assert files(tmp_path) == expected
    assert len(expected) == 7


def test_centre_squares_of_frames_beyond_what_is_held_are_the_same(crop, video, tmp_path, monkeypatch):
    path = video("v.mp4")
    whole = crop(path, Finds([], [], [], []))
    expected = files(tmp_path)
    monkeypatch.setattr(crop_module, "HELD_BYTES", 1)
    assert crop(path, Finds([], [], [], [])) == whole
    assert files(tmp_path) == expected
    assert len(expected) == 4


# --- originals


@pytest.fixture
def original(crop, video):
    """A clip of four frames with two people, one of whom is looked at in three of them."""
    return crop(video("real.mp4"), Finds([LARGE, SMALL], [SMALL], [SMALL, LARGE], [LARGE, SMALL]))


def forged(frames):
    """Frames with another face in the place of the large one: its colours swapped a little."""
    frames = [frame.copy() for frame in frames]
    for frame in frames:
        part = frame[4:28, 30:54]
        part[:] = (0.9 * part + 0.1 * part[..., ::-1]).astype(np.uint8)
    return frames


def test_a_fake_takes_the_places_of_its_original(crop, original, write_mp4, tmp_path):
    fake = write_mp4(tmp_path / "fake.mp4", forged(footage(0, 4)))
    done = crop(fake, NeverAsked(), [original])
    expected = [row | {"media_id": "sub/fake.mp4"} for row in original.rows]
    own = {"path": "", "sharpness": 0}
    assert [row | own for row in done.rows] == [row | own for row in expected]
    assert done.facts == original.facts | {"boxes": "original", "original": "sub/real.mp4"}
    assert [row["path"] for row in done.rows] == [row["path"].replace("real", "fake") for row in original.rows]
    assert (stored(tmp_path, done.rows[0]) != stored(tmp_path, original.rows[0])).any()


def test_of_several_originals_the_one_that_fits_is_taken(crop, original, video, write_mp4, tmp_path):
    other = crop(video("other.mp4", seed=5), Finds(*[[ONE]] * 4))
    fake = write_mp4(tmp_path / "fake.mp4", forged(footage(0, 4)))
    done = crop(fake, NeverAsked(), [other, original])
    assert (done.facts["boxes"], boxes(done.rows)) == ("original", boxes(original.rows))


def is_searched(done):
    """Whether crops lie where the detector found ONE."""
    return done.facts["boxes"] == "detector" and boxes(done.rows) == [[20, 10, 40, 30]] * len(done.rows)


def test_other_footage_is_not_cropped_like_an_original(crop, original, video):
    assert is_searched(crop(video("fake.mp4", seed=5), Finds(*[[ONE]] * 4), [original]))


def test_footage_of_another_size_is_not_cropped_like_an_original(crop, original, write_mp4, tmp_path):
    """The same pixels, and further ones at the right."""
    wider = [cv2.copyMakeBorder(frame, 0, 0, 0, 8, cv2.BORDER_REPLICATE) for frame in footage(0, 4)]
    assert is_searched(crop(write_mp4(tmp_path / "fake.mp4", wider), Finds(*[[ONE]] * 4), [original]))


def test_footage_of_another_length_is_not_cropped_like_an_original(crop, video):
    """The one frame that is wanted of four and of five is the same."""
    original = crop(video("real.mp4", count=4), Finds([LARGE]), num_frames=1)
    done = crop(video("fake.mp4", count=5), Finds([ONE]), [original], num_frames=1)
    assert (original.rows[0]["frame_idx"], done.rows[0]["frame_idx"]) == (2, 2)
    assert is_searched(done)


def test_footage_that_lacks_frames_is_not_cropped_like_an_original(crop, original, video):
    longer = CroppedMedium([*original.rows, original.rows[-1] | {"frame_idx": 4}], original.facts)
    assert is_searched(crop(video("fake.mp4"), Finds(*[[ONE]] * 4), [longer]))


@pytest.mark.parametrize("gone", [0, -1])
def test_an_original_whose_crop_is_gone_gives_no_places(crop, original, video, tmp_path, gone):
    (tmp_path / "set" / original.rows[gone]["path"]).unlink()
    done = crop(video("fake.mp4"), Finds(*[[ONE]] * 4), [original])
    assert is_searched(done)


def test_an_original_without_a_face_gives_no_places(crop, video):
    faceless = crop(video("real.mp4"), Finds([], [], [], []))
    done = crop(video("fake.mp4"), Finds(*[[ONE]] * 4), [faceless])
    assert is_searched(done)


# --- sharpness


@pytest.mark.parametrize("kind", ["face", "centre square", "whole picture"])
def test_the_more_a_crop_is_blurred_the_less_sharp_it_is(crop, tmp_path, kind):
    noise = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
    blurred = [cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (0.7, 1.5, 4)]
    sharp = []
    for picture in (noise, *blurred, np.full_like(noise, 99)):
        Image.fromarray(picture).save(tmp_path / "a.png")
        detector = {"face": Finds([(20, 10, 80, 0.99)]), "centre square": Finds([]), "whole picture": None}[kind]
        (row,) = crop(tmp_path / "a.png", detector, mode="faces" if detector else "whole", size=80).rows
        sharp.append(row["sharpness"])
    assert (np.diff(sharp) < -0.5).all(), sharp
    assert sharp[-1] == 0


def test_the_sharpness_of_a_chessboard_is_that_of_its_laplacian(crop, tmp_path):
    """Every pixel differs from its four neighbours by 255, so the Laplacian is 1020 or -1020."""
    board = np.indices((20, 20)).sum(0) % 2 * 255
    Image.fromarray(np.stack([board] * 3, 2).astype(np.uint8)).save(tmp_path / "a.png")
    (row,) = crop(tmp_path / "a.png", None, mode="whole", size=0).rows
    assert row["sharpness"] == pytest.approx(math.log2(1 + 1020**2))


def test_a_large_picture_is_as_sharp_as_its_copy_at_64_px(crop, tmp_path):
    large = np.repeat(np.repeat(NOISE[:32, :32], 4, 0), 4, 1)
    Image.fromarray(large).save(tmp_path / "large.png")
    Image.fromarray(large[::2, ::2]).save(tmp_path / "small.png")
    sharp = [
        crop(tmp_path / f"{name}.png", None, mode="whole", size=0).rows[0]["sharpness"] for name in ("large", "small")
    ]
    assert sharp[0] == pytest.approx(sharp[1], abs=0.02)


# --- pixels


@pytest.mark.parametrize(("name", "suffix"), [("png", ".png"), ("webp_lossless", ".webp")])
def test_lossless_crops_keep_every_pixel(crop, image, tmp_path, name, suffix):
    (row,) = crop(image, Finds([ONE]), format=name).rows
    assert row["path"].endswith(suffix)
    np.testing.assert_array_equal(stored(tmp_path, row), NOISE[10:30, 20:40])


def test_jpeg_crops_are_near_and_nearer_with_quality(crop, image, tmp_path):
    def loss(quality):
        (row,) = crop(image, Finds([ONE]), format="jpeg", quality=quality).rows
        assert row["path"].endswith(".jpg")
        return np.abs(stored(tmp_path, row).astype(int) - NOISE[10:30, 20:40]).mean()

    assert 0 < loss(100) < loss(30)


def test_a_margin_widens_faces_but_not_centre_squares(crop, image, tmp_path):
    (face,) = crop(image, Finds([ONE]), margin=0.5, size=40).rows
    np.testing.assert_array_equal(stored(tmp_path, face), NOISE[0:40, 10:50])
    (square,) = crop(image, Finds([]), margin=0.5, size=40).rows
    np.testing.assert_array_equal(stored(tmp_path, square), NOISE[:, 10:50])
    assert (square["found"], square["prob"], square["nose_x"]) == (False, None, None)


@pytest.mark.parametrize(("size", "shape"), [(0, (40, 60, 3)), (30, (20, 30, 3))])
def test_whole_pictures_are_stored_whole(crop, image, tmp_path, size, shape):
    (row,) = crop(image, None, mode="whole", size=size).rows
    assert stored(tmp_path, row).shape == shape
    assert boxes([row]) == [[0, 0, 60, 40]]
    if size == 0:
        np.testing.assert_array_equal(stored(tmp_path, row), NOISE)


@pytest.mark.parametrize(("name", "side"), [("webp_lossless", 16384), ("jpeg", 65536)])
def test_a_picture_too_large_for_its_format_is_unreadable(crop, tmp_path, name, side):
    path = tmp_path / "wide.png"
    Image.fromarray(np.zeros((2, side, 3), np.uint8)).save(path)
    with pytest.raises(UnreadableError, match="too_large"):
        crop(path, None, mode="whole", size=0, format=name)
