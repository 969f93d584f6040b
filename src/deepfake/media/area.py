"""Means over rectangles of pictures from summed-area tables: any crop, any size, at the price of four reads a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch


class SummedArea:
    """Summed-area tables (Crow 1984) of uint8 RGB pictures, one after another in one tensor of whole numbers.

    Resampling equals torch's `interpolate(mode="area")`: pixel i of n is the mean of the pixels from floor(i L / n) to
    ceil((i + 1) L / n) - 1 of a side of L. Sums of large pictures wrap around at 2**32; their differences are right
    while a rectangle has fewer than 2**23 pixels.
    """

    def __init__(self, images_HWC: Sequence[np.ndarray], device: str) -> None:
        sizes = torch.tensor([image.shape[:2] for image in images_HWC])
        entries = (sizes + 1).prod(1)
        self.sums = torch.empty((int(entries.sum()), 3), dtype=torch.int32, device=device)
        for image, table in zip(images_HWC, self.sums.split(entries.tolist()), strict=True):
            _sum_up(image, table.view(image.shape[0] + 1, image.shape[1] + 1, 3))
        self.height, self.width = sizes.to(device).unbind(1)
        self.first = (entries.cumsum(0) - entries).to(device)

    def levels(self, height: int, width: int) -> torch.Tensor:
        """All pictures, which must be of one size, resampled: (B, 3, height, width) float32 in 0 to 255."""
        assert (self.height == self.height[0]).all() and (self.width == self.width[0]).all(), "pictures of one size"
        full_height, full_width = int(self.height[0]), int(self.width[0])
        sums_BHWC = self.sums.view(-1, full_height + 1, full_width + 1, 3)
        top, bottom = _bins(self.height[:1], height)
        left, right = _bins(self.width[:1], width)
        rows = sums_BHWC.index_select(1, bottom) - sums_BHWC.index_select(1, top)
        total = rows.index_select(2, right) - rows.index_select(2, left)
        area = (bottom - top)[:, None] * (right - left)
        return (total / area[..., None]).permute(0, 3, 1, 2)

    def crops(self, picture: torch.Tensor, boxes_xyxy: torch.Tensor, size: int) -> torch.Tensor:
        """Rectangles resampled to squares: (N, 3, size, size) float32 in 0 to 255.

        picture: (N,) int64, the picture of each. boxes_xyxy: (N, 4) int64 px, within it, right and bottom exclusive,
        not empty.
        """
        x0, y0, x1, y1 = boxes_xyxy[:, :, None].unbind(1)
        top, bottom = _bins(y1 - y0, size)
        left, right = _bins(x1 - x0, size)
        area = (bottom - top)[:, :, None] * (right - left)[:, None]
        first, stride = self.first[picture][:, None], self.width[picture][:, None] + 1
        upper, lower = ((first + (y0 + row) * stride)[:, :, None] for row in (top, bottom))
        left, right = (x0 + left)[:, None], (x0 + right)[:, None]
        total = self._at(lower + right) - self._at(upper + right) - self._at(lower + left) + self._at(upper + left)
        return (total / area[..., None]).permute(0, 3, 1, 2)

    def _at(self, index_NHW: torch.Tensor) -> torch.Tensor:
        return self.sums.index_select(0, index_NHW.flatten()).view(*index_NHW.shape, 3)


def _sum_up(image_HWC: np.ndarray, table: torch.Tensor) -> None:
    """Fill a table (H + 1, W + 1, 3): the sum of all that lies above and to the left."""
    if table.device.type == "cpu":
        cv2.integral(image_HWC, table.numpy())
        return
    table[0], table[:, 0] = 0, 0
    pixels = torch.from_numpy(image_HWC).to(table.device)
    torch.cumsum(pixels.cumsum(0, dtype=torch.int32), 1, out=table[1:, 1:])


def _bins(length: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one-past-last input pixel of `count` output pixels of a side: (…, 1) → twice (…, count)."""
    index = torch.arange(count, device=length.device)
    return index * length // count, -(-(index + 1) * length // count)
