"""A data set's folder as names only: which files are media, which are not, and how to find one by its name."""

from __future__ import annotations

import heapq
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deepfake.errors import UserError

_CONTAINERS = (".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
_RAW_STREAMS = (".h264", ".h265")
VIDEO_SUFFIXES = frozenset((*_CONTAINERS, *_RAW_STREAMS))
IMAGE_SUFFIXES = frozenset((".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
Folder = tuple[str, str]  # its name below the root, and its real path


class Finder:
    """Finds paths by the names that label files use: a whole path, its end, or the bare file name."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = frozenset(paths)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            self._by_name[posixpath.basename(path)].append(path)

    def find(self, name: str, near: str = "") -> list[str]:
        """Paths that `name`, used in folder `near`, may mean; more than one = ambiguous.

        The nearest reading wins: `near/name`, then `name` below the root, then paths below `near` that end in `name`,
        then any paths that end in `name`.
        """
        for exact in (posixpath.join(near, name), name):
            if exact in self.paths:
                return [exact]
        ending = [path for path in self._by_name.get(posixpath.basename(name), ()) if f"/{path}".endswith(f"/{name}")]
        return [path for path in ending if path.startswith(f"{near}/")] or ending


@dataclass(frozen=True)
class Tree:
    """What lies below a folder, as posix paths relative to it."""

    root: Path
    media: tuple[str, ...]
    """Sorted."""
    others: frozenset[str]
    """Files that are not media."""

    @cached_property
    def finder(self) -> Finder:
        """Finds media by name."""
        return Finder(self.media)

    def other(self, *names: str) -> list[str]:
        """The non-media files that have one of `names` (in lower case), whatever their case and depth; sorted."""
        return sorted(path for path in self.others if posixpath.basename(path).lower() in names)


def kind_of(path: str) -> str:
    """`video` or `image`, by the suffix of a medium."""
    return "video" if posixpath.splitext(path)[1].lower() in VIDEO_SUFFIXES else "image"


def scan(root: Path) -> Tree:
    """Names below `root`, without hidden files and `__MACOSX`. UserError when it is no folder or cannot be read.

    A folder that several symbolic links lead to is read once: under its real name where that lies below `root`.
    """
    if not root.is_dir():
        fault = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {fault}: give the folder of the raw media")
    files: list[str] = []
    folders: list[Folder] = [("", os.path.realpath(root))]
    links: list[Folder] = []
    seen: set[str] = set()
    while folders or links:
        below, real = folders.pop() if folders else heapq.heappop(links)
        if real not in seen:
            seen.add(real)
            _list_folder(below, real, files, folders, links)
    media = [path for path in files if posixpath.splitext(path)[1].lower() in MEDIA_SUFFIXES]
    return Tree(root, tuple(sorted(media)), frozenset(files).difference(media))


def _list_folder(below: str, real: str, files: list[str], folders: list[Folder], links: list[Folder]) -> None:
    """Add one folder's entries to `files`, `folders` and the heap `links`, by their names below the root."""
    try:
        for entry in os.scandir(real):
            path = posixpath.join(below, entry.name)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_file():
                files.append(_utf8(path))
            elif entry.is_dir() and entry.is_symlink():
                heapq.heappush(links, (path, os.path.realpath(entry.path)))
            elif entry.is_dir():
                folders.append((path, os.path.join(real, entry.name)))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _utf8(path: str) -> str:
    """`path`, or UserError: every table downstream is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path!a}: this file's name is not UTF-8; rename it") from error
    return path
