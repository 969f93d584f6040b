"""Faces in pictures with MTCNN's three networks (Zhang et al. 2016), whole batches at once.

Networks and weights are facenet-pytorch's; thresholds, rounding and order of steps are those of its `detect_face`, so
that the faces are too. What differs is the way there: all levels of the pyramid and all candidates of all pictures are
cut from summed-area tables of the pictures as they are, without a loop over boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torchvision.ops import batched_nms

from deepfake.media.area import SummedArea

WINDOW_PX = 12  # that the first network sees
PYRAMID_FACTOR = 0.709  # of a level to the one before
AT_ONCE = 512  # candidates that go through a network together: bounds memory where a picture is full of them
THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks' probabilities


@dataclass(frozen=True)
class Candidates:
    """Boxes that may hold faces."""

    picture: torch.Tensor
    """The number of each one's picture, int64. Shape: (N,)."""
    boxes_xyxy: torch.Tensor
    """Px, float32. Shape: (N, 4)."""
    scores: torch.Tensor
    """In [0, 1], float32. Shape: (N,)."""

    def __getitem__(self, index: torch.Tensor) -> Candidates:
        return Candidates(self.picture[index], self.boxes_xyxy[index], self.scores[index])

    def __len__(self) -> int:
        return len(self.scores)


