"""A folder of unlabelled media: all of them are test rows."""

from __future__ import annotations

from collections.abc import Iterator

from deepfake.sources.base import Layout, Row, part_of, part_of_folder
from deepfake.sources.tree import Tree


def recognise(tree: Tree) -> str | None:
    """Only what is called test: a folder of training media whose labels were forgotten is no test set."""
    if part_of_folder(tree.root.resolve().name) == "test":
        return "the folder is called test"
    return "everything lies below a test folder" if all(part_of(path) == "test" for path in tree.media) else None


def read(tree: Tree) -> Iterator[Row]:
    """Every medium, as a test row."""
    return (Row(path, "test") for path in tree.media)


LAYOUT = Layout("media alone in a folder called test, or any folder by data.layout=unlabelled", recognise, read)
