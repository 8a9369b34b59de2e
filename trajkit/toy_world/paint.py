"""Skins as tables (mip-mapped textures and baked light), and the shading of the faces that rays met, in numba."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8

from trajkit.toy_world.cast import TILE, View, face_uv, first_of, mul, triple
from trajkit.toy_world.solids import BALL, CONE, FACES, KIND, PLACE, ROOM, SIZE, Skin, Solid, face_edges

Array = np.ndarray
MOST_TAPS = 6  # anisotropic filtering: samples along the long side of a pixel's footprint
TEXEL_M = 0.09  # one value of baked light per 9 cm on things, per 18 cm in the room
_jit = numba.njit(cache=True, error_model="numpy")


# Columns of the table of faces (a plain array for the same reason as the table of solids).
OWNER, SIDE, WRAP, SCALE, WIDTH, HEIGHT, LEVELS, LIGHT_START, LIGHT_SIZE, LIGHT_SCALE = 0, 1, 2, 3, 5, 6, 7, 8, 9, 11


class Paint(NamedTuple):
    """Textures (sRGB, all mip levels) and baked light (display gamma) of F faces."""

    faces: Float64[Array, "f 13"]  # solid, face of the solid, 1 if the texture repeats, texels per metre (right, down),
    # texture width, height (powers of two) and levels, then start, width, height and values per metre of the light
    mip_start: Int64[Array, "f levels"]
    texels: UInt8[Array, "n 3"]
    light: Float32[Array, "m 3"]  # multiplies the texture


class Layout(NamedTuple):
    """Where each face's light values lie: what `light.bake` fills."""

    start: Int64[Array, " f"]
    size: Int64[Array, "f 2"]
    scale: Float64[Array, "f 2"]


def light_layout(solids: Sequence[Solid]) -> Layout:
    """A grid of values at most TEXEL_M apart for each face (twice that in the room), one value for faces that glow."""
    sizes, scales = [], []
    for solid, face, skin in faces_of(solids):
        edges = np.array(face_edges(solid, face))
        spacing = 2 * TEXEL_M if solid.kind == ROOM else TEXEL_M
        least = {CONE: (8, 1) if face == 0 else (1, 1), BALL: (3, 3)}.get(solid.kind, (1, 1))  # round things need more
        size = np.maximum(np.ceil(edges / spacing), least).astype(np.int64) + 1
        sizes.append(np.ones(2, np.int64) if skin.glow else size)
        scales.append((sizes[-1] - 1) / edges)
    counts = np.prod(sizes, axis=1)
    start = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    return Layout(start=start, size=np.array(sizes), scale=np.array(scales))


def faces_of(solids: Sequence[Solid]) -> list[tuple[Solid, int, Skin]]:
    """Every face in table order."""
    return [(solid, face, skin) for solid in solids for face, skin in enumerate(solid.skins[: FACES[solid.kind]])]


def paint(
    solids: Sequence[Solid], textures: dict[tuple, UInt8[Array, "h w 3"]], layout: Layout, light: Float32[Array, "m 3"]
) -> Paint:
    """Tables from the picture of each skin (by `skin_key`) and baked light."""
    chains = {key: _mips(picture) for key, picture in textures.items()}
    sizes = [image.shape[0] * image.shape[1] for chain in chains.values() for image in chain]
    offsets = iter(np.concatenate([[0], np.cumsum(sizes)]))
    starts = {key: [int(next(offsets)) for _ in chain] for key, chain in chains.items()}
    deepest = max(map(len, chains.values()))
    rows, mip_start = [], []
    for number, (solid, face, skin) in enumerate(faces_of(solids)):
        key = skin_key(solid, face, skin)
        height, width = chains[key][0].shape[:2]
        wraps = skin.tile_m > 0 or (solid.kind == CONE and face == 0)
        scale = _texels_per_metre(solid, face, skin, (width, height))
        lit = (layout.start[number], *layout.size[number], *layout.scale[number])
        rows.append((0, face, wraps, *scale, width, height, len(chains[key]), *lit))
        mip_start.append(starts[key] + [0] * (deepest - len(starts[key])))
    table = np.array(rows, np.float64)
    table[:, OWNER] = np.repeat(np.arange(len(solids)), [FACES[solid.kind] for solid in solids])
    return Paint(
        faces=table,
        mip_start=np.array(mip_start, np.int64),
        texels=np.concatenate([image.reshape(-1, 3) for chain in chains.values() for image in chain]),
        light=light,
    )


def skin_key(solid: Solid, face: int, skin: Skin) -> tuple:
    """What a texture depends on: a ball's picture differs from face to face, all others are shared."""
    return (skin.material, skin.variant, face if solid.kind == BALL else -1)


def _texels_per_metre(solid: Solid, face: int, skin: Skin, size: tuple[int, int]) -> Float64[Array, "2"]:
    edges = np.array(face_edges(solid, face))
    if not skin.tile_m:
        return np.array(size) / edges
    across = size[0] / skin.tile_m
    if solid.kind == CONE and face == 0:  # a whole number of tiles around, so that no seam shows
        across = max(1, round(edges[0] / skin.tile_m)) * size[0] / edges[0]
    return np.array([across, size[1] / skin.tile_m])


