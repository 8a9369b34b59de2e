"""Rays against the toy world's solids, in numba: what a ray meets first, and where on which face.

Rays are o + t d with d scaled to camera z = 1, so t is the z-depth. Only surfaces that face the ray are hit; from
outside one therefore looks through the room's wall at the far ones.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float64, Int32, Int64

from trajkit import se3
from trajkit.camera import Camera
from trajkit.toy_world.solids import BALL, CONE, FIRST_FACE, KIND, PLACE, ROOM, SIZE, TURN, Geometry

Array = np.ndarray
NEAR = 1e-3  # nearer surfaces are not drawn (m)
TILE = 16  # pixels; the solids that a tile can meet are listed before its rays are cast
_jit = numba.njit(cache=True, error_model="numpy")


class View(NamedTuple):
    """One camera in every solid's own frame, and for every tile of the image the solids that it can meet."""

    solids: Float64[Array, "p 18"]  # a table of solids with local<-camera rotations, and the camera's place
    x: Float64[Array, "h w"]  # the plane z = 1 at pixel centres
    y: Float64[Array, "h w"]
    step: Float64[Array, "h w 2 2"]  # d(x, y) / d(pixel right, pixel down)
    tile_start: Int64[Array, " t"]
    tile_solids: Int64[Array, " k"]


class Lens(NamedTuple):
    """The part of a View that only depends on the intrinsics."""

    x: Float64[Array, "h w"]
    y: Float64[Array, "h w"]
    step: Float64[Array, "h w 2 2"]
    tiles: Float64[Array, "t 4"]  # x low, x high, y low, y high of each tile on the plane z = 1


def lens(camera: Camera) -> Lens:
    """Rays of every pixel, distortion undone, and the window that each tile covers."""
    shape = (camera.height, camera.width)
    across, down = np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5
    if camera.distortion:
        rays = camera.rays(np.stack(np.meshgrid(across, down), axis=-1))
        step = [_slope(rays[..., 0], 1), _slope(rays[..., 0], 0), _slope(rays[..., 1], 1), _slope(rays[..., 1], 0)]
        x, y, steps = rays[..., 0], rays[..., 1], np.stack(step, axis=-1).reshape(*shape, 2, 2)
    else:
        x = np.broadcast_to((across - camera.cx) / camera.fx, shape)
        y = np.broadcast_to(((down - camera.cy) / camera.fy)[:, None], shape)
        steps = np.broadcast_to(np.diag([1 / camera.fx, 1 / camera.fy]), (*shape, 2, 2))
    reach = np.abs(steps).sum(axis=-1) / 2 * 1.01  # half a pixel: antialiasing samples lie beyond the centres
    bounds = [
        _per_tile(x - reach[..., 0], np.minimum),
        _per_tile(x + reach[..., 0], np.maximum),
        _per_tile(y - reach[..., 1], np.minimum),
        _per_tile(y + reach[..., 1], np.maximum),
    ]
    return Lens(x=x, y=y, step=steps, tiles=np.stack(bounds, axis=-1).reshape(-1, 4))


def _slope(grid: Float64[Array, "h w"], axis: int) -> Float64[Array, "h w"]:
    return np.gradient(grid, axis=axis) if grid.shape[axis] > 1 else np.zeros_like(grid)


def _per_tile(grid: Float64[Array, "h w"], reduce: np.ufunc) -> Float64[Array, "th tw"]:
    rows, columns = np.arange(0, grid.shape[0], TILE), np.arange(0, grid.shape[1], TILE)
    return reduce.reduceat(reduce.reduceat(grid, rows, axis=0), columns, axis=1)


def view(shapes: Geometry, camera_to_world: Float64[Array, "4 4"], optics: Lens) -> View:
    """The camera at a pose, ready to cast."""
    table = shapes.table.copy()
    table[:, TURN:PLACE] = (shapes.rotation @ camera_to_world[:3, :3]).reshape(-1, 9)
    table[:, PLACE:SIZE] = np.einsum("pij,pj->pi", shapes.rotation, camera_to_world[:3, 3] - shapes.centre)
    start, members = _tile_lists(shapes, se3.inverse(camera_to_world), optics.tiles)
    return View(
        solids=table,
        x=optics.x,
        y=optics.y,
        step=optics.step,
        tile_start=start,
        tile_solids=members,
    )


_CORNERS = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], indexing="ij"), axis=-1).reshape(8, 3)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 2])


