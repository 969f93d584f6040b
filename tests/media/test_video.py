"""Frames of videos, which of them, and what cannot be read."""

import struct

import av
import numpy as np
import pytest
from PIL import Image

from deepfake.media.medium import Limits, UnreadableError, spread_indices
from deepfake.media.video import open_medium

NO_LIMITS = Limits(0, 0)

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


def scene(count, height=48, width=64):
    """Frames that all differ: a gradient that moves, with a square that runs over it."""
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([3 * x + 7 * n, 2 * y + 5 * n, x + y + 11 * n], -1).astype(np.uint8) for n in range(count)]
    for number, frame in enumerate(frames):
        frame[height // 4 : height // 2, 2 * number % width :][:, :8] = 255
    return frames


def read(path, num_frames, kind="video", limits=NO_LIMITS):
    """(medium, its frames) with what holds for every medium checked."""
    medium = open_medium(path, kind, num_frames, limits)
    frames = list(medium)
    assert (medium.frame_idx.dtype, len(medium.frame_idx)) == (np.int64, min(num_frames, medium.num_frames))
    assert set(numbers(frames)) <= set(medium.frame_idx.tolist())
    assert numbers(frames) == sorted(set(numbers(frames)))
    for frame in frames:
        assert (frame.image_HWC.dtype, frame.image_HWC.ndim, frame.image_HWC.shape[2]) == (np.uint8, 3, 3)
        assert frame.image_HWC.flags.c_contiguous
        assert np.isfinite(frame.pts_s)
    return medium, frames


def numbers(frames):
    return [frame.frame_idx for frame in frames]


def greys(frames):
    return [frame.image_HWC.mean() for frame in frames]


def decode_all(path):
    """Every frame of a video as PyAV alone gives it, none skipped."""
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]


def test_frames_of_a_video_come_with_their_number_and_time(write_mp4, tmp_path):
    medium, frames = read(write_mp4(tmp_path / "a.mp4", [flat(grey) for grey in GREYS], fps=5), 4)
    assert (medium.num_frames, medium.frame_idx.tolist(), medium.note) == (10, [1, 3, 6, 8], "")
    assert numbers(frames) == [1, 3, 6, 8]
    np.testing.assert_allclose([frame.pts_s for frame in frames], [0.2, 0.6, 1.2, 1.6], atol=1e-3)
    assert {frame.image_HWC.shape for frame in frames} == {(48, 64, 3)}
    np.testing.assert_allclose(greys(frames), [GREYS[n] for n in (1, 3, 6, 8)], atol=3)


def test_a_short_video_gives_all_it_has(write_mp4, tmp_path):
    _, frames = read(write_mp4(tmp_path / "a.mp4", [flat(50), flat(200)]), 16)
    assert numbers(frames) == [0, 1]
    np.testing.assert_allclose(greys(frames), [50, 200], atol=3)


def test_a_medium_can_be_iterated_again_and_left_half_way(write_mp4, tmp_path):
    medium = open_medium(write_mp4(tmp_path / "a.mp4", scene(20)), "video", 4, NO_LIMITS)
    assert next(iter(medium)).frame_idx == 2
    first, again = list(medium), list(medium)
    assert numbers(first) == numbers(again) == [2, 7, 12, 17]
    np.testing.assert_array_equal([f.image_HWC for f in first], [f.image_HWC for f in again])