def _mips(image: UInt8[Array, "h w 3"]) -> list[UInt8[Array, "h w 3"]]:
    """The picture and its halvings (means of 2 x 2) until one side is a single texel."""
    chain, current = [image], image.astype(np.float32)
    while min(current.shape[:2]) > 1:
        rows, columns = current.shape[0] // 2, current.shape[1] // 2
        current = current.reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3))
        chain.append(np.rint(current).astype(np.uint8))
    return chain


@_jit
def _bilinear(texels, start, size, wrap, u, v):  # type: ignore[no-untyped-def]
    """Colour at (u, v) texels of one mip level; texel centres at half integers."""
    width, height = size
    x, y = u - 0.5, v - 0.5
    left, top = math.floor(x), math.floor(y)
    i0, j0 = int(left), int(top)
    i1, j1 = i0 + 1, j0 + 1
    if wrap:
        i0, i1, j0, j1 = i0 & (width - 1), i1 & (width - 1), j0 & (height - 1), j1 & (height - 1)
    else:
        i0, i1 = min(max(i0, 0), width - 1), min(max(i1, 0), width - 1)
        j0, j1 = min(max(j0, 0), height - 1), min(max(j1, 0), height - 1)
    corners = (start + j0 * width + i0, start + j0 * width + i1, start + j1 * width + i0, start + j1 * width + i1)
    return _blend(texels, corners, x - left, y - top)


@_jit
def _blend(values, corners, fx, fy):  # type: ignore[no-untyped-def]
    """Bilinear mix of four rows of a (n, 3) table."""
    a, b, c, d = corners
    wa, wb, wc, wd = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    return (
        wa * values[a, 0] + wb * values[b, 0] + wc * values[c, 0] + wd * values[d, 0],
        wa * values[a, 1] + wb * values[b, 1] + wc * values[c, 1] + wd * values[d, 1],
        wa * values[a, 2] + wb * values[b, 2] + wc * values[c, 2] + wd * values[d, 2],
    )


@_jit
def _texture(faces, mip_start, texels, face, uv, right, down):  # type: ignore[no-untyped-def]
    """Mean colour over a pixel's footprint: samples along its long axis, blended between two mip levels.

    `uv` in metres; `right`, `down`: how it changes from pixel to pixel. (The anisotropic filter of GPUs.)
    """
    width, height, wrap = int(faces[face, WIDTH]), int(faces[face, HEIGHT]), faces[face, WRAP] > 0
    su, sv = faces[face, SCALE], faces[face, SCALE + 1]
    ax, ay, bx, by = right[0] * su, right[1] * sv, down[0] * su, down[1] * sv
    long, short = math.sqrt(ax * ax + ay * ay), math.sqrt(bx * bx + by * by)
    if long < short:
        long, short, ax, ay = short, long, bx, by
    taps = int(min(max(math.ceil(long / max(short, 1e-6) - 0.3), 1.0), MOST_TAPS))
    level = min(max(math.log2(max(long / taps, 1e-6)), 0.0), faces[face, LEVELS] - 1.001)
    coarse = int(level)
    blend = level - coarse
    r = g = b = 0.0
    for tap in range(taps):
        shift = (tap + 0.5) / taps - 0.5
        u, v = uv[0] * su + shift * ax, uv[1] * sv + shift * ay
        for step in range(2 if blend > 0 else 1):
            lod = coarse + step
            weight = (blend if step else 1 - blend) / taps
            shrink = 1.0 / (1 << lod)
            size = (max(width >> lod, 1), max(height >> lod, 1))
            colour = _bilinear(texels, mip_start[face, lod], size, wrap, u * shrink, v * shrink)
            r, g, b = r + weight * colour[0], g + weight * colour[1], b + weight * colour[2]
    return r, g, b


@_jit
def _light(faces, light, face, uv):  # type: ignore[no-untyped-def]
    """Baked light at a point of a face, bilinear between values that lie on the face's corners and edges too."""
    width, height = int(faces[face, LIGHT_SIZE]), int(faces[face, LIGHT_SIZE + 1])
    x = min(max(uv[0] * faces[face, LIGHT_SCALE], 0.0), width - 1.0)
    y = min(max(uv[1] * faces[face, LIGHT_SCALE + 1], 0.0), height - 1.0)
    i, j = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    fx, fy = x - i, y - j
    across, below = min(1, width - 1), min(1, height - 1) * width
    corner = int(faces[face, LIGHT_START]) + j * width + i
    corners = (corner, corner + across, corner + below, corner + below + across)
    return _blend(light, corners, fx, fy)


@_jit
def _normal(kind, size, face, p):  # type: ignore[no-untyped-def]
    """A vector along the outward normal of a face at a point (not of unit length)."""
    if kind == BALL:
        return p
    if kind == CONE:
        if face == 0:
            b = 0.5 * (size[1] - size[0]) / size[2]
            return p[0], p[1], -b * (0.5 * (size[0] + size[1]) + b * p[2])
        return 0.0, 0.0, 1.0
    axis = face // 2
    return (1.0 if axis == 0 else 0.0), (1.0 if axis == 1 else 0.0), (1.0 if axis == 2 else 0.0)


