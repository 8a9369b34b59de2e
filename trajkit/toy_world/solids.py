"""The shapes of the toy world, the flat tables that the ray caster reads, and exact distances to their surfaces.

Every solid has a local frame (z up, origin at its centre) and faces that are skinned one by one:
a box or the room has +x -x +y -y +z -z, a ball has the six faces of the cube around it, a cone has side, top, bottom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from trajkit import se3

Array = np.ndarray
BOX, BALL, CONE, ROOM = 0, 1, 2, 3
FACES = {BOX: 6, BALL: 6, CONE: 3, ROOM: 6}


@dataclass(frozen=True, kw_only=True, slots=True)
class Skin:
    """How one face looks: a picture stretched over it, or a material repeated every `tile_m` metres."""

    material: str
    variant: int = 0
    tile_m: float = 0.0  # 0: one picture over the whole face
    glow: tuple[float, float, float] | None = None  # light that the face gives off (linear RGB), instead of receiving


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Solid:
    """A convex primitive. `size` is half the edges (box, room), the radius thrice (ball), or
    (bottom radius, top radius, half height) of an upright truncated cone.

    The room is a box seen from inside: its walls face inwards.
    """

    kind: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    skins: tuple[Skin, ...]
    rotation: Float64[Array, "3 3"]  # world<-local


def box(
    centre: Sequence[float], edges: Sequence[float], *skins: Skin, yaw_deg: float = 0.0, pitch_deg: float = 0.0
) -> Solid:
    """A box with the given edge lengths (m), turned about z, after being tilted about its own x.

    Skins: one for all faces, two (sides, then top and bottom), or six.
    """
    spread = {1: skins * 6, 2: skins[:1] * 4 + skins[1:] * 2, 6: skins}[len(skins)]
    rotation = se3.axis_rotation("z", yaw_deg) @ se3.axis_rotation("x", pitch_deg)
    half = (edges[0] / 2, edges[1] / 2, edges[2] / 2)
    return Solid(kind=BOX, centre=_triple(centre), size=half, skins=spread, rotation=rotation)


def room(edges: Sequence[float], skins: Sequence[Skin]) -> Solid:
    """The room: floor at z = 0, centred on the origin; skins of the walls +x -x +y -y, the ceiling and the floor."""
    half = (edges[0] / 2, edges[1] / 2, edges[2] / 2)
    return Solid(kind=ROOM, centre=(0.0, 0.0, half[2]), size=half, skins=tuple(skins), rotation=np.eye(3))


def ball(centre: Sequence[float], radius: float, skin: Skin) -> Solid:
    """A sphere (m)."""
    return Solid(
        kind=BALL, centre=_triple(centre), size=(radius, radius, radius), skins=(skin,) * 6, rotation=np.eye(3)
    )


def cone(foot: Sequence[float], radii: tuple[float, float], height: float, *skins: Skin, yaw_deg: float = 0.0) -> Solid:
    """An upright truncated cone standing on `foot` with bottom and top radius (m). Skins: all, or side and ends."""
    spread = (skins[0], skins[-1], skins[-1])
    centre = (float(foot[0]), float(foot[1]), float(foot[2]) + height / 2)
    size = (float(radii[0]), float(radii[1]), height / 2)
    return Solid(kind=CONE, centre=centre, size=size, skins=spread, rotation=se3.axis_rotation("z", yaw_deg))


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


# Columns of a table of solids. One plain array, because numba counts references of every member of a tuple of arrays
# at each call: a factor of ten for functions that run per ray.
TURN, PLACE, SIZE, KIND, FIRST_FACE, BOUND = 0, 9, 12, 15, 16, 17


class Geometry(NamedTuple):
    """P solids with F faces."""

    table: Float64[Array, "p 18"]  # local<-world rotation, centre, size, kind, first face, radius of the sphere around
    owner: Int64[Array, " f"]  # the solid that a face belongs to
    half: Float64[Array, "p 3"]  # half the edges of the box around each, in its own frame

    @property
    def rotation(self) -> Float64[Array, "p 3 3"]:
        """local<-world."""
        return self.table[:, TURN:PLACE].reshape(-1, 3, 3)

    @property
    def centre(self) -> Float64[Array, "p 3"]:
        """Centres in the world."""
        return self.table[:, PLACE:SIZE]


def geometry(solids: Sequence[Solid]) -> Geometry:
    """The solids as tables."""
    counts = [FACES[solid.kind] for solid in solids]
    half = np.array([half_extent(solid) for solid in solids])
    columns = [
        np.array([solid.rotation.T.reshape(9) for solid in solids]),
        np.array([solid.centre for solid in solids]),
        np.array([solid.size for solid in solids]),
        np.array([solid.kind for solid in solids])[:, None],
        np.cumsum([0, *counts[:-1]])[:, None],
        np.linalg.norm(half, axis=1)[:, None],
    ]
    owner = np.repeat(np.arange(len(solids)), counts).astype(np.int64)
    return Geometry(table=np.concatenate(columns, axis=1).astype(np.float64), owner=owner, half=half)


def half_extent(solid: Solid) -> tuple[float, float, float]:
    """Half the edges of the solid's box in its own frame."""
    if solid.kind == CONE:
        radius = max(solid.size[:2])
        return radius, radius, solid.size[2]
    return solid.size


