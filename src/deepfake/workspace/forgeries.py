"""A data set's reconstructions: fakes that autoencoders make from its reals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.errors import UserError
from deepfake.files import rows_digest
from deepfake.provenance import read_provenance
from deepfake.tables import FACE_KEY, FORGED

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.workspace.dataset import Dataset


@dataclass(frozen=True)
class Forgeries:
    """The reconstructions of a data set's real crops, on disk."""

    dataset: Dataset

    @property
    def path(self) -> Path:
        return self.dataset.folder / "forged.parquet"

    @property
    def folder(self) -> Path:
        """A folder for each autoencoder: its weights and its reconstructions."""
        return self.dataset.folder / "forged"

    @property
    def lock(self) -> Path:
        """Held by the process that makes them."""
        return self.dataset.folder / ".forge.lock"

    def reals(self) -> pd.DataFrame:
        """The real training media's crops: key and path of the faces table, and `file`, which each was cut from."""
        dataset = self.dataset
        files = dataset.media[(dataset.media.split == "train") & (dataset.media.label == 0)].set_index("media_id").path
        faces = dataset.faces()
        crops = faces[faces.media_id.isin(files.index) & faces.found].reset_index(drop=True)
        if crops.empty:
            raise UserError(
                f"{dataset.name} has no crop of a real training medium to reconstruct: see extract's counts"
            )
        return crops[[*FACE_KEY, "path"]].assign(file=crops.media_id.map(files))

    def table(self) -> pd.DataFrame:
        """UserError where there is none, or it is of other crops than are there now."""
        made, name = read_provenance(self.path), self.dataset.name
        if made is None or made.inputs.get("reals") != rows_digest(self.reals()):
            what = "has no reconstructions" if made is None else "has reconstructions of other crops"
            raise UserError(f"{name} {what}, which train.forge=[reconstruct] asks for: run forge first")
        return FORGED.read(self.path)
