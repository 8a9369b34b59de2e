"""Baked light: lamps and the sky's windows with soft shadows, sunlight through the windows, and one bounce, in numba.

Every surface is matt, so what a point looks like does not depend on where it is seen from: views agree.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float32, Float64, Int64

from trajkit.toy_world.cast import face_point, face_uv, meet, mul, triple
from trajkit.toy_world.paint import Layout
from trajkit.toy_world.solids import BOUND, CONE, FIRST_FACE, KIND, PLACE, SIZE, Geometry

Array = np.ndarray
INSET_M = 4e-3  # light is computed this far from a face's rim, where the neighbouring face does not hide it by rounding
LIFT_M = 2e-3  # and this far above the face
GROUP_M = 1.1  # largest radius of the spheres that let a ray pass many solids by
AMBIENT = 0.16  # stands for all bounces after the first
_jit = numba.njit(cache=True, error_model="numpy")


class Lights(NamedTuple):
    """What shines: points of lamps and windows, and the sun's directions (a small disc, for soft edges)."""

    place: Float64[Array, "l 3"]
    facing: Float64[Array, "l 3"]  # zero: shines all around
    power: Float64[Array, "l 3"]  # linear RGB
    sun: Float64[Array, "s 3"]  # towards the sun
    sun_power: Float64[Array, "3"]
    sky: Int64[Array, " f"]  # 1: a face through which the sun shines


def bake(
    shapes: Geometry, layout: Layout, albedo: Float64[Array, "f 3"], lights: Lights, glow: Float64[Array, "f 3"]
) -> Float32[Array, "m 3"]:
    """Display factors of every light value: what a texture in sRGB is multiplied with.

    sRGB is taken as a plain power 2.2, for which shade = (albedo * light)^(1/2.2) is a product.
    """
    total = int(layout.size[-1].prod() + layout.start[-1])
    grids = (layout.start, layout.size, layout.scale)
    groups = _groups(shapes)
    direct = _direct(shapes.table, groups, shapes.owner, grids, lights, total)
    bounced = _bounced(shapes.table, groups, shapes.owner, grids, albedo, direct, _hemisphere(40))
    light = _smooth(layout, shapes, direct + bounced)
    for face in np.flatnonzero(glow.any(axis=1)):
        light[layout.start[face]] = glow[face]
    light = np.minimum(light, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.4))  # a shoulder, so that sunlit paint keeps detail
    return np.asarray(np.clip(light, 0, 1) ** (1 / 2.2), np.float32)


def _hemisphere(count: int) -> Float64[Array, "n 3"]:
    """Cosine-distributed directions about +z on a Fibonacci spiral."""
    number = np.arange(count) + 0.5
    radius, angle = np.sqrt(number / count), number * np.pi * (3 - math.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=-1)


