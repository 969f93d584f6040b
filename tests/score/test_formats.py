"""Every format, read by readers of this file's own that know nothing but what the competition says."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import deepfake
from deepfake.errors import UserError
from deepfake.score.formats import FORMATS, number

# P(fake) of b is 3/4, of a 1/4, of c 9/10; the rows stand in the order in which they are to be written.
TABLE = pd.DataFrame({"name": ["b.mp4", "a.mp4", "c.png"], "logit": np.log([3, 1 / 3, 9])})


def written(name: str, folder: Path, table: pd.DataFrame = TABLE, **settings: float) -> Path:
    path = folder / FORMATS[name].file
    FORMATS[name].write(table, path, **settings)
    return path


def csv_rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def member(path: Path) -> tuple[str, str]:
    """Name and text of the only file in a zip."""
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return name, archive.read(name).decode()


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("csv", ["filename", "label"]),
        ("dfdc", ["filename", "label"]),
        ("ffdi", ["img_name", "y_pred"]),
        ("ffdi_video", ["video_name", "y_pred"]),
        ("celebdf", ["video", "fake"]),
    ],
)
def test_csvs_of_probabilities_of_fake(tmp_path, name, header):
    path = written(name, tmp_path)
    rows = csv_rows(path)
    assert path.name == "submission.csv" and rows[0] == header
    assert [row[0] for row in rows[1:]] == ["b.mp4", "a.mp4", "c.png"]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([0.75, 0.25, 0.9], abs=1e-15)


def test_spcup_says_how_real_a_face_is(tmp_path):
    rows = csv_rows(written("spcup", tmp_path))
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([0.25, 0.75, 0.1], abs=1e-15)


def test_avdeepfake1m_has_lines_of_name_and_score(tmp_path):
    path = written("avdeepfake1m", tmp_path)
    lines = [line.split(";") for line in path.read_text().splitlines()]
    assert path.suffix == ".txt" and [name for name, _ in lines] == ["b.mp4", "a.mp4", "c.png"]
    assert [float(score) for _, score in lines] == pytest.approx([0.75, 0.25, 0.9], abs=1e-15)


def test_ntire_is_a_zip_of_scores_alone(tmp_path):
    name, text = member(written("ntire", tmp_path))
    assert name == "submission.txt"
    assert [float(line) for line in text.splitlines()] == pytest.approx([0.75, 0.25, 0.9], abs=1e-15)


def test_faceforensics_is_a_zip_of_words(tmp_path):
    name, text = member(written("faceforensics", tmp_path))
    assert name.endswith(".json")
    assert json.loads(text) == {"b.mp4": "fake", "a.mp4": "real", "c.png": "fake"}


@pytest.mark.parametrize(
    ("threshold", "labels"), [(0.0, "101"), (np.log(3), "101"), (np.log(4), "001"), (-np.inf, "111"), (np.inf, "000")]
)
def test_aifactory_has_labels_from_a_logit_on(tmp_path, threshold, labels):
    rows = csv_rows(written("aifactory", tmp_path, threshold=threshold))
    assert rows[0] == ["filename", "label"] and "".join(row[1] for row in rows[1:]) == labels


@pytest.mark.parametrize(
    ("logits", "threshold", "labels"),
    [((60, 45, 10), 40, "110"), ((-60, -45, -10), -40, "001"), ((60, 45, 44), 45, "110")],
)
def test_sure_logits_are_told_apart_by_a_threshold_that_is_as_sure(tmp_path, logits, threshold, labels):
    rows = csv_rows(written("aifactory", tmp_path, TABLE.assign(logit=np.array(logits, float)), threshold=threshold))
    assert "".join(row[1] for row in rows[1:]) == labels


def test_the_table_of_formats_is_light():
    """The configuration lists them, and `--help` waits for that."""
    code = "import sys, deepfake.score.formats; assert not {'numpy', 'pandas', 'scipy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=Path(deepfake.__file__).parents[1], check=True)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_read_is_how_fake_a_medium_is(tmp_path, name):
    rows = FORMATS[name].read(written(name, tmp_path))
    assert rows["name"].tolist() == (["", "", ""] if name == "ntire" else TABLE["name"].tolist())
    decided = [1.0, 0.0, 1.0] if name in ("faceforensics", "aifactory") else [0.75, 0.25, 0.9]
    assert rows.score.tolist() == pytest.approx(decided, abs=1e-15)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_scores_give_the_same_bytes(tmp_path, name):
    first, second = written(name, tmp_path / "a"), written(name, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("name", ["csv", "spcup", "avdeepfake1m", "ntire"])
def test_neighbouring_scores_stay_apart_and_none_is_certain(tmp_path, name):
    logits = np.concatenate([[-1e4], np.arange(-30, 0, 0.01), [-1e-12, 0, 1e-12], np.arange(0.01, 20, 0.01), [1e4]])
    table = pd.DataFrame({"name": [f"{number}.mp4" for number in range(len(logits))], "logit": logits})
    path = written(name, tmp_path, table)
    text = member(path)[1] if name == "ntire" else path.read_text()
    scores = [float(line.replace(";", ",").split(",")[-1]) for line in text.splitlines() if line[-1].isdigit()]
    assert len(scores) == len(logits) and min(scores) > 0 and max(scores) < 1
    steps = np.diff(scores if name != "spcup" else scores[::-1])
    assert (steps >= 0).all() and (steps > 0).mean() > (0.999 if name != "spcup" else 0.8)


def test_a_sample_gives_its_column_names(tmp_path):
    sample = pd.DataFrame({"id": ["b"], "score": ["0"]})
    FORMATS["dfdc"].like(sample).write(TABLE, tmp_path / "x.csv")
    assert csv_rows(tmp_path / "x.csv")[0] == ["id", "score"]
    assert [name for name, form in FORMATS.items() if not form.takes_sample] == [
        *("avdeepfake1m", "ntire", "faceforensics")
    ]


def test_names_with_separators_are_kept_whole(tmp_path):
    table = pd.DataFrame({"name": ['a,"b;c.mp4', "é.mp4"], "logit": [0.0, 1.0]})
    for name in ("csv", "avdeepfake1m", "faceforensics"):
        assert FORMATS[name].read(written(name, tmp_path, table))["name"].tolist() == list(table["name"])


def test_a_logit_that_is_not_finite_is_our_own_mistake_and_writes_nothing(tmp_path):
    with pytest.raises(AssertionError):
        written("csv", tmp_path, TABLE.assign(logit=np.nan))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", "filename,label\na.mp4,high\n", "'high' is no score"),
        ("csv", "filename,label\na.mp4,0.5,1\n", "line 2 has 3 fields"),
        ("csv", 'filename,label\n"a.mp4,0.5\n', "is not readable"),
        ("csv", b"\xff\xfe", "not UTF-8 text"),
        ("ntire", "0.5\n", "not a zip of submission.txt"),
        ("aifactory", "filename,label\na.mp4,0.5\n", "'0.5' is no score"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name, content, message):
    path = tmp_path / FORMATS[name].file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        FORMATS[name].read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["ntire", "faceforensics"])
def test_a_zip_with_any_damage_is_read_or_refused(tmp_path, name, monkeypatch):
    rng, refused = np.random.default_rng(0), 0
    table = pd.DataFrame({"name": [f"{number}.png" for number in range(40)], "logit": rng.normal(size=40)})
    path = written(name, tmp_path, table)
    whole = path.read_bytes()
    damaged = [whole[:-1], whole[:20], b""]
    for place in range(len(whole)):
        damaged.append(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
    for data in damaged:
        monkeypatch.setattr(Path, "read_bytes", lambda path, data=data: data)  # a thousand files would take a while
        try:
            FORMATS[name].read(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error) and not str(error).endswith("()")
    assert refused > len(whole) / 2


def test_json_without_end_is_refused_in_one_line(tmp_path):
    path = tmp_path / "submission.zip"
    for text in ("[" * 100_000, '{"a.png": ' * 100_000):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("submission.json", text)
        with pytest.raises(UserError, match="no JSON object") as caught:
            FORMATS["faceforensics"].read(path)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["0.1_5", "٠.٥", "1e٣", " 0.5", "0.5\n", "0x1", "1e", ".", "", "naN1", "ınf"])
def test_only_plain_decimals_are_numbers(text):
    assert number(text) is None


@pytest.mark.parametrize("text", ["0", "1.", ".5", "+0.25", "-2.5E-1", "1e999", "NaN", "-inf", "Infinity"])
def test_every_plain_decimal_is_the_number_that_it_says(text):
    assert number(text) == pytest.approx(float(text), nan_ok=True)


@pytest.mark.parametrize("first", ["a.mp4, 0.5", "a.mp4,0.1_5", "a.mp4,nan"])
def test_a_first_line_with_a_score_in_any_spelling_is_no_header(tmp_path, first):
    path = tmp_path / "submission.csv"
    path.write_text(f"{first}\nb.mp4,0.5\n")
    content = FORMATS["csv"].content(path)
    assert content.header == () and content.rows["name"].tolist() == ["a.mp4", "b.mp4"]
