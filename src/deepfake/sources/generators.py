"""CNNDetection's layout: <generator>/[<class>/]0_real and 1_fake, below train/, val/ or test/ if there are such."""

from __future__ import annotations

from collections.abc import Iterator

from deepfake.sources.base import Contradiction, Layout, Row, folders_of, part_of_folder, split_of, unlabelled
from deepfake.sources.tree import Tree

_LABEL_OF_FOLDER = {"0_real": 0, "1_fake": 1}


def recognise(tree: Tree) -> str | None:
    """The first class folder that lies below a generator's."""
    for path in tree.media:
        label, generator = _place(path)
        if label is not None and generator:
            return f"0_real/ or 1_fake/ lies below {generator}/"
    return None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """A fake's method is its generator. Names are numbers that repeat by chance, so no fake's source is known."""
    for path in tree.media:
        label, generator = _place(path)
        if label is None:
            yield unlabelled(path, "not below 0_real/ or 1_fake/")
        else:
            yield Row(path, split_of(path), label, method=generator)


def _place(path: str) -> tuple[int | None, str | None]:
    """Label and generator by a file's folders; None where no folder says."""
    generator = None
    for folder in folders_of(path):
        label = _LABEL_OF_FOLDER.get(folder.lower())
        if label is not None:
            return label, generator
        if generator is None and part_of_folder(folder) is None:
            generator = folder
    return None, generator


LAYOUT = Layout("<generator>/0_real and <generator>/1_fake", recognise, read)
