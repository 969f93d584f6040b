"""FaceForensics++: original_sequences/ and manipulated_sequences/<method>/<compression>/videos/TARGET_SOURCE.mp4."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deepfake.errors import UserError
from deepfake.sources.base import Contradiction, Layout, Row, folders_of, stem, unlabelled
from deepfake.sources.files import read_json
from deepfake.sources.tree import Tree

_LABEL_OF_FOLDER = {"original_sequences": 0, "manipulated_sequences": 1}
# What may stand between a method's folder and a video (or the folder of its frames).
_LEVELS = ("raw", "c0", "c23", "c40", "videos", "images", "frames")
# 071_054 from YouTube; 01_02__walking_outside__YVGY8LOK with actors. Alone, the first number is an original.
_NAME = re.compile(r"(\d+)(?:_(\d+))?(__.+)?")


def recognise(tree: Tree) -> str | None:
    """The first folder called original_sequences or manipulated_sequences."""
    for path in tree.media:
        for folder in folders_of(path):
            if folder in _LABEL_OF_FOLDER:
                return f"{folder}/ is there"
    return None


def read(tree: Tree) -> Iterator[Row | Contradiction]:
    """All compressions of a video have one source, so they stay together. splits/test.json names the test split."""
    test_ids = _test_ids(tree)
    for path in tree.media:
        parts = path.split("/")
        top = next((index for index, part in enumerate(parts[:-2]) if part in _LABEL_OF_FOLDER), None)
        if top is None:
            yield unlabelled(path, "not below original_sequences/ or manipulated_sequences/")
        # The masks that show where a fake was altered are videos too, but no media.
        elif "masks" not in parts:
            name = next((part for part in parts[top + 2 :] if part not in _LEVELS), parts[-1])
            yield _row(path, _LABEL_OF_FOLDER[parts[top]], parts[top + 1], stem(name), test_ids)


def _row(path: str, label: int, method: str, name: str, test_ids: frozenset[str]) -> Row | Contradiction:
    match = _NAME.fullmatch(name)
    if match is None:
        return Contradiction(path, "unknown_name", f"{name!r} is not like 071, 071_054 or 01_02__scene")
    prefix = "actor" if match[3] else "youtube"
    source_id, donor_id = (number and f"{prefix}_{number}" for number in match.group(1, 2))
    split = "train" if test_ids.isdisjoint((source_id, donor_id)) else "test"
    return Row(path, split, label, method, source_id, donor_id)


def _test_ids(tree: Tree) -> frozenset[str]:
    """YouTube sources named by splits/test.json, a list of pairs; empty without the file."""
    files = [file for file in tree.other("test.json") if file.endswith("splits/test.json")]
    pairs = [pair for file in files for pair in _pairs(tree, file)]
    return frozenset(f"youtube_{number}" for pair in pairs for number in pair)


def _pairs(tree: Tree, file: str) -> list[list[str]]:
    pairs = read_json(tree.root / file)
    if not isinstance(pairs, list) or not all(isinstance(pair, list) for pair in pairs):
        raise UserError(f'{tree.root / file} is not a list of pairs like [["071", "054"]]')
    return pairs


LAYOUT = Layout("folders original_sequences/ and manipulated_sequences/<method>/", recognise, read)
