"""Which crops are aligned pairs: a fake, and the same place of the same frame of its original."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

PLACE = ["source_id", "frame_idx"]
BOX = ["x0", "y0", "x1", "y1"]
NEAR_PX = 0.5


def aligned_twins(crops: pd.DataFrame) -> np.ndarray:
    """(N,) for each fake's crop, the number of the first row that is its real twin; -1 where there is none.

    crops: label, source_id, frame_idx, x0 y0 x1 y1 (px of the frame) and found of each row. A twin has label 0, the
    same known source and frame, and a box whose sides lie within half a pixel of the fake's; a face was found in both.
    """
    import pandas as pd

    known = crops.assign(row=np.arange(len(crops)), column=np.floor(crops.x0))[crops.found & crops.source_id.notna()]
    fakes = known[known.label == 1]
    reals = known[known.label == 0].drop_duplicates(PLACE + BOX)
    # Pixel columns keep the product small where many pictures share a source; half a pixel reaches the next column.
    reals = pd.concat([reals.assign(column=reals.column + step) for step in (-1, 0, 1)])
    pairs = fakes.merge(reals, on=[*PLACE, "column"], suffixes=("", "_real"))
    apart_px = pairs[BOX].to_numpy(float) - pairs[[f"{side}_real" for side in BOX]].to_numpy(float)
    first = pairs[(np.abs(apart_px) <= NEAR_PX).all(1)].groupby("row").row_real.min()
    twins = np.full(len(crops), -1)
    twins[first.index] = first
    return twins
