"""What is said of single media: by all models together, by those of each fold alone, and of each crop."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from deepfake.score.blend import Blend
from deepfake.score.combine import combine
from deepfake.tables import FACE_KEY


def media_opinions(rows: pd.DataFrame, blends: Sequence[Blend]) -> pd.DataFrame:
    """Logits by media_id of rows of the logits table: `logit` of all models; `lowest` and `highest` of what the models
    of each fold would have said alone, pooled and blended in the same way.
    """
    alone = pd.concat([combine(part, blends) for _, part in rows.groupby("fold")], axis=1)
    return pd.DataFrame({"logit": combine(rows, blends), "lowest": alone.min(axis=1), "highest": alone.max(axis=1)})


def crop_opinions(rows: pd.DataFrame, blends: Sequence[Blend]) -> pd.DataFrame:
    """Columns of FACE_KEY, and `logit`: what all models say of each crop, as of a medium that has no other."""
    crops = rows[list(FACE_KEY)].drop_duplicates().reset_index(drop=True)
    numbered = rows.merge(crops.assign(crop=crops.index), on=list(FACE_KEY))
    return crops.assign(logit=combine(numbered.assign(media_id=numbered["crop"]), blends))
