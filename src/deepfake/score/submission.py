"""Submission files: the rows that are asked for, each with a finite probability."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from deepfake.errors import UserError
from deepfake.score.pool import sigmoid


def read_sample(path: Path) -> pd.DataFrame:
    """A sample submission: names in its first column, scores in its second. UserError when it is not one."""
    try:
        sample = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path} is not a readable CSV: {error}") from error
    if len(sample.columns) < 2 or sample.empty:
        raise UserError(f"{path} needs rows and two columns, a name and a score; it has {list(sample.columns)}")
    names = sample.iloc[:, 0]
    wrong = names[(names == "") | names.duplicated()]
    if len(wrong):
        raise UserError(f"{path}: names must be there and differ; {wrong.iloc[0]!r} is empty or repeated")
    return sample


def match_names(names: pd.Series, media_ids: pd.Series, where: str | Path) -> pd.Series:
    """The media_id that each name means: a whole path, else a file's name, else its name without suffix.

    UserError for names that mean no medium, or more than one.
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


def build_submission(
    sample: pd.DataFrame | None,
    logits: pd.Series,
    where: str | Path = "",
    *,
    columns: tuple[str, str] = ("filename", "label"),
) -> pd.DataFrame:
    """Names and probabilities of fake, a row for each expected medium.

    sample: gives column names, rows and their order; None = `columns`, every medium in order.
    logits: by media_id, finite, for every test medium.
    """
    if sample is None:
        names = pd.Series(_short_names(list(logits.index)))
        wanted = pd.Series(list(logits.index))
    else:
        names, columns = sample.iloc[:, 0], tuple(sample.columns[:2])
        wanted = match_names(names, pd.Series(list(logits.index)), where)
    values = sigmoid(logits.loc[wanted].to_numpy())
    assert np.isfinite(values).all() and ((values >= 0) & (values <= 1)).all()
    return pd.DataFrame({columns[0]: names.to_numpy(), columns[1]: values})


def _short_names(media_ids: list[str]) -> list[str]:
    """File names where they differ, else whole paths."""
    names = [PurePosixPath(media_id).name for media_id in media_ids]
    return names if len(set(names)) == len(names) else media_ids
