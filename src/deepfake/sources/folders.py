"""One folder of reals and one of fakes, by any of their usual names, below train/, val/ or test/ if there are such."""

from __future__ import annotations

from collections.abc import Iterator

from deepfake.sources.base import Contradiction, Layout, Row, folders_of, part_of_folder, split_of, squash, unlabelled
from deepfake.sources.tree import Tree

# As `squash` leaves them. The second of each: what well-known data sets call theirs.
_REAL_WORDS = ("real", "reals", "realimages", "realvideos", "original", "originals", "genuine", "authentic", "bonafide")
_REAL_SETS = ("0real", "groundtruth", "pristine", "celebreal", "youtubereal")
_FAKE_WORDS = ("fake", "fakes", "fakeimages", "fakevideos", "generated", "synthetic", "synthesis", "forged", "altered")
_FAKE_SETS = ("1fake", "ai", "aigenerated", "manipulated", "spoof", "deepfake", "deepfakes", "celebsynthesis")
_LABEL_OF_FOLDER = dict.fromkeys((*_REAL_WORDS, *_REAL_SETS), 0) | dict.fromkeys((*_FAKE_WORDS, *_FAKE_SETS), 1)


def recognise(tree: Tree) -> str | None:
    """The first folder with a class name."""
    for path in tree.media:
        for folder in folders_of(path):
            label = _label(folder)
            if label is not None:
                return f"{folder}/ holds {'fakes' if label else 'reals'}"
    return None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """Label by the outermost class folder; the folder below a fakes' folder is the method."""
    for path in tree.media:
        folders = [folder for folder in folders_of(path) if part_of_folder(folder) is None]
        labels = [_label(folder) for folder in folders]
        if {0, 1} <= set(labels):
            yield Contradiction(path, "two_labels", "it lies below a folder of reals and below one of fakes")
            if split_of(path) == "test":
                yield Row(path, "test")
        elif 0 in labels:
            yield Row(path, split_of(path), 0)
        elif 1 in labels:
            yield Row(path, split_of(path), 1, method=_first(folders[labels.index(1) + 1 :]))
        else:
            yield unlabelled(path, "not below a folder of reals or fakes")


def _label(folder: str) -> int | None:
    return _LABEL_OF_FOLDER.get(squash(folder))


def _first(folders: list[str]) -> str | None:
    return folders[0] if folders else None


LAYOUT = Layout("a folder real/ and a folder fake/ (or original, authentic, generated, deepfakes, …)", recognise, read)
