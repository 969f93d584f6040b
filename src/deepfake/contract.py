"""What a contract between commands is: a table's columns and key, checked on every write and read; files whole or not
at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.errors import UserError, raised_within
from deepfake.files import replacing, write_json
from deepfake.provenance import Provenance, git_commit, provenance_path

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Column:
    """One column: pandas dtype, a line for the data dictionary, whether it may be null, and its allowed values."""

    dtype: str
    about: str
    nullable: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table's contract. `check` is run on every write and every read."""

    name: str
    about: str
    key: tuple[str, ...]
    columns: dict[str, Column]

    def check(self, frame: pd.DataFrame, where: str | Path = "") -> pd.DataFrame:
        """`frame` with exactly this table's columns, in order and typed; UserError names the first fault."""
        where = f" in {where}" if where else ""
        missing = [name for name in self.columns if name not in frame]
        extra = [name for name in frame if name not in self.columns]
        if missing or extra:
            raise UserError(f"{self.name} table{where}: missing columns {missing}, unknown columns {extra}")
        for name, column in self.columns.items():  # before the types: bool(None) is False
            self._check_values(frame[name], column, where)
        try:
            typed = frame[list(self.columns)].astype({name: column.dtype for name, column in self.columns.items()})
        except Exception as error:
            if not raised_within(error, "pandas", "numpy", "pyarrow"):
                raise
            raise UserError(f"{self.name} table{where}: a value has the wrong type ({error})") from error
        for name in typed:
            if typed[name].dtype.kind in "ib" and (typed[name] != frame[name]).fillna(False).any():
                raise UserError(f"{self.name} table{where}: a value of {name!r} is no {typed[name].dtype}")
        frame = typed
        doubled = frame[frame.duplicated(list(self.key))]
        if len(doubled):
            first = dict(doubled.iloc[0][list(self.key)])
            raise UserError(f"{self.name} table{where}: {len(doubled)} rows repeat a key, first {first}")
        return frame.reset_index(drop=True)

    def _check_values(self, values: pd.Series, column: Column, where: str) -> None:
        if not column.nullable and values.isna().any():
            raise UserError(f"{self.name} table{where}: {int(values.isna().sum())} empty values in {values.name!r}")
        if column.allowed:
            wrong = values[values.notna() & ~values.isin(list(column.allowed))]
            if len(wrong):
                allowed = ", ".join(column.allowed)
                raise UserError(f"{self.name} table{where}: {values.name} = {wrong.iloc[0]!r}; allowed: {allowed}")

    def empty(self) -> pd.DataFrame:
        """A typed frame without rows."""
        import pandas as pd

        return self.check(pd.DataFrame({name: [] for name in self.columns}))

    def write(self, frame: pd.DataFrame, path: Path, provenance: Provenance | None = None) -> pd.DataFrame:
        """Write whole or not at all (.parquet or .csv), then the provenance; gives the checked frame back."""
        frame = self.check(frame, path)
        record = provenance.to_json() | {"rows": len(frame), "git_commit": git_commit()} if provenance else None
        provenance_path(path).unlink(missing_ok=True)  # a kill between table and record must not leave the old one
        with replacing(path) as temporary:
            if path.suffix == ".parquet":
                frame.to_parquet(temporary, index=False)
            else:
                frame.to_csv(temporary, index=False)
        if record:
            write_json(record, provenance_path(path))
        return frame

    def read(self, path: Path) -> pd.DataFrame:
        """Read and check. UserError when the file is not there or is not this table."""
        import pandas as pd

        if not path.is_file():
            raise UserError(f"{path} does not exist: run the command that writes it (the {self.name} table) first")
        dtypes = {name: column.dtype for name, column in self.columns.items()}
        try:
            if path.suffix == ".parquet":
                frame = pd.read_parquet(path)
            else:  # of what pandas takes for nothing, only the empty field is nothing here: `NA` is a name
                frame = pd.read_csv(path, dtype=dtypes, keep_default_na=False, na_values=[""])
        except (ValueError, OSError) as error:
            raise UserError(
                f"{path} is not a {self.name} table ({error}): remove it and run its command again"
            ) from error
        try:
            return self.check(frame, path)
        except UserError as error:
            raise UserError(f"{error}: remove it and run its command again") from error
