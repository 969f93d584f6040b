"""Pictures and clips of rendered people in any size, for benchmarks that need no media of their own."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

STATES = 8  # of a moving head that are rendered a clip; frames between them are mixtures
GRAIN = 3.0  # standard deviation of a camera's noise, of 255: without it a clip costs nothing to decode
RENDER_PX = 360  # height at which people are rendered; larger pictures are enlarged


def frames(seed: int, height: int, width: int, count: int) -> np.ndarray:
    """(count, height, width, 3) uint8 RGB: one person who moves, a face of about 45 % of the height, noise."""
    from deepfake.demo.heads import build_head, render_head
    from deepfake.demo.identity import sample_identity
    from deepfake.demo.motion import sample_motion
    from deepfake.demo.pose import Camera

    rng = np.random.default_rng(seed)
    shape = (RENDER_PX, round(width * RENDER_PX / height))
    head = build_head(sample_identity(rng), Camera(*shape, 0.25 * RENDER_PX, (shape[1] / 2, 0.48 * RENDER_PX)))
    motion = sample_motion(rng)
    states = [render_head(head, motion.at(number / 4), rng).image_HW3 for number in range(min(STATES, count))]
    states = [cv2.resize(state, (width, height), interpolation=cv2.INTER_CUBIC) for state in states]
    made = np.empty((count, height, width, 3), np.uint8)
    for number, at in enumerate(np.linspace(0, len(states) - 1, count)):
        first, share = int(at), at % 1
        mixed = cv2.addWeighted(states[first], 1 - share, states[min(first + 1, len(states) - 1)], share, 0)
        grain = rng.standard_normal((height, width, 1), np.float32) * GRAIN
        made[number] = np.clip(mixed + grain, 0, 255)
    return made


def write_clip(seed: int, height: int, width: int, count: int, path: Path) -> Path:
    """H.264 at 30 frames a second in MP4, as a phone or a site leaves it."""
    from deepfake.demo import encode

    cv2.setNumThreads(1)
    encode.write_clip(path, frames(seed, height, width, count), encode.ClipFormat(height, width, 30, 23, "ultrafast"))
    return path


def clips(folder: Path, height: int, width: int, *, number: int, seconds: float) -> list[Path]:
    """So many clips below `folder`, written side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(write_clip, height=height, width=width, count=round(30 * seconds))
    paths = [folder / f"{seed}.mp4" for seed in range(number)]
    with ProcessPoolExecutor(min(number, os.cpu_count() or 1), get_context("spawn")) as pool:
        return [task.result() for task in [pool.submit(make, seed, path=path) for seed, path in enumerate(paths)]]


def write_crop(seed: int, side: int, path: Path) -> None:
    """A PNG picture of `side` px, as extraction stores it."""
    from deepfake.media.store import png_flags

    cv2.setNumThreads(1)
    cv2.imwrite(str(path), frames(seed, side, side, 1)[0, ..., ::-1], png_flags())


def crops(folder: Path, side: int, number: int) -> Path:
    """So many of them in the folders real/ and fake/ of a folder, written side by side."""
    paths = [folder / ("fake" if seed % 2 else "real") / f"{seed:06d}.png" for seed in range(number)]
    for path in paths[:2]:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(min(number, os.cpu_count() or 1), get_context("spawn")) as pool:
        for task in [pool.submit(write_crop, seed, side, path) for seed, path in enumerate(paths)]:
            task.result()
    return folder
