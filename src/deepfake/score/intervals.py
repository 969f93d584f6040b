"""Logits of single media with their interval over folds, and logits of single crops."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from deepfake.score.blending import Blend
from deepfake.score.combine import combine
from deepfake.tables import FACE_KEY


def media_intervals(rows: pd.DataFrame, blends: Sequence[Blend]) -> pd.DataFrame:
    """Columns logit, lowest, highest by media_id, from rows of the logits table.

    logit: of all models together. lowest, highest: over the folds, of the logit that the models of one fold would give
    alone, pooled and blended in the same way.
    """
    alone = pd.concat([combine(part, blends) for _, part in rows.groupby("fold")], axis=1)
    return pd.DataFrame({"logit": combine(rows, blends), "lowest": alone.min(axis=1), "highest": alone.max(axis=1)})


def blended_crops(rows: pd.DataFrame, blends: Sequence[Blend]) -> pd.DataFrame:
    """Columns of FACE_KEY and `logit`, a row a crop: all models' logit of it, as of a medium with no other crop."""
    crops = rows[list(FACE_KEY)].drop_duplicates().reset_index(drop=True)
    numbered = rows.merge(crops.assign(crop=crops.index), on=list(FACE_KEY))
    return crops.assign(logit=combine(numbered.assign(media_id=numbered["crop"]), blends))
