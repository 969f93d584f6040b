"""Media that a user names one by one, by folder or by pattern; without layout and labels."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from deepfake.errors import UserError
from deepfake.sources.tree import MEDIA_SUFFIXES, scan


@dataclass(frozen=True)
class Named:
    """The files that a user named."""

    media: tuple[str, ...]
    """Each once, in the order in which they were named."""
    others: tuple[str, ...]
    """Files whose suffix is not a medium's."""


def find_named(text: str) -> Named:
    """The files that the lines of `text` name: each line is a file, a folder or a pattern (* ? [ ] **).

    A file that is named itself counts as a medium whatever its suffix; files below a folder or of a pattern count by
    their suffix. A file that is named twice keeps its first spelling. UserError when a line names nothing, or no line
    names a medium.
    """
    media: dict[str, str] = {}
    others: dict[str, str] = {}
    for name in filter(None, text.splitlines()):
        for path, is_medium in _meant(name):
            (media if is_medium else others).setdefault(os.path.abspath(path), str(Path(path)))
    if not media:
        raise UserError(f"{', '.join(text.splitlines())}: no video and no image{_instead(list(others.values()))}")
    return Named(tuple(media.values()), tuple(path for place, path in others.items() if place not in media))


def _meant(name: str) -> list[tuple[str, bool]]:
    """(path, whether it counts as a medium) of all files that one name means."""
    if os.path.isdir(name):
        return _below(name)
    if os.path.lexists(name):
        return [(name, True)]
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        is_pattern = glob.escape(name) != name
        raise UserError(f"{name}: {'nothing matches it' if is_pattern else 'there is no such file or folder'}")
    return [each for path in found for each in (_below(path) if os.path.isdir(path) else [_by_suffix(path)])]


def _below(folder: str) -> list[tuple[str, bool]]:
    tree = scan(Path(folder))
    return [_by_suffix(os.path.join(folder, path)) for path in (*tree.media, *sorted(tree.others))]


def _by_suffix(path: str) -> tuple[str, bool]:
    return path, os.path.splitext(path)[1].lower() in MEDIA_SUFFIXES


def _instead(names: list[str]) -> str:
    if not names:
        return ""
    return f", but {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
