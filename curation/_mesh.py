"""A depth picture as a mesh: cells between the corners of the pixel lattice, cut where depth jumps."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

Array = np.ndarray
JUMP = 0.04  # share of the nearer's inverse depth; smaller steps are no edge whatever is beside them
STEEPER = 3.0  # times the gentler slope beside it, that a step has to be to be an edge: a grazing plane has none
RAMP = 2  # pixels: an estimator's edges are blurred by that much at most to each side
compiled = njit(cache=True, nogil=True, error_model="numpy")  # the model of errors costs half the speed otherwise


class Surface(NamedTuple):
    """A depth picture as a mesh."""

    inverse: Float32[Array, "h w"]  # 1/z; 0 = infinitely far, negative = unknown
    corners: Float32[Array, "h1 w1"]  # inverse depth where all four pixels hang together, negative elsewhere
    labels: UInt8[Array, "h1 w1"]  # surface of the four pixels around a corner, two bits each, from top left


def surface(depth: Float32[Array, "h w"], *, sharpen: bool = True) -> Surface:
    """The mesh of a z-depth picture. 0, negative and NaN are unknown; infinity is the sky.

    `sharpen` gives pixels between two depths, as estimators leave at edges, to the nearer one in value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth > 0, 1 / depth, -1).astype(np.float32)
    if sharpen:
        inverse = _sharpened(_sharpened(inverse).T).T
    inverse = np.ascontiguousarray(inverse)
    height, width = inverse.shape
    corners, labels = np.empty((height + 1, width + 1), np.float32), np.empty((height + 1, width + 1), np.uint8)
    right, down = np.zeros((height, width), np.bool_), np.zeros((height, width), np.bool_)
    _link(inverse, right, down)
    _corner(inverse, right, down, corners, labels)
    return Surface(inverse, corners, labels)


@compiled
def _sharpened(inverse: Float32[Array, "h w"]) -> Float32[Array, "h w"]:
    """Along rows: a pixel within a steep ramp between two flat stretches takes the value of the end that is nearer."""
    height, width = inverse.shape
    made = inverse.copy()
    for y in range(height):
        for x in range(RAMP + 1, width - RAMP - 1):
            low, high, here = inverse[y, x - RAMP], inverse[y, x + RAMP], inverse[y, x]
            if min(low, high, here) < 0:
                continue
            rise = abs(high - low)
            if rise < 2 * JUMP * max(low, high) or min(abs(here - low), abs(here - high)) < 0.1 * rise:
                continue
            if (here - low) * (high - here) <= 0:
                continue
            outside = max(abs(low - inverse[y, x - RAMP - 1]), abs(high - inverse[y, x + RAMP + 1]))
            if outside < 0.1 * rise:
                made[y, x] = low if abs(here - low) < abs(here - high) else high
    return made


@compiled
def _hangs(before: Any, one: Any, other: Any, after: Any) -> bool:
    """Whether the middle two of four pixels in a row are one surface; negative = unknown."""
    if one < 0 or other < 0:
        return False
    step = abs(one - other)
    if step <= JUMP * max(one, other):
        return True
    first = abs(one - before) if before >= 0 else 0.0
    return step <= STEEPER * min(first, abs(other - after) if after >= 0 else 0.0)


@compiled
def _link(inverse: Float32[Array, "h w"], right: Array, down: Array) -> None:
    """Marks the pixels that hang together with the one at their right, and with the one below."""
    height, width = inverse.shape
    for y in range(height):
        for x in range(width):
            here = inverse[y, x]
            if x + 1 < width:
                before = inverse[y, x - 1] if x > 0 else np.float32(-1)
                after = inverse[y, x + 2] if x + 2 < width else np.float32(-1)
                right[y, x] = _hangs(before, here, inverse[y, x + 1], after)
            if y + 1 < height:
                before = inverse[y - 1, x] if y > 0 else np.float32(-1)
                after = inverse[y + 2, x] if y + 2 < height else np.float32(-1)
                down[y, x] = _hangs(before, here, inverse[y + 1, x], after)


@compiled
def _corner(inverse: Array, right: Array, down: Array, corners: Array, labels: Array) -> None:
    """Sorts the four pixels around each corner into surfaces: those that links join, in any way around."""
    height, width = inverse.shape
    for y in range(height + 1):
        for x in range(width + 1):
            if 0 < x < width and 0 < y < height:
                top, bottom = right[y - 1, x - 1], right[y, x - 1]
                left, other = down[y - 1, x - 1], down[y - 1, x]
                if int(top) + int(bottom) + int(left) + int(other) >= 3:
                    total = inverse[y - 1, x - 1] + inverse[y - 1, x] + inverse[y, x - 1] + inverse[y, x]
                    corners[y, x], labels[y, x] = total / 4, 0
                    continue
                b = 0 if top else 1
                c = 0 if left else b if other and bottom else 2
                d = b if other else (c if bottom else 3)
                corners[y, x], labels[y, x] = -1, b << 2 | c << 4 | d << 6
            else:  # the border's corners: of the pixels inside
                b = 0 if 0 < x < width and right[min(max(y - 1, 0), height - 1), x - 1] else 1
                c = 0 if 0 < y < height and down[y - 1, min(max(x - 1, 0), width - 1)] else 2
                beside = 0 < x < width
                d = (c if b == 0 else 3) if beside else (b if c == 0 else 3)
                if beside:  # above or below the picture: left and right pixels of one row
                    labels[y, x] = (b << 2) | (2 << 4) | ((2 if b == 0 else 3) << 6)
                else:
                    labels[y, x] = (1 << 2) | (c << 4) | ((1 if c == 0 else 3) << 6)
                corners[y, x] = -1
