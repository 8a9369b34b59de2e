"""Gradients of the splatted image with respect to every parameter of the Gaussians, analytic, on the CPU (numba)."""

import math
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numba import njit

from trajkit.camera import Camera
from trajkit.gaussians import Gaussians
from trajkit.harmonics import fill_basis, fill_gradient
from trajkit.rasterize import (
    ALPHA_CUT,
    ALPHA_TOP,
    BLUE,
    FAST,
    GREEN,
    HALF,
    LANES,
    ONE,
    OPACITY,
    REACH,
    RED,
    STOP,
    TILE,
    ZERO,
    A,
    Activated,
    B,
    C,
    Projected,
    X,
    Y,
    camera_centre,
    camera_covariance,
    exp_minus,
    in_halves,
    lens,
    limits,
    meets_row,
    rows_met,
    still_live,
)

Array = np.ndarray
# columns of the image-space sums; S is the derivative by the exponent, dx = Gaussian - pixel
SUM_RED, SUM_GREEN, SUM_BLUE, S, S_DX, S_DXX, S_DY, S_DXY, S_DYY, SUMS = range(10)


class Gradients(NamedTuple):
    """One array per parameter of `Gaussians`, and the image-space one that says where detail is missing."""

    means: Float32[Array, "n 3"]
    log_scales: Float32[Array, "n 3"]
    quaternions_wxyz: Float32[Array, "n 4"]
    logit_opacities: Float32[Array, " n"]
    sh: Float32[Array, "n k 3"]
    pull: Float32[Array, " n"]  # |d loss / d projected centre|, the centre in units of half the image

    @classmethod
    def zeros(cls, gaussians: Gaussians) -> "Gradients":
        """Gradients of nothing."""
        n = len(gaussians.means)
        shapes = (n, 3), (n, 3), (n, 4), (n,), gaussians.sh.shape, (n,)
        return cls(*(np.zeros(shape, np.float32) for shape in shapes))


