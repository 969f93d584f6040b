"""Where labels of boxes go, so that none covers another one or, where that can be helped, a face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GAP = 2.0  # px between a box and its label


def place_labels(
    boxes_xyxy: Sequence[np.ndarray], sizes_wh: Sequence[tuple[float, float]], area_wh: tuple[float, float]
) -> list[tuple[float, float]]:
    """Upper left corners of one label a box, all px of an area that the labels do not leave.

    Small boxes choose first: they have the fewest places that are near.
    """
    placed: dict[int, np.ndarray] = {}
    order = sorted(range(len(boxes_xyxy)), key=lambda number: _area(boxes_xyxy[number]))
    for number in order:
        width, height = sizes_wh[number]
        corners = _corners(boxes_xyxy[number], width, height)
        fitting = [_inside(corner, width, height, area_wh) for corner in corners]
        rectangles = [np.array([x, y, x + width, y + height]) for x, y in fitting]
        # A covered label cannot be read, a covered face only looks bad; of equally good places, the first.
        costs = [
            (sum(_overlap(one, label) for label in placed.values()), sum(_overlap(one, box) for box in boxes_xyxy))
            for one in rectangles
        ]
        placed[number] = rectangles[costs.index(min(costs))]
    return [tuple(placed[number][:2].tolist()) for number in range(len(boxes_xyxy))]


def _corners(box_xyxy: np.ndarray, width: float, height: float) -> list[tuple[float, float]]:
    """Upper left corners of a label around a box, the most usual place first, then further and further away."""
    x0, y0, x1, y1 = map(float, box_xyxy)
    near = [
        *((x0, y0 - GAP - height), (x1 - width, y0 - GAP - height), (x0, y1 + GAP), (x1 - width, y1 + GAP)),
        *((x1 + GAP, y0), (x0 - GAP - width, y0), (x1 + GAP, y1 - height), (x0 - GAP - width, y1 - height)),
    ]
    away = [
        (x, y)
        for steps in (1, 2, 3)
        for x in (x0, x1 - width, x1 + GAP, x0 - GAP - width)
        for y in (y0 - (1 + steps) * (GAP + height), y1 + GAP + steps * (GAP + height))
    ]
    return near + away


def _inside(corner: tuple[float, float], width: float, height: float, area_wh: tuple[float, float]) -> tuple:
    x, y = corner
    return max(0.0, min(x, area_wh[0] - width)), max(0.0, min(y, area_wh[1] - height))


def _area(box_xyxy: np.ndarray) -> float:
    return float((box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1]))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Area that two rectangles share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(sides.clip(0)))
