"""Front ends: what a backbone sees instead of, or beside, the picture's colours. None of them has weights.

Each takes images_NCHW RGB in 0..255, float32, and gives float32 of the same shape: zero where a picture is flat (the
spectrum excepted), with a deviation of about 1 on photographs. `rgb+npr` gives the channels of both, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = 3  # of each front
BESIDE_RGB = 0.1  # factor on a stem's weights for what stands beside the colours, which it was not trained on


class Front(nn.Module):
    """images_NCHW in 0..255, uint8 or float → (N, 3 * fronts, H, W) float32, in full precision also under autocast.

    front: names of FRONTS joined by `+`. mean, std: of R, G, B in [0, 1], which `rgb` is normalised by. The images'
    memory format is kept.
    """

    def __init__(self, front: str, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        parts = [Rgb(mean, std) if name == "rgb" else FRONTS[name]() for name in front.split("+")]
        self.parts = nn.ModuleList(parts)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        innermost = images_NCHW.is_contiguous(memory_format=torch.channels_last)
        with torch.autocast(images_NCHW.device.type, enabled=False):
            images_NCHW = images_NCHW.float()
            shown = [part(images_NCHW) for part in self.parts]
            joined = torch.cat(shown, 1) if len(shown) > 1 else shown[0]
        return joined.contiguous(memory_format=torch.channels_last if innermost else torch.contiguous_format)


class Rgb(nn.Module):
    """The colours, normalised as the model's own preprocessing does."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return (images_NCHW / 255 - self.mean) / self.std


class Npr(nn.Module):
    """Neighbouring pixel relations: each pixel less the upper left one of its square of 2 x 2 (Tan et al. 2024).

    That is the image less itself at half the size, enlarged again, both by the nearest pixel.
    """

    SCALE = 12.0

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        height, width = images_NCHW.shape[2:]
        corners = F.interpolate(images_NCHW[:, :, ::2, ::2], scale_factor=2, mode="nearest")
        return (images_NCHW - corners[:, :, :height, :width]) / self.SCALE


class Srm(nn.Module):
    """Residuals of three high-pass filters of the rich model (Fridrich and Kodovsky 2012), as Zhou et al. 2018 chose
    them: second difference, 3 x 3 and 5 x 5 squares; each of the mean of R, G and B, divided by the filter's
    quantisation step and truncated at 2, so that edges do not drown noise.

    The filters are of whole numbers: products of whole pixels are exact in TF32 too.
    """

    FILTERS = (
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
        [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]],
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]],
    )
    STEPS = (4.0, 8.0, 24.0)  # the model's coarsest: twice the weight of the pixel in the middle
    TRUNCATED_AT = 2.0
    SCALE = 1.1

    def __init__(self) -> None:
        super().__init__()
        filters = torch.tensor(self.FILTERS, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
        self.register_buffer("filters", filters.contiguous(), persistent=False)
        self.register_buffer("steps", 3 * torch.tensor(self.STEPS).view(1, 3, 1, 1), persistent=False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        residuals = F.conv2d(F.pad(images_NCHW, (2, 2, 2, 2), mode="reflect"), self.filters) / self.steps
        return residuals.clamp(-self.TRUNCATED_AT, self.TRUNCATED_AT) / self.SCALE


class Median(nn.Module):
    """Each pixel less the lower median of its eight neighbours (FerretNet, Liang et al. 2025)."""

    SCALE = 8.5

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        height, width = images_NCHW.shape[2:]
        padded = F.pad(images_NCHW, (1, 1, 1, 1), mode="reflect")
        around = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]
        moved = [padded[:, :, down : down + height, right : right + width] for down, right in around]
        one, other = _sorted_four(moved[:4]), _sorted_four(moved[4:])
        # The fourth of eight: of two sorted fours, the smallest of all that have at least four values up to them.
        fourth = torch.minimum(one[3], other[3])
        for number in range(3):
            fourth = torch.minimum(fourth, torch.maximum(one[number], other[2 - number]))
        return (images_NCHW - fourth) / self.SCALE


def _sorted_four(values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Elementwise, by a network of comparisons: the same on every device, where torch.median has no such promise."""
    values = list(values)
    for one, other in ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2)):
        low, high = torch.minimum(values[one], values[other]), torch.maximum(values[one], values[other])
        values[one], values[other] = low, high
    return values


class Spectrum(nn.Module):
    """The logarithm of the whole image's Fourier magnitudes, of each colour, the lowest frequency in the middle.

    As in Zhang et al. 2019, under a Hann window, which takes away the cross that an image's borders make; less the fall
    from low to high frequencies that photographs have, so that a generator's peaks stand out. Magnitudes are those of
    an orthonormal transform: they do not grow with the image. Below what rounding pixels to whole numbers adds (a
    variance of 1/12) nothing is told apart.
    """

    AT_ONE, FALL = -0.85, 1.43  # of photographs: log magnitude = AT_ONE - FALL * log(cycles a pixel)
    SCALE = 0.8

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        height, width = images_NCHW.shape[2:]
        down = torch.hann_window(height, device=images_NCHW.device)[:, None]
        right = torch.hann_window(width, device=images_NCHW.device)[None]
        found = torch.fft.fft2(images_NCHW * down * right, norm="ortho")
        logs = 0.5 * torch.log(found.real.square() + found.imag.square() + 1 / 12)
        rows = torch.fft.fftfreq(height, device=images_NCHW.device)[:, None]
        columns = torch.fft.fftfreq(width, device=images_NCHW.device)[None]
        cycles = torch.sqrt(rows.square() + columns.square()).clamp(min=1 / max(height, width))
        expected = self.AT_ONE - self.FALL * torch.log(cycles)
        return torch.fft.fftshift((logs - expected) / self.SCALE, dim=(2, 3))


FRONTS: dict[str, type[nn.Module]] = {"rgb": Rgb, "npr": Npr, "srm": Srm, "median": Median, "spectrum": Spectrum}


def widen_stem(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], front: str) -> dict[str, torch.Tensor]:
    """The state of a model of colours, with the weights of its first convolution repeated for every front.

    own: the state of the model that is to have it. Beside colours, which keep their weights, the others' are a tenth,
    so that training begins with what the model knows; without colours they share them evenly. Weights that fit already,
    or whose shapes differ in anything else, are left as they are.
    """
    names = front.split("+")
    shares = [(1.0 if name == "rgb" else BESIDE_RGB) if "rgb" in names else 1 / len(names) for name in names]
    widened = {}
    for key, weight in state.items():
        shape = (*weight.shape[:1], len(names) * CHANNELS, *weight.shape[2:])
        is_stem = len(names) > 1 and weight.ndim == 4 and weight.shape[1] == CHANNELS
        if is_stem and key in own and own[key].shape == shape:
            widened[key] = torch.cat([share * weight for share in shares], 1)
    return state | widened
