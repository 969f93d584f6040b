"""How a rendered head moves: pose, blinking and speech as smooth functions of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadState:
    """One moment of a head. Angles in radians, lengths in face units; shares in 0..1."""

    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    shift_uv: tuple[float, float] = (0.0, 0.0)
    blink: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.3
    gaze_uv: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Wave:
    """An offset and two sines; `period_s` and `phase_rad` have two entries each."""

    offset: float
    amplitude: float
    period_s: tuple[float, float]
    phase_rad: tuple[float, float]

    def at(self, time_s: float) -> float:
        """Value at a time."""
        angles = 2 * np.pi * time_s / np.asarray(self.period_s) + np.asarray(self.phase_rad)
        return float(self.offset + self.amplitude * np.dot(np.sin(angles), (0.7, 0.3)))


@dataclass(frozen=True)
class Motion:
    """How one head moves during one shot."""

    yaw: Wave
    pitch: Wave
    roll: Wave
    shift_u: Wave
    shift_v: Wave
    gaze: Wave
    syllables: Wave
    phrase: Wave
    smile: float
    blink_times_s: tuple[float, ...]

    def at(self, time_s: float) -> HeadState:
        """The head at a time."""
        speech = max(0.0, self.syllables.at(time_s)) * float(np.clip(self.phrase.at(time_s), 0, 1))
        blink = max((_blink(time_s - start) for start in self.blink_times_s), default=0.0)
        return HeadState(
            yaw_rad=self.yaw.at(time_s),
            pitch_rad=self.pitch.at(time_s),
            roll_rad=self.roll.at(time_s),
            shift_uv=(self.shift_u.at(time_s), self.shift_v.at(time_s)),
            blink=blink,
            mouth_open=float(np.clip(speech, 0.0, 1.0)),
            smile=self.smile,
            gaze_uv=(self.gaze.at(time_s), 0.0),
        )


def sample_motion(rng: np.random.Generator) -> Motion:
    """Draw a motion: turns of a few degrees about a resting pose, speech, a blink every second or two."""
    first = float(rng.uniform(-0.25, 2.0))
    return Motion(
        yaw=_wave(rng, offset=rng.uniform(-0.22, 0.22), amplitude=rng.uniform(0.05, 0.16), period_s=(1.2, 3.5)),
        pitch=_wave(rng, offset=rng.uniform(-0.08, 0.1), amplitude=rng.uniform(0.02, 0.08), period_s=(1.0, 3.0)),
        roll=_wave(rng, offset=rng.uniform(-0.08, 0.08), amplitude=rng.uniform(0.01, 0.06), period_s=(1.2, 3.5)),
        shift_u=_wave(rng, offset=rng.uniform(-0.12, 0.12), amplitude=rng.uniform(0.01, 0.07), period_s=(1.5, 4.0)),
        shift_v=_wave(rng, offset=rng.uniform(-0.05, 0.05), amplitude=rng.uniform(0.01, 0.03), period_s=(1.0, 3.0)),
        gaze=_wave(rng, offset=rng.uniform(-0.02, 0.02), amplitude=0.02, period_s=(0.8, 3.0)),
        syllables=_wave(rng, offset=0.25, amplitude=rng.uniform(0.3, 0.75), period_s=(0.18, 0.45)),
        phrase=_wave(rng, offset=0.5, amplitude=1.0, period_s=(0.8, 2.5)),
        smile=float(rng.uniform(0.15, 1.1)),
        blink_times_s=(first, first + float(rng.uniform(0.9, 2.0))),
    )


def _wave(rng: np.random.Generator, *, offset: float, amplitude: float, period_s: tuple[float, float]) -> Wave:
    """A wave with two periods from the range, at random phases."""
    return Wave(
        offset=float(offset),
        amplitude=float(amplitude),
        period_s=tuple(rng.uniform(*period_s, size=2).tolist()),
        phase_rad=tuple(rng.uniform(0, 2 * np.pi, size=2).tolist()),
    )


def _blink(since_s: float) -> float:
    """How far the lid is closed, `since_s` seconds after a blink began; closing is faster than opening."""
    if not 0.0 < since_s < 0.26:
        return 0.0
    return since_s / 0.08 if since_s < 0.08 else 1.0 - (since_s - 0.08) / 0.18