@_jit
def _shade(solids, faces, mip_start, texels, light, face, ray, step):  # type: ignore[no-untyped-def]
    """Colour (0..255) of a face where the ray (x, y, 1) meets it at depth t; `step`: the ray's change per pixel."""
    t, x, y = ray
    p, side = int(faces[face, OWNER]), int(faces[face, SIDE])
    kind, size, eye = int(solids[p, KIND]), triple(solids, p, SIZE), triple(solids, p, PLACE)
    d = mul(solids, p, (x, y, 1.0))
    point = (eye[0] + t * d[0], eye[1] + t * d[1], eye[2] + t * d[2])
    shape = (kind, size, side)
    n = _normal(kind, size, side, point)
    facing = n[0] * d[0] + n[1] * d[1] + n[2] * d[2]
    uv = face_uv(kind, size, side, point)
    right = _uv_step(shape, point, uv, d, n, facing, _scaled(mul(solids, p, (step[0], step[2], 0.0)), t))
    down = _uv_step(shape, point, uv, d, n, facing, _scaled(mul(solids, p, (step[1], step[3], 0.0)), t))
    colour, lit = _texture(faces, mip_start, texels, face, uv, right, down), _light(faces, light, face, uv)
    return colour[0] * lit[0], colour[1] * lit[1], colour[2] * lit[2]


@_jit
def _scaled(v, factor):  # type: ignore[no-untyped-def]
    return v[0] * factor, v[1] * factor, v[2] * factor


@_jit
def _uv_step(shape, point, uv, d, n, facing, turn):  # type: ignore[no-untyped-def]
    """Change of (u, v) when the ray's end moves by `turn`, then along the ray onto the plane that touches the face."""
    kind, size, side = shape
    slide = (n[0] * turn[0] + n[1] * turn[1] + n[2] * turn[2]) / facing if abs(facing) > 1e-9 else 0.0
    moved = (
        point[0] + turn[0] - d[0] * slide,
        point[1] + turn[1] - d[1] * slide,
        point[2] + turn[2] - d[2] * slide,
    )
    other = face_uv(kind, size, side, moved)
    du = other[0] - uv[0]
    if kind == CONE and side == 0:  # the shorter way around
        around = 2 * math.pi * max(size[0], size[1])
        du -= around * math.floor(du / around + 0.5)
    return du, other[1] - uv[1]


@_jit
def colours(
    seen: View, painted: Paint, hits: tuple[Float64[Array, "h w"], Int32[Array, "h w"]], samples: int
) -> tuple[UInt8[Array, "h w 3"], Float32[Array, "h w"]]:
    """RGB and coverage: filtered shading at the pixel centre, samples x samples of it where a face's edge is near."""
    depth, faces = hits
    solids, members, slopes = seen.solids, seen.tile_solids, seen.step
    table, mip_start, texels, light = painted.faces, painted.mip_start, painted.texels, painted.light
    height, width = depth.shape
    rgb, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    tiles_across = (width + TILE - 1) // TILE
    for row in range(height):
        for column in range(width):
            face, x, y = faces[row, column], seen.x[row, column], seen.y[row, column]
            count = samples if _at_edge(faces, row, column) else 1
            step = (
                slopes[row, column, 0, 0] / count,
                slopes[row, column, 0, 1] / count,
                slopes[row, column, 1, 0] / count,
                slopes[row, column, 1, 1] / count,
            )
            tile = row // TILE * tiles_across + column // TILE
            low, high = seen.tile_start[tile], seen.tile_start[tile + 1]
            r = g = b = 0.0
            covered = 0
            for k in range(count * count):
                i, j = k % count - 0.5 * (count - 1), k // count - 0.5 * (count - 1)
                u, v = x + i * step[0] + j * step[1], y + i * step[2] + j * step[3]
                t, met = depth[row, column], face
                if count > 1:
                    t, met = first_of(solids, members, low, high, u, v)
                if met >= 0:
                    colour = _shade(solids, table, mip_start, texels, light, met, (t, u, v), step)
                    r, g, b, covered = r + colour[0], g + colour[1], b + colour[2], covered + 1
            total = count * count
            rgb[row, column, 0] = np.uint8(min(r / total + 0.5, 255.0))
            rgb[row, column, 1] = np.uint8(min(g / total + 0.5, 255.0))
            rgb[row, column, 2] = np.uint8(min(b / total + 0.5, 255.0))
            alpha[row, column] = covered / total
    return rgb, alpha


@_jit
def _at_edge(faces, row, column):  # type: ignore[no-untyped-def]
    """Whether one of the eight neighbours shows another face."""
    face = faces[row, column]
    for j in range(max(row - 1, 0), min(row + 2, faces.shape[0])):
        for i in range(max(column - 1, 0), min(column + 2, faces.shape[1])):
            if faces[j, i] != face:
                return True
    return False