def _tile_lists(
    shapes: Geometry, world_to_camera: Float64[Array, "4 4"], tiles: Float64[Array, "t 4"]
) -> tuple[Int64[Array, " t"], Int64[Array, " k"]]:
    """Solids per tile (start offsets and members) by the image-plane window of each solid's box, cut at NEAR."""
    corners = np.einsum("pji,pcj->pci", shapes.rotation, shapes.half[:, None] * _CORNERS) + shapes.centre[:, None]
    corners = se3.transform(world_to_camera, corners)
    first, second = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    rise = second[..., 2] - first[..., 2]
    part = (NEAR - first[..., 2]) / np.where(rise == 0, 1.0, rise)
    cut = first + np.clip(part, 0, 1)[..., None] * (second - first)  # on NEAR where an edge crosses it, else an end
    points = np.concatenate([corners, cut], axis=1)
    ahead = points[..., 2] >= NEAR * (1 - 1e-6)
    plane = points[..., :2] / np.where(ahead, points[..., 2], 1.0)[..., None]
    low = np.where(ahead[..., None], plane, np.inf).min(axis=1)
    high = np.where(ahead[..., None], plane, -np.inf).max(axis=1)
    meets = (
        (low[:, 0] <= tiles[:, None, 1])
        & (high[:, 0] >= tiles[:, None, 0])
        & (low[:, 1] <= tiles[:, None, 3])
        & (high[:, 1] >= tiles[:, None, 2])
    )
    start = np.concatenate([[0], np.cumsum(meets.sum(axis=1))]).astype(np.int64)
    return start, np.nonzero(meets)[1].astype(np.int64)


@_jit
def _slab(o, d, half, axis, span):  # type: ignore[no-untyped-def]
    """Narrows (near, its face, far, its face) to where |o + t d| <= half along one axis."""
    near, near_face, far, far_face = span
    inverse = 1.0 / d
    low, high = (-half - o) * inverse, (half - o) * inverse
    low_face, high_face = 2 * axis + 1, 2 * axis
    if inverse < 0:
        low, high, low_face, high_face = high, low, high_face, low_face
    if low > near:
        near, near_face = low, low_face
    if high < far:
        far, far_face = high, high_face
    return near, near_face, far, far_face


@_jit
def _meet_cone(size, o, d):  # type: ignore[no-untyped-def]
    """(t, face) of a truncated cone: (x^2 + y^2) = (a + b z)^2 between the two ends; t = inf for a miss."""
    bottom, top, half = size
    a, b = 0.5 * (bottom + top), 0.5 * (top - bottom) / half
    if d[2] != 0:
        end = -half if d[2] > 0 else half
        rim = bottom if d[2] > 0 else top
        t = (end - o[2]) / d[2]
        if t > NEAR and (o[0] + t * d[0]) ** 2 + (o[1] + t * d[1]) ** 2 <= rim * rim:
            return t, 2 if d[2] > 0 else 1
    slope, level = b * d[2], a + b * o[2]
    qa = d[0] * d[0] + d[1] * d[1] - slope * slope
    qb = o[0] * d[0] + o[1] * d[1] - slope * level
    qc = o[0] * o[0] + o[1] * o[1] - level * level
    root = qb * qb - qa * qc
    if root < 0 or qa == 0:
        return np.inf, 0
    root = math.sqrt(root)
    best = np.inf
    for sign in (-1.0, 1.0):
        t = (-qb + sign * root) / qa
        z = o[2] + t * d[2]
        if NEAR < t < best and abs(z) <= half:
            outward = (o[0] + t * d[0]) * d[0] + (o[1] + t * d[1]) * d[1] - b * (a + b * z) * d[2]
            if outward < 0:
                best = t
    return best, 0


@_jit
def meet(kind, size, o, d):  # type: ignore[no-untyped-def]
    """(t, face) where a ray in the solid's own frame first meets it from the front; t = inf for a miss."""
    if kind == BALL:
        a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
        root = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - size[0] * size[0])
        if root < 0:
            return np.inf, 0
        t = (-b - math.sqrt(root)) / a
        if t <= NEAR:
            return np.inf, 0
        return t, _cube_face(o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2])
    if kind == CONE:
        return _meet_cone(size, o, d)
    span = (-np.inf, 0, np.inf, 0)
    span = _slab(o[0], d[0], size[0], 0, span)
    span = _slab(o[1], d[1], size[1], 1, span)
    near, near_face, far, far_face = _slab(o[2], d[2], size[2], 2, span)
    if near > far:
        return np.inf, 0
    if kind == ROOM:
        return (far, far_face) if far > NEAR else (np.inf, 0)
    return (near, near_face) if near > NEAR else (np.inf, 0)


@_jit
def _cube_face(x, y, z):  # type: ignore[no-untyped-def]
    ax, ay, az = abs(x), abs(y), abs(z)
    if ax >= ay and ax >= az:
        return 0 if x > 0 else 1
    if ay >= az:
        return 2 if y > 0 else 3
    return 4 if z > 0 else 5


