"""A data set's folder on disk → media rows. Each layout has a reader; the first that recognises the folder reads it.

A new layout is a module with a `LAYOUT` (see `base.Layout`) and its line in `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.errors import UserError, closest
from deepfake.sources import celebdf, dfdc, faceforensics, ffdi, folders, generators, unlabelled
from deepfake.sources import listing as listings
from deepfake.sources.base import Contradiction, Layout, Row
from deepfake.sources.tree import MEDIA_SUFFIXES, Tree, scan

if TYPE_CHECKING:
    import pandas as pd

# `auto` tries them in this order, the most specific first: a listing, then label files, then names of folders.
LAYOUTS: dict[str, Layout] = {
    "listing": listings.LAYOUT,
    "dfdc": dfdc.LAYOUT,
    "ffdi": ffdi.LAYOUT,
    "faceforensics": faceforensics.LAYOUT,
    "celebdf": celebdf.LAYOUT,
    "generators": generators.LAYOUT,
    "folders": folders.LAYOUT,
    "unlabelled": unlabelled.LAYOUT,
    # `auto` reads the demo set as a listing; this name lets a configuration ask for it.
    "demo": Layout("the built-in demo set: a listing.csv that names its media", listings.recognise, listings.read),
}
LAYOUT_NAMES = ("auto", *LAYOUTS)
"""What `data.layout` may be."""


@dataclass(frozen=True)
class Reading:
    """What a data set's folder holds."""

    layout: str
    why: str
    """What the layout was recognised by."""
    media: pd.DataFrame
    """Columns path (posix, below the root; unique, sorted), kind, split, label, method, source_id and donor_id, typed
    as in the media table."""
    contradictions: list[Contradiction]
    """What does not fit together, sorted by path."""


def read_dataset(root: Path, *, layout: str = "auto", listing: Path | None = None) -> Reading:
    """Read `root` by the layout of that name, by the first that recognises it (`auto`), or by the CSV `listing`.

    Reads names and label files; opens no medium. UserError when the root is missing or without media, the layout is
    unknown or does not fit, a label file cannot be understood, or no medium is left.
    """
    from deepfake.sources.assemble import assemble  # brings pandas

    if layout not in LAYOUT_NAMES:
        near = closest(layout.lower(), list(LAYOUT_NAMES))
        raise UserError(f"layout {layout!r} is unknown; allowed: {', '.join(LAYOUT_NAMES)}.{near}")
    if listing is not None and layout not in ("auto", "listing"):
        raise UserError(f"a listing ({listing}) goes with layout auto or listing, not with {layout!r}")
    tree = scan(root)
    if not tree.media:
        suffixes = ", ".join(sorted(MEDIA_SUFFIXES))
        raise UserError(f"{root} holds no video and no image ({suffixes}): is it the right folder, and unpacked?")
    name, why, found = _choose(tree, layout, listing)
    media, contradictions = assemble(tree, found)
    if media.empty:
        raise UserError(f"{root}, read as {name} ({why}), holds nothing to use: {_summary(contradictions)}")
    return Reading(name, why, media, contradictions)


def _choose(tree: Tree, layout: str, listing: Path | None) -> tuple[str, str, Iterator[Row | Contradiction]]:
    """The name of the layout that reads the tree, what it was recognised by, and what it yields."""
    if listing is not None:
        return "listing", f"{listing} was given as the listing", listings.read_listing(tree, listing)
    for name in LAYOUTS if layout == "auto" else [layout]:
        why = LAYOUTS[name].recognise(tree)
        if why is not None:
            return name, why, LAYOUTS[name].read(tree)
    if layout == "unlabelled":
        return layout, "data.layout asks for it", unlabelled.read(tree)
    if layout != "auto":
        about = LAYOUTS[layout].about
        raise UserError(f"{tree.root} is not of layout {layout!r}, which looks for {about}; auto takes what fits")
    looked_for = "\n".join(f"  {name}: {layout.about}" for name, layout in LAYOUTS.items())
    raise UserError(f"{tree.root} is of no known layout. Arrange it as one of these, or give a listing:\n{looked_for}")


def _summary(contradictions: list[Contradiction]) -> str:
    if not contradictions:
        return "no medium is named"
    path, error, detail = contradictions[0]
    return f"{len(contradictions)} contradictions, the first at {path}: {error}, {detail}"
