"""Where the labels of boxes go: no label covers another one and, where that can be helped, none covers a face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GAP = 2.0  # px between a box and its label


def place_labels(
    boxes_xyxy: Sequence[np.ndarray], sizes_wh: Sequence[tuple[float, float]], area_wh: tuple[float, float]
) -> list[tuple[float, float]]:
    """The upper left corner of each box's label. All is in px of an area that the labels do not leave.

    Small boxes choose first: they have the fewest places that are near.
    """
    boxes = np.array(boxes_xyxy, float).reshape(-1, 4)
    placed: dict[int, np.ndarray] = {}
    order = sorted(range(len(boxes_xyxy)), key=lambda number: _area(boxes_xyxy[number]))
    for number in order:
        width, height = sizes_wh[number]
        corners = _corners(boxes_xyxy[number], width, height)
        fitting = [_inside(corner, width, height, area_wh) for corner in corners]
        rectangles = np.array([(x, y, x + width, y + height) for x, y in fitting])
        # A covered label cannot be read, a covered face only looks bad; of equally good places, the first.
        labels = np.array(list(placed.values())).reshape(-1, 4)
        costs = list(zip(_overlaps(rectangles, labels), _overlaps(rectangles, boxes), strict=True))
        placed[number] = rectangles[costs.index(min(costs))]
    return [(float(placed[number][0]), float(placed[number][1])) for number in range(len(boxes_xyxy))]


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


def _inside(
    corner: tuple[float, float], width: float, height: float, area_wh: tuple[float, float]
) -> tuple[float, float]:
    """The corner, moved so that the label lies within the area."""
    x, y = corner
    return max(0.0, min(x, area_wh[0] - width)), max(0.0, min(y, area_wh[1] - height))


def _area(box_xyxy: np.ndarray) -> float:
    return float((box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1]))


def _overlaps(ones_K4: np.ndarray, others_N4: np.ndarray) -> list[float]:
    """For each of the first rectangles: the sum of the areas that it shares with each of the others."""
    low = np.maximum(ones_K4[:, None, :2], others_N4[None, :, :2])
    high = np.minimum(ones_K4[:, None, 2:], others_N4[None, :, 2:])
    return [sum(areas) for areas in np.prod((high - low).clip(0), axis=2).tolist()]
