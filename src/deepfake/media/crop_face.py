"""The one way from a frame and a face to a crop, for training and for inference."""

from __future__ import annotations

import cv2
import numpy as np

# Five landmarks (tables.LANDMARKS' order) of a frontal face in a unit square around it, the well-known ArcFace
# template (112 px; Deng et al. 2019) divided by its side.
TEMPLATE_XY = (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) / 112
)


def crop_face(
    frame_HWC: np.ndarray,
    box_xyxy: np.ndarray,
    landmarks_xy: np.ndarray | None,
    *,
    align: str,
    margin: float,
    size: int,
) -> np.ndarray:
    """A square crop (size, size, 3), uint8, of a face; black where it reaches beyond the frame.

    align=box: the square around the box's centre, the box's longer side widened by `margin` of it on each side.
    align=similarity: rotated, scaled and moved so that the five landmarks (5, 2) lie as near the template as least
    squares can bring them, the template widened by `margin` on each side in the same way.
    """
    return _warp(frame_HWC, _crop_matrix(box_xyxy, landmarks_xy, align=align, margin=margin, size=size), size)


def landmarks_in_crop(
    box_xyxy: np.ndarray, landmarks_xy: np.ndarray, *, align: str, margin: float, size: int
) -> np.ndarray:
    """Where the landmarks (5, 2) of a frame, px, lie in the crop that crop_face gives; nan stays nan."""
    known = landmarks_xy if np.isfinite(landmarks_xy).all() else None
    matrix = _crop_matrix(box_xyxy, known, align=align, margin=margin, size=size)
    return landmarks_xy @ matrix[:, :2].T + matrix[:, 2]


def _crop_matrix(
    box_xyxy: np.ndarray, landmarks_xy: np.ndarray | None, *, align: str, margin: float, size: int
) -> np.ndarray:
    """The (2, 3) matrix from coordinates of the frame to those of the crop."""
    if align == "similarity" and landmarks_xy is not None:
        target_xy = (TEMPLATE_XY + margin) / (1 + 2 * margin) * size
        return similarity(landmarks_xy, target_xy)
    return _box_matrix(box_xyxy, margin, size)


def similarity(source_xy: np.ndarray, target_xy: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix of rotation, uniform scale and shift that maps source points (N, 2) nearest to the targets.

    Least squares over x' = ax - by + c, y' = bx + ay + d.
    """
    x, y = np.asarray(source_xy, np.float64).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.lstsq(rows, np.asarray(target_xy, np.float64).T.ravel(), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def centre_square(height: int, width: int) -> np.ndarray:
    """The largest centred square of a frame as x0 y0 x1 y1, px."""
    side = min(height, width)
    x0, y0 = (width - side) / 2, (height - side) / 2
    return np.array([x0, y0, x0 + side, y0 + side], np.float32)


def shrink_whole(frame_HWC: np.ndarray, size: int) -> np.ndarray:
    """The whole frame, shrunk by areas so that its longest side is at most `size` px; never enlarged; 0 = as it is."""
    height, width = frame_HWC.shape[:2]
    if not size or max(height, width) <= size:
        return frame_HWC
    scale = size / max(height, width)
    new_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame_HWC, new_size, interpolation=cv2.INTER_AREA)


def _box_matrix(box_xyxy: np.ndarray, margin: float, size: int) -> np.ndarray:
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    side = max(x1 - x0, y1 - y0, 1.0) * (1 + 2 * margin)
    scale = size / side
    return np.array([[scale, 0, size / 2 - scale * (x0 + x1) / 2], [0, scale, size / 2 - scale * (y0 + y1) / 2]])


def _warp(frame_HWC: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Apply a similarity given in continuous coordinates (pixel centres at .5) without aliasing.

    Where it shrinks, the part of the frame that is needed is first shrunk by areas, so that the warp itself only
    turns and shifts.
    """
    frame_HWC, matrix = _visible_part(frame_HWC, matrix, size)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:
        height, width = frame_HWC.shape[:2]
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame_HWC = cv2.resize(frame_HWC, small, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([width / small[0], height / small[1], 1])
    # From continuous coordinates to OpenCV's, whose pixel centres are whole numbers.
    matrix = matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(frame_HWC, matrix, (size, size), flags=cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC)


def _visible_part(frame_HWC: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the frame that the crop can see, and the matrix from its coordinates."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) @ inverse.T
    height, width = frame_HWC.shape[:2]
    reach = 2 + 2 / max(1e-6, float(np.hypot(matrix[0, 0], matrix[1, 0])))
    x0, y0 = np.clip(np.floor(corners.min(0) - reach), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0) + reach), [x0 + 1, y0 + 1], [width, height]).astype(int)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ [x0, y0]
    return frame_HWC[y0:y1, x0:x1], moved
