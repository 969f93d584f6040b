"""The contracts between stages: each table's columns, key and checks; whole-or-nothing writes; provenance.

Beside a table `t.parquet` lies `t.parquet.json`: which stage wrote it, from which settings and which input files.
A stage whose provenance matches has nothing to do.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.errors import UserError
from deepfake.files import replacing, write_json

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
        except (TypeError, ValueError) as error:
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
        record = asdict(provenance) | {"rows": len(frame), "git_commit": git_commit()} if provenance else None
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
            raise UserError(f"{path} does not exist: run the stage that writes it (the {self.name} table) first")
        dtypes = {name: column.dtype for name, column in self.columns.items()}
        try:
            if path.suffix == ".parquet":
                frame = pd.read_parquet(path)
            else:  # of what pandas takes for nothing, only the empty field is nothing here: `NA` is a name
                frame = pd.read_csv(path, dtype=dtypes, keep_default_na=False, na_values=[""])
        except (ValueError, OSError) as error:
            raise UserError(
                f"{path} is not a {self.name} table ({error}): remove it and run its stage again"
            ) from error
        try:
            return self.check(frame, path)
        except UserError as error:
            raise UserError(f"{error}: remove it and run its stage again") from error


@dataclass(frozen=True)
class Provenance:
    """What shaped a table: the stage, its part of the configuration (plain JSON values), and its inputs' sha256."""

    stage: str
    config: dict
    inputs: dict[str, str]


def provenance_path(path: Path) -> Path:
    """`faces.parquet` → `faces.parquet.json`."""
    return path.with_name(path.name + ".json")


def read_provenance(path: Path) -> Provenance | None:
    """What lies beside the table at `path`; None when the table or its record is missing."""
    record_path = provenance_path(path)
    if not (path.is_file() and record_path.is_file()):
        return None
    try:
        record = json.loads(record_path.read_text())
        return Provenance(record["stage"], record["config"], record["inputs"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record_path} is damaged ({error}): remove it, and the stage runs again") from error


def is_current(path: Path, provenance: Provenance) -> bool:
    """True when the table at `path` was written by the same stage from the same settings and inputs."""
    return read_provenance(path) == Provenance(**json.loads(json.dumps(asdict(provenance))))


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """Keys in which two nested dicts differ, as `crop.margin: 0.3 → 0.5`."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} → {after}")
    return found


def git_commit() -> str | None:
    """The commit of the code that is running, None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
BOX = ("x0", "y0", "x1", "y1")
LANDMARK_COLUMNS = tuple(f"{point}_{axis}" for point in LANDMARKS for axis in "xy")
FACE_KEY = ("media_id", "frame_idx", "face_idx")

_FACE_KEY_COLUMNS = {
    "media_id": Column("string", "the medium, as in the media table"),
    "frame_idx": Column("int32", "number of the frame in the video, from 0; 0 for an image"),
    "face_idx": Column("int32", "number of the face in the frame, from 0, most certain first"),
}
_SEEN_COLUMNS = {
    "found": Column("bool", "as in the faces table"),
    "track_id": Column("int32", "as in the faces table"),
    "prob": Column("float32", "as in the faces table", nullable=True),
    "side": Column("float32", "square root of the box's area, px of the frame"),
    "sharpness": Column("float32", "as in the faces table"),
}
_LABEL = Column("Int8", "0 real, 1 fake, empty = unknown", nullable=True)
_METHOD = Column("string", "generator or manipulation, 'real' for reals", nullable=True)

MEDIA = Table(
    "media",
    "every video and image of a data set",
    ("media_id",),
    {
        "media_id": Column("string", "the medium's name in this data set: its path below the raw root"),
        "dataset": Column("string", "name of the data set"),
        "kind": Column("string", "video or image", allowed=("video", "image")),
        "path": Column("string", "file, below the raw root"),
        "split": Column("string", "train or test", allowed=("train", "test")),
        "label": _LABEL,
        "method": _METHOD,
        "source_id": Column("string", "the original (or person) it comes from", nullable=True),
        "donor_id": Column("string", "the original (or person) whose face was put in", nullable=True),
        "fingerprint": Column(
            "string", "sha256 of the file's size, first and last 64 KiB: tells whether it has changed"
        ),
        "content_id": Column("string", "sha256 of the file where another has its fingerprint", nullable=True),
    },
)

FACES = Table(
    "faces",
    "every crop: one row a face, or a centre square where no face was found",
    FACE_KEY,
    _FACE_KEY_COLUMNS
    | {
        "track_id": Column(
            "int32", "whose face it is in this medium, from 0, the largest first; 0 without a detection"
        ),
        "found": Column("bool", "a face was found here (or a whole picture was asked for); false = centre square"),
        "prob": Column("float32", "the detector's probability; empty without a detection", nullable=True),
        "x0": Column("float32", "box, left, px of the upright frame, before the margin"),
        "y0": Column("float32", "box, top"),
        "x1": Column("float32", "box, right"),
        "y1": Column("float32", "box, bottom"),
    }
    | {
        name: Column("float32", f"landmark {name[:-2].replace('_', ' ')}, {name[-1]}, px of the frame", nullable=True)
        for name in LANDMARK_COLUMNS
    }
    | {
        "pts_s": Column("float32", "time of the frame, seconds from the start"),
        "sharpness": Column("float32", "log2(1 + variance of the Laplacian) of the grey crop shrunk to 64 px"),
        "path": Column("string", "crop, below data/<dataset>/"),
    },
)

EXTRACTED = Table(
    "extracted",
    "every medium that was cut: what was in it and what was done",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "width": Column("int32", "of the upright frame, px"),
        "height": Column("int32", "of the upright frame, px"),
        "num_frames": Column("int32", "frames in the file"),
        "frames_read": Column("int32", "frames that were wanted and could be decoded"),
        "boxes": Column(
            "string",
            "where crops lie: at faces that the detector found, or the original's; centre squares; whole frames",
            allowed=("detector", "original", "centre", "whole"),
        ),
        "original": Column("string", "the medium whose boxes were taken", nullable=True),
        "tracks": Column("int32", "people: tracks of faces that were kept"),
        "tracks_dropped": Column("int32", "tracks that were dropped as false finds"),
        "note": Column("string", "what is wrong with the file though it was cut", nullable=True),
    },
)

