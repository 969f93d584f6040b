"""What the demo set consists of: who is filmed how, and which media are made of it. Nothing is rendered here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepfake.demo.encode import ClipFormat, StillFormat

TRAIN_TAKES = (("real", "swap", "upsampled", "self_blend"),)
TEST_TAKES = (("real", "swap", "upsampled"), ("real", "self_blend", "reenact"))
SIZES_HW = ((240, 320), (360, 360), (240, 426), (360, 480), (480, 360), (426, 240))
FRAMES_PER_SECOND = (24, 25, 30)


@dataclass(frozen=True)
class DemoPlan:
    """What a demo set is made from: the seed, and how many people are filmed for each part."""

    seed: int
    num_train: int
    num_test: int

    def __post_init__(self) -> None:
        for name in ("num_train", "num_test"):
            number = getattr(self, name)
            if number < 0 or number % 2:
                raise ValueError(f"{name} is {number}; it must be even and not negative, as people swap in pairs")


@dataclass(frozen=True)
class Shot:
    """One person filmed once, and the media made of it."""

    split: str
    person: int
    donor: int
    take: int
    height: int
    width: int
    num_frames: int
    form: ClipFormat | StillFormat
    media: tuple[tuple[str, str], ...]  # (method, path below the demo's folder)


def plan_shots(plan: DemoPlan) -> list[Shot]:
    """All shots of a plan. Persons 2k and 2k + 1 take each other's faces; about a quarter of the shots are stills."""
    names = _neutral_names(plan)
    shots = []
    for person in range(plan.num_train + plan.num_test):
        split = "train" if person < plan.num_train else "test"
        for take, methods in enumerate(TRAIN_TAKES if split == "train" else TEST_TAKES):
            paths = [f"media/{split}/{next(names)}" for _ in methods]
            shots.append(_plan_shot(plan.seed, person, take, split=split, media=list(zip(methods, paths))))
    return shots


def _neutral_names(plan: DemoPlan) -> Iterator[str]:
    """Names that are all different and in no order."""
    rng = np.random.default_rng((plan.seed, 0))
    seen = set()
    while True:
        name = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=10))
        if name not in seen:
            seen.add(name)
            yield name


def _plan_shot(seed: int, person: int, take: int, *, split: str, media: list[tuple[str, str]]) -> Shot:
    """Draw size, length and encoder of a shot, once for all its media (method, path without suffix)."""
    rng = np.random.default_rng((seed, 1, person, take))
    height, width = SIZES_HW[rng.integers(len(SIZES_HW))]
    still = (person // 2 + person + take) % 4 == 0
    fps = int(rng.choice(FRAMES_PER_SECOND))
    clip = ClipFormat(height=height, width=width, fps=fps, crf=int(rng.integers(18, 29)))
    num_frames = int(fps * rng.uniform(1.0, 1.5))
    quality = None if rng.random() < 0.35 else int(rng.integers(70, 97))
    suffix = ".mp4" if not still else ".png" if quality is None else ".jpg"
    return Shot(
        split=split,
        person=person,
        donor=person ^ 1,
        take=take,
        height=height,
        width=width,
        num_frames=1 if still else num_frames,
        form=StillFormat(quality) if still else clip,
        media=tuple((method, path + suffix) for method, path in media),
    )
