"""The journal of finished media: what a kill, other settings and a second entry leave of it."""

import json

import pytest

from deepfake.media.journal import Journal


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "set" / "journal.jsonl", "settings")


def write(journal, *entries, kept=()):
    with journal.open(kept) as handle:
        handle.writelines(json.dumps(entry) + "\n" for entry in entries)


A, B, C = ({"media_id": f"{name}.mp4", "rows": [number], "note": None} for number, name in enumerate("abc"))


def test_what_is_written_is_read_in_that_order(journal):
    assert (list(journal.read()), journal.is_of_other_settings()) == ([], False)
    write(journal, B, A)
    assert (list(journal.read()), journal.is_of_other_settings()) == ([B, A], False)


def test_a_name_with_any_characters_comes_back(journal):
    entry = {"media_id": 'ä "{media_id": \\ ☃.mp4'}
    write(journal, entry)
    write(journal, A, kept=[entry["media_id"]])
    assert list(journal.read()) == [entry, A]


def test_opened_again_it_keeps_the_entries_of_the_named_media_alone(journal):
    write(journal, A, B, C)
    write(journal, kept=["a.mp4", "c.mp4", "unknown.mp4"])
    assert list(journal.read()) == [A, C]


def test_of_two_entries_the_newer_one_counts(journal):
    newer = A | {"rows": [7]}
    write(journal, A, B, newer)
    assert list(journal.read()) == [B, newer]
    write(journal, C, kept=["a.mp4", "b.mp4"])
    assert list(journal.read()) == [B, newer, C]


def test_a_journal_of_other_settings_is_thrown_away(journal):
    write(journal, A)
    other = Journal(journal.path, "others")
    assert (list(other.read()), other.is_of_other_settings()) == ([], True)
    write(other, B, kept=["a.mp4"])
    assert (list(other.read()), list(journal.read())) == ([B], [])


def test_a_line_that_a_kill_tore_or_that_is_damaged_costs_its_medium_alone(journal):
    write(journal, A, B)
    whole = journal.path.read_bytes()
    for tear in range(whole.index(b'{"media_id": "b.mp4"'), len(whole)):
        journal.path.write_bytes(whole[:tear])
        assert list(journal.read()) == [A], tear
        write(journal, C, kept=["a.mp4", "b.mp4"])
        assert list(journal.read()) == [A, C], tear
    journal.path.write_bytes(whole.replace(b'"rows": [0]', b'"rows": [0}') + b"\xff\xfe\n{}\n")
    assert list(journal.read()) == [B]
