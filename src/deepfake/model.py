"""A trained run from Python: `model = load("runs/my_run"); model.predict(["a.mp4", "b.jpg"])`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from deepfake.arguments import as_options, load_config
from deepfake.errors import UserError
from deepfake.pipeline.single import FilePredictor, Prediction, chance
from deepfake.settings import config_of_run, file_predictor_of

NUMBERS = ("prob_fake", "lowest", "highest")
COUNTS = ("people", "faces", "frames")

Medium = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True)
class Model:
    """A trained run, or a blend of runs, that predicts files, frames and crops. Its models are loaded once."""

    by: FilePredictor

    @property
    def name(self) -> str:
        """The run's or the blend's."""
        return self.by.ensemble.name

    def predict(self, media: Medium | Sequence[Medium]) -> pd.DataFrame:
        """A row for each medium, in their order. Each call starts processes: give many media in one.

        media: paths of videos and pictures; or arrays of frames, uint8 RGB, (H, W, 3) for a picture and (T, H, W, 3)
        for a clip of evenly spread frames. Faces are found, followed and cropped as they were for training.

        Columns: file (the path, or `array 0`, …), prob_fake (0 to 1; the fallback's where no face was found, nan of an
        unreadable file), lowest and highest (what the models of each fold say alone), verdict (fake, real, or None
        where no model speaks), people, faces, frames, error (no_face, corrupt, …; "" = none), detail. UserError for
        arrays of other shapes or types, and for folders.
        """
        given = [media] if isinstance(media, str | os.PathLike | np.ndarray) else list(media)
        if not given:
            return as_frame([])
        for one in given:
            if not isinstance(one, np.ndarray) and os.path.isdir(one):
                raise UserError(f"{os.fspath(one)} is a folder: name its files")
        with TemporaryDirectory(prefix="deepfake_") as folder:
            paths = [
                _written(one, Path(folder) / f"array {number}") if isinstance(one, np.ndarray) else os.fspath(one)
                for number, one in enumerate(given)
            ]
            predictions = self.by.predict(paths)
        named = [
            replace(prediction, path=Path(prediction.path).stem) if isinstance(one, np.ndarray) else prediction
            for one, prediction in zip(given, predictions, strict=True)
        ]
        return as_frame(named)

    def predict_crops(self, crops: Iterable[np.ndarray]) -> pd.DataFrame:
        """A row for each crop: prob_fake, lowest and highest, as of a medium that has no other.

        crops: pictures as the run was trained on (of faces with their margin, or whole ones), uint8 RGB, (H, W, 3).
        """
        from deepfake.score.intervals import media_intervals
        from deepfake.score.pool import sigmoid

        images = [_checked(crop, dimensions=(3,)) for crop in crops]
        if not images:
            return pd.DataFrame(columns=list(NUMBERS), dtype=float)
        ensemble = self.by.ensemble
        said = media_intervals(ensemble.array_rows(self.by.load(), images), ensemble.blends)
        said = said.rename(columns={"logit": "prob_fake"}).reset_index(drop=True)
        return said.apply(lambda column: sigmoid(column.to_numpy()))


def load(run: str | os.PathLike[str], **options: Any) -> Model:
    """The model of a run's (or a blend's) folder, as `runs/my_run`.

    options: keys of the configuration that do not contradict the training, e.g. fold=0, num_workers=2,
    **{"infer.tta": ["identity"]}. UserError where there is no trained run, or its weights compute something else here.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of a run: load takes its path, as in load('runs/my_run')")
    given = {"paths.runs": str(folder.parent), "name": folder.name} | options
    arguments = as_options(given)
    model = Model(file_predictor_of(config_of_run(load_config(arguments), arguments)))
    model.by.load()
    return model


def as_frame(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Predictions as a table, see Model.predict."""
    rows = [
        {
            "file": one.path,
            "prob_fake": chance(one.logit),
            "lowest": chance(one.lowest),
            "highest": chance(one.highest),
            "verdict": one.verdict,
            "people": one.people,
            "faces": one.num_faces,
            "frames": one.num_frames,
            "error": one.error,
            "detail": one.detail,
        }
        for one in predictions
    ]
    types = dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(COUNTS, "int64")
    columns = ["file", *NUMBERS, "verdict", *COUNTS, "error", "detail"]
    return pd.DataFrame(rows, columns=columns, dtype=object).astype(types)


def _checked(array: np.ndarray, dimensions: tuple[int, ...]) -> np.ndarray:
    """UserError for what is no picture (3 dimensions), or clip (4), of uint8 RGB pixels."""
    if array.ndim not in dimensions or array.shape[-1] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        shapes = " or ".join({3: "(H, W, 3)", 4: "(T, H, W, 3)"}[count] for count in dimensions)
        raise UserError(f"an array of shape {array.shape} and type {array.dtype}; allowed: uint8 RGB of shape {shapes}")
    return np.ascontiguousarray(array)


def _written(array: np.ndarray, path: Path) -> str:
    """An array as a file with the same pixels, so that there is one way for files and arrays: PNG, or FFV1."""
    import av
    from PIL import Image

    array = _checked(array, dimensions=(3, 4))
    if array.ndim == 3:
        file = path.with_name(f"{path.name}.png")
        Image.fromarray(array).save(file, compress_level=1)
        return str(file)
    file = path.with_name(f"{path.name}.mkv")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = array.shape[1:3]
        stream.pix_fmt = "bgr0"  # the three colours as they are
        for frame in array:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return str(file)
