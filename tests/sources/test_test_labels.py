"""test_labels.csv: what it may be called and name, in any layout."""

import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset

MEDIA = ("real/a.png", "fake/b.png", "test/c.png", "test/d.png")


@pytest.mark.parametrize("place", ["test_labels.csv", "test/test_labels.csv"])
@pytest.mark.parametrize("column", ["filename", "path", "img_name"])
def test_bare_names_label_the_test_rows_and_nothing_else(plant, rows, faults, place, column):
    reading = read_dataset(plant(*MEDIA, texts={place: f"{column},label,method\nc.png,FAKE,GAN\nd.png,0,\n"}))
    assert [row[:4] for row in rows(reading)] == [
        ("fake/b.png", "train", 1, "fake"),
        ("real/a.png", "train", 0, "real"),
        ("test/c.png", "test", 1, "GAN"),
        ("test/d.png", "test", 0, "real"),
    ]
    assert faults(reading) == []


def test_whole_paths_work_too_and_elsewhere_it_is_not_looked_for(plant, rows):
    texts = {"test_labels.csv": "path,label\ntest/c.png,1\n", "notes/test_labels.csv": "path,label\nd.png,0\n"}
    assert [row[2] for row in rows(read_dataset(plant(*MEDIA, texts=texts)))] == [1, 0, 1, None]


def test_an_unlabelled_listing_gets_its_test_labels(plant, rows):
    texts = {"list.csv": "path\na.png\nb.png\n", "test_labels.csv": "path,label\na.png,1\nb.png,0\n"}
    reading = read_dataset(plant("a.png", "b.png", texts=texts))
    assert (reading.layout, [row[1:3] for row in rows(reading)]) == ("listing", [("test", 1), ("test", 0)])


def test_what_does_not_fit_is_counted_and_every_test_row_stays(plant, rows, faults):
    media = (*MEDIA, "test/x/e.png", "test/y/e.png", "test/fake/f.png")
    lines = "c.png,0\nc.png,1\ne.png,1\nf.png,0\nlost.png,1\na.png,0\n"
    reading = read_dataset(plant(*media, texts={"test_labels.csv": "filename,label\n" + lines}))
    assert {row[0]: row[2] for row in rows(reading) if row[1] == "test"} == dict.fromkeys(
        ["test/c.png", "test/d.png", "test/fake/f.png", "test/x/e.png", "test/y/e.png"]
    )
    assert faults(reading) == [
        ("e.png", "ambiguous_name"),
        ("lost.png", "label_without_file"),
        ("test/c.png", "two_labels"),
        ("test/fake/f.png", "two_labels"),
    ]


def test_probabilities_are_no_labels(plant):
    with pytest.raises(UserError, match=r"test_labels\.csv, line 2: label '0\.5' is not understood"):
        read_dataset(plant(*MEDIA, texts={"test_labels.csv": "filename,label\nc.png,0.5\n"}))
