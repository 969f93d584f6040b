"""Faces of a video's sampled frames become tracks, one a person; which tracks are worth keeping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

# Unit of all three: the face's side. They were measured on drawn clips and on two films with known ids. Two ideas were
# left out: a track's speed made 8 % fewer wrong links in drawn clips but more in the films, where heads turn back
# between sparse frames; a reach that grows with the gap joins strangers. Boxes do not show a cut to a face of the same
# size and place.
SIZE_WEIGHT = 6.0  # for each factor e between two sizes; alone it tells faces apart that differ 1.65 times
GAP_WEIGHT = 0.2  # for each frame without the person, so that somebody just seen comes first
FARTHEST = 3.0  # from here on a face is somebody else's

NUM_WANTED = {"all": None, "largest": 1, "top2": 2}


@dataclass(frozen=True)
class Kept:
    """What choose_tracks keeps, and how many tracks it dropped for what reason."""

    masks: list[np.ndarray]
    """For each frame which faces stay, bool. Shape of each: (K_i,)."""
    short: int
    """Seen in too few frames."""
    weak: int
    """Never certain enough."""
    unwanted: int
    """Beyond the largest ones that were asked for."""


@dataclass(frozen=True)
class _Faces:
    """All N faces of a clip in time order."""

    frames: np.ndarray
    """int64. Shape: (N,)."""
    sides_px: np.ndarray
    """Shape: (N,)."""
    landmarks_xy: np.ndarray
    """Shape: (N, 5, 2)."""


def link_faces(boxes_xyxy: list[np.ndarray], landmarks_xy: list[np.ndarray]) -> list[np.ndarray]:
    """Track of each face, (K_i,) int64 a frame; no two faces of one frame share a track.

    boxes_xyxy: (K_i, 4), landmarks_xy: (K_i, 5, 2) for each of at least one frame, evenly spread and in time order, px.
    Tracks are numbered 0 … T - 1 by falling total area of their faces, then by first appearance.

    As in SORT (Bewley et al. 2016), but without its model of motion: frame by frame, the Hungarian method gives faces
    to tracks so that the sum of distances (see `_distance`) is least; a face FARTHEST or more away begins a new track.
    """
    counts = [len(boxes) for boxes in boxes_xyxy]
    faces = _Faces(
        frames=np.repeat(np.arange(len(counts)), counts),
        sides_px=np.sqrt(_areas_px2(boxes_xyxy)),
        landmarks_xy=np.concatenate(landmarks_xy).astype(np.float64),
    )
    tracks = _link(faces, len(counts))
    falling = np.argsort(-np.bincount(tracks, faces.sides_px**2), kind="stable")
    return _by_frame(np.argsort(falling)[tracks], counts)


def choose_tracks(
    track_ids: list[np.ndarray],
    probs: list[np.ndarray],
    boxes_xyxy: list[np.ndarray],
    *,
    faces: str,
    min_track: float,
    min_track_prob: float,
) -> Kept:
    """Drop weak tracks, then short ones, then those that nobody asked for.

    track_ids: as link_faces gives them. probs: (K_i,) in [0, 1], boxes_xyxy: (K_i, 4), px.
    weak: the surest face is below min_track_prob. short: seen in a smaller share of the frames than min_track; where
    all are short they stay, as a face that shows once is better than none. faces: all, or the largest or top2 tracks
    by total area; else ValueError.
    """
    if faces not in NUM_WANTED:
        raise ValueError(f"faces={faces!r}; allowed: {', '.join(NUM_WANTED)}")
    counts = [len(ids) for ids in track_ids]
    ids = np.concatenate(track_ids)
    frames_seen = np.bincount(ids)
    strong = _highest(np.concatenate(probs), ids, len(frames_seen)) >= min_track_prob
    long = strong & (frames_seen / len(counts) >= min_track)
    left = long if long.any() else strong
    falling = np.argsort(-np.bincount(ids, _areas_px2(boxes_xyxy)), kind="stable")
    chosen = falling[left[falling]][: NUM_WANTED[faces]]
    return Kept(
        masks=_by_frame(np.isin(ids, chosen), counts),
        short=int(strong.sum() - left.sum()),
        weak=int((~strong).sum()),
        unwanted=int(left.sum()) - len(chosen),
    )


def _link(faces: _Faces, num_frames: int) -> np.ndarray:
    """Track of each face, (N,) int64, numbered by first appearance."""
    tracks = np.empty(len(faces.frames), np.int64)
    last_seen = np.empty(0, np.int64)  # of each track: the number of its latest face
    for frame in range(num_frames):
        now = np.flatnonzero(faces.frames == frame)
        tracks[now] = _assign(_distance(faces, last_seen, now))
        last_seen = np.concatenate([last_seen, now[tracks[now] >= len(last_seen)]])
        last_seen[tracks[now]] = now
    return tracks


def _distance(faces: _Faces, last_seen: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How unlike one person's the faces `now` (K,) are to the tracks' `last_seen` (T,), in sides of the face, (T, K).

    The landmarks' mean way in geometric mean sides, SIZE_WEIGHT × |ln(size ratio)|, GAP_WEIGHT × frames between.
    """
    before, after = faces.sides_px[last_seen, None], faces.sides_px[now]
    ways_px = np.linalg.norm(faces.landmarks_xy[last_seen, None] - faces.landmarks_xy[now], axis=-1).mean(-1)
    gaps = faces.frames[now] - faces.frames[last_seen, None] - 1
    return ways_px / np.sqrt(before * after) + SIZE_WEIGHT * np.abs(np.log(after / before)) + GAP_WEIGHT * gaps


def _assign(distance_TK: np.ndarray) -> np.ndarray:
    """Track of each face, (K,) int64; faces without one are numbered T, T + 1, …"""
    num_tracks, num_faces = distance_TK.shape
    tracks = np.full(num_faces, -1)
    # Cut off, as a pair that will not be linked must not push others away from their nearest.
    rows, cols = linear_sum_assignment(np.minimum(distance_TK, FARTHEST))
    near = distance_TK[rows, cols] < FARTHEST
    tracks[cols[near]] = rows[near]
    new = tracks < 0
    tracks[new] = num_tracks + np.arange(new.sum())
    return tracks


def _areas_px2(boxes_xyxy: list[np.ndarray]) -> np.ndarray:
    """Areas of all boxes, (N,) float64, at least one pixel, so that a box without extent has a size."""
    x0, y0, x1, y1 = np.concatenate(boxes_xyxy).astype(np.float64).T
    return np.maximum(x1 - x0, 1) * np.maximum(y1 - y0, 1)


def _highest(probs: np.ndarray, ids: np.ndarray, num_tracks: int) -> np.ndarray:
    """Highest probability of each track, (T,), in the type of `probs`, in which 0.9 is not below 0.9."""
    highest = np.zeros(num_tracks, probs.dtype)
    np.maximum.at(highest, ids, probs)
    return highest


def _by_frame(values: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    """Values (N,) of all faces as one (K_i,) array a frame."""
    return np.split(values, np.cumsum(counts)[:-1])
