"""What a training takes from a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepfake.console import listed, say
from deepfake.errors import UserError
from deepfake.files import digest, rows_digest, sha256
from deepfake.provenance import read_provenance
from deepfake.tables import FACE_KEY, FORGERIES, LANDMARK_COLUMNS
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.forgeries import Forgeries
from deepfake.workspace.run import FULL

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HELD_OUT_BY = {"method": "method", "source": "origin"}  # train.hold_out → the column by which media are parted


def check_fakes(dataset: Dataset, forge: list[str], hold_out: str) -> None:
    """UserError where there is no fake to train on: none is given, and none is to be made from the reals."""
    labels = dataset.folds.label
    if (labels == 1).any():
        return
    if not forge:
        raise UserError(
            f"all {len(labels)} labelled training media are real: training needs fakes (1) too, or "
            f"train.forge=[{','.join(FORGERIES)}], which makes them from the reals (preset=reals_only)"
        )
    if hold_out == "method":
        raise UserError("train.hold_out=method needs fakes of two methods or more, and no fake is given: leave it out")


def labelled_crops(dataset: Dataset, *, copies: bool = False) -> pd.DataFrame:
    """The faces table's rows of labelled training media, with label, method, source_id, origin and fold; with `copies`
    also `reconstruction`, the file of that. UserError when extraction has not seen some of them; those that it could
    not read are said."""
    from deepfake.sources.base import origin_of

    folds, faces = dataset.folds, dataset.faces()
    seen = folds.media_id.isin(faces.media_id) | folds.media_id.isin(dataset.extract_problems.media_id)
    unseen = folds.media_id[~seen]
    if len(unseen):
        raise UserError(
            f"{len(unseen)} media of {dataset.name} have not been extracted ({listed(unseen)}): run extract"
        )
    sources = dataset.media[["media_id", "source_id"]].assign(origin=dataset.media.path.map(origin_of))
    known = folds[["media_id", "label", "method", "fold"]].merge(sources, on="media_id", how="left")
    known["source_id"] = known.source_id.fillna(known.media_id)
    known["method"] = known.method.fillna("")
    crops = faces.merge(known, on="media_id")
    lost = folds.media_id[~folds.media_id.isin(crops.media_id)]
    if len(lost):
        say("train", f"{len(lost)} media of the folds have no crops, see extract_problems.csv: {listed(lost)}")
    if copies:
        made = Forgeries(dataset).table().rename(columns={"path": "reconstruction"})
        crops = crops.merge(made[[*FACE_KEY, "reconstruction"]], on=list(FACE_KEY), how="left")
    return crops


def split_crops(crops: pd.DataFrame, fold: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A fold's crops with a face to train on, and those that it holds out. UserError when one of them lacks a class;
    where no fake is given at all, that is the reals' alone."""
    held_out = crops.fold.astype(str) == fold
    train_crops = crops[~held_out & crops.found].reset_index(drop=True)
    classes = crops.label.nunique()
    if train_crops.label.nunique() < classes:
        raise UserError(f"fold {fold} has no crops with a face of one of the classes to train on: see extract's counts")
    if fold != FULL and crops[held_out].label.nunique() < classes:
        raise UserError(f"fold {fold} has no crops of one of the classes to validate on: ask for fewer folds")
    return train_crops, crops[held_out].reset_index(drop=True)


def unseen_names(crops: pd.DataFrame, fold: str, hold_out: str) -> list[str]:
    """What a fold trains without, by train.hold_out: methods of the fakes, or origins of the reals. All are dealt to
    the folds in turn, those with most media first. None where there are more folds than these, and for fold=full."""
    if fold == FULL or hold_out == "none":
        return []
    media = _of_hold_out(crops, hold_out).groupby(HELD_OUT_BY[hold_out]).media_id.nunique()
    names = sorted(media.index, key=lambda name: (-media[name], name))
    folds = [str(number) for number in sorted(crops.fold.unique())]
    return names[folds.index(fold) :: len(folds)]


