"""Pictures seen through a homography: antialiased, exact to a thousandth of a pixel, alike in every frame.

Two steps. A separable filter on the source's own grid takes out what the new picture cannot hold (Lanczos-3, as wide as
the reduction, which may change from frame to frame without a jump) and turns the rest into cubic B-spline coefficients.
Each new pixel then reads that spline at its exact place. Where nothing is reduced the spline goes through the source's
pixels, so the identity gives the same picture again.

Pixels are filtered as stored (gamma encoded), as scalers of video do: in linear light lamps would get dark rings.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8
from numba import njit

Array = np.ndarray
LOBES = 3
TAIL = 1e-4  # weights of the filter below it are left out: 0.03 grey levels
PHASES = 1024  # a pixel: places are rounded by 1/2048 of a pixel at most, 0.06 grey levels on the steepest edge
SPLINE_POLE = math.sqrt(3) - 2
FAST = {"contract"}


def _spline_weights() -> Float32[Array, "phases 4"]:
    """Cubic B-spline weights of four coefficients, by how far the place lies past the second one."""
    t = np.arange(PHASES) / PHASES
    columns = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return (np.stack(columns, axis=-1) / 6).astype(np.float32)


WEIGHTS = _spline_weights()


def coefficient_filter(reduction: float) -> Float32[Array, " n"]:
    """Right half, its middle first, of the filter from pixels to spline coefficients; `reduction` >= 1.

    Lanczos-3 (sinc(x) sinc(x/3), x in new pixels) convolved with the inverse of the cubic B-spline's samples,
    sqrt(3) z^|k| with z = sqrt(3) - 2 (Unser 1993, part II, eq. 2.2).
    """
    reach = math.ceil(LOBES * reduction)
    x = np.arange(-reach, reach + 1) / reduction
    lowpass = np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)
    inverse = math.sqrt(3) * SPLINE_POLE ** np.abs(np.arange(-12, 13))
    half = np.convolve(lowpass / lowpass.sum(), inverse)[reach + 12 :]
    half = half[: np.flatnonzero(np.abs(half) > TAIL)[-1] + 1]
    return (half / (half[0] + 2 * half[1:].sum())).astype(np.float32)


def corners(width: int, height: int) -> Float64[Array, "4 3"]:
    """The outer corners of a picture in homogeneous pixels."""
    return np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)


def scales(homography: Float64[Array, "*n 3 3"], width: int, height: int) -> Float64[Array, "*n 4"]:
    """Source pixels per new pixel at the new picture's corners: the square root of the area that a pixel covers.

    With w the denominator of the map, area = |det H| / w^3. As w is linear in the place, no other place of the picture
    has more or less than the corners have.
    """
    w = homography[..., 2, :] @ corners(width, height).T
    return np.sqrt(np.abs(np.linalg.det(homography))[..., None] / w**3)


class Resampler:
    """Makes pictures of width x height; holds one picture's coefficients and nothing more."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._buffer = np.empty(0, np.float32)

    def __call__(self, source: UInt8[Array, "h w 3"], homography: Float64[Array, "3 3"]) -> UInt8[Array, "h2 w2 3"]:
        """The new picture; `homography` takes its pixels (corner convention) to those of the source, w > 0.

        Beyond the source's border its outermost pixels are repeated.
        """
        reduction = max(1.0, float(scales(homography, self.width, self.height).mean()))
        found = corners(self.width, self.height) @ homography.T
        found = found[:, :2] / found[:, 2:]
        size = np.array(source.shape[1::-1])
        left, top = low = np.clip(np.floor(found.min(axis=0)).astype(int) - 2, -2, size - 1)  # what the spline touches
        columns, rows = np.clip(np.ceil(found.max(axis=0)).astype(int) + 2, low + 4, size + 2) - low
        if self._buffer.size < rows * columns * 3:
            self._buffer = np.empty(rows * columns * 3, np.float32)
        level = self._buffer[: rows * columns * 3].reshape(rows, columns * 3)
        flat = np.ascontiguousarray(source).reshape(len(source), -1)
        _coefficients(flat, left, top, coefficient_filter(reduction), level)
        shift = np.array([[1, 0, -left - 0.5], [0, 1, -top - 0.5], [0, 0, 1]])  # the first coefficient is at 0
        picture = np.empty((self.height, self.width, 3), np.uint8)
        _read(level, shift @ homography, WEIGHTS, picture)
        return picture


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _coefficients(
    source: UInt8[Array, "h w3"], left: int, top: int, half: Float32[Array, " n"], level: Float32[Array, "rows cols3"]
) -> None:
    """Fills `level`, whose first pixel is column `left`, row `top` of the source: down the columns, then along rows."""
    height, width, reach = source.shape[0], source.shape[1] // 3, len(half) - 1
    first, last = left - reach, left + level.shape[1] // 3 + reach
    begin, end = max(first, 0), min(last, width)
    line = np.empty(3 * (last - first), np.float32)
    inside = line[3 * (begin - first) : 3 * (end - first)]
    for y in range(top, top + level.shape[0]):
        middle = source[min(max(y, 0), height - 1), 3 * begin : 3 * end]
        for i in range(len(inside)):
            inside[i] = half[0] * np.float32(middle[i])
        for k in range(1, reach + 1):
            above = source[min(max(y - k, 0), height - 1), 3 * begin : 3 * end]
            below = source[min(max(y + k, 0), height - 1), 3 * begin : 3 * end]
            for i in range(len(inside)):
                inside[i] += half[k] * (np.float32(above[i]) + np.float32(below[i]))
        for i in range(3 * (begin - first)):
            line[i] = inside[i % 3]
        for i in range(3 * (end - first), len(line)):
            line[i] = inside[len(inside) - 3 + i % 3]
        out = level[y - top]
        for i in range(len(out)):
            out[i] = half[0] * line[3 * reach + i]
        for k in range(1, reach + 1):
            before, after = line[3 * (reach - k) :], line[3 * (reach + k) :]
            for i in range(len(out)):
                out[i] += half[k] * (before[i] + after[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _read(
    level: Float32[Array, "rows cols3"],
    h: Float64[Array, "3 3"],
    weights: Float32[Array, "phases 4"],
    picture: UInt8[Array, "h w 3"],
) -> None:
    """Fills the picture with the spline's values where `h` takes its pixels; coefficient (0, 0) lies at (0, 0)."""
    right, bottom = level.shape[1] // 3 - 2.01, level.shape[0] - 2.01
    columns, rows = np.empty(picture.shape[1], np.int32), np.empty(picture.shape[1], np.int32)
    for y in range(picture.shape[0]):
        _places(y, h, right, bottom, columns, rows)
        for x in range(picture.shape[1]):
            a, b = weights[columns[x] % PHASES], weights[rows[x] % PHASES]
            i, top = 3 * (columns[x] // PHASES - 1), rows[x] // PHASES - 1
            p, q = level[top, i : i + 12], level[top + 1, i : i + 12]
            r, s = level[top + 2, i : i + 12], level[top + 3, i : i + 12]
            for c in range(3):
                value = a[0] * (b[0] * p[c] + b[1] * q[c] + b[2] * r[c] + b[3] * s[c])
                value += a[1] * (b[0] * p[c + 3] + b[1] * q[c + 3] + b[2] * r[c + 3] + b[3] * s[c + 3])
                value += a[2] * (b[0] * p[c + 6] + b[1] * q[c + 6] + b[2] * r[c + 6] + b[3] * s[c + 6])
                value += a[3] * (b[0] * p[c + 9] + b[1] * q[c + 9] + b[2] * r[c + 9] + b[3] * s[c + 9])
                picture[y, x, c] = np.uint8(min(max(value + np.float32(0.5), np.float32(0)), np.float32(255)))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _places(
    y: int, h: Float64[Array, "3 3"], right: float, bottom: float, columns: Int32[Array, " w"], rows: Int32[Array, " w"]
) -> None:
    """Where the pixels of row y lie, in phases, kept where the spline has all its coefficients."""
    for x in range(len(columns)):
        scale = PHASES / (h[2, 0] * (x + 0.5) + h[2, 1] * (y + 0.5) + h[2, 2])
        u = (h[0, 0] * (x + 0.5) + h[0, 1] * (y + 0.5) + h[0, 2]) * scale
        v = (h[1, 0] * (x + 0.5) + h[1, 1] * (y + 0.5) + h[1, 2]) * scale
        columns[x] = np.int32(min(max(u, 1.0 * PHASES), right * PHASES) + 0.5)
        rows[x] = np.int32(min(max(v, 1.0 * PHASES), bottom * PHASES) + 0.5)
