"""A face that went through an encoder and a decoder: the traces that up-sampling leaves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.forgery.arrays import Array, Image
from deepfake.forgery.grid import FaceGrid
from deepfake.forgery.masks import MaskParams, face_patch, paste, sample_mask
from deepfake.forgery.points import FacePoints
from deepfake.forgery.upsample import transposed_convolution


@dataclass(frozen=True)
class FaceDecoderParams:
    """The face through the convolutions of an encoder and a decoder, stride 2 each."""

    mask: MaskParams
    grid_px: int = 112
    kernels: tuple[tuple[float, ...], ...] = ((0.5, 1.0, 0.5),)  # of the decoder, separable, deepest stage first
    skip: float = 0.5  # share of the fine detail that a skip connection carries round the bottleneck


def sample_face_decoder(rng: np.random.Generator) -> FaceDecoderParams:
    """Draw a decoder. Its kernels are near the linear one; their gains on even and odd pixels differ slightly."""
    kernels = []
    for _ in range(2):
        uneven = float(rng.choice([-1, 1]) * rng.uniform(0.01, 0.03))
        lean = float(rng.normal(0, 0.04))
        kernels.append((0.5 - uneven / 2 + lean, 1.0 + uneven, 0.5 - uneven / 2 - lean))
    return FaceDecoderParams(
        mask=sample_mask(rng, scale=(0.98, 1.08), softness=(0.05, 0.1)),
        grid_px=int(rng.integers(26, 34)) * 4,
        kernels=tuple(kernels),
        skip=float(rng.uniform(0.4, 0.7)),
    )


def through_face_decoder(frame_HW3: Image, points: FacePoints, params: FaceDecoderParams) -> Image:
    """The frame with its face re-synthesised by an up-sampling decoder."""
    patch = face_patch(frame_HW3, points, params.mask)
    if patch is None:
        return frame_HW3.copy()
    grid = FaceGrid(params.grid_px)
    face = decode(grid.crop(frame_HW3, points), params.kernels, skip=params.skip)
    return paste(frame_HW3, patch, grid.lay(face, points, patch))


def decode(face_HW3: Array, kernels: tuple[tuple[float, ...], ...], *, skip: float) -> Array:
    """Strided convolutions down, transposed convolutions up: each kernel is one stage of stride 2.

    Height and width must be divisible by 2 ** len(kernels). Shape: (H, W, 3), 0..255.
    """
    small = face_HW3
    for _ in kernels:
        small = cv2.GaussianBlur(small, (5, 5), 0.9)[::2, ::2]
    plain = cv2.resize(small, face_HW3.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    for kernel in kernels:
        small = transposed_convolution(small, kernel)
    return small + skip * (face_HW3 - plain)
