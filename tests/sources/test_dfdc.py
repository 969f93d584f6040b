import json

import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset


def metadata(**videos: dict) -> str:
    return json.dumps({f"{name}.mp4": info for name, info in videos.items()})


REAL = {"label": "REAL", "split": "train"}
FAKE = {"label": "FAKE", "split": "train", "original": "r.mp4"}


def test_parts_share_the_sources_their_metadata_names(plant, rows):
    root = plant(
        "p0/r.mp4",
        "p0/f.mp4",
        "p1/g.mp4",
        "p1/h.mp4",
        texts={"p0/metadata.json": metadata(r=REAL, f=FAKE), "p1/metadata.json": metadata(g=FAKE, h={"label": "FAKE"})},
    )
    reading = read_dataset(root)
    assert (reading.layout, reading.why) == ("dfdc", "p0/metadata.json gives videos a label")
    assert rows(reading) == [
        ("p0/f.mp4", "train", 1, "fake", "r.mp4", None),
        ("p0/r.mp4", "train", 0, "real", "r.mp4", None),
        ("p1/g.mp4", "train", 1, "fake", "r.mp4", None),
        ("p1/h.mp4", "train", 1, "fake", "h.mp4", None),
    ]
    assert reading.contradictions == []


@pytest.mark.parametrize("folder", ["test", "test_videos", "Test-Videos"])
def test_a_test_folder_needs_no_labels(plant, rows, folder):
    root = plant("r.mp4", f"{folder}/x.mp4", texts={"metadata.json": metadata(r=REAL)})
    assert (f"{folder}/x.mp4", "test", None, None, None, None) in rows(read_dataset(root))


def test_metadata_may_say_test_and_the_test_folder_wins_over_train(plant, rows):
    texts = {"metadata.json": metadata(a=REAL, b=REAL | {"split": "test"}), "test/metadata.json": metadata(c=FAKE)}
    root = plant("a.mp4", "b.mp4", "test/c.mp4", texts=texts)
    assert [row[:3] for row in rows(read_dataset(root))] == [
        ("a.mp4", "train", 0),
        ("b.mp4", "test", 0),
        ("test/c.mp4", "test", 1),
    ]


def test_labels_csv_in_the_test_folder_labels_it(plant, rows, faults):
    texts = {"p/metadata.json": metadata(r=REAL), "test/labels.csv": "filename,label\nx.mp4,1\nlost.mp4,0\n"}
    reading = read_dataset(plant("p/r.mp4", "test/x.mp4", texts=texts))
    assert rows(reading)[1] == ("test/x.mp4", "test", 1, "fake", None, None)
    assert faults(reading) == [("test/lost.mp4", "label_without_file")]


def test_labels_without_files_and_files_without_labels_are_counted(plant, rows, faults):
    texts = {"p/metadata.json": metadata(r=REAL, gone=REAL, empty={"split": "train"})}
    reading = read_dataset(plant("p/r.mp4", "p/extra.mp4", "p/empty.mp4", texts=texts))
    assert [row[0] for row in rows(reading)] == ["p/r.mp4"]
    assert faults(reading) == [
        ("p/empty.mp4", "file_without_label"),
        ("p/extra.mp4", "file_without_label"),
        ("p/gone.mp4", "label_without_file"),
    ]


def test_two_label_files_that_differ_leave_a_training_video_out(plant, rows, faults):
    texts = {"p/metadata.json": metadata(a=REAL, b=REAL), "p/labels.csv": "filename,label\na.mp4,1\nb.mp4,0\n"}
    reading = read_dataset(plant("p/a.mp4", "p/b.mp4", texts=texts))
    assert [row[0] for row in rows(reading)] == ["p/b.mp4"]
    assert faults(reading) == [("p/a.mp4", "two_labels")]


def test_two_label_files_that_differ_leave_a_test_video_unlabelled(plant, rows, faults):
    texts = {"test/metadata.json": metadata(a=REAL), "test/labels.csv": "filename,label\na.mp4,1\n"}
    reading = read_dataset(plant("test/a.mp4", texts=texts))
    assert rows(reading) == [("test/a.mp4", "test", None, None, "a.mp4", None)]
    assert faults(reading) == [("test/a.mp4", "two_labels")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a.mp4": ', r"p/metadata\.json is not valid JSON: .*repair the file"),
        ("[" * 100_000, r"p/metadata\.json is not valid JSON: .*recursion"),
        ('{"a.mp4": {"label": "REAL"}, "a.mp4": {"label": "FAKE"}}', r"'a\.mp4' stands in it twice"),
        (metadata(a={"label": "maybe"}), r"p/metadata\.json: a\.mp4: label 'maybe' .*allowed: 0, 1, real, fake"),
        (metadata(a=REAL | {"split": "holdout"}), r"split 'holdout' .*allowed: train, val, test"),
    ],
)
def test_metadata_that_cannot_be_understood_is_one_clear_line(plant, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_dataset(plant("p/a.mp4", texts={"p/metadata.json": text}))
    assert "\n" not in str(caught.value)


def test_one_part_of_another_form_is_refused(plant):
    texts = {"p0/metadata.json": metadata(r=REAL), "p1/metadata.json": '["r.mp4"]'}
    with pytest.raises(UserError, match=r"p1/metadata\.json is not of DFDC's form"):
        read_dataset(plant("p0/r.mp4", "p1/s.mp4", texts=texts))


def test_a_metadata_json_of_something_else_is_left_to_the_next_layout(plant):
    root = plant("real/a.png", "fake/b.png", texts={"metadata.json": '{"licence": "none"}'})
    assert read_dataset(root).layout == "folders"
