"""DFDC: part folders of videos, each with a metadata.json; a test folder without labels, or with a labels.csv."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TypeGuard

from deepfake.errors import UserError
from deepfake.sources.base import Contradiction, Layout, Row, no_file, split_of, unlabelled
from deepfake.sources.files import read_json
from deepfake.sources.labels import parse_label, parse_split, read_lines
from deepfake.sources.tree import Tree


def recognise(tree: Tree) -> str | None:
    """The first metadata.json of DFDC's form. UserError when a metadata.json is malformed."""
    for file in tree.other("metadata.json"):
        entries = read_json(tree.root / file)
        if _has_dfdc_form(entries) and any("label" in info for info in entries.values()):
            return f"{file} gives videos a label"
    return None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """Labelled videos lie beside their metadata.json or labels.csv; the others in a test folder are test rows."""
    named = set()
    for found in _labelled(tree):
        named.add(found.path)
        yield found
    for path in tree.media:
        if path not in named:
            yield unlabelled(path, "no metadata.json beside it gives it a label")


def _labelled(tree: Tree) -> Iterator[Row | Contradiction]:
    for file in tree.other("metadata.json"):
        yield from _read_metadata(tree, file)
    for file in tree.other("labels.csv"):
        for line in read_lines(tree.root / file):
            path = posixpath.join(posixpath.dirname(file), line.name)
            if path not in tree.finder.paths:
                yield no_file(tree, path, line.where)
            elif line.label is not None:
                yield Row(path, split_of(path), line.label)


def _read_metadata(tree: Tree, file: str) -> Iterator[Row | Contradiction]:
    """Rows of one metadata.json. A fake's source is its `original`; a video without an original is its own source."""
    entries = read_json(tree.root / file)
    if not _has_dfdc_form(entries):
        raise UserError(f"{tree.root / file} is not of DFDC's form {{video: {{label: REAL or FAKE, original}}}}")
    for video, info in entries.items():
        where = f"{tree.root / file}: {video}"
        path = posixpath.join(posixpath.dirname(file), video)
        label = parse_label(info.get("label"), where)
        # The competition's own files say "train" of every video, even in its test folder: there the folder decides.
        split = "test" if split_of(path) == "test" else parse_split(info.get("split"), where) or "train"
        if path not in tree.finder.paths:
            yield no_file(tree, path, file)
        elif label is not None:
            yield Row(path, split, label, source_id=str(info.get("original") or video))


def _has_dfdc_form(entries: object) -> TypeGuard[dict[str, dict[str, object]]]:
    return isinstance(entries, dict) and all(isinstance(info, dict) for info in entries.values())


LAYOUT = Layout("metadata.json files of the form {video: {label: REAL or FAKE}} beside the videos", recognise, read)