def face_edges(solid: Solid, face: int) -> tuple[float, float]:
    """Width and height in metres of a face's picture, as laid flat by `cast.face_point`."""
    x, y, z = (2 * value for value in half_extent(solid))
    if solid.kind == BALL:
        return np.pi / 4 * x, np.pi / 4 * x
    if solid.kind == CONE:
        return (np.pi * x, z) if face == 0 else (x, x)
    return ((y, z), (x, z), (x, y))[face // 2]


def distance(solids: Sequence[Solid], points: Float[Array, "*n 3"]) -> Float64[Array, "*n"]:
    """Metres from points to the nearest surface: positive in free space, negative in a solid or beyond the room.

    Exact outside solids (a minimum of exact distances); inside where solids overlap, a lower bound of the depth.
    """
    points = np.asarray(points, np.float64)
    nearest = np.full(points.shape[:-1], np.inf)
    for solid in solids:
        local = (points - solid.centre) @ solid.rotation
        nearest = np.minimum(nearest, _distance(solid, local))
    return nearest


def _distance(solid: Solid, local: Float64[Array, "*n 3"]) -> Float64[Array, "*n"]:
    if solid.kind == BALL:
        return np.linalg.norm(local, axis=-1) - solid.size[0]
    if solid.kind == CONE:
        return _cone_distance(solid.size, np.hypot(local[..., 0], local[..., 1]), local[..., 2])
    beyond = np.abs(local) - solid.size
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(axis=-1), 0)
    return -outside if solid.kind == ROOM else outside


def _cone_distance(
    size: tuple[float, float, float], radius: Float64[Array, "*n"], height: Float64[Array, "*n"]
) -> Float64[Array, "*n"]:
    """Distance in the half plane (radius, height) to the trapezium under the slant from bottom rim to top rim."""
    bottom, top, half = size
    rim = np.where(height < 0, bottom, top)
    to_cap = np.hypot(np.maximum(radius - rim, 0), np.abs(height) - half)
    slant = np.array([top - bottom, 2 * half])
    offset = np.stack([radius - bottom, height + half], axis=-1)
    along = np.clip(offset @ slant / (slant @ slant), 0, 1)
    to_side = np.linalg.norm(offset - along[..., None] * slant, axis=-1)
    inside = (np.abs(height) < half) & (offset[..., 0] * slant[1] - offset[..., 1] * slant[0] < 0)
    return np.where(inside, -1.0, 1.0) * np.minimum(to_cap, to_side)
