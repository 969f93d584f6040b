"""What holds for every layout: the order of `auto`, the frame, which files count, and what is said to a user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake.errors import UserError
from deepfake.sources import LAYOUT_NAMES, LAYOUTS, read_dataset
from deepfake.tables import MEDIA

# Each adds what the next layout knows, so that a root with all of them tells the order of `auto`.
SIGNS = {
    "folders": {"real/a.png": ""},
    "generators": {"gan/1_fake/a.png": ""},
    "celebdf": {"Celeb-synthesis/id0_id1_0000.mp4": ""},
    "faceforensics": {"original_sequences/youtube/c23/videos/000.mp4": ""},
    "ffdi": {"trainset/b.jpg": "", "trainset_label.txt": "img_name,target\nb.jpg,1\n"},
    "dfdc": {"part/v.mp4": "", "part/metadata.json": json.dumps({"v.mp4": {"label": "REAL"}})},
    "listing": {"list.csv": "path,label\nreal/a.png,0\n"},
}


def test_the_layouts_names_are_there_without_pandas():
    """The configuration takes `data.layout`'s names from here, and answers before anything heavy is imported."""
    code = "import sys, deepfake.sources; assert not {'pandas', 'numpy', 'cv2', 'torch'} & sys.modules.keys()"
    path = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("auto", *LAYOUTS) == LAYOUT_NAMES


def test_auto_takes_the_most_specific_layout_first(plant):
    for name, files in SIGNS.items():
        assert read_dataset(plant(texts=files)).layout == name


@pytest.mark.parametrize("name", SIGNS)
def test_a_layout_may_be_asked_for_by_name(plant, name):
    root = plant(texts={path: text for files in SIGNS.values() for path, text in files.items()})
    assert read_dataset(root, layout=name).layout == name


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "unlabelled"])  # which fits any folder
def test_a_layout_that_does_not_fit_says_what_it_looks_for(plant, name):
    with pytest.raises(UserError, match=f"is not of layout '{name}', which looks for") as caught:
        read_dataset(plant("a.png"), layout=name)
    assert LAYOUTS[name].about in str(caught.value)


def test_an_unrecognised_folder_is_answered_with_every_layout(plant):
    with pytest.raises(UserError, match="is of no known layout") as caught:
        read_dataset(plant("holiday/a.png"))
    assert str(caught.value).splitlines()[1:] == [f"  {name}: {layout.about}" for name, layout in LAYOUTS.items()]


def test_the_frame_has_the_media_tables_types_and_is_sorted(plant):
    media = read_dataset(plant("real/b.png", "real/a.MP4", "fake/c.jpeg", "test/d.gif")).media
    assert list(media.columns) == ["path", "kind", "split", "label", "method", "source_id", "donor_id"]
    assert {name: str(dtype) for name, dtype in media.dtypes.items()} == {
        name: MEDIA.columns[name].dtype for name in media
    }
    assert list(media["path"]) == ["fake/c.jpeg", "real/a.MP4", "real/b.png", "test/d.gif"]
    assert list(media["kind"]) == ["image", "video", "image", "video"]


def test_the_frame_passes_the_media_tables_check(plant):
    media = read_dataset(plant("real/b.png", "fake/c.jpeg")).media
    whole = media.assign(media_id=media["path"], dataset="d", fingerprint="f", content_id=None)
    assert len(MEDIA.check(whole)) == 2


def test_hidden_files_and_what_archives_leave_behind_do_not_exist(plant, faults):
    reading = read_dataset(plant("real/a.png", "real/._a.png", ".cache/real/b.png", "__MACOSX/real/c.png", "notes.txt"))
    assert list(reading.media["path"]) == ["real/a.png"]
    assert faults(reading) == []


VIDEOS = ("mp4", "MOV", "avi", "mkv", "webm", "m4v", "mpg", "mpeg", "wmv", "flv", "ts", "h264", "h265", "3gp", "gif")
IMAGES = ("jpg", "JPEG", "png", "webp", "bmp", "tif", "tiff")


def test_the_kind_is_told_by_the_suffix_in_any_case(plant):
    media = read_dataset(plant(*(f"real/a.{suffix}" for suffix in (*VIDEOS, *IMAGES)))).media
    kinds = dict(zip(media["path"].str.removeprefix("real/a."), media["kind"], strict=True))
    assert kinds == dict.fromkeys(VIDEOS, "video") | dict.fromkeys(IMAGES, "image")


def test_linked_folders_are_followed_once_and_loops_end(plant, tmp_path: Path):
    root = plant("real/a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.png").touch()
    (root / "fake").symlink_to(tmp_path / "elsewhere")
    (root / "also_fake").symlink_to(tmp_path / "elsewhere")
    (root / "also_real").symlink_to(root / "real")
    (root / "real" / "loop").symlink_to(root)
    media = read_dataset(root, layout="folders").media
    # Two links to one folder: it is read by the name that comes first, and a folder's real name before any link.
    assert list(media["path"]) == ["real/a.png"]
    (root / "also_fake").unlink()
    assert list(read_dataset(root).media["path"]) == ["fake/b.png", "real/a.png"]


def test_linked_files_count_and_broken_links_do_not(plant, tmp_path: Path):
    root = plant("real/a.png")
    (tmp_path / "b.png").touch()
    (root / "real" / "b.png").symlink_to(tmp_path / "b.png")
    (root / "real" / "gone.png").symlink_to(tmp_path / "gone.png")
    assert list(read_dataset(root).media["path"]) == ["real/a.png", "real/b.png"]


def test_a_name_that_no_table_can_hold_is_refused(plant):
    root = plant("real/a.png")
    (Path(os.fsdecode(os.fsencode(root) + b"/real/\xff.png"))).touch()
    with pytest.raises(UserError, match=r"real/\\udcff\.png': this file's name is not UTF-8; rename it"):
        read_dataset(root)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("folder", "layout 'folder' is unknown; allowed: auto, listing, dfdc, .*Did you mean 'folders'"),
        ("DFDC", "Did you mean 'dfdc'"),
        ("xyzzy", r"is unknown; allowed: .*demo\.$"),
    ],
)
def test_an_unknown_layout_is_told_its_neighbour(plant, layout, message):
    with pytest.raises(UserError, match=message):
        read_dataset(plant("real/a.png"), layout=layout)


def test_a_listing_goes_with_no_other_layout(plant, tmp_path: Path):
    with pytest.raises(UserError, match="goes with layout auto or listing, not with 'dfdc'"):
        read_dataset(plant("real/a.png"), layout="dfdc", listing=tmp_path / "list.csv")


def test_a_root_that_is_missing_a_file_or_without_media_is_refused(plant, tmp_path: Path):
    with pytest.raises(UserError, match="gone does not exist: give the folder"):
        read_dataset(tmp_path / "gone")
    root = plant(texts={"readme.txt": "no media here"})
    with pytest.raises(UserError, match="is a file, not a folder"):
        read_dataset(root / "readme.txt")
    with pytest.raises(UserError, match=r"holds no video and no image \(\.3gp, .*unpacked\?"):
        read_dataset(root)


def test_labels_without_any_of_their_files_are_refused(plant):
    root = plant("other.png", texts={"list.csv": "path,label\nroot/a.png,1\nroot/b.png,0\n"})
    with pytest.raises(
        UserError, match=r"2 contradictions, the first at root/a\.png: label_without_file, list\.csv, line 2"
    ):
        read_dataset(root)
