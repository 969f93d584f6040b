"""What a blend is fitted to: the out-of-fold logits of each medium with a face, by each run, in every pooling."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deepfake.score.pool import POOLINGS

FEWEST_FOLDS = 3  # one fold scores the choosing; on the others the choosing is cross-fitted, which takes two


@dataclass(frozen=True)
class Evidence:
    """Out-of-fold logits of M media by R runs, and what is known of the media."""

    labels: np.ndarray
    """(M,) 0 real, 1 fake."""
    folds: np.ndarray
    """(M,) the fold in which a medium was held out."""
    groups: np.ndarray
    """(M,) media that belong together share a group."""
    runs: tuple[str, ...]
    """R names."""
    pooled: dict[str, np.ndarray]
    """Name of a pooling → (M, R) logits."""
    negated: dict[str, np.ndarray]
    """Name of a pooling → (M, R) logits, each crop's negated before pooling."""

    def take(self, rows: np.ndarray) -> Evidence:
        """The evidence of some media: `rows` is a mask or row numbers."""
        return dataclasses.replace(
            self,
            labels=self.labels[rows],
            folds=self.folds[rows],
            groups=self.groups[rows],
            pooled={name: logits[rows] for name, logits in self.pooled.items()},
            negated={name: logits[rows] for name, logits in self.negated.items()},
        )

    def of_runs(self, runs: list[str]) -> Evidence:
        """The evidence of some runs, in this order."""
        numbers = [self.runs.index(run) for run in runs]
        return dataclasses.replace(
            self,
            runs=tuple(runs),
            pooled={name: logits[:, numbers] for name, logits in self.pooled.items()},
            negated={name: logits[:, numbers] for name, logits in self.negated.items()},
        )

    def logits(self, pool: str, inverted: tuple[str, ...]) -> np.ndarray:
        """(M, R) logits in a pooling; those of inverted runs were negated before it."""
        return np.where(np.isin(self.runs, inverted), self.negated[pool], self.pooled[pool])


def gather(tables: dict[str, pd.DataFrame], folds: pd.DataFrame) -> tuple[Evidence, np.ndarray]:
    """The evidence of media that every run has scored and in which some run found a face; and the labels of media that
    every run has scored and in which no run found one.

    tables: run → its out-of-fold rows, of all the folds that it was trained on. folds: the folds table. Where fewer
    than three folds were trained, groups are dealt into five.
    """
    common = sorted(set.intersection(*(set(table.media_id) for table in tables.values())))
    found = pd.concat([table[["media_id", "found"]] for table in tables.values()]).groupby("media_id").found.any()
    media = folds.set_index("media_id").loc[common]
    with_face = found.loc[common].to_numpy(bool)
    faces = media[with_face]
    groups = np.unique(faces.group_id.to_numpy(str), return_inverse=True)[1]
    numbers = faces.fold.to_numpy(int)
    evidence = Evidence(
        labels=faces.label.to_numpy(int),
        folds=numbers if len(np.unique(numbers)) >= FEWEST_FOLDS else deal_folds(groups),
        groups=groups,
        runs=tuple(tables),
        pooled=_pooled(tables, faces.index, 1),
        negated=_pooled(tables, faces.index, -1),
    )
    return evidence, media[~with_face].label.to_numpy(int)


def _pooled(tables: dict[str, pd.DataFrame], media: pd.Index, sign: int) -> dict[str, np.ndarray]:
    """Name of a pooling → (M, R) logits; each row's logit is multiplied by `sign` first."""
    rows = [
        table[table.media_id.isin(media)].assign(logit=lambda table: sign * table.logit) for table in tables.values()
    ]
    return {
        name: np.stack([pooling(table).loc[media].to_numpy(float) for table in rows], 1)
        for name, pooling in POOLINGS.items()
    }


def deal_folds(groups: np.ndarray, count: int = 5, seed: int = 0) -> np.ndarray:
    """(M,) fold numbers for groups (M,); media of one group get one number."""
    names, members = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % count)[members]
