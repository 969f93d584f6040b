"""Files that are named one by one, by folder or by pattern."""

import pytest

from deepfake.errors import UserError
from deepfake.sources.named import find_named


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with media and others."""
    for name in ("clips/b.mp4", "clips/a.MP4", "clips/deep/c.png", "clips/notes.txt", "odd[1].jpg", "nameless"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "media", "others"),
    [
        ("clips/b.mp4", ["clips/b.mp4"], []),
        ("nameless", ["nameless"], []),
        ("odd[1].jpg", ["odd[1].jpg"], []),
        ("clips", ["clips/a.MP4", "clips/b.mp4", "clips/deep/c.png"], ["clips/notes.txt"]),
        ("clips/*.mp4", ["clips/b.mp4"], []),
        ("./clips//b.mp4\nclips/./b.mp4\nclips/*.mp4", ["clips/b.mp4"], []),
        ("clips/**", ["clips/a.MP4", "clips/b.mp4", "clips/deep/c.png"], ["clips/notes.txt"]),
        (
            "clips/b.mp4\nclips/notes.txt\nclips",
            ["clips/b.mp4", "clips/notes.txt", "clips/a.MP4", "clips/deep/c.png"],
            [],
        ),
    ],
)
def test_what_a_name_means(text, media, others):
    found = find_named(text)
    assert list(found.media) == media
    assert list(found.others) == others


def test_a_file_by_two_names_counts_once(here):
    assert find_named(f"clips/b.mp4\n{here / 'clips/b.mp4'}").media == ("clips/b.mp4",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no.mp4", "no.mp4: there is no such file or folder"),
        ("*.avi", r"\*.avi: nothing matches it"),
        ("clips/*.txt", "no video and no image, but clips/notes.txt"),
        ("empty", "empty: no video and no image$"),
    ],
)
def test_what_names_no_medium_is_answered(here, text, words):
    (here / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        find_named(text)
