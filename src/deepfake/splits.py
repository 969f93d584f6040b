"""Folds for cross-validation: stratified, with media that belong together in one fold."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from deepfake.errors import UserError


def group_media(media: pd.DataFrame, *, group_donors: bool) -> pd.Series:
    """A group name for each row. Media that share a source, a donor or their content are in one group.

    A medium's source_id, its donor_id (unless group_donors is False) and its content_id each tie it to every other
    medium with the same value; groups are the connected components. A group is named after the first of its media_ids.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ties = [("source:", media.source_id), ("content:", media.content_id)]
    ties += [("source:", media.donor_id)] if group_donors else []
    named = pd.concat([(prefix + values.dropna()).rename("tie") for prefix, values in ties])
    ids, tie_codes = np.arange(len(media)), pd.factorize(named)[0]
    row_of = pd.Series(ids, index=media.index)
    rows = row_of[named.index].to_numpy()
    size = len(media) + (tie_codes.max() + 1 if len(tie_codes) else 0)
    links = coo_matrix((np.ones(len(rows)), (rows, len(media) + tie_codes)), shape=(size, size))
    component = pd.Series(connected_components(links, directed=False)[1][: len(media)], index=media.index)
    return media.media_id.groupby(component).transform("min")


def assign_folds(media: pd.DataFrame, *, num_folds: int, seed: int, group_donors: bool = True) -> pd.DataFrame:
    """The folds table of the labelled training media: each group in one fold, labels and methods spread evenly.

    There may be no fake at all: train.forge makes them. UserError when there is nothing to train on, no real, or more
    folds than groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    media = media[(media.split == "train") & media.label.notna()].sort_values("media_id").reset_index(drop=True)
    _check_reals(media)
    groups = group_media(media, group_donors=group_donors)
    if groups.nunique() < num_folds:
        raise UserError(
            f"folds.num_folds={num_folds}, but the {len(media)} training media form {groups.nunique()} groups that "
            f"must stay together: ask for fewer folds{', or for folds.group_donors=false' if group_donors else ''}"
        )
    strata = pd.factorize(media.label.astype(str) + media.method.fillna(""))[0]
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    fold = np.empty(len(media), int)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a rare method is spread as far as it goes
        for number, (_, held_out) in enumerate(splitter.split(media, strata, groups)):
            fold[held_out] = number
    return pd.DataFrame(
        {"media_id": media.media_id, "group_id": groups, "label": media.label, "method": media.method, "fold": fold}
    )


def check_folds(folds: pd.DataFrame, media: pd.DataFrame, *, group_donors: bool = True) -> pd.DataFrame:
    """Size, groups and share of fakes of each fold: columns fold, media, groups, fakes, fake_rate.

    UserError when the table does not cover exactly the labelled training media, when media that must stay together
    lie in two folds, or when a fold lacks a class that others have.
    """
    wanted = media[(media.split == "train") & media.label.notna()]
    strangers = set(folds.media_id) ^ set(wanted.media_id)
    if strangers:
        raise UserError(f"the folds and the labelled training media differ in {len(strangers)}, first {min(strangers)}")
    labels = wanted.media_id.map(folds.set_index("media_id").label).astype("Int8")
    wrong = wanted.media_id[labels != wanted.label]
    if len(wrong):
        raise UserError(f"{len(wrong)} labels differ from those of the media, first that of {wrong.iloc[0]}")
    fold_of = wanted.media_id.map(folds.set_index("media_id").fold)
    groups = group_media(wanted, group_donors=group_donors)
    spread = fold_of.groupby(groups).nunique()
    if (spread > 1).any():
        raise UserError(f"{(spread > 1).sum()} groups lie in more than one fold, first {spread.idxmax()}")
    table = pd.DataFrame({"fold": fold_of, "label": wanted.label.astype(int), "group": groups}).groupby("fold")
    report = pd.DataFrame(
        {"media": table.size(), "groups": table.group.nunique(), "fakes": table.label.sum()}
    ).reset_index()
    report["fake_rate"] = report.fakes / report.media
    lacking = report[(report.fakes == 0) | (report.fakes == report.media)]
    if len(lacking) and report.fakes.any():
        donors = ", or folds.group_donors=false" if group_donors and wanted.donor_id.notna().any() else ""
        raise UserError(f"fold {lacking.fold.iloc[0]} has only one class: ask for fewer folds.num_folds{donors}")
    return report


def uneven(report: pd.DataFrame) -> bool:
    """Whether folds (check_folds' report) differ by over a fifth of their mean size, or .1 in share of fakes."""
    size_spread = (report.media.max() - report.media.min()) / report.media.mean()
    return bool(size_spread > 0.2 or report.fake_rate.max() - report.fake_rate.min() > 0.1)


def _check_reals(media: pd.DataFrame) -> None:
    if media.empty:
        raise UserError("no labelled training media: training needs reals (0) and fakes (1), see `index`")
    if not (media.label == 0).any():
        raise UserError(f"all {len(media)} labelled training media are fake: training needs reals (0) and fakes (1)")