def test_the_channels_of_a_video_are_red_green_blue(write_mp4, tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    _, (frame,) = read(write_mp4(tmp_path / "a.mp4", [red]), 1)
    np.testing.assert_allclose(frame.image_HWC[24, 32], [200, 0, 0], atol=8)


# --- what is decoded is what would be without leaving anything out

OPEN_GOPS = {"g": "8", "x264-params": "open-gop=1:bframes=3"}
QUIET_HEVC = {"x265-params": "log-level=none:keyint=10:open-gop=1"}
FAST_VP9 = {"cpu-used": "8", "g": "15"}
KINDS_OF_VIDEO = {
    "one GOP": ("a.mp4", {}),
    "closed GOPs": ("a.mp4", {"options": {"g": "8"}}),
    "open GOPs": ("a.mp4", {"options": OPEN_GOPS}),
    "only keyframes": ("a.mp4", {"options": {"g": "1"}}),
    "open GOPs of a stream that is cut up for broadcast": ("a.ts", {"options": OPEN_GOPS}),
    "fields": ("a.mp4", {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1", "g": "8"}}),
    "fragments": ("a.mp4", {"movflags": "frag_keyframe+empty_moov", "options": {"g": "8"}}),
    "Matroska": ("a.mkv", {"options": {"g": "8"}}),
    "Flash": ("a.flv", {"options": {"g": "8"}}),
    "4:4:4": ("a.mp4", {"pix_fmt": "yuv444p"}),
    "ten bits": ("a.mp4", {"pix_fmt": "yuv420p10le"}),
    "RGB": ("a.mkv", {"codec": "libx264rgb", "pix_fmt": "rgb24"}),
    "HEVC": ("a.mp4", {"codec": "libx265", "options": QUIET_HEVC}),
    "VP9": ("a.webm", {"codec": "libvpx-vp9", "options": FAST_VP9}),
    "VP9 with alpha": ("a.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "options": FAST_VP9}),
    "GIF": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "APNG": ("a.apng", {"codec": "apng", "pix_fmt": "rgba"}),
    "MPEG-4 in AVI": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2", "g": "10"}}),
    "H.264 in AVI, which tells no times of showing": ("a.avi", {"options": {"g": "12"}}),
    "MPEG-1": ("a.mpg", {"codec": "mpeg1video", "fps": 25, "options": {"bf": "2"}}),
    "MPEG-2": ("a.mpg", {"codec": "mpeg2video", "fps": 25, "options": {"bf": "2"}}),
    "Windows Media": ("a.wmv", {"codec": "wmv2"}),
    "JPEG": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "ProRes with alpha": ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}),
    "grey": ("a.mp4", {"pix_fmt": "gray"}),
    "16 bits of grey": ("a.mkv", {"codec": "ffv1", "pix_fmt": "gray16le"}),
    "bare H.264": ("a.h264", {"options": {"g": "12"}}),
    "bare HEVC": ("a.hevc", {"codec": "libx265", "options": QUIET_HEVC}),
}


@pytest.mark.parametrize("kind", KINDS_OF_VIDEO)
@pytest.mark.parametrize("num_frames", [1, 7, 40])
def test_wanted_frames_are_those_of_decoding_everything(write_video, tmp_path, kind, num_frames):
    name, how = KINDS_OF_VIDEO[kind]
    path = write_video(tmp_path / name, scene(40), **how)
    medium, frames = read(path, num_frames)
    everything = decode_all(path)
    assert (medium.num_frames, medium.note) == (len(everything), "")
    assert numbers(frames) == spread_indices(40, num_frames).tolist()
    for frame in frames:
        np.testing.assert_array_equal(frame.image_HWC, everything[frame.frame_idx])
        assert frame.pts_s == pytest.approx(frame.frame_idx / how.get("fps", 10), abs=0.002)


def test_av1_is_read(write_video, tmp_path, capfd):
    path = write_video(tmp_path / "a.mp4", scene(40, 96, 96), codec="libsvtav1", options={"preset": "12", "g": "16"})
    _, frames = read(path, 7)
    everything = decode_all(path)
    assert numbers(frames) == spread_indices(40, 7).tolist()
    np.testing.assert_array_equal([f.image_HWC for f in frames], [everything[n] for n in numbers(frames)])


@pytest.mark.parametrize("options", [{}, {"g": "8"}])  # with open GOPs decord gives smeared frames, and says so
def test_decord_gives_the_very_pixels(write_video, tmp_path, options):
    decord = pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", scene(60, 96, 130), options=options)
    _, frames = read(path, 9)
    theirs = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1).get_batch(numbers(frames)).asnumpy()
    np.testing.assert_array_equal([frame.image_HWC for frame in frames], theirs)


@pytest.mark.parametrize(("height", "width"), [(47, 61), (1, 1), (33, 130), (16, 15)])
def test_odd_sizes_are_exact(write_video, tmp_path, height, width):
    frames = scene(3, height, width)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0")  # lossless
    np.testing.assert_array_equal([frame.image_HWC for frame in read(path, 3)[1]], frames)


def test_times_that_are_uneven_are_told(write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", scene(6), pts=[0, 1, 3, 4, 8, 20], options={"bf": "2"})
    _, frames = read(path, 6)
    np.testing.assert_allclose([frame.pts_s for frame in frames], [0, 0.1, 0.3, 0.4, 0.8, 2.0], atol=1e-3)


def test_pictures_that_mend_bit_by_bit_instead_of_at_keyframes_come(write_video, tmp_path):
    refresh = {"g": "12", "x264-params": "intra-refresh=1:bframes=0:scenecut=0"}
    path = write_video(tmp_path / "a.ts", scene(60), options=refresh)
    medium, frames = read(path, 9)
    assert numbers(frames) == spread_indices(medium.num_frames, 9).tolist()


def test_a_change_of_size_gives_frames_of_another_size(write_video, tmp_path):
    for name, size in (("a.h264", (48, 64)), ("b.h264", (96, 80))):
        write_video(tmp_path / name, scene(10, *size), options={"bf": "0"})
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    _, frames = read(both, 4)
    assert [frame.image_HWC.shape[:2] for frame in frames] == [(48, 64), (48, 64), (96, 80), (96, 80)]


def test_colours_that_are_marked_in_a_rare_way_are_taken_as_usual(write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", [flat(100)] * 2, options={"x264-params": "colormatrix=YCgCo"})
    np.testing.assert_allclose(greys(read(path, 2)[1]), [100, 100], atol=3)


def mark(path, x_to_x, x_to_y, y_to_x, y_to_y):
    """Have an mp4 shown with its x and y axes mapped so, as phones and mirrored cameras mark theirs."""
    content = path.read_bytes()
    matrix = content.find(b"tkhd") + 44
    turned = struct.pack(">9i", x_to_x << 16, x_to_y << 16, 0, y_to_x << 16, y_to_y << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:matrix] + turned + content[matrix + 36 :])


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, 0, 0, 0), lambda image: image),
    ],
)
def test_a_video_that_is_marked_as_turned_or_mirrored_comes_upright(write_mp4, tmp_path, matrix, upright):
    path = write_mp4(tmp_path / "phone.mp4", scene(4))
    plain = decode_all(path)
    mark(path, *matrix)
    _, frames = read(path, 2)
    assert numbers(frames) == [1, 3]
    np.testing.assert_array_equal(frames[0].image_HWC, upright(plain[1]))