def _of_hold_out(crops: pd.DataFrame, hold_out: str) -> pd.DataFrame:
    """The crops of the class that train.hold_out parts: the fakes by method, the reals by source."""
    return crops[crops.label == (1 if hold_out == "method" else 0)]


def without_unseen(train_crops: pd.DataFrame, names: list[str], hold_out: str, *, forges: bool) -> pd.DataFrame:
    """Crops to train on but for those of these methods, or origins. UserError where a class is left without any, and no
    fake is forged."""
    if not names:
        return train_crops
    parted = _of_hold_out(train_crops, hold_out)
    left_out = parted.index[parted[HELD_OUT_BY[hold_out]].isin(names)]
    kept = train_crops.drop(index=left_out).reset_index(drop=True)
    if hold_out == "method" and not (kept.label == 1).any() and not forges:
        raise UserError(
            f"train.hold_out=method leaves no fake to train on without {listed(names)}: it needs two methods or "
            f"more, or train.forge"
        )
    if not (kept.label == 0).any():
        raise UserError(
            f"train.hold_out=source leaves no real to train on without {listed(names)}: it needs reals in two folders "
            f"or more"
        )
    return kept


def able_kinds(crops: pd.DataFrame, kinds: list[str]) -> tuple[list[str], list[str]]:
    """Of kinds of forgery those that some real crop can become, and those whose faces are not there. UserError where it
    is none of them, and where reconstructions are not there."""
    from deepfake.forgery.kinds import KINDS

    lost = [kind for kind in kinds if KINDS[kind].needs_copy and _forgeable(crops, kind).empty]
    if lost:
        raise UserError(f"train.forge=[{','.join(lost)}], but no real crop has a reconstruction: run forge first")
    able = [kind for kind in kinds if not (KINDS[kind].needs_face and _forgeable(crops, kind).empty)]
    unable = [kind for kind in kinds if kind not in able]
    if kinds and not able:
        raise UserError(
            f"train.forge=[{','.join(unable)}] needs faces with landmarks, and no real crop has them: leave it out, or "
            f"take upsample"
        )
    return able, unable


def with_forgeries(crops: pd.DataFrame, kinds: list[str], *, share: float, seed: int) -> pd.DataFrame:
    """The crops of a training, with columns `forge` (the kind of forgery that is made of the row's crop, "" = none) and
    `real` (the row number of the crop that it is made from, else its own).

    Each real medium may become a fake of each kind, with all of its crops that can. So many of these are in that they
    are `share` of the fake media, or as many as there can be; with a share of 1, or where none is given, they are all
    the fakes.
    """
    import numpy as np
    import pandas as pd

    kept = _as_given(crops[crops.label == 0] if kinds and share == 1 else crops)
    if not kinds:
        return kept
    forged = pd.concat([_as_forged(_forgeable(kept, kind), kind) for kind in dict.fromkeys(kinds)])
    media, given = np.sort(forged.media_id.unique()), kept.media_id[kept.label == 1].nunique()
    if share < 1 and given:
        count = min(len(media), max(1, round(given * share / (1 - share))))
        media = np.random.default_rng(seed).choice(media, count, replace=False)
    return pd.concat([kept, forged[forged.media_id.isin(media)]], ignore_index=True)


