"""Planted faults: each is found, and called by its name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfake.score.formats import FORMATS
from deepfake.score.validate import doubts, faults, rank_correlation

EXPECTED = pd.DataFrame({"name": ["a.mp4", "b.mp4", "c.png"], "media_id": ["x/a.mp4", "y/b.mp4", "c.png"]})
LOGITS = pd.Series(np.log([1 / 3, 3, 9]), index=EXPECTED.media_id)  # P(fake) 0.25, 0.75, 0.9
RIGHT = "filename,label\na.mp4,0.25\nb.mp4,0.75\nc.png,0.9\n"


@pytest.fixture
def found(tmp_path: Path):
    """`found("csv", text)`: the faults of a file of that format that holds the text; zips are made around it."""

    def check(name: str, content: str | bytes, **settings) -> list[str]:
        form, path = FORMATS[name], tmp_path / FORMATS[name].file
        if form.inside:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(form.inside, content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return faults(path, form, EXPECTED, **settings)

    return check


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("csv", RIGHT),
        ("csv", RIGHT.replace("\n", "\r\n")),
        ("csv", RIGHT + "\n"),
        ("csv", "filename,label\nc.png,9e-1\na.mp4,.25\nb.mp4,0.75"),
        ("avdeepfake1m", "a.mp4;0.25\nb.mp4;0.75\nc.png;0.9\n"),
        ("ntire", "0.25\n0.75\n0.9\n"),
        ("faceforensics", json.dumps({"c.png": "fake", "a.mp4": "real", "b.mp4": "fake"})),
        ("spcup", "filename,score\na.mp4,0.75\nb.mp4,0.25\nc.png,0.1\n"),
        ("aifactory", "filename,label\na.mp4,0\nb.mp4,1\nc.png,1\n"),
    ],
)
def test_a_right_file_has_no_fault(found, name, content):
    assert found(name, content) == []
    assert found(name, content, logits=LOGITS) == []


PLANTED = {
    "unreadable: not text": ("csv", b"\xff\xfe\x00", ["unreadable", "submission.csv is not UTF-8 text"]),
    "unreadable: open quote": ("csv", RIGHT + '"d.mp4,0.5\n', ["unreadable", "line 5"]),
    "unreadable: no JSON": ("faceforensics", "fake", ["unreadable", "no JSON object"]),
    "unreadable: JSON pairs": (
        "faceforensics",
        '[["a.mp4", "real"], ["b.mp4", "fake"], ["c.png", "fake"]]',
        ["unreadable", "no JSON object", "an array"],
    ),
    "unreadable: a JSON value": ("faceforensics", "7", ["unreadable", "no JSON object", "a single value"]),
    "header: another": ("csv", RIGHT.replace("label", "score"), ["header", "'filename,score'", "'filename,label'"]),
    "header: none": ("csv", RIGHT.partition("\n")[2], ["header", "no header", "'filename,label'"]),
    "fields": ("csv", RIGHT + "c.png,0.9,1\n", ["fields", "line 5 has 3 fields", "allowed: 2"]),
    "fields: empty line": ("ntire", "0.25\n0.75\n\n0.9\n", ["fields", "line 3 has 0 fields"]),
    "missing": ("csv", RIGHT.replace("b.mp4,0.75\n", ""), ["missing", "1 of 3", "b.mp4"]),
    "double": ("csv", RIGHT + "b.mp4,0.75\n", ["double", "1 names", "b.mp4"]),
    "double: JSON": (
        "faceforensics",
        '{"a.mp4": "real", "a.mp4": "fake", "b.mp4": "fake", "c.png": "fake"}',
        ["double", "a.mp4"],
    ),
    "extra": ("csv", RIGHT + "d.mp4,0.5\n", ["extra", "1 rows", "d.mp4"]),
    "empty": ("csv", RIGHT.replace("0.75", ""), ["empty", "1 values", "b.mp4 = ''"]),
    "not a number": ("csv", RIGHT.replace("0.75", "high"), ["not a number", "b.mp4 = 'high'", "0 to 1"]),
    "not a number: comma": ("avdeepfake1m", "a.mp4;0,2\nb.mp4;0.7\nc.png;0.9\n", ["not a number", "'0,2'"]),
    "not a number: underscore": ("csv", RIGHT.replace("0.75", "0.7_5"), ["not a number", "'0.7_5'", "plain digits"]),
    "not a number: digits": ("csv", RIGHT.replace("0.75", "0.７５"), ["not a number", "'0.７５'"]),
    "not a number: spaces": ("csv", RIGHT.replace("0.75", " 0.75"), ["not a number", "b.mp4 = ' 0.75'"]),
    "not finite": ("csv", RIGHT.replace("0.75", "nan"), ["not finite", "b.mp4 = 'nan'"]),
    "not finite: inf": ("csv", RIGHT.replace("0.75", "inf"), ["not finite", "b.mp4 = 'inf'"]),
    "out of range": ("csv", RIGHT.replace("0.75", "75"), ["out of range", "b.mp4 = '75'", "0 to 1"]),
    "not finite: spelled out": ("ntire", "0.2\n-Infinity\n0.3\n", ["not finite", "row 2 = '-Infinity'"]),
    "not finite: too large": ("ntire", "0.2\n1e999\n0.3\n", ["not finite", "row 2 = '1e999'"]),
    "out of range: below": ("ntire", "0.2\n-0.1\n0.3\n", ["out of range", "row 2 = '-0.1'"]),
    "no label": ("aifactory", "filename,label\na.mp4,0\nb.mp4,0.7\nc.png,1\n", ["no label", "b.mp4 = '0.7'", "0 or 1"]),
    "no word": ("faceforensics", '{"a.mp4": "real", "b.mp4": "Fake", "c.png": "fake"}', ["no word", "'Fake'"]),
    "no word: another value": (
        "faceforensics",
        '{"a.mp4": "real", "b.mp4": true, "c.png": [["fake", "real"]]}',
        ["no word", "2 values", "'true'"],
    ),
    "constant": ("csv", "filename,label\na.mp4,0.5\nb.mp4,0.5\nc.png,0.5\n", ["constant", "all 3", "0.5"]),
    "constant: labels": ("aifactory", "filename,label\na.mp4,1\nb.mp4,1\nc.png,1\n", ["constant", "all 3"]),
    "count: short": ("ntire", "0.25\n0.75\n", ["count", "2 scores", "allowed: 3"]),
    "count: long": ("ntire", "0.25\n0.75\n0.9\n0.1\n", ["count", "4 scores", "allowed: 3"]),
}


@pytest.mark.parametrize(("name", "content", "words"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_the_one_that_is_found(found, name, content, words):
    (line,) = found(name, content)
    assert line.startswith(words[0])
    for word in words:
        assert word in line


def test_a_file_that_is_not_there(tmp_path):
    (line,) = faults(tmp_path / "gone.csv", FORMATS["csv"], EXPECTED)
    assert line.startswith("unreadable") and "gone.csv" in line and "No such file" in line


def test_a_zip_of_another_name_or_of_more(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("scores.txt", "0.5\n")
    (line,) = faults(tmp_path / "x.zip", FORMATS["ntire"], EXPECTED)
    assert line.startswith("unreadable") and "scores.txt" in line and "submission.txt alone" in line


def test_every_kind_of_fault_has_its_own_line(found):
    lines = found("csv", "name,label\na.mp4,2\na.mp4,x\nd.mp4,\n")
    kinds = ["header", "missing", "double", "extra", "empty", "not a number", "out of range"]
    assert [line.partition(":")[0] for line in lines] == kinds
    unasked_header = found("avdeepfake1m", "name;score\na.mp4;0.25\nb.mp4;0.75\nc.png;0.9\n")
    assert [line.partition(":")[0] for line in unasked_header] == ["extra", "not a number"]


def test_the_order_of_a_sample_is_part_of_it(found):
    swapped = "filename,label\nb.mp4,0.75\na.mp4,0.25\nc.png,0.9\n"
    assert found("csv", swapped) == []
    (line,) = found("csv", swapped, ordered=True)
    assert line.startswith("order: row 1 is 'b.mp4'; the sample submission has 'a.mp4'")


def test_scores_at_other_rows_than_their_logits(found):
    (line,) = found("ntire", "0.75\n0.25\n0.9\n", logits=LOGITS)
    assert line.startswith("order") and "row 1" in line and "0.75 and not 0.25" in line
    (line,) = found("csv", RIGHT.replace("0.9", "0.75").replace("b.mp4,0.75", "b.mp4,0.9"), logits=LOGITS)
    assert line.startswith("order") and "'b.mp4'" in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("csv", "filename,label\na.mp4,0.75\nb.mp4,0.25\nc.png,0.1\n"),
        ("spcup", "filename,score\na.mp4,0.25\nb.mp4,0.75\nc.png,0.9\n"),
        ("ntire", "0.75\n0.25\n0.1\n"),
        ("aifactory", "filename,label\na.mp4,1\nb.mp4,0\nc.png,0\n"),
        ("faceforensics", '{"a.mp4": "fake", "b.mp4": "real", "c.png": "real"}'),
    ],
)
def test_scores_that_are_turned_round(found, name, content):
    assert found(name, content) == []
    (line,) = found(name, content, logits=LOGITS)
    assert line.startswith("inverted: rank correlation -")


def test_many_names_are_not_all_listed(tmp_path):
    names = pd.Series([f"{number}.mp4" for number in range(1000)])
    (tmp_path / "s.csv").write_text("filename,label\n")
    (line,) = faults(tmp_path / "s.csv", FORMATS["csv"], pd.DataFrame({"name": names, "media_id": names}))
    assert "1000 of 1000" in line and "and 980 more" in line and len(line) < 400


def test_doubts_where_scores_are_spread_unlike_out_of_fold():
    rng = np.random.default_rng(0)
    out_of_fold = rng.beta(8, 2, 500)  # most are fakes
    assert doubts(rng.beta(8, 2, 300), out_of_fold) == []
    (line,) = doubts(rng.beta(2, 8, 300), out_of_fold)
    assert line.startswith("looks inverted") and "0.8" in line
    (line,) = doubts(rng.beta(5, 5, 300), out_of_fold)
    assert line.startswith("spread unlike")


def test_rank_correlation_is_spearmans():
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 3, 2, 9])) == pytest.approx(0.8)
    assert rank_correlation(np.array([0.0, 0.0, 1.0]), np.array([1, 2, 3])) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(rank_correlation(np.array([1.0, 1.0]), np.array([1, 2])))
