"""Files that somebody names: single ones, folders, patterns; no layout, no labels."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from deepfake.errors import UserError
from deepfake.sources.tree import MEDIA_SUFFIXES, scan


@dataclass(frozen=True)
class Named:
    """media: each once, in the order in which they were named. others: files that are no media, by their suffix."""

    media: tuple[str, ...]
    others: tuple[str, ...]


def find_named(text: str) -> Named:
    """What a file, folder or pattern (* ? [ ] **) on each line of `text` names, each file once, spelled as where it was
    first named; UserError where that is nothing.

    A file that is named itself counts as a medium whatever it is called; of folders and patterns, those with a medium's
    suffix do.
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
    """(path, whether it is a medium) of all that one name means."""
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
