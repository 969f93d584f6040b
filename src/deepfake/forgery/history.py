"""The JPEG that a picture once was, read from its pixels, and giving a forgery of it the same past.

A picture that was a JPEG has cosines of 8 × 8 blocks that lie on multiples of its quantisation steps (Fan and de
Queiroz 2003). A forgery that has lost this grid, or has one where its real has none, is told by the file's past alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.fft import dct

from deepfake.forgery.arrays import Array

BLOCK = 8
SAMPLED = 64  # blocks that the steps are read from
STEPS = np.arange(2, 41, dtype=np.float32)  # what is finer does not show after rounding to whole levels
LOUD = 1.5  # a coefficient below is the rounding of one that was 0
ALIGNED = 0.4  # how near coefficients are to multiples of a step, 1 = all on them, 0 = anywhere: they are multiples
FEWEST = 12  # coefficients that a step can be read from
# Steps of brightness as the standard gives them (ITU-T T.81, annex K).
USUAL = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
).ravel()
LEAST, MOST = 1.0, 8.0  # energy that counts as none; the largest gain, and the inverse of the smallest
ROUNDS = 4  # of fitting gains
FEWEST_STEPS = 3
SHARE = 0.75  # of the frequencies with a step, among those with so many coefficients, in a picture that was a JPEG


@cache
def _basis() -> Array:
    return dct(np.eye(BLOCK, dtype=np.float32), norm="ortho", axis=0)


@cache
def _sample(count: int) -> np.ndarray:
    """Numbers of SAMPLED of so many blocks, from anywhere: every n-th would lie in a few columns."""
    return np.random.default_rng(0).permutation(count)[:SAMPLED]


def _blocks(light_HW: Array) -> Array:
    """Cosines of the whole blocks from the top left corner on. Shape: (H / 8, 8, W / 8, 8), a frequency's row second,
    its column last."""
    height, width = (side // BLOCK for side in light_HW.shape)
    whole = light_HW[: height * BLOCK, : width * BLOCK]
    rows = _basis() @ whole.reshape(height, BLOCK, width * BLOCK)
    return (rows.reshape(-1, BLOCK) @ _basis().T).reshape(height, BLOCK, width, BLOCK)


def jpeg_steps(light_HW: Array) -> Array | None:
    """Quantisation steps of brightness, by frequency, of the JPEG whose blocks begin in the picture's corner; None
    where it was none, or was so fine that it does not show. Where too little is left of a frequency to tell, the step
    is that of the usual table of this strength. Shape: (8, 8)."""
    return _steps_of(_blocks(light_HW - 128))


def _steps_of(blocks_HuWv: Array) -> Array | None:
    blocks = blocks_HuWv.transpose(0, 2, 1, 3).reshape(-1, BLOCK * BLOCK)
    blocks = blocks[_sample(len(blocks))]
    loud = np.abs(blocks) > LOUD
    counts = loud.sum(axis=0)
    beside = np.abs(blocks)[..., None] * (1 / STEPS)  # in steps
    nearest = np.maximum(np.rint(beside), 1)  # what is loud was not rounded to 0
    np.abs(beside - nearest, out=beside)
    aligned = 1 - 4 * np.einsum("nfs,nf->fs", beside, loud.astype(np.float32)) / np.maximum(counts, 1)[:, None]
    known, sure = aligned.max(axis=1) > ALIGNED, counts >= FEWEST
    if sure[1:].sum() < FEWEST_STEPS or known[sure].mean() < SHARE:  # a block's brightness alone says nothing
        return None
    steps = STEPS[aligned.argmax(axis=1)]  # halves and thirds of a step fit less well
    usual = np.rint(USUAL * np.median((steps / USUAL)[known & sure])).clip(1)
    return np.where(known & sure, steps, usual).astype(np.float32).reshape(BLOCK, BLOCK)


def _sums(blocks_HuWv: Array) -> Array:
    """Sum of squares of each frequency. Shape: (8, 1, 8)."""
    return np.einsum("huwv,huwv->uv", blocks_HuWv, blocks_HuWv)[:, None, :]


def resaved(forged_HW: Array, real_HW: Array) -> Array:
    """The forgery's brightness, saved as the JPEG that the real picture was, with as much of each frequency of the
    blocks as that has; as it is where the real was none. What is beyond the last whole block stays. Shape: (H, W)."""
    real = _blocks(real_HW - 128)
    steps = _steps_of(real)
    if steps is None:
        return forged_HW
    by = steps[:, None, :]
    blocks, gain = _blocks(forged_HW - 128), np.ones_like(by)
    wanted = _sums(np.rint(real / by) * by)
    for _ in range(ROUNDS):  # what lies below half a step is lost, so more of it is given before
        saved = np.rint(blocks * (gain / by)) * by
        more = np.sqrt((wanted + LEAST) / (_sums(saved) + LEAST))
        gain = (gain * more.clip(0.5, 2)).clip(1 / MOST, MOST)
    blocks = np.rint(blocks * (gain / by)) * by
    height, _, width, _ = blocks.shape
    columns = (blocks.reshape(-1, BLOCK) @ _basis()).reshape(height, BLOCK, width * BLOCK)
    saved = forged_HW.copy()
    saved[: height * BLOCK, : width * BLOCK] = (_basis().T @ columns).reshape(height * BLOCK, -1) + 128
    return saved
