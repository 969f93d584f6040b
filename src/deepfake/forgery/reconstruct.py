"""Reconstructions of real pictures by an autoencoder, made as like their real as can be."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.forgery.arrays import Array, Image, to_image
from deepfake.forgery.spectrum import cosines, energies, from_cosines, give_energies

IN_PIXELS = IN_DCT = 0.2  # chances of being mixed with the real, in pixels or in coefficients (DDA: Chen et al., 2025)
PIECE = 8  # side of the blocks of coefficients that are exchanged, as shares of the transform's side


def with_detail_of(made_HW3: Array, real_HW3: Image) -> Image:
    """The reconstruction with the energy of its real in every ring and sector of each channel's spectrum: blur gives
    nothing away. made_HW3: 0..255, not clipped. Shape: (H, W, 3)."""
    changed = np.empty(made_HW3.shape, np.float32)
    for channel in range(3):
        parts = cosines(np.ascontiguousarray(made_HW3[..., channel], np.float32))
        wanted = energies(cosines(np.ascontiguousarray(real_HW3[..., channel], np.float32)))
        give_energies(parts, energies(parts), wanted)
        changed[..., channel] = from_cosines(parts)
    return to_image(changed)


def with_history(made_HW3: Image, file: Path) -> Image:
    """The picture after it was saved as the real picture's own file was: with its quantisation tables and subsampling,
    where that file is a JPEG of this size; else as it is."""
    data = _as_jpeg_of(made_HW3, file, same_size=True)
    return made_HW3 if data is None else cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def encoded_like(made_HW3: Image, crop: Path) -> bytes:
    """The bytes of a file as the stored crop's: a JPEG of the same tables, or of the same kind and without loss."""
    data = _as_jpeg_of(made_HW3, crop, same_size=False)
    if data is None:
        flags = [cv2.IMWRITE_WEBP_QUALITY, 101] if crop.suffix == ".webp" else []  # above 100 = lossless
        _, data = cv2.imencode(crop.suffix, cv2.cvtColor(made_HW3, cv2.COLOR_RGB2BGR), flags)
    return data.tobytes()


def _as_jpeg_of(made_HW3: Image, file: Path, *, same_size: bool) -> NDArray[np.uint8] | None:
    """The bytes of a JPEG with a file's tables and subsampling; None where that is none, or of another size."""
    from PIL import Image as Files
    from PIL import JpegImagePlugin, UnidentifiedImageError

    try:
        with Files.open(file) as real:
            if real.format != "JPEG" or (same_size and real.size != made_HW3.shape[1::-1]):
                return None
            tables, sampling = real.quantization, JpegImagePlugin.get_sampling(real)
    except UnidentifiedImageError:  # a video
        return None
    with io.BytesIO() as held:
        Files.fromarray(made_HW3).save(held, "JPEG", qtables=tables, subsampling=max(sampling, 0))
        return np.frombuffer(held.getvalue(), np.uint8)


def mixed(made_HW3: Image, real_HW3: Image, rng: np.random.Generator) -> Image:
    """The reconstruction, by chance mixed with its real: a share of 0.2 to 0.8 of the pixels' difference, or half of
    the blocks of the cosine transform's coefficients. Shape: (H, W, 3)."""
    draw = rng.random()
    if draw < IN_PIXELS:
        share = float(rng.uniform(0.2, 0.8))
        return cv2.addWeighted(made_HW3, share, real_HW3, 1 - share, 0)
    if draw < IN_PIXELS + IN_DCT:
        return _mixed_in_dct(made_HW3, real_HW3, rng)
    return made_HW3


def _mixed_in_dct(made_HW3: Image, real_HW3: Image, rng: np.random.Generator) -> Image:
    from scipy.fft import dctn, idctn

    height, width = made_HW3.shape[:2]
    chosen = (rng.random((PIECE, PIECE)) < 0.5).astype(np.float32)
    chosen = cv2.resize(chosen, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    apart = dctn(made_HW3.astype(np.float32) - real_HW3, axes=(0, 1), norm="ortho", workers=1)
    return to_image(real_HW3 + idctn(chosen * apart, axes=(0, 1), norm="ortho", workers=1))