def with_validation_fakes(held_out: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """The crops of a validation, with columns `forge` and `real` as with_forgeries gives them.

    Where no fake is given, one is made from each real with a face, of one kind each, in turn. Which ones depends on
    their names alone, so that every epoch, and every model of the fold, is asked about the same. UserError where no
    real can become a fake.
    """
    import pandas as pd

    kept = _as_given(held_out)
    if kept.empty or (kept.label == 1).any():
        return kept
    able = {kind: _forgeable(kept[kept.found], kind) for kind in dict.fromkeys(kinds)}
    left, made = {kind: set(table.media_id) for kind, table in able.items()}, []
    for number, media_id in enumerate(sorted(kept.media_id.unique())):
        turn = number % len(able)
        kind = next((kind for kind in [*able][turn:] + [*able][:turn] if media_id in left[kind]), None)
        if kind:
            made.append(_as_forged(able[kind][able[kind].media_id == media_id], kind))
    if not made:
        raise UserError(f"train.forge=[{','.join(able)}] can make no fake from the reals to validate on: see extract")
    return pd.concat([kept, *made], ignore_index=True)


def held_out_media(
    folds: pd.DataFrame, val_crops: pd.DataFrame, names: list[str], hold_out: str
) -> pd.DataFrame | None:
    """The held-out table of crops that with_validation_fakes gave; None where no fake was made, and nothing is unseen.

    folds: the folds table. names: what the fold trains without. Unseen are the fakes of these methods beside all reals,
    or the reals of these origins beside all fakes, of those that were made the ones made from them. UserError where
    these lack a class.
    """
    if not names and not (val_crops.forge != "").any():
        return None
    media = val_crops.drop_duplicates("media_id")
    known = folds.set_index("media_id").loc[val_crops.media_id[media.real].to_numpy()].reset_index()
    forged = (media.forge != "").to_numpy()
    return known.assign(
        made_from=known.media_id.where(forged, None),
        media_id=media.media_id.to_numpy(),
        label=media.label.to_numpy(int),
        method=known.method.where(~forged, media.forge.to_numpy()),
        unseen=_is_unseen(media, names, hold_out),
    )


def _is_unseen(media: pd.DataFrame, names: list[str], hold_out: str) -> np.ndarray:
    """Whether a fold that trains without these has never met the like of its held-out media; (N,) bool."""
    import numpy as np

    if not names:
        return np.zeros(len(media), bool)
    if hold_out == "method":
        unseen = (media.label == 0) | media.method.isin(names)
    else:
        unseen = ((media.label == 1) & (media.forge == "")) | media.origin.isin(names)
    if media.label[unseen].nunique() < 2:
        raise UserError(
            f"train.hold_out={hold_out} leaves the fold no {'fakes' if hold_out == 'method' else 'reals'} of "
            f"{listed(names)} to be validated by: ask for fewer folds.num_folds"
        )
    return unseen.to_numpy(bool)


def _as_given(crops: pd.DataFrame) -> pd.DataFrame:
    """Crops of which nothing is made."""
    import numpy as np

    kept = crops.assign(forge="").reset_index(drop=True)
    kept["real"] = np.arange(len(kept))
    return kept


def _forgeable(crops: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The crops of reals from which a fake of this kind can be made."""
    from deepfake.forgery.kinds import KINDS

    reals = crops[crops.label == 0]
    if KINDS[kind].needs_copy:
        return reals[reals.reconstruction.notna()].assign(path=lambda rows: rows.reconstruction)
    return reals[reals[list(LANDMARK_COLUMNS)].notna().all(axis=1)] if KINDS[kind].needs_face else reals


def _as_forged(crops: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The fakes of a kind that are made from these crops; each is a medium of its own."""
    return crops.assign(media_id=crops.media_id + f" {kind}", label=1, method=kind, forge=kind)


def inputs_of(dataset: Dataset, *, copies: bool = False) -> dict[str, str]:
    """sha256 of the folds, and of the crops of their media where they are there (others may come and go); and of what
    shaped their reconstructions, where these are trained on."""
    inputs = {"folds": sha256(dataset.folds_path)}
    if dataset.faces_path.is_file():
        faces = dataset.faces()
        inputs["faces"] = rows_digest(faces[faces.media_id.isin(dataset.folds.media_id)])
    made = read_provenance(Forgeries(dataset).path) if copies else None
    return inputs | ({"forged": digest(made.to_json())} if made else {})
