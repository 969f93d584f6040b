"""Understanding label files: labels, splits and the lines of a CSV; an error names the file and the line."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from deepfake.errors import UserError
from deepfake.sources.base import Contradiction, part_of_folder
from deepfake.sources.files import read_csv

NAME_COLUMNS = ("path", "filename", "file_name", "file", "name", "img_name", "image_name", "video_name")
LABEL_COLUMNS = ("label", "target")
_LABELS = {"0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}


class Line(NamedTuple):
    """One line of a label file."""

    where: str
    """`labels.csv, line 7`."""
    name: str
    """The file that it names, as a normal posix path."""
    label: int | None
    cells: dict[str, str]
    """By column, in lower case."""


def parse_label(value: object, where: str) -> int | None:
    """0 real, 1 fake, None for an empty value; UserError for anything else."""
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return None
    if text not in _LABELS:
        raise UserError(f"{where}: label {value!r} is not understood; allowed: 0, 1, real, fake (any case), or empty")
    return _LABELS[text]


def parse_split(value: object, where: str) -> str | None:
    """train (validation too) or test, None for an empty value; UserError for anything else."""
    if not value:
        return None
    part = part_of_folder(str(value))
    if part is None:
        raise UserError(f"{where}: split {value!r} is not understood; allowed: train, val, test, or empty")
    return "test" if part == "test" else "train"


def read_lines(file: Path, names: tuple[str, ...] = NAME_COLUMNS, *, needs_label: bool = True) -> list[Line]:
    """The lines of a CSV file whose name column is the first of `names` that it has.

    UserError when the file cannot be read, a column is missing, a name is empty or a label is not understood.
    """
    columns, records = read_csv(file)
    name_column = _first(names, columns, file)
    has_label = not set(LABEL_COLUMNS).isdisjoint(columns)
    label_column = _first(LABEL_COLUMNS, columns, file) if needs_label or has_label else None
    lines = []
    for number, cells in records:
        where = f"{file.name}, line {number}"
        if not cells[name_column]:
            raise UserError(f"{file}, line {number}: the {name_column} is empty")
        label = parse_label(cells[label_column], f"{file}, line {number}") if label_column else None
        lines.append(Line(where, posixpath.normpath(cells[name_column].replace("\\", "/")), label, cells))
    return lines


def said_twice(said: Iterable[tuple[str, object]], where: str) -> Iterator[Contradiction]:
    """A contradiction for each (path, what a file says of it) that the file repeats."""
    for (path, _), times in Counter(said).items():
        if times > 1:
            yield Contradiction(path, "listed_twice", f"{where} says the same of it {times} times")


def _first(names: tuple[str, ...], columns: list[str], file: Path) -> str:
    for name in names:
        if name in columns:
            return name
    raise UserError(f"{file} has no column {' or '.join(names)}; its columns: {', '.join(columns) or 'none'}")
