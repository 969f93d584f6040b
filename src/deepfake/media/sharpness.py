"""How sharp a crop is."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake.media.crop_face import shrink_whole


def sharpness(crop_HWC: np.ndarray) -> float:
    """log2(1 + variance of the Laplacian) of an RGB crop, uint8: 0 where it is flat, 20 for a chessboard of pixels.

    Measured on the grey crop, its longer side shrunk by areas to 64 px at most, so that it hardly depends on the size
    at which crops are stored. The variance of the Laplacian is LAPV of Pertuz et al., "Analysis of focus measure
    operators for shape-from-focus", 2013.
    """
    grey = shrink_whole(cv2.cvtColor(crop_HWC, cv2.COLOR_RGB2GRAY), 64)
    return float(np.log2(1 + cv2.Laplacian(grey, cv2.CV_64F).var()))
