"""Something plausible where a warped picture has seen nothing: always from what lies behind, never from in front.

Filled pixels stay unseen: `Warped.seen` says so, and they count as such.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit
from scipy.ndimage import minimum_filter

from .warping import Warped

Array = np.ndarray
Fill = Literal["none", "edge", "inpaint"]
BEHIND = 0.8  # a pixel lies in front where its inverse depth, times this, is above the least one nearby
REACH = 4  # nearby: within this part of the picture's longer side


def filled(warped: Warped, fill: Fill) -> UInt8[Array, "h w 3"]:
    """The picture, filled: `edge` repeats the farthest of the nearest pixels seen left, right, above and below;
    `inpaint` continues colours smoothly by an averaging pyramid (Burt 1988, push and pull) of what lies behind.

    The same input gives the same picture. Without a pixel seen, all stays black.
    """
    if fill == "none" or warped.seen.min() >= 1 or warped.seen.max() <= 0:
        return warped.rgb
    behind = _edges(warped) if fill == "edge" else _pulled(warped)
    return (warped.rgb + (1 - warped.seen[..., None]) * behind + 0.5).clip(0, 255).astype(np.uint8)


def _edges(warped: Warped) -> Float32[Array, "h w 3"]:
    """For each pixel the farthest of the pixels met first in four directions; black where none is met."""
    whole, places = warped.seen >= 1, np.indices(warped.seen.shape)
    best, made = np.full(whole.shape, np.inf, np.float32), np.zeros(warped.rgb.shape, np.float32)
    for axis in (0, 1):
        last = whole.shape[axis] - 1
        before = np.maximum.accumulate(np.where(whole, places[axis], -1), axis)
        after = np.flip(np.minimum.accumulate(np.flip(np.where(whole, places[axis], last + 1), axis), axis), axis)
        for met in (before, after):
            row, column = (met.clip(0, last), places[1]) if axis == 0 else (places[0], met.clip(0, last))
            inverse = np.where((met < 0) | (met > last), np.inf, warped.inverse[row, column])
            made = np.where((inverse < best)[..., None], warped.rgb[row, column], made)
            best = np.minimum(best, inverse)
    return made


def _pulled(warped: Warped) -> Float32[Array, "h w 3"]:
    """Each pixel's own colour where it lies behind, and for the rest what the next coarser picture has there."""
    inverse = np.where(warped.seen > 0, warped.inverse, np.inf)
    behind = minimum_filter(inverse, 2 * (max(inverse.shape) // REACH) + 1, mode="nearest") >= BEHIND * inverse
    weight = np.where(minimum_filter(behind, 3), warped.seen, 0).astype(np.float32)  # pixels beside may be mixed
    colour = warped.rgb / np.maximum(warped.seen, 1e-6)[..., None]
    levels = [(colour, weight)]
    while max(levels[-1][1].shape) > 1:
        levels.append(_coarser(*levels[-1]))
    below = levels[-1][0]
    for colour, weight in reversed(levels[:-1]):
        below = _finer(colour, weight, below)
    return below


@njit(cache=True, nogil=True, error_model="numpy")
def _coarser(colour: Array, weight: Array) -> tuple:
    """Half the size: weighted means of four pixels, as sure as all of them together."""
    height, width = (weight.shape[0] + 1) // 2, (weight.shape[1] + 1) // 2
    made, sure = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    for y in range(weight.shape[0]):
        for x in range(weight.shape[1]):
            sure[y // 2, x // 2] += weight[y, x]
            for c in range(3):
                made[y // 2, x // 2, c] += weight[y, x] * colour[y, x, c]
    for y in range(height):
        for x in range(width):
            if sure[y, x] > 0:
                made[y, x] /= sure[y, x]
                sure[y, x] = min(sure[y, x], 1.0)
    return made, sure


@njit(cache=True, nogil=True, error_model="numpy")
def _finer(colour: Array, weight: Array, coarse: Array) -> Float32[Array, "h w 3"]:
    """A level's colours, with those of the coarser one (bilinear) as far as it has none."""
    made = np.empty(colour.shape, np.float32)
    rows, columns = coarse.shape[:2]
    for y in range(colour.shape[0]):
        top = (y - 1) // 2
        t = 0.75 if y % 2 == 0 else 0.25  # of the coarser row below
        upper, lower = min(max(top, 0), rows - 1), min(top + 1, rows - 1)
        for x in range(colour.shape[1]):
            own = weight[y, x]
            if own >= 1:
                made[y, x] = colour[y, x]
                continue
            left = (x - 1) // 2
            s = 0.75 if x % 2 == 0 else 0.25
            first, second = min(max(left, 0), columns - 1), min(left + 1, columns - 1)
            for c in range(3):
                above = (1 - s) * coarse[upper, first, c] + s * coarse[upper, second, c]
                below = (1 - s) * coarse[lower, first, c] + s * coarse[lower, second, c]
                made[y, x, c] = own * colour[y, x, c] + (1 - own) * ((1 - t) * above + t * below)
    return made
