"""Files that somebody names: the same inference, over a data set that lies in a temporary folder while it lasts."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from deepfake.pipeline.cropping import Cropper
from deepfake.pipeline.inference import Inference
from deepfake.provenance import Provenance
from deepfake.tables import FACE_KEY, MEDIA
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Parts

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.predictor import Predictor


@dataclass(frozen=True)
class Prediction:
    """What is said of one file."""

    path: str
    verdict: str | None = None
    """fake or real; None where no model speaks."""
    logit: float | None = None
    """Of fake; the fallback logit of a file without a face; None of an unreadable one."""
    lowest: float | None = None
    highest: float | None = None
    """Ends of what the models of each fold say alone."""
    error: str = ""
    """no_face, or extraction's kind of failure; "" = none."""
    detail: str = ""
    """The error in words, or what is wrong with the file although it could be read."""
    faces: pd.DataFrame | None = None
    """Rows of the faces table with `logit`, nan where no face was found; None of an unreadable file."""
    facts: dict[str, Any] | None = None
    """The row of the extracted table; None of an unreadable file."""

    @property
    def people(self) -> int:
        return 0 if self.facts is None else int(self.facts["tracks"])

    @property
    def num_faces(self) -> int:
        """Crops that models spoke for."""
        return 0 if self.faces is None else int(self.faces.found.sum())

    @property
    def num_frames(self) -> int:
        """Frames of these crops."""
        return 0 if self.faces is None else int(self.faces.frame_idx[self.faces.found].nunique())


def chance(logit: float | None) -> float | None:
    """Log-odds → probability; None of None and of nan."""
    from deepfake.score.pool import sigmoid

    if logit is None or math.isnan(logit):
        return None
    return float(sigmoid(logit))


@dataclass(frozen=True)
class FilePredictor:
    """Predicts single files: what an ensemble says of them."""

    ensemble: Ensemble
    cropper: Cropper
    load: Callable[[], Predictor]
    """Gives the ensemble's models."""
    batch_size: int
    threshold: float
    """The logit from which a file is called fake."""

    def predict(self, paths: Sequence[str]) -> list[Prediction]:
        """The prediction for each file, in their order. Crops are removed once they are scored, and however it ends."""
        with TemporaryDirectory(prefix="deepfake_") as folder:
            dataset = _temporary_dataset(Path(folder) / "files", paths)
            inference = Inference(
                "predict",
                dataset,
                dataset.media,
                self.cropper,
                self.ensemble,
                self.load,
                batch_size=self.batch_size,
                started_s=time.monotonic(),
            )
            parts = Parts(Path(folder) / "parts", [])
            outcome = inference.run(parts, Path(folder) / "haste", lambda rows: _remove_crops(dataset, rows.media_id))
            predictions = _Predictions.of(dataset, parts.rows, self.ensemble)
            found = zip(dataset.media.media_id, paths, strict=True)
            return [self._of(name, path, predictions, outcome.problems.get(name)) for name, path in found]

    def _of(
        self, name: str, path: str, predictions: _Predictions, problem: tuple[str, str | None] | None
    ) -> Prediction:
        if problem is not None:
            return Prediction(path, error=problem[0], detail=problem[1] or "")
        faces, facts = predictions.faces[name], predictions.facts[name]
        note = facts["note"] or ""
        if name not in predictions.media.index:
            fallback = self.ensemble.fallbacks["no_face"]
            detail = f"no face found: P(fake) is the {fallback['from']}{note and f'; {note}'}"
            return Prediction(path, logit=fallback["logit"], error="no_face", detail=detail, faces=faces, facts=facts)
        logit, lowest, highest = (float(value) for value in predictions.media.loc[name])
        verdict = "fake" if logit >= self.threshold else "real"
        return Prediction(path, verdict, logit, lowest, highest, detail=note, faces=faces, facts=facts)


@dataclass(frozen=True)
class _Predictions:
    """What came of all files, by media_id."""

    media: pd.DataFrame
    """logit, lowest, highest of media that models spoke for."""
    faces: dict[str, pd.DataFrame]
    """Each one's rows of the faces table, with `logit`."""
    facts: dict[str, dict[str, Any]]
    """The extracted table."""

    @classmethod
    def of(cls, dataset: Dataset, parts: Sequence[pd.DataFrame], ensemble: Ensemble) -> _Predictions:
        import pandas as pd

        from deepfake.score.intervals import blended_crops, media_intervals
        from deepfake.tables import EXTRACTED

        faces, extracted = dataset.faces(), EXTRACTED.read(dataset.extracted_path)
        facts = {
            row.pop("media_id"): row
            for row in extracted.astype(object).where(extracted.notna(), None).to_dict("records")
        }
        if not parts:
            media = pd.DataFrame(columns=["logit", "lowest", "highest"])
            return cls(media, _by_medium(faces.assign(logit=float("nan"))), facts)
        rows = pd.concat(parts)
        faces = faces.merge(blended_crops(rows, ensemble.blends), on=list(FACE_KEY), how="left")
        return cls(media_intervals(rows, ensemble.blends), _by_medium(faces), facts)


def _by_medium(faces: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in faces.groupby("media_id")}


def _temporary_dataset(folder: Path, paths: Sequence[str]) -> Dataset:
    """A data set of these files, indexed: their numbers are their names."""
    import pandas as pd

    from deepfake.sources.tree import kind_of

    dataset = Dataset("files", folder, folder / "folds.csv")
    media = pd.DataFrame({"media_id": [f"{number:06d}" for number in range(len(paths))], "path": list(paths)})
    unknown = dict.fromkeys(("label", "method", "source_id", "donor_id", "content_id"))
    kinds = [kind_of(path) for path in paths]
    media = media.assign(dataset="files", kind=kinds, split="test", fingerprint="", **unknown)
    MEDIA.write(media[list(MEDIA.columns)], dataset.media_path, Provenance("predict", {}, {}))
    return dataset


def _remove_crops(dataset: Dataset, media_ids: Iterable[str]) -> None:
    """So that a thousand files need no more room than a few."""
    for name in set(media_ids):
        shutil.rmtree(dataset.crops / name)
