"""Faces of frames with facenet-pytorch's MTCNN, whose weights come with its package."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BATCH = 8


@dataclass(frozen=True)
class Detections:
    """Faces of one frame, most certain first, in pixels of that frame.

    boxes_xyxy: (K, 4) float32. probs: (K,) float32 in [0, 1]. landmarks_xy: (K, 5, 2) float32, in the order of
    tables.LANDMARKS: left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
    """

    boxes_xyxy: np.ndarray
    probs: np.ndarray
    landmarks_xy: np.ndarray

    def __len__(self) -> int:
        return len(self.probs)


class FaceDetector:
    """MTCNN over batches of frames of one size.

    detect_size: longest side that the network sees, px, 0 = the frame's own. min_face: px at that size, at least 12.
    min_prob: faces below are dropped. device: as torch names it.
    """

    def __init__(self, *, detect_size: int, min_face: int, min_prob: float, device: str) -> None:
        from facenet_pytorch import MTCNN

        self.detect_size = detect_size
        self.min_face = min_face
        self.min_prob = min_prob
        self.mtcnn = MTCNN(keep_all=True, min_face_size=min_face, device=device)

    def detect(self, images_NHWC: np.ndarray) -> list[Detections]:
        """Faces of each frame (uint8 RGB); an empty Detections where there is none."""
        found = []
        for start in range(0, len(images_NHWC), BATCH):
            found += self._detect_batch(images_NHWC[start : start + BATCH])
        return found

    def _detect_batch(self, images_NHWC: np.ndarray) -> list[Detections]:
        height, width = images_NHWC.shape[1:3]
        scale = min(1.0, self.detect_size / max(height, width)) if self.detect_size else 1.0
        if (
            min(height, width) * scale * (12 / self.min_face) < 12
        ):  # too small for one level of MTCNN's pyramid, where it crashes
            return [_NO_FACE] * len(images_NHWC)
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            images_NHWC = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images_NHWC])
        to_frame = np.array([width / images_NHWC.shape[2], height / images_NHWC.shape[1]], np.float32)
        boxes, probs, landmarks = self.mtcnn.detect(images_NHWC, landmarks=True)
        return [
            _NO_FACE if box is None else self._keep(box, prob, points, to_frame)
            for box, prob, points in zip(boxes, probs, landmarks, strict=True)
        ]

    def _keep(self, boxes: np.ndarray, probs: np.ndarray, points: np.ndarray, to_frame: np.ndarray) -> Detections:
        probs = probs.astype(np.float32)
        order = np.argsort(-probs, kind="stable")
        order = order[probs[order] >= self.min_prob]
        boxes_xyxy = boxes.astype(np.float32)[order] * np.tile(to_frame, 2)
        return Detections(boxes_xyxy, probs[order], points.astype(np.float32)[order] * to_frame)


_NO_FACE = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))
