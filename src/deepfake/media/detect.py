"""Where faces are in pictures, and in the frames of a video: searched in full now and then, followed in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou

from deepfake.media.area import SummedArea
from deepfake.media.likeness import scenes
from deepfake.media.mtcnn import Candidates, Cascade, pyramid, squares

BATCH_MPX = {"cpu": 1.0, "cuda": 32.0}  # megapixels of frames that are searched at once, unless told otherwise
FOLLOW_TIMES = {"cpu": 8, "cuda": 1}  # following takes less memory: so many times as many are followed at once
REACH = 0.5  # how far around a place a followed face is looked for, in its sides
SAME_FACE = 0.1  # overlap (IoU) of boxes above which they may show one face in two searched frames


@dataclass(frozen=True)
class Detections:
    """Faces of one frame, most certain first, in pixels of that frame; all arrays float32."""

    boxes_xyxy: np.ndarray
    """Shape: (K, 4)."""
    probs: np.ndarray
    """In [0, 1]. Shape: (K,)."""
    landmarks_xy: np.ndarray
    """Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture. Shape: (K, 5, 2)."""

    def __len__(self) -> int:
        return len(self.probs)


NO_FACE = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))


class FaceDetector:
    """MTCNN over pictures of any sizes and over videos.

    detect_size: longest side at which faces are searched, px; 0 = the frame's own. min_face: smallest face, px at that
    size, at least 12. min_prob: faces of a lower probability are dropped. search_every: `follow` searches one frame of
    so many in full; 1 = each. batch_mpx: megapixels of frames that are searched at once; 0 = as suits the device.
    device: as torch names it.
    """

    def __init__(
        self, *, detect_size: int, min_face: int, min_prob: float, search_every: int, device: str, batch_mpx: float = 0
    ) -> None:
        self.detect_size = detect_size
        self.min_face = min_face
        self.min_prob = min_prob
        self.search_every = search_every
        self.cascade = Cascade(device)
        kind = torch.device(device).type
        self.batch_px = int(1e6 * (batch_mpx or BATCH_MPX[kind]))
        self.follow_px = self.batch_px * FOLLOW_TIMES[kind]

    @torch.inference_mode()
    def detect(self, images_HWC: Sequence[np.ndarray]) -> list[Detections]:
        """Faces of each picture (uint8 RGB), searched in full; an empty Detections where there is none."""
        found: dict[int, Detections] = {}
        for batch in _batches(images_HWC, range(len(images_HWC)), self.batch_px):
            found |= zip(batch, self._search([images_HWC[number] for number in batch]), strict=True)
        return [found[number] for number in range(len(images_HWC))]

    @torch.inference_mode()
    def follow(self, images_HWC: Sequence[np.ndarray]) -> list[Detections]:
        """Faces of each frame of one video, given in order of time.

        The first and last frame of each scene, and one of search_every within it, are searched in full. In the others
        only those places are looked at where searched frames show a face, and places half-way for one that moves. A
        frame that then shows no face, or lacks one that the searched frame before or after it shows, is searched in
        full too. A face is missed where it shows in no searched frame and another one shows beside it.
        """
        neighbours = self._neighbours(images_HWC)
        searched = [number for number in range(len(images_HWC)) if number not in neighbours]
        found = dict(zip(searched, self.detect([images_HWC[number] for number in searched]), strict=True))
        seen = {number: squares(torch.from_numpy(faces.boxes_xyxy)) for number, faces in found.items()}
        places = {number: _places(number, *pair, seen) for number, pair in neighbours.items()}
        found |= {number: NO_FACE for number in neighbours}
        somewhere = [number for number in neighbours if len(places[number])]
        for batch in _batches(images_HWC, somewhere, self.follow_px):
            faces = self._look([images_HWC[number] for number in batch], [places[number] for number in batch])
            found |= zip(batch, faces, strict=True)
        lost = [number for number, pair in neighbours.items() if _lacks(found[number], [found[one] for one in pair])]
        found |= zip(lost, self.detect([images_HWC[number] for number in lost]), strict=True)
        return [found[number] for number in range(len(images_HWC))]

    def _neighbours(self, images_HWC: Sequence[np.ndarray]) -> dict[int, tuple[int, int]]:
        """Frames that can be followed, with the searched ones before and after each."""
        neighbours: dict[int, tuple[int, int]] = {}
        for first, last in scenes(images_HWC):
            for before, after in pairwise([*range(first, last, self.search_every), last]):
                neighbours |= {number: (before, after) for number in range(before + 1, after)}
        return neighbours

    def _search(self, images_HWC: list[np.ndarray]) -> list[Detections]:
        """Pictures of one size through all three networks."""
        height, width = images_HWC[0].shape[:2]
        shrink = min(1.0, self.detect_size / max(height, width)) if self.detect_size else 1.0
        fold = self._fold(height, width)
        scales = pyramid(height // fold, width // fold, self.min_face / shrink / fold)
        if not scales:  # smaller than the smallest face
            return [NO_FACE] * len(images_HWC)
        tables = SummedArea([_folded(image, fold) for image in images_HWC], self.cascade.device)
        return self._decide(tables, self.cascade.propose(tables, scales), fold, np.zeros((len(images_HWC), 2)))

    def _look(self, images_HWC: list[np.ndarray], places_xyxy: list[torch.Tensor]) -> list[Detections]:
        """Pictures of one size through the second and third network, at the given places (N, 4) px of each."""
        height, width = images_HWC[0].shape[:2]
        fold = self._fold(height, width)
        windows = [_window(places, height, width, fold) for places in places_xyxy]
        parts = [image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in zip(images_HWC, windows, strict=True)]
        tables = SummedArea([_folded(part, fold) for part in parts], self.cascade.device)
        corners = np.array(windows)[:, :2]
        picture = torch.tensor([number for number, places in enumerate(places_xyxy) for _ in places])
        boxes_xyxy = (torch.cat(places_xyxy) - torch.from_numpy(np.tile(corners, 2))[picture]).float() / fold
        candidates = Candidates(
            *(part.to(self.cascade.device) for part in (picture, boxes_xyxy, torch.ones(len(picture))))
        )
        return self._decide(tables, candidates, fold, corners)

    def _decide(
        self, tables: SummedArea, candidates: Candidates, fold: int, corners_xy: np.ndarray
    ) -> list[Detections]:
        """Faces among the candidates, by picture; corners_xy (B, 2) px: where in its frame each picture was cut out."""
        faces, landmarks_xy = self.cascade.decide(tables, self.cascade.refine(tables, candidates))
        sure = faces.scores >= self.min_prob
        tensors = (faces.picture, faces.boxes_xyxy, faces.scores, landmarks_xy)
        picture, boxes_xyxy, probs, landmarks_xy = (part[sure].cpu().numpy() for part in tensors)
        corner_xy = corners_xy.astype(np.float32)[picture]
        boxes_xyxy = boxes_xyxy * fold + np.tile(corner_xy, 2)
        landmarks_xy = landmarks_xy * fold + corner_xy[:, None]
        return [
            Detections(boxes_xyxy[mine], probs[mine], landmarks_xy[mine])
            for mine in (picture == number for number in range(len(corners_xy)))
        ]

    def _fold(self, height: int, width: int) -> int:
        """Whole number by which frames are shrunk first: far above detect_size, pixels cost time and show nothing."""
        return max(1, int(max(height, width) / (1.5 * self.detect_size))) if self.detect_size else 1


def _batches(images_HWC: Sequence[np.ndarray], numbers: Iterable[int], most_px: int) -> Iterator[list[int]]:
    """Numbers of pictures of one size, as many as have `most_px` pixels together, at least one."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number in numbers:
        by_shape.setdefault(images_HWC[number].shape, []).append(number)
    for (height, width, _), same in by_shape.items():
        count = max(1, most_px // (height * width))
        yield from (same[start : start + count] for start in range(0, len(same), count))


def _window(places_xyxy: torch.Tensor, height: int, width: int, fold: int) -> tuple[int, int, int, int]:
    """The part of a frame that holds the places and REACH around them, x0 y0 x1 y1 px; x0 and y0 multiples of fold."""
    around = REACH * (places_xyxy[:, 2:] - places_xyxy[:, :2])
    x0, y0 = (places_xyxy[:, :2] - around).amin(0).clamp(min=0).long().tolist()
    x1, y1 = (places_xyxy[:, 2:] + around).amax(0).ceil().long().tolist()
    x0, y0 = min(x0, width - fold) // fold * fold, min(y0, height - fold) // fold * fold
    return x0, y0, max(x0 + fold, min(x1, width)), max(y0 + fold, min(y1, height))


def _lacks(faces: Detections, others: list[Detections]) -> bool:
    """Whether a frame shows no face, or one of the other frames has one where this frame has none."""
    boxes_xyxy = torch.from_numpy(faces.boxes_xyxy)
    if not len(faces):
        return True
    overlaps = [box_iou(torch.from_numpy(other.boxes_xyxy), boxes_xyxy).amax(1) for other in others]
    return bool((torch.cat(overlaps) <= SAME_FACE).any())


def _folded(image_HWC: np.ndarray, fold: int) -> np.ndarray:
    """The means of blocks of `fold` × `fold` px; what is left over at the right and at the bottom is cut off."""
    if fold == 1:
        return image_HWC
    height, width = image_HWC.shape[0] // fold, image_HWC.shape[1] // fold
    return cv2.resize(image_HWC[: height * fold, : width * fold], (width, height), interpolation=cv2.INTER_AREA)


def _places(number: int, before: int, after: int, seen: dict[int, torch.Tensor]) -> torch.Tensor:
    """Squares (N, 4) where a frame's faces may be: half-way between the frames before and after, else where they were.

    seen: squares of the faces of each searched frame, those before and after among them.
    """
    was, will = seen[before], seen[after]
    places = was
    if len(was) and len(will):
        overlap, same = box_iou(was, will).max(1)
        share = (number - before) / (after - before)
        places = torch.where((overlap > SAME_FACE)[:, None], torch.lerp(was, will[same], share), was)
    others = torch.cat([will, *seen.values()])
    if len(places) and len(others):
        others = others[box_iou(others, places).amax(1) <= SAME_FACE]
    return torch.cat([places, others])
