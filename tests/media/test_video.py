"""Frames of videos and images, and what cannot be read."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from deepfake.media.video import UnreadableError, read_frames, spread_indices

# --- which frames


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (10, 1, [5]),
        (10, 2, [2, 7]),
        (10, 4, [1, 3, 6, 8]),
        (9, 3, [1, 4, 7]),
        (4, 4, [0, 1, 2, 3]),
        (3, 10, [0, 1, 2]),
        (1, 1, [0]),
        (0, 5, []),
    ],
)
def test_indices_are_the_middles_of_equal_stretches(available, wanted, expected):
    assert spread_indices(available, wanted).tolist() == expected


@pytest.mark.parametrize("available", [1, 2, 17, 100, 9999])
@pytest.mark.parametrize("wanted", [1, 3, 16, 64])
def test_indices_rise_and_lie_in_the_video(available, wanted):
    indices = spread_indices(available, wanted)
    assert indices.dtype == np.int64
    assert len(indices) == min(available, wanted)
    assert (np.diff(indices) > 0).all()
    assert 0 <= indices[0] <= indices[-1] < available


# --- videos

GREYS = [10 + 20 * number for number in range(10)]


def flat(grey, height=48, width=64):
    return np.full((height, width, 3), grey, np.uint8)


def test_frames_of_a_video_come_with_their_number_and_time(write_mp4, tmp_path):
    frames = read_frames(write_mp4(tmp_path / "a.mp4", [flat(grey) for grey in GREYS], fps=5), "video", 4)
    assert frames.frame_idx.tolist() == [1, 3, 6, 8]
    np.testing.assert_allclose(frames.pts_s, [0.2, 0.6, 1.2, 1.6], atol=1e-3)
    assert (frames.images_NHWC.shape, frames.images_NHWC.dtype) == ((4, 48, 64, 3), np.uint8)
    np.testing.assert_allclose(frames.images_NHWC.mean((1, 2, 3)), [GREYS[n] for n in (1, 3, 6, 8)], atol=3)


def test_a_short_video_gives_all_it_has(write_mp4, tmp_path):
    frames = read_frames(write_mp4(tmp_path / "a.mp4", [flat(50), flat(200)]), "video", 16)
    assert frames.frame_idx.tolist() == [0, 1]
    np.testing.assert_allclose(frames.images_NHWC.mean((1, 2, 3)), [50, 200], atol=3)


def test_the_channels_of_a_video_are_red_green_blue(write_mp4, tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    frames = read_frames(write_mp4(tmp_path / "a.mp4", [red]), "video", 1)
    np.testing.assert_allclose(frames.images_NHWC[0, 24, 32], [200, 0, 0], atol=8)


def turn_clockwise(path):
    """Mark an mp4 to be shown a quarter turn clockwise, as a phone held upright does."""
    content = path.read_bytes()
    matrix = content.find(b"tkhd") + 44
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(content[:matrix] + turned + content[matrix + 36 :])


def test_a_video_that_is_marked_as_turned_comes_upright(write_mp4, tmp_path):
    corner = flat(0)
    corner[:24, :32] = 200
    path = write_mp4(tmp_path / "phone.mp4", [corner] * 4)
    turn_clockwise(path)
    frames = read_frames(path, "video", 2)
    assert frames.images_NHWC.shape == (2, 64, 48, 3)
    np.testing.assert_allclose(frames.images_NHWC[0], np.rot90(corner, -1), atol=60)
    assert frames.frame_idx.tolist() == [1, 3]


def test_a_video_without_its_end_is_corrupt(write_mp4, tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8))
    path = write_mp4(tmp_path / "a.mp4", noise, movflags="faststart")  # the index first: only pictures are lost
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableError) as caught:
        read_frames(path, "video", 4)
    assert caught.value.error == "corrupt"


# --- images

QUARTERS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_a_png_is_one_frame_of_the_very_pixels(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "a.png")
    frames = read_frames(tmp_path / "a.png", "image", 16)
    np.testing.assert_array_equal(frames.images_NHWC, QUARTERS[None])
    assert (frames.frame_idx.tolist(), frames.pts_s.tolist()) == ([0], [0.0])


def test_a_jpeg_is_read_in_rgb(tmp_path):
    Image.new("RGB", (16, 16), (200, 30, 60)).save(tmp_path / "a.jpg", quality=95)
    frames = read_frames(tmp_path / "a.jpg", "image", 1)
    np.testing.assert_allclose(frames.images_NHWC[0, 8, 8], [200, 30, 60], atol=4)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, QUARTERS), (2, QUARTERS[:, ::-1]), (3, QUARTERS[::-1, ::-1]), (6, np.rot90(QUARTERS, -1))],
)
def test_an_image_is_turned_upright_by_its_exif(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(QUARTERS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_frames(tmp_path / "a.png", "image", 1).images_NHWC[0], upright)


@pytest.mark.parametrize(("mode", "value"), [("L", 100), ("RGBA", (100, 100, 100, 7)), ("P", 100), ("LA", (100, 255))])
def test_grey_transparent_and_palette_images_become_rgb(tmp_path, mode, value):
    image = Image.new(mode, (5, 4), value)
    if mode == "P":
        image.putpalette([grey for grey in range(256) for _ in range(3)])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.png", "image", 1).images_NHWC, np.full((1, 4, 5, 3), 100))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_sixteen_bits_become_eight(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 100 * 257, np.uint16))
    np.testing.assert_array_equal(read_frames(tmp_path / "a.png", "image", 1).images_NHWC, np.full((1, 4, 5, 3), 100))


# --- what cannot be read


@pytest.mark.parametrize(("kind", "name"), [("video", "a.mp4"), ("image", "a.png"), ("image", "a.jpg")])
@pytest.mark.parametrize(("content", "error"), [(None, "missing"), (b"", "empty"), (b"just text\n" * 9, "corrupt")])
def test_what_is_no_medium_says_what_it_is(tmp_path, kind, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableError) as caught:
        read_frames(tmp_path / name, kind, 4)
    assert caught.value.error == error
    assert caught.value.detail
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_without_its_end_is_corrupt(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:2000])
    with pytest.raises(UnreadableError, match=r"^corrupt: "):
        read_frames(tmp_path / name, "image", 1)


def test_a_long_complaint_becomes_one_short_line():
    error = UnreadableError("corrupt", "line\n  and " * 200)
    assert (error.error, error.detail[:14], len(error.detail)) == ("corrupt", "line and line ", 300)