# --- damage


def noise(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8))


def test_of_a_video_without_its_end_the_beginning_is_used(write_mp4, tmp_path):
    path = write_mp4(tmp_path / "a.mp4", noise(20), movflags="faststart")  # the index first: only pictures are lost
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    medium, frames = read(path, 4)
    assert 8 <= medium.num_frames <= 12
    assert len(frames) >= 3
    assert medium.note.startswith(f"the file ends after {medium.num_frames / 10:.1f} of 2.0 s")


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_other_containers_without_their_end_say_so(write_video, tmp_path, name):
    path = write_video(tmp_path / name, noise(20), options={"g": "4"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    medium, frames = read(path, 4)
    assert medium.num_frames < 13
    assert len(frames) >= 3
    assert medium.note.startswith("the file ends after ")


def damage(path, first, last):
    """Zero the packets from the first to the last number, as a disk does that loses a block."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for begin, size in places[first : last + 1]:
        content[begin : begin + size] = bytes(size)
    path.write_bytes(content)


def test_damage_in_the_middle_costs_the_frames_it_hits(write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", noise(40), options={"g": "10", "bf": "0"})
    damage(path, 10, 19)
    medium, frames = read(path, 8)
    assert numbers(frames) == [2, 7, 22, 27, 32, 37]
    assert medium.note.startswith("6 of 8 frames decode (")


def test_frames_that_are_damaged_are_used_and_counted(write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", noise(20), options={"bf": "0", "g": "20"})
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][4]
    content = bytearray(path.read_bytes())
    content[place + size // 2 : place + size] = bytes(size - size // 2)
    path.write_bytes(content)
    medium, frames = read(path, 20)
    assert len(frames) == 20
    assert medium.note.endswith("of 20 frames are damaged")


def test_a_video_whose_every_packet_is_lost_is_corrupt(write_mp4, tmp_path):
    path = write_mp4(tmp_path / "a.mp4", noise(10))
    damage(path, 0, 9)
    medium = open_medium(path, "video", 4, NO_LIMITS)  # which decodes nothing
    assert medium.frame_idx.tolist() == [1, 3, 6, 8]
    with pytest.raises(UnreadableError, match=r"^corrupt: "):
        list(medium)


def test_chance_bytes_and_cuts_give_frames_or_the_reason(write_video, tmp_path):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(write_video(tmp_path / "a.mp4", noise(8), options={"g": "3"}).read_bytes(), np.uint8)
    outcomes = set()
    for _ in range(60):
        content = whole.copy()
        content[rng.integers(0, len(content), 30)] = rng.integers(0, 256, 30)
        (tmp_path / "b.mp4").write_bytes(content[: rng.integers(len(content) // 2, len(content) * 2)].tobytes())
        try:
            outcomes.add(bool(read(tmp_path / "b.mp4", 4, limits=Limits(10, 10))[1]))
        except UnreadableError as error:
            outcomes.add(error.error)
    assert {True, "corrupt"} <= outcomes <= {True, "corrupt", "no_video_stream", "too_large", "too_long"}


# --- what cannot be read


@pytest.mark.parametrize(("kind", "name"), [("video", "a.mp4"), ("image", "a.png"), ("image", "a.jpg")])
@pytest.mark.parametrize(("content", "error"), [(None, "missing"), (b"", "empty"), (b"just text\n" * 9, "corrupt")])
def test_what_is_no_medium_says_what_it_is(tmp_path, kind, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableError) as caught:
        read(tmp_path / name, 4, kind)
    assert caught.value.error == error
    assert caught.value.detail
    assert "\n" not in caught.value.detail


def test_a_video_without_its_table_of_contents_says_so_in_the_words_of_ffmpeg(write_mp4, tmp_path, capfd):
    path = write_mp4(tmp_path / "a.mp4", noise(10))
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(UnreadableError, match="moov atom not found") as caught:
        read(path, 4)
    assert caught.value.error == "corrupt"
    assert capfd.readouterr() == ("", "")


def write_sound(path, cover_HWC=None):
    """A tone, with a cover picture where one is given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if path.suffix == ".m4a" else "libmp3lame", rate=44100)
        if cover_HWC is not None:
            cover = container.add_stream("png")
            cover.height, cover.width, cover.pix_fmt = *cover_HWC.shape[:2], "rgb24"
            cover.disposition = av.stream.Disposition.attached_pic
            container.start_encoding()
            container.mux(cover.encode(av.VideoFrame.from_ndarray(cover_HWC, format="rgb24")))
        samples = np.sin(np.arange(44100) / 20, dtype=np.float32)[None]
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "cover_HWC"), [("a.m4a", None), ("a.mp3", None), ("a.mp3", flat(100))])
def test_sound_is_no_video_not_even_with_a_cover(tmp_path, name, cover_HWC):
    sound = write_sound(tmp_path / name, cover_HWC).rename(tmp_path / "a.mp4")
    with pytest.raises(UnreadableError) as caught:
        read(sound, 4)
    assert caught.value.error == "no_video_stream"


