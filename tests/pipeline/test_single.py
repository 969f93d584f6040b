"""What is said of a single file."""

from __future__ import annotations

import pandas as pd

from deepfake.pipeline.single import FilePredictor, _Predictions
from deepfake.workspace.ensemble import Ensemble


def test_a_verdict_is_by_logits_where_probabilities_end() -> None:
    media = pd.DataFrame({"logit": [60.0, 50.0, 45.0]}, index=["a", "b", "c"]).assign(lowest=0.0, highest=0.0)
    faces = dict.fromkeys(media.index, pd.DataFrame())
    said = _Predictions(media, faces, {name: {"note": None} for name in media.index})
    by = FilePredictor(Ensemble("run", [], [], []), None, None, batch_size=1, threshold=50.0)
    assert [by._of(name, name, said, None).verdict for name in media.index] == ["fake", "fake", "real"]
