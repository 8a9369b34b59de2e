"""Real spherical harmonics up to degree 3, in the order and with the signs that splat files use."""

import math

import numpy as np
from jaxtyping import Float, Float64
from numba import njit

Array = np.ndarray
C0 = 0.5 / math.sqrt(math.pi)  # the constant function: colour = C0 * coefficient + 0.5
C1 = math.sqrt(3 / (4 * math.pi))
C2 = math.sqrt(15 / math.pi)
C3 = math.sqrt(35 / (2 * math.pi))
C4 = math.sqrt(21 / (2 * math.pi))
C5 = math.sqrt(7 / math.pi)


@njit(cache=True, nogil=True)
def fill_basis(x: float, y: float, z: float, degree: int, out: Array) -> None:
    """Writes the (degree + 1)^2 basis values at the unit direction (x, y, z) into `out`.

    The polynomials of https://en.wikipedia.org/wiki/Table_of_spherical_harmonics (real form) with the
    Condon-Shortley sign (-1)^m, ordered by (l, m = -l..l).
    """
    out[0] = C0
    if degree < 1:
        return
    out[1], out[2], out[3] = -C1 * y, C1 * z, -C1 * x
    if degree < 2:
        return
    out[4], out[5], out[7], out[8] = 0.5 * C2 * x * y, -0.5 * C2 * y * z, -0.5 * C2 * x * z, 0.25 * C2 * (x * x - y * y)
    out[6] = 0.25 * math.sqrt(5 / math.pi) * (3 * z * z - 1)
    if degree < 3:
        return
    out[9], out[15] = -0.25 * C3 * y * (3 * x * x - y * y), -0.25 * C3 * x * (x * x - 3 * y * y)
    out[10], out[14] = 0.5 * math.sqrt(105 / math.pi) * x * y * z, 0.25 * math.sqrt(105 / math.pi) * z * (x * x - y * y)
    out[11], out[13] = -0.25 * C4 * y * (5 * z * z - 1), -0.25 * C4 * x * (5 * z * z - 1)
    out[12] = 0.25 * C5 * z * (5 * z * z - 3)


@njit(cache=True, nogil=True)
def fill_gradient(x: float, y: float, z: float, degree: int, out: Array) -> None:
    """Writes the partial derivatives (k, 3) of the same polynomials into `out`; radial parts are arbitrary."""
    out[:] = 0.0
    if degree < 1:
        return
    out[1, 1], out[2, 2], out[3, 0] = -C1, C1, -C1
    if degree < 2:
        return
    out[4, 0], out[4, 1] = 0.5 * C2 * y, 0.5 * C2 * x
    out[5, 1], out[5, 2] = -0.5 * C2 * z, -0.5 * C2 * y
    out[6, 2] = 1.5 * math.sqrt(5 / math.pi) * z
    out[7, 0], out[7, 2] = -0.5 * C2 * z, -0.5 * C2 * x
    out[8, 0], out[8, 1] = 0.5 * C2 * x, -0.5 * C2 * y
    if degree < 3:
        return
    d = math.sqrt(105 / math.pi)
    out[9, 0], out[9, 1] = -1.5 * C3 * x * y, -0.75 * C3 * (x * x - y * y)
    out[10, 0], out[10, 1], out[10, 2] = 0.5 * d * y * z, 0.5 * d * x * z, 0.5 * d * x * y
    out[11, 1], out[11, 2] = -0.25 * C4 * (5 * z * z - 1), -2.5 * C4 * y * z
    out[12, 2] = 0.75 * C5 * (5 * z * z - 1)
    out[13, 0], out[13, 2] = -0.25 * C4 * (5 * z * z - 1), -2.5 * C4 * x * z
    out[14, 0], out[14, 1], out[14, 2] = 0.5 * d * x * z, -0.5 * d * y * z, 0.25 * d * (x * x - y * y)
    out[15, 0], out[15, 1] = -0.75 * C3 * (x * x - y * y), 1.5 * C3 * x * y


def basis(directions: Float[Array, "n 3"], degree: int) -> Float64[Array, "n k"]:
    """Basis values at unit directions, k = (degree + 1)^2."""
    values = np.empty((len(directions), (degree + 1) ** 2))
    for row, (x, y, z) in zip(values, np.asarray(directions, np.float64), strict=True):
        fill_basis(x, y, z, degree, row)
    return values


def rotation(matrix: Float[Array, "3 3"], degree: int) -> Float64[Array, "k k"]:
    """D such that D @ coefficients describes the function turned by `matrix`: f_new(R v) = f_old(v).

    Each degree l is a rotation of 2l + 1 coefficients of its own, found exactly by least squares over fixed directions:
    basis(R v) D = basis(v) for all v.
    """
    directions = np.random.default_rng(0).standard_normal((64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before, after = basis(directions, degree), basis(directions @ np.asarray(matrix, np.float64).T, degree)
    turn = np.zeros((before.shape[1],) * 2)
    for band in range(degree + 1):
        span = slice(band**2, (band + 1) ** 2)
        turn[span, span] = np.linalg.lstsq(after[:, span], before[:, span], rcond=None)[0]
    return turn
