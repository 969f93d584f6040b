"""CSV, JSON and text files read strictly: what cannot be understood is a UserError with the file and the line."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

from deepfake.errors import UserError


def read_text(file: Path, errors: str = "strict") -> str:
    """A file's text, without a byte-order mark; UserError when it cannot be read or is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def read_json(file: Path) -> object:
    """A JSON file's value; UserError when it is malformed or names a key twice."""
    text = read_text(file)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON: {error}; fetch or repair the file") from error


def read_csv(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names in lower case, and (line number, cells by column) of each record that is not blank.

    UserError when a record has more or fewer fields than the header, or the header names a column twice.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if len(set(columns)) < len(columns):
            raise csv.Error("the header names a column twice")
        records = []
        for record in filter(None, reader):
            if len(record) != len(columns):
                raise csv.Error(f"{len(record)} fields where the header has {len(columns)}")
            records.append((reader.line_num, dict(zip(columns, map(str.strip, record), strict=True))))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}; repair the file") from error
    return columns, records


def columns_of(file: Path) -> list[str]:
    """The column names that a CSV file begins with, in lower case; nonsense for a file that is no CSV."""
    header = read_text(file, errors="replace").partition("\n")[0][:65536]
    return [name.strip().lower() for name in next(csv.reader([header]), [])]


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice!r} stands in it twice")
    return value
