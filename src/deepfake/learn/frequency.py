"""Frequency masking: a share of a crop's Fourier coefficients is set to zero (Doloriel and Cheung, "Frequency masking
for universal deepfake detection", 2024)."""

from __future__ import annotations

import numpy as np

SHARE = 0.15  # of the coefficients, as published


def mask_frequencies(crop_HWC: np.ndarray, rng: np.random.Generator, share: float = SHARE) -> np.ndarray:
    """The uint8 crop without a random share of its frequencies, the same ones in all channels; its mean stays.

    The mask is drawn from rng and the crop's shape alone, so that a real and its forgery lose the same.
    """
    spectrum = np.fft.rfft2(crop_HWC, axes=(0, 1))
    lost = rng.random(spectrum.shape[:2]) < share
    lost[0, 0] = False
    height, width = crop_HWC.shape[:2]
    for column in {0, width // 2 if width % 2 == 0 else 0}:  # each coefficient stands beside its conjugate there
        upper = lost[1 : (height + 1) // 2, column]
        lost[height - len(upper) :, column] = upper[::-1]
    spectrum[lost] = 0
    masked = np.fft.irfft2(spectrum, s=crop_HWC.shape[:2], axes=(0, 1))
    return masked.round().clip(0, 255).astype(np.uint8)
