"""Rendered people, to be found, followed and told apart."""

import numpy as np

from deepfake.demo.heads import build_head, render_head
from deepfake.demo.identity import sample_identity
from deepfake.demo.motion import HeadState, sample_motion
from deepfake.demo.pose import Camera


def person(seed, *, height=180, width=240, px_per_unit=45.0, centre_xy=(100.0, 85.0)):
    """A head before a backdrop, to be photographed in a state."""
    return build_head(sample_identity(np.random.default_rng(seed)), Camera(height, width, px_per_unit, centre_xy))


def photographed(head, **state):
    """The picture (height, width, 3), uint8 RGB."""
    return render_head(head, HeadState(**state), np.random.default_rng(0)).image_HW3


def landmarks(head):
    """Where the five landmarks (5, 2) lie in a picture of the head at rest."""
    return render_head(head, HeadState(), np.random.default_rng(0)).points.five_52


def small_head(seed, **state):
    """A head of half the picture's height: (180, 160, 3)."""
    return photographed(person(seed, width=160, px_per_unit=50.0, centre_xy=(80.0, 85.0)), **state)


def filmed(seed, times_s, *, height, width, px_per_unit, centre_xy):
    """A person who moves: the face's outline (K, 2) and landmarks (5, 2) at each of the times."""
    rng = np.random.default_rng(seed)
    head = build_head(sample_identity(rng), Camera(height, width, px_per_unit, centre_xy))
    motion = sample_motion(rng)
    points = [render_head(head, motion.at(time_s)).points for time_s in times_s]
    return [(each.outline_K2, each.five_52) for each in points]
