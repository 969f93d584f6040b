"""The contracts: what a table refuses, that writing is whole or not at all, and provenance."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from deepfake.contract import Column, Table
from deepfake.errors import UserError
from deepfake.files import digest, replacing, sha256, write_json
from deepfake.provenance import Provenance, differences, is_current, provenance_path, read_provenance
from deepfake.tables import FACES, FOLDS, MEDIA, TABLES

TOY = Table(
    "toy",
    "rows to play with",
    ("name",),
    {
        "name": Column("string", "its name"),
        "kind": Column("string", "a or b", nullable=True, allowed=("a", "b")),
        "count": Column("int32", "how many"),
        "found": Column("bool", "whether it was"),
        "label": Column("Int8", "0 or 1", nullable=True),
        "share": Column("float32", "a part", nullable=True),
    },
)


def toy(**changes):
    rows = {"name": ["x", "y"], "kind": ["a", None], "count": [1, 2], "found": [True, False]}
    return pd.DataFrame(rows | {"label": [1, None], "share": [0.5, None]} | changes)


# --- what is refused


def test_a_checked_table_has_its_columns_in_order_and_typed():
    checked = TOY.check(toy()[["share", "label", "found", "count", "kind", "name"]].set_index(pd.Index([7, 3])))
    assert checked.dtypes.astype(str).to_dict() == {name: column.dtype for name, column in TOY.columns.items()}
    assert list(checked.index) == [0, 1]
    assert checked.isna().sum().to_dict() == {"name": 0, "kind": 1, "count": 0, "found": 0, "label": 1, "share": 1}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (toy().drop(columns="count"), r"missing columns \['count'\], unknown columns \[\]"),
        (toy(colour="red"), r"missing columns \[\], unknown columns \['colour'\]"),
        (toy(count=["many", 2]), r"wrong type .*'count'"),
        (toy(count=[np.nan, 2]), "count"),
        (toy(label=[0.5, 1]), "wrong type"),
        (toy(name=["x", None]), "1 empty values in 'name'"),
        (toy(kind=["a", "c"]), "kind = 'c'; allowed: a, b"),
        (toy(name=["x", "x"]), "1 rows repeat a key, first {'name': 'x'}"),
    ],
)
def test_what_a_table_is_not_is_said_in_one_line(frame, message):
    with pytest.raises(UserError, match=message) as caught:
        TOY.check(frame, "here.csv")
    assert str(caught.value).startswith("toy table in here.csv: ")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_an_unknown_truth_is_not_taken_for_one(missing):
    with pytest.raises(UserError, match="1 empty values in 'found'"):
        TOY.check(toy(found=[missing, True]))


@pytest.mark.parametrize("count", [1.5, 2**40])
def test_a_number_that_does_not_fit_is_not_cut_to_fit(count):
    with pytest.raises(UserError, match="count"):
        TOY.check(toy(count=[count, 2]))


def test_a_key_of_several_columns_may_repeat_in_each_alone():
    pair = replace(TOY, key=("name", "count"))
    assert len(pair.check(toy(name=["x", "x"]))) == 2
    with pytest.raises(UserError, match="repeat a key"):
        pair.check(toy(name=["x", "x"], count=[1, 1]))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_says_what_its_columns_are(table):
    assert table.about
    assert set(table.key) <= set(table.columns)
    assert [name for name, column in table.columns.items() if not column.about.strip()] == []
    assert list(table.empty().columns) == list(table.columns)
    assert len(table.empty()) == 0


# --- reading and writing


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    path = tmp_path / "deep" / f"toy{suffix}"
    written = TOY.write(toy(name=["01", 'a, "b"']), path)
    pd.testing.assert_frame_equal(TOY.read(path), written)
    pd.testing.assert_frame_equal(written, TOY.check(toy(name=["01", 'a, "b"'])))
    assert [path.name for path in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_without_rows_is_a_table(tmp_path, suffix):
    TOY.write(TOY.empty(), tmp_path / f"toy{suffix}")
    pd.testing.assert_frame_equal(TOY.read(tmp_path / f"toy{suffix}"), TOY.empty())


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("name", ["NA", "None", "null", "nan"])
def test_text_that_looks_like_nothing_is_text(tmp_path, suffix, name):
    TOY.write(toy(name=[name, "y"]), tmp_path / f"toy{suffix}")
    assert list(TOY.read(tmp_path / f"toy{suffix}").name) == [name, "y"]


def test_a_faulty_table_is_not_written_over_a_good_one(tmp_path):
    path = tmp_path / "toy.csv"
    TOY.write(toy(), path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="repeat a key"):
        TOY.write(toy(name=["x", "x"]), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["toy.parquet", "toy.csv"])
def test_a_table_that_is_not_there_names_what_to_do(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name} does not exist: run the command that writes it \(the toy table\)"):
        TOY.read(tmp_path / name)


@pytest.mark.parametrize("name", ["toy.parquet", "toy.csv"])
@pytest.mark.parametrize(
    "content", [b"", b"just text", b"\xff\xfe\x00\x01", b'name,kind\n1,"2\n', b"a,b\n1,2\n1,2,3\n"]
)
def test_a_foreign_file_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        TOY.read(tmp_path / name)


def test_another_table_is_refused(tmp_path):
    MEDIA.write(MEDIA.empty(), tmp_path / "media.parquet")
    with pytest.raises(UserError, match=r"faces table in .*media\.parquet: missing columns"):
        FACES.read(tmp_path / "media.parquet")


def test_folds_written_by_hand_are_read(tmp_path):
    (tmp_path / "own.csv").write_text("media_id,group_id,label,method,fold\na.mp4,g,0,,0\nb.mp4,g,1,GAN,1\n")
    folds = FOLDS.read(tmp_path / "own.csv")
    assert list(folds.fold) == [0, 1]
    assert list(folds.method.isna()) == [True, False]


# --- whole or not at all


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_block_ends_the_old_file_is_there(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert (path.read_text(), temporary.parent, temporary.suffix) == ("old", tmp_path, ".txt")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_the_old(tmp_path):
    path = tmp_path / "a.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


# --- provenance

MADE = Provenance("extract", {"crop": {"margin": 0.3, "range": (1, 2)}}, {"media": "ab"})


def test_a_table_is_current_for_what_made_it_alone(tmp_path):
    path = tmp_path / "toy.csv"
    assert not is_current(path, MADE)
    TOY.write(toy(), path, MADE)
    assert is_current(path, MADE)
    for other in (replace(MADE, command="index"), replace(MADE, config={}), replace(MADE, inputs={"media": "cd"})):
        assert not is_current(path, other)


def test_a_record_without_its_table_counts_for_nothing(tmp_path):
    TOY.write(toy(), tmp_path / "toy.csv", MADE)
    (tmp_path / "toy.csv").unlink()
    assert read_provenance(tmp_path / "toy.csv") is None
    assert not is_current(tmp_path / "toy.csv", MADE)


def test_a_table_without_a_record_is_never_current(tmp_path):
    TOY.write(toy(), tmp_path / "toy.csv")
    assert read_provenance(tmp_path / "toy.csv") is None
    assert not is_current(tmp_path / "toy.csv", MADE)


def test_the_record_lies_beside_the_table_and_counts_its_rows(tmp_path):
    TOY.write(toy(), tmp_path / "toy.csv", MADE)
    record = json.loads(provenance_path(tmp_path / "toy.csv").read_text())
    assert provenance_path(tmp_path / "toy.csv").name == "toy.csv.json"
    assert (record["stage"], record["rows"], record["inputs"]) == ("extract", 2, {"media": "ab"})
    assert "git_commit" in record


def test_differences_name_the_keys_and_both_values():
    old, new = {"crop": {"margin": 0.3, "size": 64}, "a": 1}, {"crop": {"margin": 0.5, "size": 64}, "b": 2}
    assert differences(old, new) == ["a: 1 → None", "b: None → 2", "crop.margin: 0.3 → 0.5"]
    assert differences(old, old) == []


def test_digests_are_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