def backward(
    gaussians: Gaussians,
    splats: Activated,
    seen: Projected,
    camera: Camera,
    world_to_camera: Float[Array, "4 4"],
    rgb: Float32[Array, "h w 3"],
    rgb_gradient: Float32[Array, "h w 3"],
    *,
    pool: Executor | None = None,
) -> Gradients:
    """d loss / d parameters, given one camera's picture and d loss / d picture; tiles shared among `pool`'s threads."""
    sums = np.zeros((2, len(seen.table), SUMS), np.float32)

    def work(part: int, first: int, last: int) -> None:
        _blend_backward(seen, first, last, rgb, rgb_gradient, sums[part])

    in_halves(work, seen.starts, pool)
    out = Gradients.zeros(gaussians)
    pose = np.ascontiguousarray(world_to_camera, np.float64)
    parameters = gaussians.log_scales, gaussians.quaternions_wxyz
    _project_backward(splats, seen, sums[0] + sums[1], lens(camera, 0.0), pose, parameters, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _blend_backward(seen: Projected, begin: int, end: int, rgb: Array, gradient: Array, sums: Array) -> None:
    """Front to back like the forward pass: the light behind a Gaussian is the picture less what came before it."""
    _, table, starts, ids = seen
    across = -(-rgb.shape[1] // TILE)
    state, live = np.empty(TILE * 5 * TILE, np.float32), np.empty(TILE, np.bool_)
    for tile in range(begin, end):
        left, top = (tile % across) * TILE, (tile // across) * TILE
        _load_tile(state, rgb, gradient, left, top)
        live[:] = True
        for k in range(starts[tile], starts[tile + 1]):
            if (k - starts[tile]) % 32 == 31 and not still_live(state, live, 80):
                break
            g = table[ids[k]]
            x, y = np.float32(g[X] - left - HALF), np.float32(g[Y] - top - HALF)
            a, b, c = g[A] * HALF, g[B], g[C] * HALF
            opacity, red, green, blue = g[OPACITY], g[RED], g[GREEN], g[BLUE]
            first, last = rows_met(g, top)
            reach = g[REACH] + np.float32(1e-3)
            total = sums[ids[k]]
            for row in range(first, last):
                dy = np.float32(y - np.float32(row))
                by, cyy = np.float32(b * dy), np.float32(c * dy * dy)
                if not (live[row] and meets_row(x, a, by, cyy - reach)):
                    continue
                base = np.uint64(row) * np.uint64(80)
                sr, sg, sb, s0, s1, s2 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
                for lane in range(LANES):
                    i = base + lane
                    dx = x - np.float32(lane)
                    sigma = (a * dx + by) * dx + cyy
                    t = state[i]
                    raw = opacity * exp_minus(sigma)
                    level = min(ALPHA_TOP, raw)
                    level = level if (level >= ALPHA_CUT and sigma >= ZERO) else ZERO
                    after = t * (ONE - level)
                    level = level if after > STOP else ZERO
                    state[i] = after if after > STOP else ZERO
                    weight = level * t
                    gr, gg, gb = state[i + np.uint64(32)], state[i + np.uint64(48)], state[i + np.uint64(64)]
                    dot = red * gr + green * gg + blue * gb
                    behind = state[i + np.uint64(16)] - weight * dot
                    state[i + np.uint64(16)] = behind
                    s = level * (behind / (ONE - level) - t * dot)
                    s = s if raw <= ALPHA_TOP else ZERO
                    sr += weight * gr
                    sg += weight * gg
                    sb += weight * gb
                    s0 += s
                    s1 += s * dx
                    s2 += s * dx * dx
                total[SUM_RED] += sr
                total[SUM_GREEN] += sg
                total[SUM_BLUE] += sb
                total[S] += s0
                total[S_DX] += s1
                total[S_DXX] += s2
                total[S_DY] += s0 * dy
                total[S_DXY] += s1 * dy
                total[S_DYY] += s0 * dy * dy


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _load_tile(state: Array, rgb: Array, gradient: Array, left: int, top: int) -> None:
    """Per pixel: transmittance 1 (0 outside the image), the whole picture times its gradient, the gradient."""
    state[:] = ZERO
    for row in range(min(TILE, rgb.shape[0] - top)):
        for lane in range(min(TILE, rgb.shape[1] - left)):
            i = row * 80 + lane
            gr, gg, gb = gradient[top + row, left + lane]
            r, g, b = rgb[top + row, left + lane]
            state[i], state[i + 16] = ONE, r * gr + g * gg + b * gb
            state[i + 32], state[i + 48], state[i + 64] = gr, gg, gb


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _project_backward(
    splats: Activated,
    seen: Projected,
    sums: Array,
    lens: Array,
    pose: Array,
    parameters: tuple[Array, Array],
    out: Gradients,
) -> None:
    """Chain rule from the image-space sums to each Gaussian's parameters."""
    index, table, _, _ = seen
    log_scales, quaternions = parameters
    width, height, bounds = lens[4], lens[5], limits(lens)
    s, covariance, v, mean = np.empty(6), np.empty((3, 3)), np.empty(3), np.empty(3)
    basis, slopes = np.empty(16), np.empty((16, 3))
    centre, scratch = camera_centre(pose), (np.empty((3, 3)), np.empty((3, 3)))
    for j in range(len(index)):
        i, row, moved = index[j], table[j], sums[j]
        if moved[S] == 0 and moved[SUM_RED] == 0 and moved[SUM_GREEN] == 0 and moved[SUM_BLUE] == 0:
            continue
        out.logit_opacities[i] -= moved[S] * (1 - splats.opacities[i])
        px = row[A] * moved[S_DX] + row[B] * moved[S_DY]
        py = row[B] * moved[S_DX] + row[C] * moved[S_DY]
        out.pull[i] += math.sqrt((px * width / 2) ** 2 + (py * height / 2) ** 2)
        m = splats.means[i]
        for k in range(3):
            v[k] = pose[k, 0] * m[0] + pose[k, 1] * m[1] + pose[k, 2] * m[2] + pose[k, 3]
        camera_covariance(pose, splats.covariances[i], s)
        _ewa_backward(v, s, row, moved, lens, bounds, mean, covariance)
        for k in range(3):
            out.means[i, k] += pose[0, k] * mean[0] + pose[1, k] * mean[1] + pose[2, k] * mean[2]
        shape_out = out.log_scales[i], out.quaternions_wxyz[i]
        _shape_backward(pose, covariance, log_scales[i], quaternions[i], scratch, shape_out)
        for k in range(3):
            v[k] = m[k] - centre[k]
        _colour_backward(v, splats.sh[i], row, moved, basis, slopes, out.sh[i], out.means[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _ewa_backward(
    v: Array, s: Array, row: Array, moved: Array, lens: Array, bounds: tuple, mean: Array, covariance: Array
) -> None:
    """Writes d loss / d mean (3,) and d loss / d covariance (3, 3), both in the camera's frame.

    V = J S J' + blur with J = [[fx/z, 0, -fx u/z], [0, fy/z, -fy w/z]]; u and w are x/z and y/z, clamped.
    """
    z = v[2]
    x, y = v[0] / z, v[1] / z
    u, w = min(max(x, bounds[0]), bounds[1]), min(max(y, bounds[2]), bounds[3])
    kx, ky = lens[0] / z, lens[1] / z
    a, b, c = float(row[A]), float(row[B]), float(row[C])
    ga, gb, gc = 0.5 * moved[S_DXX], 0.5 * moved[S_DXY], 0.5 * moved[S_DYY]
    p, q, r, t = a * ga + b * gb, a * gb + b * gc, b * ga + c * gb, b * gb + c * gc
    vxx, vxy, vyy = -(p * a + q * b), -(p * b + q * c), -(r * b + t * c)  # d loss / dV = -K G K, K = V^-1
    g00, g01, g11 = kx * kx * vxx, kx * ky * vxy, ky * ky * vyy
    g02, g12 = -(u * g00 + w * g01), -(u * g01 + w * g11)
    covariance[0, 0], covariance[0, 1], covariance[0, 2] = g00, g01, g02
    covariance[1, 0], covariance[1, 1], covariance[1, 2] = g01, g11, g12
    covariance[2, 0], covariance[2, 1], covariance[2, 2] = g02, g12, -(u * g02 + w * g12)
    js00, js01, js02 = kx * (s[0] - u * s[2]), kx * (s[1] - u * s[4]), kx * (s[2] - u * s[5])
    js10, js11, js12 = ky * (s[1] - w * s[2]), ky * (s[3] - w * s[4]), ky * (s[4] - w * s[5])
    j00, j02 = 2 * (vxx * js00 + vxy * js10), 2 * (vxx * js02 + vxy * js12)
    j11, j12 = 2 * (vxy * js01 + vyy * js11), 2 * (vxy * js02 + vyy * js12)
    px, py = a * moved[S_DX] + b * moved[S_DY], b * moved[S_DX] + c * moved[S_DY]
    mean[0], mean[1] = kx * px, ky * py
    mean[2] = -(kx * x * px + ky * y * py) - (kx * j00 + ky * j11) / z
    if u == x:
        mean[0] -= kx / z * j02
        mean[2] += kx / z * x * j02
    mean[2] += kx / z * u * j02
    if w == y:
        mean[1] -= ky / z * j12
        mean[2] += ky / z * y * j12
    mean[2] += ky / z * w * j12


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _shape_backward(
    pose: Array, covariance: Array, log_scales: Array, quaternion: Array, scratch: tuple, out: tuple
) -> None:
    """Adds the derivatives by log scale and quaternion, from that by the camera-frame covariance.

    The world covariance is M M' with M = R diag(s): d loss / dM = 2 W M with W = P' G P, P the camera's rotation.
    """
    (turn, g), (scale_out, quaternion_out) = scratch, out
    w, x, y, z = float(quaternion[0]), float(quaternion[1]), float(quaternion[2]), float(quaternion[3])
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    turn[0, 0], turn[0, 1], turn[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    turn[1, 0], turn[1, 1], turn[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    turn[2, 0], turn[2, 1], turn[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    for k in range(3):
        square = 2 * math.exp(2 * log_scales[k])
        ax = pose[0, 0] * turn[0, k] + pose[0, 1] * turn[1, k] + pose[0, 2] * turn[2, k]
        ay = pose[1, 0] * turn[0, k] + pose[1, 1] * turn[1, k] + pose[1, 2] * turn[2, k]
        az = pose[2, 0] * turn[0, k] + pose[2, 1] * turn[1, k] + pose[2, 2] * turn[2, k]
        fx = square * (covariance[0, 0] * ax + covariance[0, 1] * ay + covariance[0, 2] * az)
        fy = square * (covariance[1, 0] * ax + covariance[1, 1] * ay + covariance[1, 2] * az)
        fz = square * (covariance[2, 0] * ax + covariance[2, 1] * ay + covariance[2, 2] * az)
        scale_out[k] += ax * fx + ay * fy + az * fz
        for i in range(3):
            g[i, k] = pose[0, i] * fx + pose[1, i] * fy + pose[2, i] * fz
    gw = 2 * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    gx = 2 * (y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2]) - 2 * x * (g[1, 1] + g[2, 2]))
    gy = 2 * (x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0]) - 2 * y * (g[0, 0] + g[2, 2]))
    gz = 2 * (x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1]) - 2 * z * (g[0, 0] + g[1, 1]))
    along = w * gw + x * gx + y * gy + z * gz
    quaternion_out[0] += (gw - w * along) / norm
    quaternion_out[1] += (gx - x * along) / norm
    quaternion_out[2] += (gy - y * along) / norm
    quaternion_out[3] += (gz - z * along) / norm


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _colour_backward(
    v: Array, sh: Array, row: Array, moved: Array, basis: Array, slopes: Array, sh_out: Array, mean_out: Array
) -> None:
    """Adds the derivatives by the coefficients, and by the mean through the view direction v / |v|."""
    terms = sh.shape[0]
    degree = int(math.sqrt(terms)) - 1
    norm = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    x, y, z = v[0] / norm, v[1] / norm, v[2] / norm
    fill_basis(x, y, z, degree, basis)
    fill_gradient(x, y, z, degree, slopes)
    red = moved[SUM_RED] if row[RED] > 0 else ZERO  # a colour that is clamped at black has no gradient
    green = moved[SUM_GREEN] if row[GREEN] > 0 else ZERO
    blue = moved[SUM_BLUE] if row[BLUE] > 0 else ZERO
    gx, gy, gz = 0.0, 0.0, 0.0
    for k in range(terms):
        value = basis[k]
        sh_out[k, 0] += value * red
        sh_out[k, 1] += value * green
        sh_out[k, 2] += value * blue
        pull = sh[k, 0] * red + sh[k, 1] * green + sh[k, 2] * blue
        gx += slopes[k, 0] * pull
        gy += slopes[k, 1] * pull
        gz += slopes[k, 2] * pull
    along = x * gx + y * gy + z * gz
    mean_out[0] += (gx - x * along) / norm
    mean_out[1] += (gy - y * along) / norm
    mean_out[2] += (gz - z * along) / norm
