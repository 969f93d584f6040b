"""Submission files: what each competition wants to be handed in, written from logits and read back.

A new format is one entry of FORMATS. Importing this module is cheap, so that the configuration can list them.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deepfake.errors import UserError, raised_within
from deepfake.files import replacing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_LOGIT = 36.0  # beyond it float64 has no probability below 1, and P(fake) is to stay between 0 and 1
WORDS = {"real": 0.0, "fake": 1.0}
LABELS = {"0": 0.0, "1": 1.0}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Content:
    """The text of a submission file, taken apart."""

    header: tuple[str, ...]
    """Column names; () where the file has no header."""
    rows: pd.DataFrame
    """Columns name ("" in a format without names) and value."""
    ragged: list[str]
    """`line 7 has 3 fields` for every line with a wrong number of fields; such lines are not among the rows."""


@dataclass(frozen=True)
class Format:
    """How one competition wants its scores."""

    about: str
    """The competition."""
    metric: str
    """The metric that its board shows."""
    file: str = "submission.csv"
    """The file's name."""
    inside: str = ""
    """The name of the only file in it, where it is a zip; else ""."""
    columns: tuple[str, str] | None = None
    """The header; None = no header."""
    separator: str = ","
    named: bool = True
    """Whether rows carry names."""
    paths: bool = False
    """Whether names are whole paths below the raw root; otherwise they are file names."""
    answer: Literal["fake", "real", "label", "word"] = "fake"
    """P(fake), P(real), a label 0 or 1, or a word real or fake."""

    @property
    def takes_sample(self) -> bool:
        """Whether a sample submission may give rows, order and column names: only where the file has a header."""
        return self.columns is not None

    @property
    def is_json(self) -> bool:
        """Whether the file in the zip is JSON."""
        return self.inside.endswith(".json")

    def like(self, sample: pd.DataFrame) -> Format:
        """This format with the column names of a sample submission."""
        return replace(self, columns=tuple(sample.columns))

    def write(self, table: pd.DataFrame, path: Path, *, threshold: float = 0.0) -> None:
        """Write the file whole or not at all; the same table gives the same bytes.

        table: name, and logit (log-odds of fake, finite), in the order of rows. threshold: the logit from which a
        medium is called fake, in formats of labels or words; -inf calls all fake, inf none.
        """
        text = self._encode(list(table.name), self._answers(table.logit.to_numpy(float), threshold))
        with replacing(path) as temporary:
            temporary.write_bytes(_zipped(self.inside, text) if self.inside else text.encode())

    def read(self, path: Path) -> pd.DataFrame:
        """name ("" in a format without names) and score: P(fake), whatever the format's own polarity and spelling.

        UserError for a file that cannot be read, lines with a wrong number of fields, or values that are no scores.
        """
        import pandas as pd

        content = self.content(path)
        scores = self.scores(content.rows.value)
        if content.ragged or scores.isna().any():
            no_scores = [f"{value!r} is no score" for value in content.rows.value[scores.isna()]]
            raise UserError(f"{path}: {[*content.ragged, *no_scores][0]}")
        return pd.DataFrame({"name": content.rows.name, "score": scores})

    def content(self, path: Path) -> Content:
        """The file's text, taken apart but not judged. UserError when the file is missing or of another kind."""
        text = _text(path, self.inside)
        return _json_content(text, path) if self.is_json else self._lines(text, path)

    def scores(self, values: pd.Series) -> pd.Series:
        """P(fake) of values as they stand in a file, in range or not; nan for what this format does not have."""
        if self.answer in ("label", "word"):
            return values.map(LABELS if self.answer == "label" else WORDS).astype(float)
        numbers = values.map(number).astype(float)
        return 1 - numbers if self.answer == "real" else numbers

    def _answers(self, logits: np.ndarray, threshold: float) -> list[str]:
        import numpy as np

        from deepfake.score.pool import sigmoid

        assert np.isfinite(logits).all()
        if self.answer in ("label", "word"):
            texts = list(LABELS if self.answer == "label" else WORDS)
            return [texts[int(fake)] for fake in logits >= threshold]  # large logits differ, their probabilities do not
        logits = logits.clip(-MAX_LOGIT, MAX_LOGIT)
        # P(real) comes from the logit: 1 - P(fake) would lose the digits of a small P(real)
        return [repr(float(value)) for value in sigmoid(-logits if self.answer == "real" else logits)]

    def _encode(self, names: list[str], answers: list[str]) -> str:
        if self.is_json:
            return json.dumps(dict(zip(names, answers, strict=True)), indent=0) + "\n"
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        if self.columns:
            writer.writerow(self.columns)
        writer.writerows(zip(names, answers, strict=True) if self.named else zip(answers, strict=True))
        return text.getvalue()

    def _lines(self, text: str, path: Path) -> Content:
        import pandas as pd

        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.separator, strict=True)
        try:
            lines = [(reader.line_num, fields) for fields in reader if fields or not self.named]  # [] is an empty line
        except csv.Error as error:
            raise UserError(f"{path}: line {reader.line_num} is not readable ({error})") from error
        header = tuple(lines.pop(0)[1]) if lines and self._is_header(lines[0][1]) else ()
        width = 2 if self.named else 1
        ragged = [f"line {line} has {len(fields)} fields" for line, fields in lines if len(fields) != width]
        rows = [fields if self.named else ["", *fields] for _, fields in lines if len(fields) == width]
        return Content(header, pd.DataFrame(rows, columns=["name", "value"], dtype=object), ragged)

    def _is_header(self, fields: list[str]) -> bool:
        """Whether a file's first line is a header: where the header was forgotten, it ends in a score."""
        return self.columns is not None and (tuple(fields) == self.columns or not fields or not is_numeric(fields[-1]))


