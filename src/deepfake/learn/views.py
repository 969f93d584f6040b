"""Test-time views: other ways to show a detector the same crop; logits of several views are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from deepfake.forgery.arrays import save_as_jpeg
from deepfake.learn.models import Detector

JPEG_QUALITY = 75

# Square images_NCHW uint8, 4 px and more → tensors of the same shape, device and memory format, of a crop's pixels.
View = Callable[[torch.Tensor], list[torch.Tensor]]


def identity(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """As they are."""
    return [images_NCHW]


def hflip(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """Left and right exchanged."""
    return [images_NCHW.flip(3)]


def vflip(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """Upside down."""
    return [images_NCHW.flip(2)]


def rot90(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """A quarter turn, counter-clockwise."""
    return [_as_given(images_NCHW, images_NCHW.rot90(1, (2, 3)))]


def scale_down(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """At 4/5 of the size, as from further away; the rest is filled by reflection."""
    side = images_NCHW.shape[-1]
    edge = round(side / 10)  # on each side, so that the middle stays in the middle
    small = _resize(images_NCHW, side - 2 * edge)
    return [_as_given(images_NCHW, F.pad(small, (edge,) * 4, mode="reflect"))]


def scale_up(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """At 5/4 of the size, as from nearer; the middle of it."""
    side = images_NCHW.shape[-1]
    edge = round(side / 8)
    large = _resize(images_NCHW, side + 2 * edge)
    return [_as_given(images_NCHW, large[:, :, edge : edge + side, edge : edge + side])]


def five_crop(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """The four corners and the middle, at 7/8 of the side, each enlarged to the whole of it."""
    side = images_NCHW.shape[-1]
    edge = max(1, round(side / 16))
    places = [(0, 0), (0, 2 * edge), (2 * edge, 0), (2 * edge, 2 * edge), (edge, edge)]
    length = side - 2 * edge
    windows = [images_NCHW[:, :, top : top + length, left : left + length] for top, left in places]
    return [_as_given(images_NCHW, _resize(window, side)) for window in windows]


def jpeg(images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """Compressed once more, at quality 75; on the CPU."""
    crops_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    shown = torch.stack([torch.from_numpy(save_as_jpeg(crop_HWC, JPEG_QUALITY)) for crop_HWC in crops_NHWC])
    return [_as_given(images_NCHW, shown.permute(0, 3, 1, 2))]


VIEWS: dict[str, View] = {
    view.__name__: view for view in (identity, hflip, vflip, rot90, scale_down, scale_up, five_crop, jpeg)
}


def passes(view: str) -> int:
    """How many images the detector is shown for each crop."""
    return len(VIEWS[view](torch.zeros(1, 3, 8, 8, dtype=torch.uint8)))


def view_logits(detectors: Sequence[Detector], images_NCHW: torch.Tensor, views: list[str]) -> torch.Tensor:
    """Logits (N, len(detectors), len(views)): for each view the mean over the images that it shows.

    Each view is made once, so that all detectors see the same images.
    """
    columns = []
    for view in views:
        shown = VIEWS[view](images_NCHW)
        means = [torch.stack([detector(images) for images in shown]).mean(0) for detector in detectors]
        columns.append(torch.stack(means, 1))
    return torch.stack(columns, 2)


def _resize(images_NCHW: torch.Tensor, side: int) -> torch.Tensor:
    """To side x side px, bilinear; float32, as reflection wants it too."""
    return F.interpolate(images_NCHW.float(), size=(side, side), mode="bilinear", antialias=True)


def _as_given(images_NCHW: torch.Tensor, shown_NCHW: torch.Tensor) -> torch.Tensor:
    """What is shown as uint8, on the device and in the memory format of the images that it was made of."""
    innermost = images_NCHW.is_contiguous(memory_format=torch.channels_last)
    if shown_NCHW.is_floating_point():
        shown_NCHW = shown_NCHW.round().clamp(0, 255).to(torch.uint8)
    memory_format = torch.channels_last if innermost else torch.contiguous_format
    return shown_NCHW.to(images_NCHW.device).contiguous(memory_format=memory_format)
