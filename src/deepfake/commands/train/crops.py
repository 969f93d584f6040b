"""What a training takes from a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepfake.console import listed, say
from deepfake.errors import UserError
from deepfake.files import rows_digest, sha256
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


def inputs_of(dataset: Dataset) -> dict[str, str]:
    """sha256 of the folds, and of the crops of their media where they are there (others may come and go)."""
    inputs = {"folds": sha256(dataset.folds_path)}
    if dataset.faces_path.is_file():
        faces = dataset.faces()
        inputs["faces"] = rows_digest(faces[faces.media_id.isin(dataset.folds.media_id)])
    return inputs