def number(text: str) -> float | None:
    """The number that a text spells, nan and inf included; None where it spells none.

    Only plain decimals count, as 0.25 or 2.5e-1. Python also reads 0.1_5, digits of other scripts and surrounding
    spaces, all of which boards refuse.
    """
    return float(text) if NUMBER.fullmatch(text) else None


def is_numeric(text: str) -> bool:
    """Whether a text is a number in any spelling that Python reads; a column name is not."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Pairs(list):
    """The pairs of a JSON object; a name that stands twice is there twice."""


def _json_content(text: str, path: Path) -> Content:
    import pandas as pd

    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
        if not isinstance(pairs, _Pairs):
            raise ValueError(f"what came is {'an array' if isinstance(pairs, list) else 'a single value'}")
        rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in pairs]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON object of names and answers ({error})") from error
    return Content((), pd.DataFrame(rows, columns=["name", "value"], dtype=object), [])


def _text(path: Path, inside: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if inside:
        data = _unzipped(data, inside, path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {f'a zip of {inside}' if inside else 'UTF-8 text'} ({error})") from error


def _unzipped(data: bytes, inside: str, path: Path) -> bytes:
    """The bytes of `inside`. UserError when the zip is damaged or holds anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if names == [inside]:
                return archive.read(inside)
    except Exception as error:
        if not raised_within(error, "zipfile"):
            raise
        raise UserError(f"{path} is not a zip of {inside} ({str(error) or 'it ends too soon'})") from error
    raise UserError(f"{path} holds {', '.join(names) or 'nothing'}; allowed: {inside} alone")


def _zipped(name: str, text: str) -> bytes:
    """A zip of one file, dated 1980, so that the same text gives the same bytes."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(member, text)
    return data.getvalue()


FORMATS: dict[str, Format] = {
    "csv": Format("any competition with a sample_submission.csv", "its own", columns=("filename", "label")),
    "dfdc": Format("DFDC", "log loss", columns=("filename", "label")),
    "ffdi": Format("multi-FFDI, images", "AUC", columns=("img_name", "y_pred")),
    "ffdi_video": Format("multi-FFDI, videos", "AUC", columns=("video_name", "y_pred")),
    "avdeepfake1m": Format("AV-Deepfake1M++, detection", "AUC", file="submission.txt", separator=";"),
    "ntire": Format("NTIRE robust", "AUC", file="submission.zip", inside="submission.txt", named=False),
    "faceforensics": Format(
        "FaceForensics++ benchmark", "accuracy", file="submission.zip", inside="submission.json", answer="word"
    ),
    # Celeb-DF's list of test videos has 1 = real. The scores here are P(fake), as everywhere; the names are the list's.
    "celebdf": Format("Celeb-DF v2, List_of_testing_videos.txt", "AUC", columns=("video", "fake"), paths=True),
    "spcup": Format("SP Cup DFWild", "AUC", columns=("filename", "score"), answer="real"),
    "aifactory": Format("AIFactory Korea", "Macro-F1", columns=("filename", "label"), answer="label"),
}
