"""The rows that a submission must have: which media, by which names, in which order."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from deepfake.errors import UserError
from deepfake.score.formats import Format, is_numeric


def read_sample(path: Path) -> pd.DataFrame:
    """A sample submission: names in its first column, scores in its second, under a header.

    UserError when the file is none.
    """
    try:
        lines = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path} is not a readable CSV: {' '.join(str(error).split())}") from error
    header, sample = list(lines.iloc[0]), lines.iloc[1:].reset_index(drop=True)
    if len(header) != 2 or sample.empty:
        raise UserError(
            f"{path} needs rows and two columns, a name and a score; it has {len(sample)} rows and {len(header)} "
            f"columns, {header}: name another file by infer.sample_submission="
        )
    if is_numeric(header[1]):
        raise UserError(
            f"{path} has no header: its first line is {','.join(header)!r}; put the column names that the competition "
            f"wants above it, as in filename,label"
        )
    sample.columns = header
    names = sample.iloc[:, 0]
    wrong = names[(names == "") | names.duplicated()]
    if len(wrong):
        raise UserError(f"{path}: names must be there and differ; {wrong.iloc[0]!r} is empty or repeated")
    return sample


def match_names(names: pd.Series, media_ids: pd.Series, where: str | Path) -> pd.Series:
    """The media_id that each name means. All names are whole paths, or all file names, or all without suffix.

    where: whose names these are, for messages. UserError for names that mean no medium, or more than one.
    """
    paths = [PurePosixPath(media_id) for media_id in media_ids]
    spellings = ([str(path) for path in paths], [path.name for path in paths], [path.stem for path in paths])
    for spelling in spellings:
        meaning = pd.Series(list(media_ids), index=spelling)
        if names.isin(meaning.index).all():
            doubled = meaning.index[meaning.index.duplicated(keep=False) & meaning.index.isin(names)]
            if len(doubled):
                raise UserError(f"{where}: {doubled[0]!r} means {', '.join(meaning[doubled[0]])}: give whole paths")
            return names.map(meaning[meaning.index.isin(names)])
    if names.isin(spellings[0] + spellings[1] + spellings[2]).all():
        raise UserError(f"{where}: names must all be written one way: whole paths, file names, or without suffix")
    by_name = names[~names.isin(spellings[0] + spellings[1] + spellings[2])]
    raise UserError(
        f"{where}: {len(by_name)} of {len(names)} rows have no medium in the test split, first {by_name.iloc[0]!r}"
    )


def expected_rows(
    form: Format, media_ids: pd.Series, sample: pd.DataFrame | None, where: str | Path = ""
) -> pd.DataFrame:
    """The rows that a submission must have, in their order: name as it is to be written, and the media_id it means.

    sample: gives names and order; without a sample all media are rows, in alphabetical order of names. where: the
    sample's file, for messages. UserError for names of the sample that mean no medium, or several.
    """
    if sample is not None:
        names = sample.iloc[:, 0]
        return pd.DataFrame({"name": names, "media_id": match_names(names, media_ids, where)})
    ids = list(media_ids)
    rows = pd.DataFrame({"name": ids if form.paths else _short_names(ids), "media_id": ids}, dtype=object)
    return rows.sort_values("name", ignore_index=True)


def _short_names(media_ids: list[str]) -> list[str]:
    """File names where they differ, else whole paths."""
    names = [PurePosixPath(media_id).name for media_id in media_ids]
    return names if len(set(names)) == len(names) else media_ids
