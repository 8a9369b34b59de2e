"""Pictures of a scene with moving things in it: at a moment, over a shutter's time, or row by row."""

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8
from scipy.ndimage import gaussian_filter, maximum_filter, zoom

from trajkit import se3
from trajkit.camera import Camera
from trajkit.renderers import toy as toy_renderer
from trajkit.scene import Scene
from trajkit.scenes import toy
from trajkit.toy_world import cast, paint
from trajkit.toy_world.solids import FIRST_FACE, Geometry
from trajkit.trajectory import Trajectory

from ._movers import Troupe

Array = np.ndarray
FAR = 1e6  # scene units: depth of what nothing covers
BAND = 16  # rows that a rolling shutter is taken to read at once
KEPT_TEXTURES = 0.1  # of a room's, where the others are flattened
FLAT_SIDE = 16  # texels of a flattened texture, before it is drawn out to its size again
MOST_TAPS = 24  # samples along a smear
_jit = numba.njit(cache=True, error_model="numpy")
LINEAR: Float32[Array, "256"] = ((np.arange(256) / 255) ** 2.2).astype(np.float32)


def band_count(height: int) -> int:
    """Bands of rows in a picture."""
    return -(-height // BAND)


class Shot(NamedTuple):
    """One picture, sharp."""

    rgb: UInt8[Array, "h w 3"]
    depth: Float32[Array, "h w"]  # z in scene units, 0 = nothing
    thing: Int32[Array, "h w"]  # 0 = the scene, else the number of a mover, from 1


class Stage:
    """A scene and a troupe. Toy rooms and movers are cast together; before splats movers are laid over by depth."""

    def __init__(self, scene: Scene, troupe: Troupe, seed: int, flat: np.random.Generator | None = None) -> None:
        self.scene, self.troupe, self.seed, self.flat = scene, troupe, seed, flat
        toys = scene.source.startswith("toy:")
        parts = [toy.world(scene).shapes] if toys else []
        self.fixed = sum(len(shapes.table) for shapes in parts)
        if troupe.movers:
            parts.append(troupe.rest)
        self.shapes = _joined(parts) if parts else None
        self.things = np.concatenate([[0], np.zeros(self.fixed, np.int32), troupe.mover_of + 1]).astype(np.int32)
        self.renderer = None if toys else _splats(scene)

    @cached_property
    def paint(self) -> paint.Paint:
        """Of the toy room, flattened where asked for, and of the movers."""
        skins = []
        if self.fixed:
            painted = toy.world(self.scene).painted
            skins.append(flattened(painted, self.flat) if self.flat else painted)
        if self.troupe.movers:
            skins.append(self.troupe.painted(self.seed))
        return _overlaid(skins, self.fixed)

    def shot(self, pose: Float64[Array, "4 4"], camera: Camera, time_s: float, samples: int = 2) -> Shot:
        """What a camera sees at a moment; edges are smoothed by samples x samples rays."""
        behind = self._rendered(pose, camera) if self.renderer else None
        if self.shapes is None:
            assert behind is not None
            return behind
        seen, hits = self._traced(pose, camera, time_s)
        rgb, alpha = paint.colours(seen, self.paint, hits, samples)
        depth = hits[0].astype(np.float32)
        thing = self.things[np.where(hits[1] >= 0, self.shapes.owner[hits[1]] + 1, 0)]
        if behind is None:
            return Shot(rgb, depth, thing)
        rim = np.where(depth > 0, depth, maximum_filter(depth, 3))  # a mover's edge may cover less than the centre
        front = (alpha > 0) & ((behind.depth == 0) | (rim < behind.depth))
        cover = np.where(front, alpha, 0)[..., None]
        mixed = np.rint(rgb.astype(np.float32) * (cover > 0) + (1 - cover) * behind.rgb).clip(0, 255).astype(np.uint8)
        solid = front & (depth > 0)
        return Shot(mixed, np.where(solid, depth, behind.depth), np.where(solid, thing, 0).astype(np.int32))

    def things_at(self, pose: Float64[Array, "4 4"], camera: Camera, time_s: float) -> Int32[Array, "h w"]:
        """The `thing` of a shot without its colours; nothing hides the movers before splats."""
        assert self.shapes is not None
        _, hits = self._traced(pose, camera, time_s)
        return self.things[np.where(hits[1] >= 0, self.shapes.owner[hits[1]] + 1, 0)]

    def _traced(self, pose: Float64[Array, "4 4"], camera: Camera, time_s: float) -> tuple[cast.View, Any]:
        assert self.shapes is not None
        shapes = self.shapes
        if self.troupe.movers:
            table = shapes.table.copy()
            table[self.fixed :, :FIRST_FACE] = self.troupe.at(time_s).table[:, :FIRST_FACE]
            shapes = shapes._replace(table=table)
        seen = cast.view(shapes, pose, _lens(camera))
        return seen, cast.trace(seen)

    def _rendered(self, pose: Float64[Array, "4 4"], camera: Camera) -> Shot:
        assert self.renderer is not None
        frame = next(iter(self.renderer.frames(Trajectory.from_camera(pose[None], camera, fps=1.0))))
        assert frame.depth is not None
        return Shot(frame.rgb, frame.depth, np.zeros(frame.rgb.shape[:2], np.int32))

    def looking(self) -> Any:
        """Something with `frames(trajectory)`, as renderers have, that sees the scene without movers."""
        return self.renderer or toy_renderer.Renderer(self.scene, toy_renderer.Options(samples=1))

    def rolled(self, poses: Float64[Array, "b 4 4"], camera: Camera, times_s: Float64[Array, " b"]) -> Shot:
        """A picture whose bands of rows are each seen from a pose of their own, from the top."""
        bands = []
        for number, (pose, time_s) in enumerate(zip(poses, times_s, strict=True)):
            top = number * BAND
            rows = camera.cropped(0, top, camera.width, min(BAND, camera.height - top))
            bands.append(self.shot(pose, rows, float(time_s)))
        return Shot(*(np.concatenate(parts) for parts in zip(*bands, strict=True)))

    def exposed(
        self,
        poses: Callable[[Float64[Array, " n"]], Float64[Array, "n 4 4"]],
        camera: Camera,
        time_s: float,
        shutter_s: float,
        shots: int,
    ) -> tuple[Float32[Array, "h w 3"], Shot]:
        """Linear light 0..1 gathered while the shutter is open, and the sharp shot of its middle (`shots` is odd).

        Each of the shots, spread over the time, is smeared along the way that its points go in its part of it.
        """
        total, middle = np.zeros(0, np.float32), None
        for number in range(shots):
            at = time_s + shutter_s * ((number + 0.5) / shots - 0.5)
            half = shutter_s / shots / 2
            ends = poses(np.array([at - half, at, at + half]))
            shot = self.shot(ends[1], camera, at, 2 if shots == 1 else 1)
            ways = self._ways(ends, np.array([at - half, at, at + half]))
            lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
            light = _smeared(shot.rgb, shot.depth, shot.thing, ways, lens, LINEAR)
            total = light if not len(total) else total + light
            if number == shots // 2:
                middle = shot
        assert middle is not None
        return total / np.float32(shots), middle

    def _ways(self, ends: Float64[Array, "3 4 4"], times_s: Float64[Array, "3"]) -> Float64[Array, "t 2 3 4"]:
        """For the scene and each mover: camera at the first and last moment <- camera at the middle one."""
        moved = [np.tile(np.eye(4), (3, 1, 1))]
        moved += [np.array([mover.pose(time) for time in times_s]) for mover in self.troupe.movers]
        rows = []
        for world in moved:
            local = se3.inverse(ends) @ world  # camera <- thing
            rows.append((local[[0, 2]] @ se3.inverse(local[1]))[:, :3])
        return np.ascontiguousarray(rows)


def flattened(painted: paint.Paint, rng: np.random.Generator) -> paint.Paint:
    """The same paint with most textures blurred until next to nothing is left of them; edges of things stay."""
    texels = painted.texels.copy()
    _, first = np.unique(painted.mip_start[:, 0], return_index=True)
    for face in first:
        if rng.random() < KEPT_TEXTURES:
            continue
        width, height, levels = painted.faces[face, paint.WIDTH : paint.LEVELS + 1].astype(int)
        small = max(0, int(np.log2(min(width, height) / FLAT_SIDE)))  # level that is blurred
        rows, columns = height >> small, width >> small
        start = int(painted.mip_start[face, small])
        image = texels[start : start + rows * columns].reshape(rows, columns, 3).astype(np.float32)
        image = gaussian_filter(image, (rows / 6, columns / 6, 0), mode="wrap")
        for level in range(levels):
            rows, columns = height >> level, width >> level
            factor = (rows / image.shape[0], columns / image.shape[1], 1)
            part = zoom(image, factor, order=1, mode="grid-wrap", grid_mode=True)
            start = int(painted.mip_start[face, level])
            texels[start : start + rows * columns] = np.rint(part.clip(0, 255)).reshape(-1, 3)
    return painted._replace(texels=texels)


_lens = lru_cache(maxsize=64)(cast.lens)  # a rolling shutter asks for some thirty, again and again


def _splats(scene: Scene) -> Any:
    from trajkit.renderers import splats

    return splats.Renderer(scene, splats.Options())


def _joined(parts: list[Geometry]) -> Geometry:
    """Tables of solids as one, in order."""
    if len(parts) == 1:
        return parts[0]
    shapes, more = parts
    table = more.table.copy()
    table[:, FIRST_FACE] += len(shapes.owner)
    return Geometry(
        table=np.concatenate([shapes.table, table]),
        owner=np.concatenate([shapes.owner, more.owner + len(shapes.table)]),
        half=np.concatenate([shapes.half, more.half]),
    )


def _overlaid(skins: list[paint.Paint], solids: int) -> paint.Paint:
    """Paint of groups of solids as one, in order; the first group has so many solids."""
    if len(skins) == 1:
        return skins[0]
    skin, other = skins
    faces = other.faces.copy()
    faces[:, paint.OWNER] += solids
    faces[:, paint.LIGHT_START] += len(skin.light)
    deepest = max(skin.mip_start.shape[1], other.mip_start.shape[1])
    starts = [skin.mip_start, other.mip_start + len(skin.texels)]
    return paint.Paint(
        faces=np.concatenate([skin.faces, faces]),
        mip_start=np.concatenate([np.pad(start, ((0, 0), (0, deepest - start.shape[1]))) for start in starts]),
        texels=np.concatenate([skin.texels, other.texels]),
        light=np.concatenate([skin.light, other.light]),
    )


@_jit
def _landing(ways, thing, end, x, y, z, lens):  # type: ignore[no-untyped-def]
    """Where the point (x, y, 1) z of a thing is in the picture at one end of the time."""
    m = ways[thing, end]
    a = m[0, 0] * x + m[0, 1] * y + m[0, 2] + m[0, 3] / z
    b = m[1, 0] * x + m[1, 1] * y + m[1, 2] + m[1, 3] / z
    c = max(m[2, 0] * x + m[2, 1] * y + m[2, 2] + m[2, 3] / z, 1e-3)
    return lens[0] * a / c + lens[2], lens[1] * b / c + lens[3]


@_jit
def _smeared(rgb, depth, thing, ways, lens, linear):  # type: ignore[no-untyped-def]
    """Linear light: each pixel's mean along the line that its point draws, bilinear samples a pixel apart."""
    height, width = depth.shape
    light = np.empty((height, width, 3), np.float32)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5 - lens[2]) / lens[0], (row + 0.5 - lens[3]) / lens[1]
            z = depth[row, column] if depth[row, column] > 0 else FAR
            u0, v0 = _landing(ways, thing[row, column], 0, x, y, z, lens)
            u1, v1 = _landing(ways, thing[row, column], 1, x, y, z, lens)
            taps = int(min(np.hypot(u1 - u0, v1 - v0) + 0.5, MOST_TAPS))
            if taps <= 1:
                for c in range(3):
                    light[row, column, c] = linear[rgb[row, column, c]]
                continue
            r = g = b = 0.0
            for tap in range(taps):
                part = (tap + 0.5) / taps - 0.5
                u = min(max(column + part * (u1 - u0), 0.0), width - 1.001)
                v = min(max(row + part * (v1 - v0), 0.0), height - 1.001)
                i, j = int(u), int(v)
                fx, fy = u - i, v - j
                for dj in range(2):
                    for di in range(2):
                        weight = (fx if di else 1 - fx) * (fy if dj else 1 - fy)
                        p = rgb[j + dj, i + di]
                        r, g, b = r + weight * linear[p[0]], g + weight * linear[p[1]], b + weight * linear[p[2]]
            light[row, column, 0], light[row, column, 1], light[row, column, 2] = r / taps, g / taps, b / taps
    return light
