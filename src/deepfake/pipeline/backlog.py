"""Media that wait for the models, and how many crops are yet to be scored. Nothing here looks at a clock or a disk."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepfake.pipeline.arrivals import Crops

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Waiting:
    """A medium to be scored."""

    crops: Crops
    counts: dict[int, int]
    """Crops that are used at each stride, where every stride-th frame is."""


class Backlog:
    """What waits, what was set aside to come last, and what can be foreseen of media that are yet to come.

    num_frames: of a video, as the settings say. strides: the choices of how many frames are used.
    """

    def __init__(self, num_frames: int, strides: Iterable[int]) -> None:
        self.frames = {stride: -(-num_frames // stride) for stride in strides}
        self.waiting: deque[Waiting] = deque()
        self.aside: list[Waiting] = []
        self._came = 0
        self._came_crops: Counter[int] = Counter()
        self._aside_crops: Counter[int] = Counter()
        self._waiting_crops: Counter[int] = Counter()

    def __len__(self) -> int:
        """Media that are cropped and not scored."""
        return len(self.waiting) + len(self.aside)

    @property
    def waiting_crops(self) -> int:
        """Crops of waiting media, all frames."""
        return self._waiting_crops[1]

    def came(self, crops: Crops, *, is_scored: bool) -> None:
        """A medium with a face is cropped; one that is scored already tells what others will be like."""
        one = Waiting(crops, {stride: int(self.used(crops, stride).sum()) for stride in self.frames})
        self._came += 1
        self._came_crops.update(one.counts)
        if not is_scored:
            self._wait(one)

    def came_without_face(self) -> None:
        """A medium is cropped, and there is nothing to score in it."""
        self._came += 1

    def used(self, crops: Crops, stride: int) -> np.ndarray:
        """Mask of a medium's crops that are used at a stride: those of every stride-th frame, evenly; one frame at
        least. Of a medium that was cropped with fewer frames, as many frames as of any other."""
        import numpy as np

        frames = np.unique(crops.frame_idx)
        step = max(1, -(-len(frames) // self.frames[stride]))
        return np.isin(crops.frame_idx, frames[(len(frames) - 1) % step // 2 :: step])

    def take(self, stride: int, wanted: int, most: float) -> list[tuple[Crops, np.ndarray]]:
        """The next media, whole ones, one at least, until they have `wanted` crops or would have more than `most`; with
        the numbers of the rows that are used."""
        import numpy as np

        taken: list[tuple[Crops, np.ndarray]] = []
        count = 0
        while self.waiting and count < wanted and (not taken or count + self.waiting[0].counts[stride] <= most):
            one = self.waiting.popleft()
            self._waiting_crops.subtract(one.counts)
            taken.append((one.crops, one.crops.start + np.flatnonzero(self.used(one.crops, stride))))
            count += one.counts[stride]
        return taken

    def set_aside(self, large: Callable[[Waiting], bool], fits: Callable[[], bool], stride: int) -> None:
        """Let the largest of the `large` media come last, as few of them as it takes until the rest `fits`."""
        for one in sorted(filter(large, self.waiting), key=lambda one: one.counts[stride], reverse=True):
            if fits():
                return
            self.aside.append(one)
            self.waiting.remove(one)
            self._aside_crops.update(one.counts)
            self._waiting_crops.subtract(one.counts)

    def take_back(self) -> None:
        """Let what was set aside wait again, behind the others."""
        for one in self.aside:
            self._wait(one)
        self.aside, self._aside_crops = [], Counter()

    def crops_left(self, uncropped: int) -> dict[int, float]:
        """Crops that are to be scored at each stride, without what was set aside; media that are yet to be cropped
        count as those that came."""
        came = self._came - len(self.aside)
        if not came:
            return {stride: self._waiting_crops[stride] + uncropped * frames for stride, frames in self.frames.items()}
        each = {stride: (self._came_crops[stride] - self._aside_crops[stride]) / came for stride in self.frames}
        return {stride: self._waiting_crops[stride] + uncropped * each[stride] for stride in self.frames}

    def _wait(self, one: Waiting) -> None:
        self.waiting.append(one)
        self._waiting_crops.update(one.counts)
