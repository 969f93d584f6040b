"""A data set: a raw folder, and all that is derived from it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.contract import Table
from deepfake.errors import UserError
from deepfake.files import digest, sha256
from deepfake.machine import alone
from deepfake.provenance import Provenance, differences, is_current, provenance_path, read_provenance
from deepfake.tables import EXTRACTED, FACES, FOLDS, MEDIA, PROBLEMS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.media.journal import Journal
    from deepfake.workspace.roots import Roots


@dataclass(frozen=True)
class Dataset:
    """A data set on disk. Its tables but the faces are read once each: what a command writes, another object sees."""

    name: str
    folder: Path
    """Tables and crops."""
    folds_path: Path
    """The split, also where it is somebody's own."""
    raw: Path = Path()
    """The folder that media's paths are relative to; never written to."""
    crop_settings: dict[str, Any] = field(default_factory=dict)
    """What shapes crops and their rows, as plain JSON values."""

    @classmethod
    def at(cls, roots: Roots, name: str, raw: Path = Path(), crop_settings: dict[str, Any] | None = None) -> Dataset:
        """The data set of that name."""
        return cls(name, roots.data / name, roots.folds / f"{name}.csv", raw, crop_settings or {})

    # --- where its files lie

    @property
    def media_path(self) -> Path:
        return self.folder / "media.parquet"

    @property
    def faces_path(self) -> Path:
        return self.folder / "faces.parquet"

    @property
    def extracted_path(self) -> Path:
        return self.folder / "extracted.csv"

    @property
    def crops(self) -> Path:
        """A folder for each medium's crops."""
        return self.folder / "crops"

    def problems_path(self, command: str) -> Path:
        """What failed in a command, and why."""
        return self.folder / f"{command}_problems.csv"

    # --- what stands in them

    @cached_property
    def media(self) -> pd.DataFrame:
        """The media table."""
        return MEDIA.read(self.media_path)

    def test_media(self) -> pd.DataFrame:
        """The test split's rows of the media table. UserError where it has none."""
        media = self.media[self.media.split == "test"].reset_index(drop=True)
        if media.empty:
            raise UserError(f"{self.name} has no test media; put them in a test folder, or point data.root= at others")
        return media

    def faces(self) -> pd.DataFrame:
        """The faces table, which is large: read each time, and never kept."""
        return FACES.read(self.faces_path)

    @cached_property
    def folds(self) -> pd.DataFrame:
        """The folds table."""
        return FOLDS.read(self.folds_path)

    @cached_property
    def extract_problems(self) -> pd.DataFrame:
        """Media that extraction could not read; none before the first extraction."""
        path = self.problems_path("extract")
        return PROBLEMS.read(path) if path.is_file() else PROBLEMS.empty()

    @property
    def has_split(self) -> bool:
        return self.folds_path.is_file()

    def unreadable_labels(self) -> np.ndarray:
        """(K,) labels of the training media that could not be read; none where the data set's tables are not there, or
        where no fake was given, so that labels say nothing."""
        import numpy as np

        if not self.has_split or not (self.folds.label == 1).any():
            return np.empty(0, int)
        return self.folds.label[self.folds.media_id.isin(self.extract_problems.media_id)].to_numpy(int)

    def sample_submission(self, *, is_named_alone: bool) -> Path | None:
        """The sample submission in the raw folder, where there is one; is_named_alone as of raw_folder."""
        path = self.raw_folder(is_named_alone=is_named_alone) / "sample_submission.csv"
        return path if path.is_file() else None

    def raw_folder(self, *, is_named_alone: bool) -> Path:
        """The folder that media's paths are relative to.

        is_named_alone: whether the data set was asked for by its name; the media table tells its raw folder then.
        """
        indexed = read_provenance(self.media_path) if is_named_alone else None
        return Path(indexed.config["root"]) if indexed else self.raw

    # --- whether its crops are there

    def crop_provenance(self, split: str) -> Provenance:
        """Of the tables that extraction of a split (all, train, test) writes from the present media."""
        return Provenance("extract", self.crop_settings, {"media": sha256(self.media_path), "split": split})

    def is_cropped(self, split: str) -> bool:
        """Whether the faces table is that of the present media and settings, of all or of the split."""
        if not (self.problems_path("extract").is_file() and self.extracted_path.is_file()):
            return False
        return any(is_current(self.faces_path, self.crop_provenance(part)) for part in {split, "all"})

    def check_crops(self) -> None:
        """UserError when there are crops, and they were made with other settings than these."""
        old = read_provenance(self.faces_path)
        if old is not None and old.config != self.crop_settings:
            changed = ", ".join(differences(old.config, self.crop_settings))
            raise UserError(
                f"{self.faces_path} was made with other settings ({changed}): ask for those, keep both with "
                f"data.name=OTHER, or replace the crops by running `python -m deepfake extract` with these settings "
                f"first"
            )

    def extracting(self) -> AbstractContextManager[None]:
        """Held by the process that crops media of the data set. UserError where another does."""
        return alone(
            self.folder / ".extract.lock",
            f"another process is extracting into {self.folder}: wait for it, or stop it",
        )

    def journal(self) -> Journal:
        """Finished media of the extraction; what the faces table is made of."""
        from deepfake.media.journal import Journal

        return Journal(self.folder / "extract_journal.jsonl", digest(self.crop_settings))

    def write_crops(
        self, faces: pd.DataFrame, extracted: pd.DataFrame, problems: pd.DataFrame, provenance: Provenance
    ) -> None:
        """Write the three tables of an extraction; none is current until all of them agree."""
        provenance_path(self.faces_path).unlink(missing_ok=True)
        PROBLEMS.write(problems, self.problems_path("extract"))
        EXTRACTED.write(extracted, self.extracted_path)
        FACES.write(faces, self.faces_path, provenance)


def crop_settings(shaping: dict[str, Any], table: Table = FACES) -> dict[str, Any]:
    """What shapes crops and their rows: the settings of `crop` and `extract`, and the table's columns, so that what was
    extracted before it had them all is extracted anew."""
    columns = {name: column.dtype for name, column in table.columns.items()}
    return shaping | {"faces_columns": digest(columns)[:8]}
