"""Replicas in the mean spectrum of pictures, as generators leave them by enlarging.

    python benchmarks/spectra.py FOLDER …      # e.g. data/<dataset>/forged/nearest, and the folder of the fakes

For each folder, with all below it: the mean power of residuals (a picture's brightness less its 3 × 3 median), of what
is constant down the columns, at one half, one quarter and one eighth of the sampling rate, over the median of its
neighbours. 1 = no replica. Pictures of 128 px and more, at most 200 a folder, their middles.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from machine import table

SIDE, MOST = 128, 200
PERIODS = (2, 4, 8)  # px
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def middles(folder: Path) -> list[np.ndarray]:
    """Brightness of the middles of a folder's pictures."""
    made = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        light = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if light is None or min(light.shape) < SIDE:
            continue
        top, left = ((side - SIDE) // 2 for side in light.shape)
        made.append(light[top : top + SIDE, left : left + SIDE])
        if len(made) == MOST:
            break
    return made


def replicas(pictures: list[np.ndarray]) -> list[float]:
    """Power at each period over that of its neighbours."""
    power = np.zeros(SIDE // 2 + 1)
    for light in pictures:
        residual = light.astype(np.float32) - cv2.medianBlur(light, 3)
        columns = np.hanning(SIDE) @ residual  # what is constant down the columns
        power += np.square(np.abs(np.fft.rfft(columns * np.hanning(SIDE))))
    found = []
    for period in PERIODS:
        place = SIDE // period
        around = [place + step for step in (-6, -5, -4, -3, 3, 4, 5, 6) if place + step < len(power)]
        found.append(float(power[place] / np.median(power[around])))
    return found


def main() -> None:
    """Print a row for each folder."""
    folders = [Path(name) for name in sys.argv[1:]]
    if not folders:
        raise SystemExit(__doc__)
    rows = []
    for folder in folders:
        pictures = middles(folder)
        if not pictures:
            raise SystemExit(f"{folder} has no picture of {SIDE} px or more")
        rows.append([folder.name, str(len(pictures)), *(f"{ratio:.2f}" for ratio in replicas(pictures))])
    print(table(["pictures", "number", *(f"1/{period}" for period in PERIODS)], rows))


if __name__ == "__main__":
    main()
