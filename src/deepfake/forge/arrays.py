"""The arrays that pictures travel in. A name ends in its axes: `_HW3`, `_K2`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB, 0..255."""
Array = NDArray[np.floating]
"""Numbers of either precision: coordinates, opacities, colours (0..1 where painted, 0..255 where forged)."""
