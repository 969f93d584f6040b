"""Submissions: the rows that are asked for, in their order and spelling."""

import pandas as pd
import pytest

from deepfake.errors import UserError
from deepfake.score.formats import FORMATS
from deepfake.score.sample_submission import expected_rows, match_names, read_sample

# --- sample submissions


@pytest.fixture
def sample(tmp_path):
    """`sample("id,score\\na,0\\n")` is the path of that file."""

    def write(content):
        path = tmp_path / "sample.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_sample_is_read_as_text(sample):
    table = read_sample(sample("id,score\n0012,0.5\n7,1\n"))
    assert table.iloc[:, 0].tolist() == ["0012", "7"]
    assert list(table.columns) == ["id", "score"]
    assert list(read_sample(sample(b"\xef\xbb\xbflabel,label\r\na,0\r\n")).columns) == ["label", "label"]


@pytest.mark.parametrize("name", ["NA", "null", "None"])
def test_a_name_that_looks_like_nothing_is_a_name(sample, name):
    assert read_sample(sample(f"id,score\n{name},0.5\n")).iloc[:, 0].tolist() == [name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a readable CSV"),
        (b"\xff\xfe\x00\x01", "is not a readable CSV"),
        ('id,score\n"a,0\n', "is not a readable CSV"),
        ("id,score\n", "needs rows and two columns"),
        ("id\na\n", r"needs rows and two columns, a name and a score; it has 1 rows and 1 columns, \['id'\]"),
        ("id,fake,real\na,0,1\n", r"two columns, .* it has 1 rows and 3 columns, \['id', 'fake', 'real'\]"),
        ("id,fake\na,0,1\nb,0,1\n", "is not a readable CSV: .*line 2, saw 3"),
        ("a.mp4,0.5\nb.mp4,0.5\n", r"has no header: its first line is 'a\.mp4,0\.5'"),
        ("a.mp4,0\n", "needs rows"),
        ("a.mp4, 1_0\nb.mp4,0\n", "has no header"),
        ("id,score\na,0\na,1\n", "'a' is empty or repeated"),
        ("id,score\n,0\n", "is empty or repeated"),
    ],
)
def test_what_is_no_sample_is_refused_by_name(sample, content, message):
    with pytest.raises(UserError, match=message) as caught:
        read_sample(sample(content))
    assert "sample.csv" in str(caught.value)


def test_a_sample_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"gone\.csv is not a readable CSV"):
        read_sample(tmp_path / "gone.csv")


# --- names

MEDIA = pd.Series(["one/a.mp4", "two/b.mp4", "two/c.png"])


def match(names, media=MEDIA):
    return match_names(pd.Series(names), pd.Series(media), "sample.csv").tolist()


@pytest.mark.parametrize(
    "names",
    [["two/c.png", "one/a.mp4"], ["c.png", "a.mp4"], ["c", "a"]],
    ids=["whole paths", "file names", "stems"],
)
def test_names_are_matched_in_every_usual_spelling(names):
    assert match(names) == ["two/c.png", "one/a.mp4"]


def test_media_that_nobody_asks_for_may_share_a_name():
    assert match(["b"], ["one/a.mp4", "two/a.mp4", "b.mp4"]) == ["b.mp4"]


@pytest.mark.parametrize(
    ("names", "media", "message"),
    [
        (["a.mp4"], ["one/a.mp4", "two/a.mp4"], r"'a\.mp4' means one/a\.mp4, two/a\.mp4: give whole paths"),
        (["a"], ["a.mp4", "a.png"], r"'a' means a\.mp4, a\.png: give whole paths"),
        (["a", "x"], MEDIA, r"1 of 2 rows have no medium in the test split, first 'x'"),
        (["x", "y"], MEDIA, r"2 of 2 rows have no medium in the test split, first 'x'"),
    ],
)
def test_a_name_must_mean_one_medium(names, media, message):
    with pytest.raises(UserError, match=rf"sample\.csv: {message}"):
        match(names, media)


def test_a_whole_path_goes_before_a_file_name():
    assert match(["a.mp4"], ["a.mp4", "two/a.mp4"]) == ["a.mp4"]


# --- expected rows

IDS = pd.Series(["two/b.mp4", "one/c.mp4", "two/a.png"])


def test_expected_rows_are_the_samples_names_in_its_order_with_the_media_they_mean():
    asked = pd.DataFrame({"id": ["c", "a"], "fake": ["0", "0"]})
    rows = expected_rows(FORMATS["csv"], IDS, asked)
    assert rows.to_numpy().tolist() == [["c", "one/c.mp4"], ["a", "two/a.png"]]


def test_without_a_sample_every_medium_is_expected_in_alphabetical_order_of_names():
    rows = expected_rows(FORMATS["csv"], IDS, None)
    assert rows.to_numpy().tolist() == [["a.png", "two/a.png"], ["b.mp4", "two/b.mp4"], ["c.mp4", "one/c.mp4"]]


def test_file_names_that_repeat_become_whole_paths():
    rows = expected_rows(FORMATS["csv"], pd.Series(["one/a.mp4", "two/a.mp4", "b.mp4"]), None)
    assert rows["name"].tolist() == ["b.mp4", "one/a.mp4", "two/a.mp4"]


def test_celebdf_goes_by_the_paths_of_its_list():
    rows = expected_rows(FORMATS["celebdf"], pd.Series(["YouTube-real/00170.mp4", "Celeb-real/id1.mp4"]), None)
    assert rows["name"].tolist() == ["Celeb-real/id1.mp4", "YouTube-real/00170.mp4"]