FOLDS = Table(
    "folds",
    "the split: which fold validates a medium",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "group_id": Column("string", "media that must stay together share it"),
        "label": Column("Int8", "0 real, 1 fake"),
        "method": _METHOD,
        "fold": Column("int16", "the fold that validates on it, from 0"),
    },
)

OOF = Table(
    "out-of-fold",
    "a trained fold's logits of the media it did not see",
    (*FACE_KEY, "view"),
    _FACE_KEY_COLUMNS
    | {
        "view": Column("string", "test-time view, as in infer.tta"),
    }
    | _SEEN_COLUMNS
    | {
        "label": Column("Int8", "0 real, 1 fake"),
        "logit": Column("float32", "log-odds of fake"),
    },
)

FALLBACKS = ("no_face", "unreadable", "late")

LOGITS = Table(
    "logits",
    "every logit behind a submission",
    (*FACE_KEY, "run", "fold", "view"),
    _FACE_KEY_COLUMNS
    | {
        "run": Column("string", "name of the run; empty: the row of a medium that gets a stated logit instead"),
        "fold": Column("string", "fold of the run whose model spoke: 0, 1, …, full"),
        "view": Column("string", "test-time view, as in infer.tta"),
    }
    | _SEEN_COLUMNS
    | {
        "logit": Column("float32", "log-odds of fake"),
        "fallback": Column(
            "string",
            "why no model speaks for the medium: no_face, unreadable or late",
            nullable=True,
            allowed=FALLBACKS,
        ),
    },
)

SCORES = Table(
    "scores",
    "what is submitted: one logit a medium, after pooling and blending",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "logit": Column("float64", "log-odds of fake"),
        "fallback": Column("string", "as in the logits table", nullable=True, allowed=FALLBACKS),
        "crops": Column("int32", "crops behind it; 0 for a fallback"),
        "frames": Column("int32", "frames behind it"),
    },
)

PROBLEMS = Table(
    "problems",
    "what failed, and why",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "error": Column("string", "kind of failure"),
        "detail": Column("string", "what was said about it", nullable=True),
    },
)

LEDGER = Table(
    "ledger",
    "every submission that was written, in the order of writing",
    ("name", "sha256"),
    {
        "name": Column("string", "name of the submission: its folder"),
        "runs": Column("string", "the runs whose models speak in it, with commas between"),
        "config_sha256": Column(
            "string", "sha256 of what shaped it: settings, weights, blend, stated logits, views, media"
        ),
        "git_commit": Column("string", "commit of the code, empty outside a checkout", nullable=True),
        "cv_metric": Column("string", "what cv is: log_loss, auc, …", nullable=True),
        "cv": Column(
            "float64",
            "out-of-fold score on media with a face, nested where anything was chosen; empty = not known",
            nullable=True,
        ),
        "sha256": Column("string", "of the file that is handed in"),
        "rows": Column("int64", "media in it"),
        "format": Column("string", "submit.format of the file"),
        "created": Column("string", "time of the first writing, UTC, ISO 8601"),
        "public": Column("float64", "the public board's score, as entered", nullable=True),
        "private": Column("float64", "the private board's score, as entered", nullable=True),
    },
)

TABLES = (MEDIA, FACES, EXTRACTED, FOLDS, OOF, LOGITS, SCORES, PROBLEMS, LEDGER)


def dictionary() -> str:
    """The data dictionary: every table and column, as Markdown."""
    blocks = []
    for table in TABLES:
        head = f"**{table.name}**: {table.about}; key {', '.join(table.key)}"
        lines = [head, "", "| column | type | what |", "|---|---|---|"]
        lines += [f"| {name} | {column.dtype} | {column.about} |" for name, column in table.columns.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
