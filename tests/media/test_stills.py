"""Images and animations as frames."""

import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from deepfake.media import stills
from deepfake.media.medium import Limits, UnreadableError
from deepfake.media.video import open_medium

NO_LIMITS = Limits(0, 0)
QUARTERS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
HUNDRED = np.full((4, 5, 3), 100)


def read(path, num_frames=16, limits=NO_LIMITS):
    medium = open_medium(path, "image", num_frames, limits)
    return medium, list(medium)


def read_one(path):
    """The image of the one frame."""
    medium, (frame,) = read(path)
    assert (medium.num_frames, medium.frame_idx.tolist(), frame.frame_idx, frame.pts_s) == (1, [0], 0, 0.0)
    assert (frame.image_HWC.dtype, frame.image_HWC.flags.c_contiguous) == (np.uint8, True)
    return frame.image_HWC


# --- stills


def test_a_png_is_one_frame_of_the_very_pixels(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), QUARTERS)


def test_an_image_can_be_iterated_again(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "a.png")
    medium = open_medium(tmp_path / "a.png", "image", 1, NO_LIMITS)
    assert len(list(medium)) == len(list(medium)) == 1


def test_a_jpeg_is_read_in_rgb(tmp_path):
    Image.new("RGB", (16, 16), (200, 30, 60)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_one(tmp_path / "a.jpg")[8, 8], [200, 30, 60], atol=4)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, QUARTERS),
        (2, QUARTERS[:, ::-1]),
        (3, QUARTERS[::-1, ::-1]),
        (4, QUARTERS[::-1]),
        (5, QUARTERS.swapaxes(0, 1)),
        (6, np.rot90(QUARTERS, -1)),
        (7, QUARTERS[::-1, ::-1].swapaxes(0, 1)),
        (8, np.rot90(QUARTERS)),
        (9, QUARTERS),
    ],
)
def test_an_image_is_turned_upright_by_its_exif(tmp_path, name, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(QUARTERS).save(tmp_path / name, exif=exif, **lossless)
    np.testing.assert_array_equal(read_one(tmp_path / name), upright)


def test_exif_that_is_damaged_turns_nothing(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(9))
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), QUARTERS)


@pytest.mark.parametrize(
    ("mode", "value"), [("L", 100), ("RGBA", (100, 100, 100, 7)), ("P", 100), ("LA", (100, 255)), ("RGB", (100,) * 3)]
)
def test_grey_transparent_and_palette_images_become_rgb(tmp_path, mode, value):
    image = Image.new(mode, (5, 4), value)
    if mode == "P":
        image.putpalette([grey for grey in range(256) for _ in range(3)])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), HUNDRED)


def test_a_palette_with_transparency_warns_nobody(tmp_path):
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 100, 100, 100])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_one(tmp_path / "a.png"), HUNDRED)


def test_one_bit_is_black_or_white(tmp_path):
    black_white = np.array([[True, False, True]])
    Image.fromarray(black_white).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_one(tmp_path / "a.png")[0, :, 1], [255, 0, 255])


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_become_rgb(tmp_path, name):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / name)
    np.testing.assert_allclose(read_one(tmp_path / name)[8, 8], [0, 255, 255], atol=8)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_become_eight(tmp_path, name, shape):
    cv2.imwrite(str(tmp_path / name), np.full(shape, 100 * 257, np.uint16))
    np.testing.assert_array_equal(read_one(tmp_path / name), HUNDRED)


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        (np.array([[0, 65535, 25700]], np.uint16), [0, 255, 100]),
        (np.array([[0, 65535, 25700]], ">u2"), [0, 255, 100]),
        (np.array([[0, 65535, -3]], np.int32), [0, 255, 0]),
        (np.array([[0, 2_000_000, 1_000_000]], np.int32), [0, 255, 128]),
        (np.array([[0, 1, 0.2]], np.float32), [0, 255, 51]),
        (np.array([[0, 255, 100]], np.float32), [0, 255, 100]),
        (np.array([[0, 1, np.nan]], np.float32), [0, 255, 0]),
        (np.array([[0, 0, 0]], np.float32), [0, 0, 0]),
    ],
)
def test_deep_grey_is_brought_to_eight_bits_by_the_range_that_holds_it(tmp_path, values, greys):
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_one(tmp_path / "a.tif"), np.repeat([greys], 3, 0).T[None])


