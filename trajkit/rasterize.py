"""Gaussian splatting on the CPU: EWA projection, depth sort, 16x16 tiles, front-to-back blending (numba).

The image is that of gsplat 1.5.3's "classic" mode: the same blur, cut-offs and order (Kerbl et al. 2023; Zwicker et
al. 2001 for the projection; the bounding boxes of Radl et al. 2024, section B.2).
"""

import math
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64
from numba import njit

from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians
from trajkit.harmonics import fill_basis

Array = np.ndarray
NEAR = 0.01  # camera-frame z below which a Gaussian is dropped, in scene units
BLUR = 0.3  # pixels^2 added to both 2D variances
MARGIN = 0.3  # the Jacobian is taken no further outside the image than this part of half its width
ALPHA_CUT = np.float32(1 / 255)  # weaker contributions are skipped
ALPHA_TOP = np.float32(0.999)
STOP = np.float32(1e-4)  # a pixel is finished before its transmittance falls to this
TILE = 16
MOST_MEETINGS = 2**28  # of Gaussians and tiles in one picture: 1 GB of indices
FARTHEST = 10**9  # pixels; keeps the bounding box of a monstrous Gaussian within the integers
# columns of the table of projected Gaussians
X, Y, A, B, C, OPACITY, REACH, RED, GREEN, BLUE, DEPTH, RADIUS_X, RADIUS_Y, COLUMNS = range(14)
FAST = {"contract", "reassoc", "nsz", "arcp"}  # not nnan/ninf: results stay defined for any input
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LANES: Any = np.uint64(TILE)
LOG2E = np.float32(math.log2(math.e))
# minimax-fitted 2^f on [0, 1), relative error 2e-7 (Remez on the fraction, exact at 0)
P1, P2, P3 = np.float32(0.693147180), np.float32(0.240226507), np.float32(0.0555041087)
P4, P5, P6 = np.float32(0.00961812911), np.float32(0.00133335581), np.float32(0.000154035304)


class Activated(NamedTuple):
    """Gaussians as the rasteriser wants them: linear opacity and world covariance."""

    means: Float32[Array, "n 3"]
    covariances: Float32[Array, "n 6"]  # xx xy xz yy yz zz
    opacities: Float32[Array, " n"]
    sh: Float32[Array, "n k 3"]


class Projected(NamedTuple):
    """What one camera sees of them, sorted front to back, and which tile meets which."""

    owner: Int32[Array, " m"]  # the Gaussian that each row belongs to
    table: Float32[Array, "m 13"]
    starts: Int64[Array, " t"]  # tile t meets ids[starts[t]:starts[t + 1]]
    ids: Int32[Array, " i"]


class Picture(NamedTuple):
    """A rendered image, linear in the Gaussians' colour, and its z-depth and coverage."""

    rgb: Float32[Array, "h w 3"]
    depth: Float32[Array, "h w"]  # scene units; sum of weights times z (expected) or z at half transmittance (median)
    alpha: Float32[Array, "h w"]


def activate(gaussians: Gaussians) -> Activated:
    """Covariance R diag(s^2) R' and opacity of each Gaussian, in its own world."""
    n = len(gaussians.means)
    covariances, opacities = np.empty((n, 6), np.float32), np.empty(n, np.float32)
    _activate(gaussians.log_scales, gaussians.quaternions_wxyz, gaussians.logit_opacities, covariances, opacities)
    return Activated(gaussians.means, covariances, opacities, gaussians.sh)


