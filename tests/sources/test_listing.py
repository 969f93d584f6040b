from pathlib import Path

import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset

HEADER = "path,label,method,group,donor_id,split\n"


def test_every_column_is_read_and_unlisted_files_are_not_part_of_it(plant, rows, faults):
    text = HEADER + "a.png,0,camera,g1,,train\nsub/b.png,1,GAN,g1,g2,val\nc.mp4,,,,,test\n"
    reading = read_dataset(plant("a.png", "sub/b.png", "c.mp4", "unlisted.png", texts={"list.csv": text}))
    assert (reading.layout, reading.why) == ("listing", "list.csv has a `path` column")
    assert rows(reading) == [
        ("a.png", "train", 0, "real", "g1", None),
        ("c.mp4", "test", None, None, None, None),
        ("sub/b.png", "train", 1, "GAN", "g1", "g2"),
    ]
    assert list(reading.media["kind"]) == ["image", "video", "image"]
    assert faults(reading) == []


def test_without_a_split_the_labelled_are_train_and_the_rest_test(plant, rows):
    reading = read_dataset(plant("a.png", "b.png", texts={"list.csv": "path,label\na.png,1\nb.png,\n"}))
    assert [row[1:3] for row in rows(reading)] == [("train", 1), ("test", None)]


def test_without_a_label_column_everything_is_test(plant, rows):
    reading = read_dataset(plant("a.png", texts={"list.csv": "path\na.png\n"}))
    assert rows(reading) == [("a.png", "test", None, None, None, None)]


@pytest.mark.parametrize("label", ["1", "1.0", "fake", "FAKE", " Fake "])
def test_labels_in_every_allowed_form(plant, label):
    reading = read_dataset(plant("a.png", texts={"list.csv": f"path,label\na.png,{label}\n"}))
    assert list(reading.media["label"]) == [1]


def test_a_target_column_is_a_label_column(plant):
    assert list(read_dataset(plant("a.png", texts={"list.csv": "path,target\na.png,0\n"})).media["label"]) == [0]


@pytest.mark.parametrize("name", ["source_id", "group", "group_id", "Group"])
def test_sources_by_any_of_their_names(plant, name):
    reading = read_dataset(plant("a.png", texts={"list.csv": f"path,label,{name}\na.png,1,s\n"}))
    assert list(reading.media["source_id"]) == ["s"]


@pytest.mark.parametrize("written", ["sub/a.png", "./sub//a.png", "sub\\a.png", "sub/x/../a.png", "{root}/sub/a.png"])
def test_paths_in_any_spelling_become_posix_below_the_root(plant, written):
    root = plant("sub/a.png")
    (root / "list.csv").write_text(f"path\n{written.format(root=root)}\n")
    assert list(read_dataset(root).media["path"]) == ["sub/a.png"]


@pytest.mark.parametrize("written", ["../a.png", "/elsewhere/a.png", "sub/../../a.png"])
def test_paths_outside_the_root_are_refused(plant, written):
    with pytest.raises(UserError, match=r"list\.csv, line 2: .* lies outside .*relative to it"):
        read_dataset(plant("a.png", texts={"list.csv": f"path\n{written}\n"}))


def test_repeats_and_contradictions_are_counted(plant, rows, faults):
    lines = "twice.png,1\ntwice.png,1\nboth.png,0\nboth.png,1\nlost.png,0\nnotes.md,0\n"
    reading = read_dataset(plant("twice.png", "both.png", texts={"list.csv": "path,label\n" + lines, "notes.md": ""}))
    assert [row[0] for row in rows(reading)] == ["twice.png"]
    assert faults(reading) == [
        ("both.png", "two_labels"),
        ("lost.png", "label_without_file"),
        ("notes.md", "not_media"),
        ("twice.png", "listed_twice"),
    ]


def test_a_training_row_needs_a_label(plant, rows, faults):
    reading = read_dataset(plant("a.png", "b.png", texts={"list.csv": "path,label,split\na.png,,train\nb.png,1,\n"}))
    assert [row[0] for row in rows(reading)] == ["b.png"]
    assert faults(reading) == [("a.png", "file_without_label")]


def test_a_path_in_both_splits_is_left_out(plant, faults):
    text = "path,label,split\na.png,1,train\na.png,1,test\nb.png,1,train\n"
    assert faults(read_dataset(plant("a.png", "b.png", texts={"list.csv": text}))) == [("a.png", "two_labels")]


def test_a_listing_may_lie_anywhere_when_it_is_given(plant, rows, tmp_path: Path):
    listing = tmp_path / "mine.csv"
    listing.write_text("path,label\nreal/a.png,1\n")
    reading = read_dataset(plant("real/a.png"), listing=listing)
    assert (reading.layout, reading.why) == ("listing", f"{listing} was given as the listing")
    assert rows(reading) == [("real/a.png", "train", 1, "fake", None, None)]


@pytest.mark.parametrize("name", ["test_labels.csv", "sample_submission.csv", "sub/list.csv"])
def test_other_csv_files_are_not_taken_for_a_listing(plant, name):
    root = plant("real/a.png", "test/b.png", texts={name: "path,label\ntest/b.png,1\n"})
    assert read_dataset(root).layout == "folders"


def test_two_listings_are_left_to_the_folders_or_to_the_user(plant):
    root = plant("real/a.png", texts={"one.csv": "path\nreal/a.png\n", "two.csv": "path\nreal/a.png\n"})
    assert read_dataset(root).layout == "folders"
    with pytest.raises(UserError, match="is not of layout 'listing', which looks for one CSV"):
        read_dataset(root, layout="listing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,1\n", "has no column path; its columns: file, label"),
        ("", "has no column path; its columns: none"),
        ("path,label\na.png,0.5\n", r"line 2: label '0\.5' is not understood; allowed: 0, 1, real, fake"),
        ("path,split\na.png,holdout\n", "line 2: split 'holdout' is not understood; allowed: train, val, test"),
        ("path,label\na.png,1\nb.png\n", "line 3: 1 fields where the header has 2"),
        ("path,path\na.png,a.png\n", "line 1: the header names a column twice"),
        ('path,label\n"a.png,1\n', "line 2: .*repair the file"),
        ("path,label\n,1\n", "line 2: the path is empty"),
        ("path,label\n", "holds nothing to use: no medium is named"),
    ],
)
def test_a_listing_that_cannot_be_understood_is_one_clear_line(plant, tmp_path: Path, text, message):
    listing = tmp_path / "mine.csv"
    listing.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_dataset(plant("a.png"), listing=listing)
    assert "mine.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_listing_in_another_encoding_or_absent_is_refused(plant, tmp_path: Path):
    root = plant("a.png")
    (tmp_path / "wide.csv").write_bytes("path\na.png\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"wide\.csv is not UTF-8"):
        read_dataset(root, listing=tmp_path / "wide.csv")
    with pytest.raises(UserError, match=r"gone\.csv cannot be read: No such file"):
        read_dataset(root, listing=tmp_path / "gone.csv")


def test_a_byte_order_mark_is_not_part_of_the_first_column(plant):
    assert read_dataset(plant("a.png", texts={"list.csv": "\ufeffpath,label\na.png,1\n"})).layout == "listing"


def test_the_demo_is_read_from_its_listing(plant, rows):
    text = "path,label,method,source_id,donor_id,split\nmedia/a.mp4,1,swap,head1,head2,train\n"
    reading = read_dataset(plant("media/a.mp4", texts={"listing.csv": text}), layout="demo")
    assert reading.layout == "demo"
    assert rows(reading) == [("media/a.mp4", "train", 1, "swap", "head1", "head2")]