def test_a_list_of_files_is_no_video(write_mp4, tmp_path):
    write_mp4(tmp_path / "a.mp4", scene(4))
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(UnreadableError) as caught:
        read(tmp_path / "b.mp4", 4)
    assert caught.value.error == "corrupt"


def test_a_long_complaint_becomes_one_short_line():
    error = UnreadableError("corrupt", "line\n  and " * 200)
    assert (error.error, error.detail[:14], len(error.detail)) == ("corrupt", "line and line ", 300)


# --- limits


@pytest.mark.parametrize("name", ["a.mp4", "a.h264"])
def test_frames_beyond_the_limit_are_refused(write_video, tmp_path, name):
    path = write_video(tmp_path / name, scene(4))  # 64 x 48 px = 0.003 megapixels
    read(path, 2, limits=Limits(0.0031, 0))
    with pytest.raises(UnreadableError, match=r"64 x 48 px .* extract\.max_megapixels=0\.003 ") as caught:
        read(path, 2, limits=Limits(0.003, 0))
    assert caught.value.error == "too_large"


def test_frames_that_grow_beyond_the_limit_are_refused_when_they_come(write_video, tmp_path):
    for name, size in (("a.h264", (48, 64)), ("b.h264", (96, 80))):
        write_video(tmp_path / name, scene(10, *size), options={"bf": "0"})
    (tmp_path / "a.h264").write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    with pytest.raises(UnreadableError, match=r"^too_large: 80 x 96 px"):
        read(tmp_path / "a.h264", 4, limits=Limits(0.005, 0))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.h264"])
def test_a_video_beyond_the_limit_is_refused(write_video, tmp_path, name):
    path = write_video(tmp_path / name, scene(40), fps=25 if name == "a.h264" else 10)  # a bare stream tells no rate
    read(path, 2, limits=Limits(0, 5 / 60))
    with pytest.raises(UnreadableError, match=r" minutes; extract\.max_minutes=0\.0166667 ") as caught:
        read(path, 2, limits=Limits(0, 1 / 60))
    assert caught.value.error == "too_long"


# --- files that are not what their suffix says


def test_a_video_that_is_called_an_image_gives_its_frames(write_mp4, tmp_path):
    path = write_mp4(tmp_path / "a.mp4", [flat(grey) for grey in GREYS]).rename(tmp_path / "a.jpg")
    medium, frames = read(path, 4, "image")
    assert (medium.num_frames, numbers(frames)) == (10, [1, 3, 6, 8])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_an_image_that_is_called_a_video_gives_its_frame(tmp_path, form):
    Image.fromarray(scene(1)[0]).save(tmp_path / "a.mp4", format=form)
    _, as_video = read(tmp_path / "a.mp4", 4)
    _, as_image = read(tmp_path / "a.mp4", 4, "image")
    assert numbers(as_video) == [0]
    np.testing.assert_array_equal(as_video[0].image_HWC, as_image[0].image_HWC)