@_jit
def face_uv(kind, size, face, p):  # type: ignore[no-untyped-def]
    """Metres right and down from the upper left corner of a face laid flat, seen from its front."""
    x, y, z = p
    if kind == BALL:
        reach = size[0] * math.pi / 4
        axis = face // 2
        ahead = abs(x) if axis == 0 else (abs(y) if axis == 1 else abs(z))
        a, b = (y, z) if axis == 0 else ((x, z) if axis == 1 else (x, y))
        return reach + size[0] * math.atan2(a, ahead), reach - size[0] * math.atan2(b, ahead)
    if kind == CONE:
        radius = max(size[0], size[1])
        if face == 0:
            return (math.atan2(y, x) + math.pi) * radius, size[2] - z
        return x + radius, radius - y
    if face < 2:
        width = 2 * size[1]
        u, v = size[1] + y if face == 0 else size[1] - y, size[2] - z
    elif face < 4:
        width = 2 * size[0]
        u, v = size[0] - x if face == 2 else size[0] + x, size[2] - z
    else:
        width = 2 * size[0]
        u, v = size[0] + x, size[1] - y if face == 4 else size[1] + y
    return (width - u if kind == ROOM else u), v


@_jit
def face_point(kind, size, face, u, v):  # type: ignore[no-untyped-def]
    """The point of the solid's frame at (u, v) of a face, and its outward normal: the inverse of `face_uv`."""
    sign = 1.0 if face % 2 == 0 else -1.0
    axis = face // 2
    if kind == BALL:
        a, b = math.tan(u / size[0] - math.pi / 4), math.tan(math.pi / 4 - v / size[0])
        x, y, z = (sign, a, b) if axis == 0 else ((a, sign, b) if axis == 1 else (a, b, sign))
        length = math.sqrt(x * x + y * y + z * z)
        n = (x / length, y / length, z / length)
        return (n[0] * size[0], n[1] * size[0], n[2] * size[0]), n
    if kind == CONE:
        radius = max(size[0], size[1])
        if face == 0:
            angle, z = u / radius - math.pi, size[2] - v
            b = 0.5 * (size[1] - size[0]) / size[2]
            at, length = 0.5 * (size[0] + size[1]) + b * z, math.sqrt(1 + b * b)
            cosine, sine = math.cos(angle), math.sin(angle)
            return (at * cosine, at * sine, z), (cosine / length, sine / length, -b / length)
        up = 1.0 if face == 1 else -1.0
        return (u - radius, radius - v, up * size[2]), (0.0, 0.0, up)
    if kind == ROOM:
        u = 2 * (size[1] if face < 2 else size[0]) - u
    inward = -1.0 if kind == ROOM else 1.0
    if axis == 0:
        return (sign * size[0], sign * (u - size[1]), size[2] - v), (inward * sign, 0.0, 0.0)
    if axis == 1:
        return (sign * (size[0] - u), sign * size[1], size[2] - v), (0.0, inward * sign, 0.0)
    return (u - size[0], sign * (size[1] - v), sign * size[2]), (0.0, 0.0, inward * sign)


@_jit
def mul(table, p, v):  # type: ignore[no-untyped-def]
    """A vector in the frame of solid p, as a tuple."""
    return (
        table[p, 0] * v[0] + table[p, 1] * v[1] + table[p, 2] * v[2],
        table[p, 3] * v[0] + table[p, 4] * v[1] + table[p, 5] * v[2],
        table[p, 6] * v[0] + table[p, 7] * v[1] + table[p, 8] * v[2],
    )


@_jit
def triple(table, p, column):  # type: ignore[no-untyped-def]
    """Three neighbouring columns of a row, as a tuple."""
    return table[p, column], table[p, column + 1], table[p, column + 2]


@_jit
def first_of(table, members, low, high, x, y):  # type: ignore[no-untyped-def]
    """(depth, face) that the ray (x, y, 1) meets first among members[low:high]; face -1 for none."""
    best, best_face = np.inf, -1
    for k in range(low, high):
        p = members[k]
        d = mul(table, p, (x, y, 1.0))
        t, face = meet(int(table[p, KIND]), triple(table, p, SIZE), triple(table, p, PLACE), d)
        if t < best:
            best, best_face = t, int(table[p, FIRST_FACE]) + face
    return best, best_face


@_jit
def trace(seen: View) -> tuple[Float64[Array, "h w"], Int32[Array, "h w"]]:
    """z-depth (0 where nothing is hit) and face (-1) at every pixel centre."""
    height, width = seen.x.shape
    depth, faces = np.zeros((height, width)), np.full((height, width), -1, np.int32)
    table, members = seen.solids, seen.tile_solids
    tiles_across = (width + TILE - 1) // TILE
    for row in range(height):
        for column in range(width):
            tile = row // TILE * tiles_across + column // TILE
            low, high = seen.tile_start[tile], seen.tile_start[tile + 1]
            t, face = first_of(table, members, low, high, seen.x[row, column], seen.y[row, column])
            if face >= 0:
                depth[row, column], faces[row, column] = t, face
    return depth, faces
