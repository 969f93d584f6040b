"""What all readers share: the rows and contradictions that they yield, and how a layout describes itself."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from deepfake.sources.tree import Tree

PARTS = {
    "train": ("train", "training", "trainset", "trainingset", "trainvideos", "trainsamplevideos", "trainimages"),
    "val": ("val", "valid", "validation", "valset", "validset", "validationset", "dev"),
    "test": ("test", "testing", "testset", "testingset", "testvideos", "testimages"),
}
_PART_OF_FOLDER = {synonym: part for part, synonyms in PARTS.items() for synonym in synonyms}


class Row(NamedTuple):
    """One medium as its layout knows it. `read_dataset` completes it: a real's method is "real", its source itself."""

    path: str
    split: str
    label: int | None = None
    method: str | None = None
    source_id: str | None = None
    donor_id: str | None = None


class Contradiction(NamedTuple):
    """Something below the root that does not fit together. `error` is one of

    label_without_file   a label names a file that is not there
    file_without_label   a file of the training part has no label; left out
    two_labels           two labels, or two splits, for one file; left out (a test row stays, without a label)
    listed_twice         listed more than once, each time with the same label; kept once
    ambiguous_name       a label's name fits several files; the label is left out
    not_media            a label names a file that is neither video nor image
    unknown_name         the layout carries meaning in its file names, and this one has another form; left out
    """

    path: str
    error: str
    detail: str


@dataclass(frozen=True)
class Layout:
    """How one kind of folder is recognised and read. Both raise UserError on a label file that cannot be read."""

    about: str
    """What is looked for, in a line."""
    recognise: Callable[[Tree], str | None]
    """Gives what a folder was recognised by; None when it is not of this layout."""
    read: Callable[[Tree], Iterator[Row | Contradiction]]
    """Yields what lies in a folder that was recognised."""


@lru_cache(maxsize=4096)
def squash(name: str) -> str:
    """A folder's name without case and separators: `Train_Videos` and `train-videos` are one."""
    return re.sub(r"[\s_.-]+", "", name.lower())


def folders_of(path: str) -> list[str]:
    """The folders a file lies in, outermost first."""
    return path.split("/")[:-1]


def part_of_folder(name: str) -> str | None:
    """train, val or test when a folder is called so, None otherwise."""
    return _PART_OF_FOLDER.get(squash(name))


def part_of(path: str) -> str | None:
    """train, val or test by the outermost folder that is called so, None when none is."""
    return next(filter(None, map(part_of_folder, folders_of(path))), None)


def split_of(path: str) -> str:
    """`test` below a test folder; everything else, validation too, is `train`."""
    return "test" if part_of(path) == "test" else "train"


def origin_of(path: str) -> str:
    """Where a medium comes from: the folders that it lies in, without those that say train, val or test."""
    return "/".join(folder for folder in folders_of(path) if part_of_folder(folder) is None) or "."


def unlabelled(path: str, why: str) -> Row | Contradiction:
    """What a file without a label is: a test row below a test folder, a contradiction elsewhere."""
    return Row(path, "test") if split_of(path) == "test" else Contradiction(path, "file_without_label", why)


def no_file(tree: Tree, path: str, where: str) -> Contradiction:
    """The contradiction of a label file's line (`where`) that names `path`, which is no medium below the root."""
    if path in tree.others:
        return Contradiction(path, "not_media", f"{where} names it, and its suffix is not one of a video or an image")
    return Contradiction(path, "label_without_file", f"{where} names it, and there is no such file")


def stem(path: str) -> str:
    """File name without folders and suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]
