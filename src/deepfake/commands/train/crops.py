"""What a training takes from a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepfake.console import listed, say
from deepfake.errors import UserError
from deepfake.files import rows_digest, sha256
from deepfake.tables import LANDMARKS
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.run import FULL

if TYPE_CHECKING:
    import pandas as pd


def labelled_crops(dataset: Dataset) -> pd.DataFrame:
    """The faces table's rows of labelled training media, with label, method, source_id and fold. UserError when
    extraction has not seen some of them; those that it could not read are said."""
    folds, faces = dataset.folds, dataset.faces()
    seen = folds.media_id.isin(faces.media_id) | folds.media_id.isin(dataset.extract_problems.media_id)
    unseen = folds.media_id[~seen]
    if len(unseen):
        raise UserError(
            f"{len(unseen)} media of {dataset.name} have not been extracted ({listed(unseen)}): run extract"
        )
    sources = dataset.media[["media_id", "source_id"]]
    known = folds[["media_id", "label", "method", "fold"]].merge(sources, on="media_id", how="left")
    known["source_id"] = known.source_id.fillna(known.media_id)
    known["method"] = known.method.fillna("")
    crops = faces.merge(known, on="media_id")
    lost = folds.media_id[~folds.media_id.isin(crops.media_id)]
    if len(lost):
        say("train", f"{len(lost)} media of the folds have no crops, see extract_problems.csv: {listed(lost)}")
    return crops


def split_crops(crops: pd.DataFrame, fold: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A fold's crops with a face to train on, and those that it holds out. UserError when one of them lacks a class."""
    held_out = crops.fold.astype(str) == fold
    train_crops = crops[~held_out & crops.found].reset_index(drop=True)
    if train_crops.label.nunique() < 2:
        raise UserError(f"fold {fold} has no crops with a face of one of the classes to train on: see extract's counts")
    if fold != FULL and crops[held_out].label.nunique() < 2:
        raise UserError(f"fold {fold} has no crops of one of the classes to validate on: ask for fewer folds")
    return train_crops, crops[held_out].reset_index(drop=True)


def unseen_methods(crops: pd.DataFrame, fold: str) -> list[str]:
    """The methods that a fold trains without, under train.hold_out=method: all methods are dealt to the folds in turn,
    those with most media first. None where there are more folds than methods, and for fold=full."""
    if fold == FULL:
        return []
    fakes = crops[crops.label == 1].groupby("method").media_id.nunique()
    names = sorted(fakes.index, key=lambda name: (-fakes[name], name))
    folds = [str(number) for number in sorted(crops.fold.unique())]
    return names[folds.index(fold) :: len(folds)]


def without_methods(train_crops: pd.DataFrame, methods: list[str], *, forges: bool) -> pd.DataFrame:
    """Crops to train on but for the fakes of these methods. UserError where no fake is left, and none is forged."""
    kept = train_crops[(train_crops.label == 0) | ~train_crops.method.isin(methods)].reset_index(drop=True)
    if not (kept.label == 1).any() and not forges:
        raise UserError(
            f"train.hold_out=method leaves no fake to train on without {listed(methods)}: it needs two methods or "
            f"more, or train.forge"
        )
    return kept


def with_forgeries(crops: pd.DataFrame, kinds: list[str], *, share: float, seed: int) -> pd.DataFrame:
    """The crops of a training, with columns `forge` (the kind of forgery that is made of the row's crop, "" = none) and
    `real` (the row number of the crop that it is made from, else its own).

    Each real medium may become a fake of each kind, with all of its crops that can. So many of these are in that they
    are `share` of the fake media, or as many as there can be; with a share of 1 the given fakes are left out. UserError
    where no real can become a fake of some kind.
    """
    import numpy as np
    import pandas as pd

    from deepfake.forge.kinds import KINDS

    kept = crops[crops.label == 0] if kinds and share == 1 else crops
    kept = kept.assign(forge="").reset_index(drop=True)
    kept["real"] = np.arange(len(kept))
    reals, made = kept[kept.label == 0], []
    landmarks = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]
    for kind in dict.fromkeys(kinds):
        able = reals[reals[landmarks].notna().all(axis=1)] if KINDS[kind].needs_face else reals
        if able.empty:
            raise UserError(f"train.forge=[{kind}] needs faces with landmarks, and no real crop has them: leave it out")
        names = able.media_id + f" {kind}"
        made.append(able.assign(media_id=names, label=1, method=kind, forge=kind))
    if not made:
        return kept
    forged = pd.concat(made)
    media, given = np.sort(forged.media_id.unique()), kept.media_id[kept.label == 1].nunique()
    if share < 1:
        count = min(len(media), max(1, round(given * share / (1 - share))))
        media = np.random.default_rng(seed).choice(media, count, replace=False)
    return pd.concat([kept, forged[forged.media_id.isin(media)]], ignore_index=True)


def inputs_of(dataset: Dataset) -> dict[str, str]:
    """sha256 of the folds, and of the crops of their media where they are there (others may come and go)."""
    inputs = {"folds": sha256(dataset.folds_path)}
    if dataset.faces_path.is_file():
        faces = dataset.faces()
        inputs["faces"] = rows_digest(faces[faces.media_id.isin(dataset.folds.media_id)])
    return inputs