class Cascade:
    """The three networks on one device, in half precision on CUDA."""

    def __init__(self, device: str) -> None:
        from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

        self.device = device
        self.dtype = torch.float32 if device == "cpu" else torch.float16
        layout = {"device": device, "dtype": self.dtype, "memory_format": torch.channels_last}
        self.pnet, self.rnet, self.onet = (_prepared(net()).to(**layout) for net in (PNet, RNet, ONet))

    def propose(self, tables: SummedArea, scales: Sequence[float]) -> Candidates:
        """First network: squares from pictures of one size, shrunk by each of the scales."""
        levels = [self._propose_level(tables, scale) for scale in scales]
        found = _joined([candidates for candidates, _ in levels])
        shifts = torch.cat([shifts for _, shifts in levels])
        kept = batched_nms(found.boxes_xyxy, found.scores, found.picture, 0.7)
        found, shifts = found[kept], shifts[kept]
        sides = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]).repeat(1, 2)
        return Candidates(found.picture, squares(found.boxes_xyxy + shifts * sides), found.scores)

    def _propose_level(self, tables: SummedArea, scale: float) -> tuple[Candidates, torch.Tensor]:
        height, width = (int(int(side[0]) * scale + 1) for side in (tables.height, tables.width))
        shifts, probs = self.pnet(self._input(tables.levels(height, width)))
        probs = probs[:, 1].float()
        picture, row, column = (probs >= THRESHOLDS[0]).nonzero(as_tuple=True)
        corner = 2 * torch.stack([column, row], 1).float()
        boxes_xyxy = torch.cat([(corner + 1) / scale, (corner + WINDOW_PX) / scale], 1).floor()
        found = Candidates(picture, boxes_xyxy, probs[picture, row, column])
        kept = batched_nms(found.boxes_xyxy, found.scores, found.picture, 0.5)
        return found[kept], shifts.float()[picture, :, row, column][kept]

    def refine(self, tables: SummedArea, candidates: Candidates) -> Candidates:
        """Second network: fewer and better squares."""
        candidates, outputs = self._outputs(self.rnet, tables, candidates, 24)
        if not len(candidates):
            return candidates
        shifts, probs = outputs
        scores = probs[:, 1].float()
        passed = scores > THRESHOLDS[1]
        found = Candidates(candidates.picture[passed], candidates.boxes_xyxy[passed], scores[passed])
        kept = batched_nms(found.boxes_xyxy, found.scores, found.picture, 0.7)
        boxes_xyxy = _moved(found.boxes_xyxy[kept], shifts.float()[passed][kept])
        return Candidates(found.picture[kept], squares(boxes_xyxy), found.scores[kept])

    def decide(self, tables: SummedArea, candidates: Candidates) -> tuple[Candidates, torch.Tensor]:
        """Third network: faces, most certain first, and their landmarks (N, 5, 2)."""
        candidates, outputs = self._outputs(self.onet, tables, candidates, 48)
        if not len(candidates):
            return candidates, candidates.boxes_xyxy.new_empty((0, 5, 2))
        shifts, points, probs = outputs
        scores = probs[:, 1].float()
        passed = (scores > THRESHOLDS[2]).nonzero()[:, 0]
        passed = passed[scores[passed].argsort(descending=True, stable=True)]
        boxes_xyxy = candidates.boxes_xyxy[passed]
        sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] + 1
        points_xy = points.float()[passed].view(-1, 2, 5).transpose(1, 2)
        points_xy = points_xy * sides[:, None] + boxes_xyxy[:, None, :2] - 1
        found = Candidates(candidates.picture[passed], _moved(boxes_xyxy, shifts.float()[passed]), scores[passed])
        kept = _not_within_better(found)
        return found[kept], points_xy[kept]

    def _outputs(
        self, net: torch.nn.Module, tables: SummedArea, candidates: Candidates, size: int
    ) -> tuple[Candidates, list[torch.Tensor]]:
        """Candidates that lie within their picture, at least in part, and a network's outputs for those parts."""
        corners = candidates.boxes_xyxy.trunc().long()
        sides = torch.stack([tables.width, tables.height], 1)[candidates.picture]
        boxes_xyxy = torch.cat([corners[:, :2].clamp(min=1) - 1, corners[:, 2:].minimum(sides)], 1)
        inside = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(1)
        candidates, boxes_xyxy = candidates[inside], boxes_xyxy[inside]
        parts = zip(candidates.picture.split(AT_ONCE), boxes_xyxy.split(AT_ONCE), strict=True)
        outputs = [net(self._input(tables.crops(picture, boxes, size))) for picture, boxes in parts if len(picture)]
        return candidates, [torch.cat(columns) for columns in zip(*outputs, strict=True)]

    def _input(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        """0 to 255 → about -1 to 1."""
        return ((pixels_NCHW - 127.5) * 0.0078125).to(self.dtype)


def pyramid(height: int, width: int, smallest_px: float) -> list[float]:
    """Scales at which faces from `smallest_px` up fill the first network's window; none where a picture is smaller."""
    scales, scale = [], WINDOW_PX / smallest_px
    while min(height, width) * scale >= WINDOW_PX:
        scales.append(scale)
        scale *= PYRAMID_FACTOR
    return scales


class _MaxPool(torch.nn.Module):
    """MaxPool2d(size, 2, ceil_mode=True) as maxima of slices: several times as fast on a CPU. Spoils its input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps_NCHW: torch.Tensor) -> torch.Tensor:
        return self._pool(self._pool(maps_NCHW, 2), 3)

    def _pool(self, maps_NCHW: torch.Tensor, dim: int) -> torch.Tensor:
        """Along one side; the last window may reach beyond the end."""
        count = -(-(maps_NCHW.shape[dim] - self.size) // 2) + 1
        at = [maps_NCHW[(slice(None),) * dim + (slice(start, None, 2),)] for start in range(self.size)]
        whole = sum(part.shape[dim] >= count for part in at)  # those that have a pixel for each window
        best = reduce(torch.maximum, (part.narrow(dim, 0, count) for part in at[:whole]))
        for part in at[whole:]:
            inner = best.narrow(dim, 0, part.shape[dim])
            torch.maximum(inner, part, out=inner)
        return best


def _prepared(net: torch.nn.Module) -> torch.nn.Module:
    """A network to be used as it is, with quicker pooling."""
    for name, module in net.named_children():
        if isinstance(module, torch.nn.MaxPool2d):
            setattr(net, name, _MaxPool(module.kernel_size))
    return net.eval().requires_grad_(False)


def _joined(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        torch.cat([part.picture for part in parts]),
        torch.cat([part.boxes_xyxy for part in parts]),
        torch.cat([part.scores for part in parts]),
    )


def _moved(boxes_xyxy: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Corners moved by shares of the box's sides, which the networks were trained to count with both end pixels."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] + 1
    return boxes_xyxy + shifts * sides.repeat(1, 2)


def squares(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """Squares of the longer side around the same centres."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    longest = sides.amax(1, keepdim=True)
    corner = boxes_xyxy[:, :2] + sides * 0.5 - longest * 0.5
    return torch.cat([corner, corner + longest], 1)


def _not_within_better(faces: Candidates) -> torch.Tensor:
    """(N,) bool: a face goes when a better one of its picture that stays shares .7 of the smaller one's area.

    faces: most certain first.
    """
    kept = torch.ones_like(faces.picture, dtype=torch.bool)
    for number in faces.picture.unique():  # pictures apart, as memory goes with the square of their faces
        mine = faces.picture == number
        kept[mine] = _suppressed(faces.boxes_xyxy[mine])
    return kept


def _suppressed(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """Greedy suppression of boxes (K, 4), best first: which stay, (K,) bool.

    Instead of a loop over boxes, the rule is applied to all until nothing changes: its only fixed point is the greedy
    answer.
    """
    x0, y0, x1, y1 = boxes_xyxy.unbind(1)
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    wide = torch.minimum(x1[:, None], x1) - torch.maximum(x0[:, None], x0) + 1
    high = torch.minimum(y1[:, None], y1) - torch.maximum(y0[:, None], y0) + 1
    shared = wide.clamp(min=0) * high.clamp(min=0) / torch.minimum(area[:, None], area)
    beats = (shared > 0.7).triu(1)  # only the better beats the worse
    kept, before = torch.ones_like(area, dtype=torch.bool), None
    while before is None or (kept != before).any():
        kept, before = ~(beats & kept[:, None]).any(0), kept
    return kept
