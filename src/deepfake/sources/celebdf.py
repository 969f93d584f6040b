"""Celeb-DF: Celeb-real/, YouTube-real/, Celeb-synthesis/idTARGET_idDONOR_NNNN.mp4 and List_of_testing_videos.txt."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from deepfake.errors import UserError
from deepfake.sources.base import Contradiction, Layout, Row, no_file, squash, stem, unlabelled
from deepfake.sources.files import read_text
from deepfake.sources.tree import Tree

_LIST = "list_of_testing_videos.txt"  # as Tree.other compares names, in lower case
# Squashed class folder: its label, and the form of its names (target, and donor if there is one).
_CLASSES = {
    "celebreal": (0, re.compile(r"(id\d+)()_\d+")),
    "youtubereal": (0, re.compile(r"(\d+)()")),
    "celebsynthesis": (1, re.compile(r"(id\d+)_(id\d+)_\d+")),
}


class _Clip(NamedTuple):
    """What the list of testing videos knows a clip by: its class folder, squashed, and its name without suffix."""

    folder: str
    name: str


def recognise(tree: Tree) -> str | None:
    """A folder Celeb-synthesis, or the list of testing videos."""
    listed = tree.other(_LIST)
    if listed:
        return f"{listed[0]} is there"
    fake = (path for path in tree.media if (clip := _clip(path)) and clip.folder == "celebsynthesis")
    return "Celeb-synthesis/ is there" if next(fake, None) else None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """Listed clips are the test split, with their labels where list and folder agree."""
    labels: dict[_Clip, set[int]] = defaultdict(set)
    missing: dict[_Clip, str] = {}
    for file in tree.other(_LIST):
        for listed, label, path in _read_list(tree, file):
            labels[listed].add(label)
            missing[listed] = path
    for path in tree.media:
        clip = _clip(path)
        if clip is None:
            yield unlabelled(path, "not below Celeb-real/, YouTube-real/ or Celeb-synthesis/")
            continue
        missing.pop(clip, None)
        if clip in labels and labels[clip] != {_CLASSES[clip.folder][0]}:
            yield Contradiction(path, "two_labels", "List_of_testing_videos.txt gives it another label than its folder")
            yield Row(path, "test")
        else:
            yield _row(path, clip, "test" if clip in labels else "train")
    for path in missing.values():
        yield no_file(tree, path, "List_of_testing_videos.txt")


def _clip(path: str) -> _Clip | None:
    """The clip a file is, or is a frame of; None outside the three class folders."""
    parts = path.split("/")
    for index, folder in enumerate(parts[:-1]):
        if squash(folder) in _CLASSES:
            name = next((part for part in parts[index + 1 :] if part not in ("videos", "frames")), parts[-1])
            return _Clip(squash(folder), stem(name))
    return None


def _row(path: str, clip: _Clip, split: str) -> Row | Contradiction:
    label, form = _CLASSES[clip.folder]
    match = form.fullmatch(clip.name)
    if match is None:
        return Contradiction(path, "unknown_name", f"{clip.name!r} is not of the form of its folder's names")
    source_id = f"youtube_{match[1]}" if clip.folder == "youtubereal" else match[1]
    return Row(path, split, label, None, source_id, match[2] or None)


def _read_list(tree: Tree, file: str) -> Iterator[tuple[_Clip, int, str]]:
    """Each listed clip, its label (1 in the file is a real) and its path; UserError on a line of another form."""
    for number, line in enumerate(read_text(tree.root / file).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        clip = _clip(words[1]) if len(words) == 2 else None
        if clip is None or words[0] not in ("0", "1"):
            raise UserError(f"{tree.root / file}, line {number}: {line!r} is not like '1 Celeb-real/id0_0001.mp4'")
        yield clip, 1 - int(words[0]), words[1]


LAYOUT = Layout("a folder Celeb-synthesis/, or List_of_testing_videos.txt", recognise, read)
