"""multi-FFDI: trainset_label.txt and valset_label.txt (img_name or video_name, target) and the folders they label."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from deepfake.sources.base import Contradiction, Layout, Row, no_file, part_of, part_of_folder, unlabelled
from deepfake.sources.labels import Line, read_lines, said_twice
from deepfake.sources.tree import Tree

_LABEL_FILE = re.compile(r"((?:train|val|test)_?(?:set)?)_?labels?\.txt", re.IGNORECASE)


def recognise(tree: Tree) -> str | None:
    """The first label file, of a train or val set."""
    files = [file for file, part in _label_files(tree) if part != "test"]
    return f"{files[0]} is there" if files else None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """Train and val rows are labelled, so both are `train`. A val or test set without a label file is `test`."""
    named = set()
    label_files = _label_files(tree)
    for file, part in label_files:
        for found in _read_label_file(tree, file, part):
            named.add(found.path)
            yield found
    without_labels = {"val", "test"} - {part for _, part in label_files}
    for path in tree.media:
        if path not in named:
            # A competition's first phase keeps the labels of its validation set and asks for predictions of it.
            asked_for = part_of(path) in without_labels
            yield Row(path, "test") if asked_for else unlabelled(path, "no label file names it")


def _label_files(tree: Tree) -> list[tuple[str, str]]:
    """Each label file and the part (train, val, test) that it labels."""
    found = []
    for file in sorted(tree.others):
        match = _LABEL_FILE.fullmatch(posixpath.basename(file))
        part = part_of_folder(match[1]) if match else None
        if part:
            found.append((file, part))
    return found


def _read_label_file(tree: Tree, file: str, part: str) -> Iterator[Row | Contradiction]:
    said = []
    for line in read_lines(tree.root / file):
        paths = _find(tree, file, line, part)
        if len(paths) == 1 and line.label is not None:
            said.append((paths[0], line.label))
            yield Row(paths[0], "test" if part == "test" else "train", line.label)
        elif len(paths) > 1:
            yield Contradiction(line.name, "ambiguous_name", f"{line.where} may mean {' or '.join(paths[:2])}")
        elif not paths:
            yield no_file(tree, posixpath.join(posixpath.dirname(file), line.name), line.where)
    yield from said_twice(said, file)


def _find(tree: Tree, file: str, line: Line, part: str) -> list[str]:
    """The media that a line may mean: those in a folder of its part, or else those in no part's folder."""
    paths = tree.finder.find(line.name, posixpath.dirname(file))
    return [path for path in paths if part_of(path) == part] or [path for path in paths if part_of(path) is None]


LAYOUT = Layout("trainset_label.txt or valset_label.txt (img_name or video_name, target)", recognise, read)
