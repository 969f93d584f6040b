"""The same inference once more, over damaged copies of the crops: how much of what is said survives the way."""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.console import progress
from deepfake.files import digest, sha256
from deepfake.pipeline.cropping import Cropper
from deepfake.pipeline.inference import Inference
from deepfake.provenance import Provenance, is_current
from deepfake.tables import EXTRACTED, MEDIA, SCORES
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Parts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.learn.predictor import Predictor
    from deepfake.media.crop_medium import CropSettings


@dataclass(frozen=True)
class DamagedInference:
    """Scores the test media of a data set whose crops are there, under one condition after the other."""

    dataset: Dataset
    ensemble: Ensemble
    cropper: Cropper
    load: Callable[[], Predictor]
    """Gives the ensemble's models; asked for each condition."""
    batch_size: int
    folder: Path
    """Keeps the scores of each condition, and what a kill leaves to go on with."""

    def is_done(self, condition: str) -> bool:
        """Whether the scores of these models, crops and condition are there."""
        return is_current(self._kept(condition), self._provenance(condition))

    def scores(self, condition: str) -> pd.DataFrame:
        """The scores table of the test media under a condition of forgery.conditions; what is there is not done again.

        Crops without a face are not damaged, as no model sees them.
        """
        kept, provenance = self._kept(condition), self._provenance(condition)
        if self.is_done(condition):
            return SCORES.read(kept)
        work = self.folder / "work"
        parts = Parts.of(work / "parts", digest(provenance.to_json()))
        scores = SCORES.write(self._scores(condition, work, parts), kept, provenance)
        shutil.rmtree(work)
        return scores

    def _scores(self, condition: str, work: Path, parts: Parts) -> pd.DataFrame:
        import pandas as pd

        from deepfake.score.combine import media_scores
        from deepfake.score.fallback import fallback_rows

        damaged = self._damaged(condition, work / "dataset")
        inference = Inference(
            "evaluate",
            damaged,
            damaged.media,
            replace(self.cropper, retry_problems=False),
            self.ensemble,
            self.load,
            batch_size=self.batch_size,
            started_s=time.monotonic(),
        )
        outcome = inference.run(parts, work / "haste", lambda rows: None)
        rows = pd.concat([*parts.rows, fallback_rows(outcome.reasons, self.ensemble.fallbacks)])
        return media_scores(rows, self.ensemble.blends)

    def _damaged(self, condition: str, folder: Path) -> Dataset:
        """A data set of the test media whose crops are damaged; its tables say that all are cropped."""
        shutil.rmtree(folder, ignore_errors=True)
        damaged = replace(self.dataset, folder=folder)
        media = MEDIA.write(self.dataset.test_media(), damaged.media_path)
        faces, problems = self.dataset.faces(), self.dataset.extract_problems
        faces = faces[faces.media_id.isin(media.media_id)].reset_index(drop=True)
        damage = Damage(condition, self.dataset.folder, folder, self.cropper.settings)
        faces = _rows_of(damage, faces, self.cropper.num_workers)
        extracted = EXTRACTED.read(self.dataset.extracted_path)
        damaged.write_crops(
            faces,
            extracted[extracted.media_id.isin(media.media_id)],
            problems[problems.media_id.isin(media.media_id)],
            damaged.crop_provenance("test"),
        )
        return damaged

    def _kept(self, condition: str) -> Path:
        return self.folder / f"{condition.replace(' ', '_')}.csv"

    def _provenance(self, condition: str) -> Provenance:
        inputs = self.ensemble.inputs() | {"faces": sha256(self.dataset.faces_path)}
        return Provenance("evaluate", {"condition": condition}, inputs)


def _rows_of(damage: Damage, faces: pd.DataFrame, num_threads: int) -> pd.DataFrame:
    """These rows of the faces table as they are once the crops with a face are damaged."""
    paths, sharpness = faces.path.to_list(), faces.sharpness.to_list()
    numbers = [number for number, found in enumerate(faces.found) if found]
    with ThreadPoolExecutor(num_threads) as threads, progress(len(numbers), "damage", "crops") as bar:
        done = threads.map(damage, [paths[number] for number in numbers])
        for number, (path, sharp) in zip(numbers, done, strict=True):
            paths[number], sharpness[number] = path, sharp
            bar.update()
    return faces.assign(path=paths, sharpness=sharpness)


@dataclass(frozen=True)
class Damage:
    """Damages a crop's file: what is left goes through the preparation of crops again, as if it came anew."""

    condition: str
    source: Path
    """The crops' paths are relative to it."""
    target: Path
    """And those of the damaged ones to this."""
    settings: CropSettings

    def __call__(self, path: str) -> tuple[str, float]:
        """The damaged crop's path and sharpness. Noise depends on the path alone."""
        import numpy as np

        from deepfake.forgery.conditions import CONDITIONS
        from deepfake.learn.data import read_crop
        from deepfake.media.sharpness import sharpness
        from deepfake.media.store import encode

        rng = np.random.default_rng(zlib.crc32(path.encode()))
        crop_HWC = _cropped(CONDITIONS[self.condition](read_crop(self.source / path), rng), self.settings)
        target = (self.target / path).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode(crop_HWC, image_format="png", quality=100))
        return target.relative_to(self.target).as_posix(), sharpness(crop_HWC)


def _cropped(picture_HWC: np.ndarray, settings: CropSettings) -> np.ndarray:
    """A damaged crop as it would be cropped anew: a whole picture stays small, a face that has become small is enlarged
    as crop_face enlarges, but for the black that crop_face has beyond a frame."""
    import cv2

    from deepfake.media.crop_face import shrink_whole

    if settings.mode == "whole":
        return shrink_whole(picture_HWC, settings.size)
    if picture_HWC.shape[:2] == (settings.size, settings.size):
        return picture_HWC
    return cv2.resize(picture_HWC, (settings.size, settings.size), interpolation=cv2.INTER_CUBIC)
