"""From what a reader yields to the media rows: each path once, test labels filled in, gaps completed, sorted."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator

import pandas as pd

from deepfake.sources.base import Contradiction, Row, part_of
from deepfake.sources.labels import read_lines
from deepfake.sources.tree import Finder, Tree, kind_of
from deepfake.tables import MEDIA

COLUMNS = ("path", "kind", "split", "label", "method", "source_id", "donor_id")
Answer = tuple[int | None, str | None]  # label and method that a test_labels.csv gives


def assemble(tree: Tree, found: Iterable[Row | Contradiction]) -> tuple[pd.DataFrame, list[Contradiction]]:
    """The media frame (`COLUMNS`, sorted by path, typed as the media table) and every contradiction, sorted."""
    rows, contradictions = _part(found)
    rows, more = _part(_one_row_a_path(rows))
    contradictions += more
    rows, more = _part(_with_test_labels(tree, rows))
    contradictions += more
    records = [{"kind": kind_of(row.path)} | _completed(row)._asdict() for row in sorted(rows)]
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    frame = frame.astype({name: MEDIA.columns[name].dtype for name in COLUMNS})
    return frame, sorted(contradictions)


def _part(found: Iterable[Row | Contradiction]) -> tuple[list[Row], list[Contradiction]]:
    rows: list[Row] = []
    contradictions: list[Contradiction] = []
    for one in found:
        if isinstance(one, Row):
            rows.append(one)
        else:
            contradictions.append(one)
    return rows, contradictions


def _one_row_a_path(rows: Iterable[Row]) -> Iterator[Row | Contradiction]:
    """The first row of each path; none where its rows differ in label or split.

    A test row must be predicted, so it stays, without a label.
    """
    by_path: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_path[row.path].append(row)
    for path, twins in by_path.items():
        said = sorted({f"label {'none' if row.label is None else row.label} in {row.split}" for row in twins})
        if len(said) == 1:
            yield twins[0]
            continue
        yield Contradiction(path, "two_labels", " and ".join(said))
        if {row.split for row in twins} == {"test"}:
            yield twins[0]._replace(label=None, method=None)


def _with_test_labels(tree: Tree, rows: list[Row]) -> Iterator[Row | Contradiction]:
    """`rows`; test rows get the label and method that a test_labels.csv gives them, which only feed a printed score."""
    tests = Finder([row.path for row in rows if row.split == "test"])
    answers: dict[str, set[Answer]] = defaultdict(set)
    for found in _answers(tree, tests):
        if isinstance(found, Row):
            answers[found.path].add((found.label, found.method))
        else:
            yield found
    for row in rows:
        yield from _answered(row, answers.get(row.path, set()))


def _answered(row: Row, answers: set[Answer]) -> Iterator[Row | Contradiction]:
    labels = {label for label, _ in answers} | {row.label} - {None}
    if len(labels) > 1:
        yield Contradiction(row.path, "two_labels", "its test labels differ from one another or from its place")
        yield row._replace(label=None, method=None)
    else:
        methods = sorted(method for _, method in answers if method)
        yield row._replace(label=next(iter(labels), None), method=row.method or next(iter(methods), None))


def _answers(tree: Tree, tests: Finder) -> Iterator[Row | Contradiction]:
    """Label and method of test rows, from each test_labels.csv at the root or in a test folder."""
    for file in tree.other("test_labels.csv"):
        folder = posixpath.dirname(file)
        if folder and part_of(file) != "test":
            continue
        for line in read_lines(tree.root / file):
            paths = tests.find(line.name, folder)
            if len(paths) > 1:
                yield Contradiction(line.name, "ambiguous_name", f"{line.where} may mean {' or '.join(paths[:2])}")
            elif paths and line.label is not None:
                yield Row(paths[0], "test", line.label, line.cells.get("method") or None)
            # A file that exists but is no test row does no harm: it is not listed, or has its label from elsewhere.
            elif not paths and not tree.finder.find(line.name, folder):
                yield Contradiction(line.name, "label_without_file", f"{line.where} names it; there is no such file")


def _completed(row: Row) -> Row:
    """A real's method is "real" and it is its own source; a fake's method is "fake" until more is known."""
    if row.label == 0:
        return row._replace(method="real", source_id=row.source_id or row.path)
    return row._replace(method=row.method or "fake") if row.label == 1 else row