# --- more pictures than one

GREYS = [20, 60, 100, 140, 180, 220]
DURATIONS_MS = [100, 200, 300, 100, 100, 100]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_is_sampled_as_a_video_is(tmp_path, name):
    first, *others = (Image.new("RGB", (16, 12), (grey,) * 3) for grey in GREYS)
    first.save(tmp_path / name, save_all=True, append_images=others, duration=DURATIONS_MS)
    medium, frames = read(tmp_path / name, 3)
    assert (medium.num_frames, medium.frame_idx.tolist(), medium.note) == (6, [1, 3, 5], "")
    assert [frame.frame_idx for frame in frames] == [1, 3, 5]
    np.testing.assert_allclose([frame.pts_s for frame in frames], [0.1, 0.6, 0.8], atol=1e-6)
    np.testing.assert_allclose([frame.image_HWC.mean() for frame in frames], [60, 140, 220], atol=3)


@pytest.mark.parametrize(("name", "form"), [("a.tif", "TIFF"), ("a.jpg", "MPO")])
def test_of_pages_and_of_views_the_first_is_the_photo(tmp_path, name, form):
    first, *others = (Image.new("RGB", (16, 12), (grey,) * 3) for grey in GREYS[:2])
    first.save(tmp_path / name, format=form, save_all=True, append_images=others)
    np.testing.assert_allclose(read_one(tmp_path / name), 20, atol=3)


def test_of_a_damaged_animation_the_beginning_is_used(tmp_path):
    first, *others = map(Image.fromarray, np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8))
    first.save(tmp_path / "a.png", save_all=True, append_images=others, duration=100)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) * 2 // 3])
    medium, frames = read(tmp_path / "a.png", 6)
    assert [frame.frame_idx for frame in frames] == [0, 1, 2]
    assert medium.note.startswith("3 of 6 frames decode")


# --- what cannot be read


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_an_image_without_its_end_is_corrupt(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:2000])
    with pytest.raises(UnreadableError, match=r"^corrupt: "):
        read(tmp_path / name)


def test_what_pillow_would_hand_to_another_program_is_refused(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(UnreadableError, match=r"^corrupt: EPS"):
        read(tmp_path / "a.png")


def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (3000, 2000)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    with pytest.raises(UnreadableError, match=r"^too_large: 3000 x 2000 px are 6 .* extract\.max_megapixels=5 "):
        read(tmp_path / "a.png", limits=Limits(5, 0))


def test_no_other_limit_than_ours_refuses_an_image(tmp_path):
    Image.new("1", (8, 8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 20000, 10000) + content[24:29]  # more than Pillow takes for an attack
    (tmp_path / "a.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadableError, match="200 megapixels"):
            open_medium(tmp_path / "a.png", "image", 1, Limits(199, 0))
        assert open_medium(tmp_path / "a.png", "image", 1, Limits(0, 0)).num_frames == 1


@pytest.mark.parametrize("error", [TypeError, AttributeError, ValueError])
def test_a_mistake_of_our_own_is_no_fault_of_the_file(tmp_path, monkeypatch, error):
    def mistaken(grey_HW):
        raise error("ours")

    monkeypatch.setattr(stills, "_eight_bits", mistaken)
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(error, match="ours"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.gif", "a.bmp"])
def test_chance_bytes_and_cuts_give_a_frame_or_the_reason(tmp_path, name):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / name)
    whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
    for _ in range(50):
        content = whole.copy()
        content[rng.integers(0, len(content), 6)] = rng.integers(0, 256, 6)
        (tmp_path / name).write_bytes(content[: rng.integers(len(content) // 2, len(content) * 2)].tobytes())
        try:
            assert len(read(tmp_path / name, limits=Limits(1, 0))[1]) == 1
        except UnreadableError as error:
            assert error.error in ("corrupt", "too_large", "no_video_stream")