def _smooth(layout: Layout, shapes: Geometry, light: Float64[Array, "m 3"]) -> Float64[Array, "m 3"]:
    """3 x 3 means on each face: blends the steps that a finite number of directions leaves."""
    result = light.copy()
    for face, ((width, height), start) in enumerate(zip(layout.size, layout.start, strict=True)):
        if width == 1:
            continue
        grid = light[start : start + width * height].reshape(height, width, 3)
        solid = shapes.owner[face]
        closed = shapes.table[solid, KIND] == CONE and face == shapes.table[solid, FIRST_FACE]
        padded = np.pad(grid, ((1, 1), (0, 0), (0, 0)), mode="edge")
        sides = (grid[:, -2:-1], grid[:, 1:2]) if closed else (grid[:, :1], grid[:, -1:])
        left, right = (np.pad(side, ((1, 1), (0, 0), (0, 0)), mode="edge") for side in sides)
        padded = np.concatenate([left, padded, right], axis=1)
        rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        result[start : start + width * height] = ((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4).reshape(-1, 3)
    return result


def _groups(shapes: Geometry) -> Float64[Array, "g 6"]:
    """Runs of neighbouring solids (first, end) with a sphere around each (centre, radius): the furnisher puts what
    belongs together side by side. The room has a run, and a sphere, of its own."""
    rows, start = [], 0
    for end in range(1, len(shapes.half) + 1):
        grown = end < len(shapes.half) and _sphere(shapes, start, end + 1)[3] < GROUP_M and end - start < 12
        if not grown or end == 1:
            rows.append((start, end, *_sphere(shapes, start, end)))
            start = end
    return np.array(rows, np.float64)


def _sphere(shapes: Geometry, start: int, end: int) -> tuple[float, ...]:
    centres, bounds = shapes.centre[start:end], shapes.table[start:end, BOUND]
    middle = (centres.min(axis=0) + centres.max(axis=0)) / 2
    return (*middle, float((np.linalg.norm(centres - middle, axis=1) + bounds).max()))


@_jit
def _passes(table, row, column, reach, ray, most):  # type: ignore[no-untyped-def]
    """Whether a ray misses a sphere whose centre stands in three columns of a table's row, within `most`."""
    origin, d = ray
    c = (table[row, column] - origin[0], table[row, column + 1] - origin[1], table[row, column + 2] - origin[2])
    along = c[0] * d[0] + c[1] * d[1] + c[2] * d[2]
    if along < -reach or along - reach > most:
        return True
    return c[0] * c[0] + c[1] * c[1] + c[2] * c[2] - along * along > reach * reach


@_jit
def _first(table, groups, origin, d, most):  # type: ignore[no-untyped-def]
    """(t, face) of the first surface within `most` on a ray of unit direction in the world; face -1 for none."""
    best, best_face = most, -1
    for g in range(len(groups)):
        if _passes(groups, g, 2, groups[g, 5], (origin, d), best):
            continue
        for p in range(int(groups[g, 0]), int(groups[g, 1])):
            if _passes(table, p, PLACE, table[p, BOUND], (origin, d), best):
                continue
            o = (origin[0] - table[p, PLACE], origin[1] - table[p, PLACE + 1], origin[2] - table[p, PLACE + 2])
            t, face = meet(int(table[p, KIND]), triple(table, p, SIZE), mul(table, p, o), mul(table, p, d))
            if t < best:
                best, best_face = t, int(table[p, FIRST_FACE]) + face
    return best, best_face


@_jit
def _to_world(table, p, v):  # type: ignore[no-untyped-def]
    return (
        table[p, 0] * v[0] + table[p, 3] * v[1] + table[p, 6] * v[2],
        table[p, 1] * v[0] + table[p, 4] * v[1] + table[p, 7] * v[2],
        table[p, 2] * v[0] + table[p, 5] * v[1] + table[p, 8] * v[2],
    )


@_jit
def _spot(table, grid, i, j):  # type: ignore[no-untyped-def]
    """World position (lifted off) and unit normal of light value (i, j) of a face's grid."""
    p, side, _, width, height, across, down = grid
    kind, size, centre = int(table[p, KIND]), triple(table, p, SIZE), triple(table, p, PLACE)
    u, v = i / across, min(max(j / down, INSET_M), (height - 1) / down - INSET_M)
    if kind != CONE or side != 0:
        u = min(max(u, INSET_M), (width - 1) / across - INSET_M)
    point, normal = face_point(kind, size, side, u, v)
    n, at = _to_world(table, p, normal), _to_world(table, p, point)
    at = (at[0] + centre[0] + LIFT_M * n[0], at[1] + centre[1] + LIFT_M * n[1], at[2] + centre[2] + LIFT_M * n[2])
    return at, n


@_jit
def _grid(table, owner, layout, face):  # type: ignore[no-untyped-def]
    """Solid, side, start, width, height and values per metre of a face's light."""
    p = owner[face]
    start, size, scale = layout
    side = face - int(table[p, FIRST_FACE])
    return p, side, start[face], size[face, 0], size[face, 1], scale[face, 0], scale[face, 1]


@_jit
def _direct(table, groups, owner, layout, lights, total):  # type: ignore[no-untyped-def]
    """Irradiance / pi from lamps and sun at every light value."""
    result = np.zeros((total, 3))
    place, facing, power, sun = lights.place, lights.facing, lights.power, lights.sun
    for face in range(len(owner)):
        grid = _grid(table, owner, layout, face)
        for index in range(grid[3] * grid[4] if grid[3] > 1 else 0):
            at, n = _spot(table, grid, index % grid[3], index // grid[3])
            row = grid[2] + index
            for k in range(len(place)):
                w = (place[k, 0] - at[0], place[k, 1] - at[1], place[k, 2] - at[2])
                far = math.sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
                w = (w[0] / far, w[1] / far, w[2] / far)
                gain = w[0] * n[0] + w[1] * n[1] + w[2] * n[2]
                f = triple(facing, k, 0)
                if f != (0.0, 0.0, 0.0):
                    gain = min(gain, 1.0) * max(-(w[0] * f[0] + w[1] * f[1] + w[2] * f[2]), 0.0)
                if gain > 0 and _first(table, groups, at, w, far - 0.02)[1] < 0:
                    for c in range(3):
                        result[row, c] += power[k, c] * gain / (far * far)
            for k in range(len(sun)):
                w = triple(sun, k, 0)
                gain = w[0] * n[0] + w[1] * n[1] + w[2] * n[2]
                if gain > 0:
                    met = _first(table, groups, at, w, 1e3)[1]
                    if met >= 0 and lights.sky[met] == 1:
                        for c in range(3):
                            result[row, c] += lights.sun_power[c] * gain / len(sun)
    return result


@_jit
def _bounced(table, groups, owner, layout, albedo, direct, directions):  # type: ignore[no-untyped-def]
    """Light that arrives from the surfaces around: their direct light times their colour, plus AMBIENT for the rest."""
    result = np.zeros_like(direct)
    for face in range(len(owner)):
        grid = _grid(table, owner, layout, face)
        for index in range(grid[3] * grid[4] if grid[3] > 1 else 0):
            at, n = _spot(table, grid, index % grid[3], index // grid[3])
            sign = 1.0 if n[2] >= 0 else -1.0  # Duff et al. 2017: a frame around n without a branch per axis
            a = -1.0 / (sign + n[2])
            b = n[0] * n[1] * a
            for k in range(len(directions)):
                d = triple(directions, k, 0)
                w = (
                    d[0] * (1 + sign * n[0] * n[0] * a) + d[1] * b + d[2] * n[0],
                    d[0] * sign * b + d[1] * (sign + n[1] * n[1] * a) + d[2] * n[1],
                    -d[0] * sign * n[0] - d[1] * n[1] + d[2] * n[2],
                )
                t, met = _first(table, groups, at, w, 1e3)
                if met < 0:
                    continue
                p, side, start, width, height, across, down = _grid(table, owner, layout, met)
                c = triple(table, p, PLACE)
                hit = (at[0] + t * w[0] - c[0], at[1] + t * w[1] - c[1], at[2] + t * w[2] - c[2])
                uv = face_uv(int(table[p, KIND]), triple(table, p, SIZE), side, mul(table, p, hit))
                i = min(max(int(uv[0] * across + 0.5), 0), width - 1)
                j = min(max(int(uv[1] * down + 0.5), 0), height - 1)
                for channel in range(3):
                    near = direct[start + j * width + i, channel] + AMBIENT
                    result[grid[2] + index, channel] += albedo[met, channel] * near / len(directions)
    return result