def project(splats: Activated, camera: Camera, world_to_camera: Float[Array, "4 4"], near: float = NEAR) -> Projected:
    """The Gaussians beyond z = `near` of a pinhole camera, as 2D Gaussians sorted by z and binned by tile.

    Raises TrajkitError where they overlap so much that the index of tiles would not fit in memory.
    """
    n = len(splats.means)
    table, owner = np.empty((n, COLUMNS), np.float32), np.empty(n, np.int32)
    pose = np.ascontiguousarray(world_to_camera, np.float64)
    count = _project(*splats, lens(camera, near), pose, table, owner)
    order = _radix_argsort(table[:count, DEPTH].view(np.uint32))
    table, owner = table[order], owner[order]
    across, down = -(-camera.width // TILE), -(-camera.height // TILE)
    starts = _count(table, across, down)
    if starts[-1] > MOST_MEETINGS:
        problem = f"{count} Gaussians in view cover {starts[-1]} tiles, more than {MOST_MEETINGS}"
        raise TrajkitError("splats", problem, "drop the largest Gaussians, or render a smaller picture")
    return Projected(owner, table, starts, _bin(table, starts, across, down))


def lens(camera: Camera, near: float) -> Float64[Array, "7"]:
    """The camera as the kernels take it."""
    return np.array([camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height, near], np.float64)


def blend(
    seen: Projected, width: int, height: int, *, median_depth: bool = False, pool: Executor | None = None
) -> Picture:
    """The picture over black, its tiles shared among the threads of `pool`; depth is a sum unless it is a median."""
    shape = height, width
    out = Picture(np.empty((*shape, 3), np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32))

    def work(part: int, first: int, last: int) -> None:
        _blend(seen, first, last, not median_depth, out)

    in_halves(work, seen.starts, pool)
    return out


def rasterize(
    splats: Activated,
    camera: Camera,
    world_to_camera: Float[Array, "4 4"],
    *,
    near: float = NEAR,
    median_depth: bool = False,
) -> Picture:
    """The picture that a pinhole camera takes, over black; depth is a sum of weight times z unless it is a median."""
    seen = project(splats, camera, world_to_camera, near)
    return blend(seen, camera.width, camera.height, median_depth=median_depth)


def in_halves(work: Callable[[int, int, int], None], starts: Int64[Array, " t"], pool: Executor | None) -> None:
    """Calls work(part, first tile, past the last tile) for two parts of about equal work, in `pool` or in turn.

    The parts are the same whatever the pool, so sums over them have the same rounding on any machine.
    """
    tiles = len(starts) - 1
    middle = int(np.searchsorted(starts, starts[-1] // 2))
    parts = (0, 0, middle), (1, middle, tiles)
    if pool is None:
        for part in parts:
            work(*part)
    else:
        for future in [pool.submit(work, *part) for part in parts]:
            future.result()


@njit(cache=True, nogil=True, error_model="numpy")
def _activate(log_scales: Array, quaternions: Array, logits: Array, covariances: Array, opacities: Array) -> None:
    for i in range(len(logits)):
        opacities[i] = 1 / (1 + math.exp(-logits[i]))
        w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
        norm = math.sqrt(w * w + x * x + y * y + z * z)
        w, x, y, z = w / norm, x / norm, y / norm, z / norm
        a, b, c = math.exp(log_scales[i, 0]) ** 2, math.exp(log_scales[i, 1]) ** 2, math.exp(log_scales[i, 2]) ** 2
        r00, r01, r02 = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
        r10, r11, r12 = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
        r20, r21, r22 = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
        covariances[i, 0] = a * r00 * r00 + b * r01 * r01 + c * r02 * r02
        covariances[i, 1] = a * r00 * r10 + b * r01 * r11 + c * r02 * r12
        covariances[i, 2] = a * r00 * r20 + b * r01 * r21 + c * r02 * r22
        covariances[i, 3] = a * r10 * r10 + b * r11 * r11 + c * r12 * r12
        covariances[i, 4] = a * r10 * r20 + b * r11 * r21 + c * r12 * r22
        covariances[i, 5] = a * r20 * r20 + b * r21 * r21 + c * r22 * r22


@njit(cache=True, nogil=True, error_model="numpy")
def camera_covariance(pose: Array, s: Array, out: Array) -> None:
    """Writes W S W' (xx xy xz yy yz zz) of a symmetric world matrix S into `out`; W is the rotation of `pose`."""
    for i in range(3):
        a = pose[i, 0] * s[0] + pose[i, 1] * s[1] + pose[i, 2] * s[2]
        b = pose[i, 0] * s[1] + pose[i, 1] * s[3] + pose[i, 2] * s[4]
        c = pose[i, 0] * s[2] + pose[i, 1] * s[4] + pose[i, 2] * s[5]
        for j in range(i, 3):
            out[i * (5 - i) // 2 + j] = a * pose[j, 0] + b * pose[j, 1] + c * pose[j, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def camera_centre(pose: Array) -> Array:
    """-R' t of a world_to_camera matrix."""
    return np.array([-(pose[0, k] * pose[0, 3] + pose[1, k] * pose[1, 3] + pose[2, k] * pose[2, 3]) for k in range(3)])


@njit(cache=True, nogil=True, error_model="numpy")
def limits(lens: Array) -> tuple[float, float, float, float]:
    """Slopes (left, right, top, bottom) at which the Jacobian's view direction is clamped."""
    fx, fy, cx, cy, width, height, _ = lens
    across, down = MARGIN * 0.5 * width / fx, MARGIN * 0.5 * height / fy
    return -cx / fx - across, (width - cx) / fx + across, -cy / fy - down, (height - cy) / fy + down


@njit(cache=True, nogil=True, error_model="numpy")
def _project(
    means: Array, covariances: Array, opacities: Array, sh: Array, lens: Array, pose: Array, table: Array, index: Array
) -> int:
    """Fills rows of `table` and `index` for the Gaussians that can touch the image; returns their number."""
    fx, fy, cx, cy, width, height, near = lens
    left, right, top, bottom = limits(lens)
    centre = camera_centre(pose)
    s, basis = np.empty(6), np.empty(16)
    terms = sh.shape[1]
    degree = int(math.sqrt(terms)) - 1
    count = 0
    for i in range(len(means)):
        mx, my, mz = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        z = pose[2, 0] * mx + pose[2, 1] * my + pose[2, 2] * mz + pose[2, 3]
        opacity = float(opacities[i])
        if not (z >= near) or not (opacity >= ALPHA_CUT):
            continue
        x = (pose[0, 0] * mx + pose[0, 1] * my + pose[0, 2] * mz + pose[0, 3]) / z
        y = (pose[1, 0] * mx + pose[1, 1] * my + pose[1, 2] * mz + pose[1, 3]) / z
        camera_covariance(pose, covariances[i], s)
        u, v = min(max(x, left), right), min(max(y, top), bottom)
        kx, ky = fx / z, fy / z
        vxx = kx * kx * (s[0] - 2 * u * s[2] + u * u * s[5]) + BLUR
        vxy = kx * ky * (s[1] - v * s[2] - u * s[4] + u * v * s[5])
        vyy = ky * ky * (s[3] - 2 * v * s[4] + v * v * s[5]) + BLUR
        determinant = vxx * vyy - vxy * vxy
        if not (determinant > 0):
            continue
        reach = math.log(opacity * 255)
        extend = min(3.33, math.sqrt(2 * reach))
        radius_x = min(math.ceil(extend * math.sqrt(vxx)), FARTHEST)
        radius_y = min(math.ceil(extend * math.sqrt(vyy)), FARTHEST)
        px, py = fx * x + cx, fy * y + cy
        if px + radius_x <= 0 or px - radius_x >= width or py + radius_y <= 0 or py - radius_y >= height:
            continue
        row = table[count]
        row[X], row[Y], row[DEPTH], row[OPACITY], row[REACH] = px, py, z, opacity, reach
        row[A], row[B], row[C] = vyy / determinant, -vxy / determinant, vxx / determinant
        row[RADIUS_X], row[RADIUS_Y] = radius_x, radius_y
        dx, dy, dz = mx - centre[0], my - centre[1], mz - centre[2]
        norm = math.sqrt(dx * dx + dy * dy + dz * dz)
        fill_basis(dx / norm, dy / norm, dz / norm, degree, basis)
        for channel in range(3):
            value = 0.5
            for k in range(terms):
                value += basis[k] * sh[i, k, channel]
            row[RED + channel] = max(value, 0.0)
        index[count] = i
        count += 1
    return count


@njit(cache=True, nogil=True)
def _radix_argsort(keys: Array) -> Array:
    """Stable order of uint32 keys (positive floats' bits sort like the floats), three passes of 11 bits."""
    n = len(keys)
    order, other = np.arange(n).astype(np.int32), np.empty(n, np.int32)
    for shift in (0, 11, 22):
        counts = np.zeros(2049, np.int64)
        for i in range(n):
            counts[((keys[i] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        counts = np.cumsum(counts)
        for i in range(n):
            digit = (keys[order[i]] >> np.uint32(shift)) & np.uint32(2047)
            other[counts[digit]] = order[i]
            counts[digit] += 1
        order, other = other, order
    return order


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(row: Array, across: int, down: int) -> tuple[int, int, int, int]:
    """Tile columns and rows (first, past the last) that a Gaussian's bounding box meets."""
    x, y, rx, ry = row[X], row[Y], row[RADIUS_X], row[RADIUS_Y]
    first_x, last_x = max(0, math.floor((x - rx) / TILE)), min(across, math.ceil((x + rx) / TILE))
    first_y, last_y = max(0, math.floor((y - ry) / TILE)), min(down, math.ceil((y + ry) / TILE))
    return first_x, last_x, first_y, last_y


@njit(cache=True, nogil=True, error_model="numpy")
def _count(table: Array, across: int, down: int) -> Array:
    """starts: tile t meets starts[t + 1] - starts[t] rows of the table."""
    starts = np.zeros(across * down + 1, np.int64)
    for i in range(len(table)):
        first_x, last_x, first_y, last_y = _tiles(table[i], across, down)
        for ty in range(first_y, last_y):
            for tx in range(first_x, last_x):
                starts[ty * across + tx + 1] += 1
    return np.cumsum(starts)


@njit(cache=True, nogil=True, error_model="numpy")
def _bin(table: Array, starts: Array, across: int, down: int) -> Array:
    """ids: per tile the rows of the table whose bounding box meets it, in the table's order."""
    ids, cursor = np.empty(starts[-1], np.int32), starts[:-1].copy()
    for i in range(len(table)):
        first_x, last_x, first_y, last_y = _tiles(table[i], across, down)
        for ty in range(first_y, last_y):
            for tx in range(first_x, last_x):
                t = ty * across + tx
                ids[cursor[t]] = i
                cursor[t] += 1
    return ids


@njit(nogil=True, inline="always")
def exp_minus(sigma: float) -> float:
    """e^-sigma in float32 for sigma >= 0 (below 1e-38: 0), as 2^n times a polynomial, so that LLVM can vectorise it."""
    t = max(-sigma * LOG2E, np.float32(-126))
    whole = np.floor(t)
    f = t - whole
    power = ONE + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
    return power * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def rows_met(row: Array, top: float) -> tuple[int, int]:
    """Pixel rows (first, past the last) of the tile starting at `top` that a Gaussian's bounding box meets."""
    first = max(0, math.floor(row[Y] - row[RADIUS_Y] - top))
    return first, min(TILE, math.ceil(row[Y] + row[RADIUS_Y] - top))


@njit(nogil=True, inline="always")
def meets_row(x: np.float32, a: np.float32, by: np.float32, rest: np.float32) -> bool:
    """Whether a dx^2 + by dx + rest <= 0 anywhere between the first and the last pixel of a row, dx = x - lane."""
    square = by * by - np.float32(4) * a * rest
    if not (square > ZERO):
        return False
    half, middle = np.sqrt(square), np.float32(2) * a * x + by  # both times 2 a: saves a division
    return middle + half >= ZERO and middle - half <= np.float32(2 * (TILE - 1)) * a


@njit(cache=True, nogil=True)
def still_live(state: Array, live: Array, stride: int) -> bool:
    """Marks the rows of a tile whose pixels are all finished; False when every row is.

    A row's transmittances are the first sixteen of its `stride` numbers.
    """
    some = False
    for row in range(TILE):
        count = 0
        for lane in range(TILE):
            count += state[row * stride + lane] > ZERO
        live[row] = count > 0
        some = some or count > 0
    return some


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _blend(seen: Projected, begin: int, end: int, expected: bool, out: Picture) -> None:
    """Per tile, per Gaussian, per row, sixteen pixels at a time.

    State of a pixel: transmittance (0 once finished), r, g, b, coverage, depth. Indices are uint64: so LLVM proves the
    six 16-float runs of a row disjoint and uses vector instructions."""
    _, table, starts, ids = seen
    across = -(-out.alpha.shape[1] // TILE)
    state, live = np.empty(TILE * 6 * TILE, np.float32), np.empty(TILE, np.bool_)
    for tile in range(begin, end):
        left, top = (tile % across) * TILE, (tile // across) * TILE
        state[:] = ZERO
        for row in range(TILE):
            state[row * 96 : row * 96 + 16] = ONE
        live[:] = True
        for k in range(starts[tile], starts[tile + 1]):
            if (k - starts[tile]) % 32 == 31 and not still_live(state, live, 96):
                break
            g = table[ids[k]]
            x, y = np.float32(g[X] - left - HALF), np.float32(g[Y] - top - HALF)
            a, b, c = g[A] * HALF, g[B], g[C] * HALF
            opacity, red, green, blue, z = g[OPACITY], g[RED], g[GREEN], g[BLUE], g[DEPTH]
            first, last = rows_met(g, top)
            reach = g[REACH] + np.float32(1e-3)
            for row in range(first, last):
                dy = np.float32(y - np.float32(row))
                by, cyy = np.float32(b * dy), np.float32(c * dy * dy)
                if not (live[row] and meets_row(x, a, by, cyy - reach)):
                    continue
                base = np.uint64(row) * np.uint64(96)
                for lane in range(LANES):
                    i = base + lane
                    dx = x - np.float32(lane)
                    sigma = (a * dx + by) * dx + cyy
                    t = state[i]
                    level = min(ALPHA_TOP, opacity * exp_minus(sigma))
                    level = level if (level >= ALPHA_CUT and sigma >= ZERO) else ZERO
                    after = t * (ONE - level)
                    weight = level * t if after > STOP else ZERO
                    state[i] = after if after > STOP else ZERO
                    state[i + np.uint64(16)] += weight * red
                    state[i + np.uint64(32)] += weight * green
                    state[i + np.uint64(48)] += weight * blue
                    state[i + np.uint64(64)] += weight
                    crossing = ONE if (t > HALF and after <= HALF) else ZERO
                    state[i + np.uint64(80)] += z * (weight if expected else crossing)
        _store_tile(state, left, top, out)


@njit(cache=True, nogil=True)
def _store_tile(state: Array, left: int, top: int, out: Picture) -> None:
    height, width = out.alpha.shape
    for row in range(min(TILE, height - top)):
        for lane in range(min(TILE, width - left)):
            at = row * 96 + lane
            for channel in range(3):
                out.rgb[top + row, left + lane, channel] = state[at + 16 + 16 * channel]
            out.alpha[top + row, left + lane] = state[at + 64]
            out.depth[top + row, left + lane] = state[at + 80]
