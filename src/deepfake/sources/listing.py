"""A CSV that names the media: `path` and, where known, label, method, source_id, donor_id, split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from deepfake.errors import UserError
from deepfake.sources.base import Contradiction, Layout, Row, no_file
from deepfake.sources.files import columns_of
from deepfake.sources.labels import Line, parse_split, read_lines, said_twice
from deepfake.sources.tree import Tree

_NOT_LISTINGS = ("test_labels.csv", "sample_submission.csv")
_SOURCE_COLUMNS = ("source_id", "group_id", "group")


def recognise(tree: Tree) -> str | None:
    """The only CSV directly below the root that has a `path` column; None when there are several."""
    file = _find(tree)
    return f"{file} has a `path` column" if file else None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """The rows of the listing that `recognise` found."""
    file = _find(tree)
    assert file is not None, "read follows recognise"
    return read_listing(tree, tree.root / file)


def read_listing(tree: Tree, file: Path) -> Iterator[Row | Contradiction]:
    """Rows of `file`, whose paths are relative to the tree's root. Media that it does not name are left out.

    Without a split, a medium with a label is `train` and one without is `test`. UserError on a path outside the root.
    """
    said = []
    prefixes = [f"{folder}/" for folder in (os.path.abspath(tree.root), os.path.realpath(tree.root))]
    for line in read_lines(file, ("path",), needs_label=False):
        path = _below_root(line.name, prefixes, f"{file}, {line.where}")
        if path not in tree.finder.paths:
            yield no_file(tree, path, line.where)
            continue
        said.append((path, (line.label, line.cells.get("split"))))
        yield _row(path, line, file)
    yield from said_twice(said, file.name)


def _row(path: str, line: Line, file: Path) -> Row | Contradiction:
    cells = line.cells
    given = parse_split(cells.get("split"), f"{file}, {line.where}")
    split = given or ("test" if line.label is None else "train")
    if split == "train" and line.label is None:
        return Contradiction(path, "file_without_label", f"{line.where} has it in the training part, without a label")
    source_id = next((cells[column] for column in _SOURCE_COLUMNS if cells.get(column)), None)
    return Row(path, split, line.label, cells.get("method") or None, source_id, cells.get("donor_id") or None)


def _find(tree: Tree) -> str | None:
    files = [file for file in tree.others if "/" not in file and file.lower().endswith(".csv")]
    files = [file for file in files if file.lower() not in _NOT_LISTINGS and "path" in columns_of(tree.root / file)]
    return files[0] if len(files) == 1 else None


def _below_root(path: str, prefixes: list[str], where: str) -> str:
    """A listed path, relative to the root, which has the names `prefixes`; UserError when it lies elsewhere."""
    for prefix in prefixes:
        path = path.removeprefix(prefix)
    if path.startswith(("/", "../")):
        raise UserError(f"{where}: {path} lies outside {prefixes[0]}; list paths relative to it, or link them into it")
    return path


LAYOUT = Layout("one CSV directly below the root that has a `path` column", recognise, read)
