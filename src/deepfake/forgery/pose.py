"""Faces of near pose: whose face may be laid over whose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepfake.forgery.arrays import Array
from deepfake.forgery.points import normalised

PER_SOURCE = 4  # faces of a source that may be donors: more of them look alike


def nearest_poses(fives_N52: Array, sources_N: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """For each face the `count` faces of other sources whose five landmarks, moved to one place, size and turn, are
    nearest; nearest first. The numbers count from 0; -1 where there are fewer. Landmarks of NaN: no donors, and none.
    Shape: (N, count)."""
    from scipy.spatial import cKDTree

    known = np.flatnonzero(np.isfinite(fives_N52).all(axis=(1, 2)))
    donors = np.full((len(fives_N52), count), -1)
    pool = _spread(known, sources_N[known])
    if not len(pool):
        return donors
    poses = normalised(fives_N52[known].astype(np.float64)).reshape(len(known), 10)
    tree = cKDTree(poses[np.searchsorted(known, pool)])
    most = min(len(pool), count + PER_SOURCE)  # so many of these may be of the face's own source
    _, found = tree.query(poses, k=np.arange(1, most + 1))
    for row, near in zip(known.tolist(), pool[found], strict=True):
        others = near[sources_N[near] != sources_N[row]][:count]
        donors[row, : len(others)] = others
    return donors


def _spread(rows: NDArray[np.int64], sources: NDArray[np.integer]) -> NDArray[np.int64]:
    """Up to PER_SOURCE rows of each source, evenly from first to last."""
    kept = []
    order = np.argsort(sources, kind="stable")
    for group in np.split(rows[order], np.flatnonzero(np.diff(sources[order])) + 1):
        kept.append(group[np.unique(np.linspace(0, len(group) - 1, PER_SOURCE).round().astype(int))])
    return np.sort(np.concatenate(kept)) if len(rows) else rows
