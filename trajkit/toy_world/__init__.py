"""The toy world: a furnished room made from a seed, with exact depth, exact distances and matt, filtered textures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Float64, UInt8

from trajkit import seeding
from trajkit.camera import Camera
from trajkit.scene import Frame
from trajkit.toy_world import cast, light, paint, room
from trajkit.toy_world.materials import BALLS, MATERIALS
from trajkit.toy_world.pictures import PICTURES
from trajkit.toy_world.solids import Geometry, Solid, distance, geometry

Array = np.ndarray
BALL_TEXELS = 64  # side of each of a ball's six pictures


@dataclass(frozen=True, kw_only=True)
class World:
    """One room. Geometry is made at once, the paint (a second or two) when the first picture is asked for."""

    seed: int
    solids: tuple[Solid, ...]

    @cached_property
    def shapes(self) -> Geometry:
        """The solids as tables."""
        return geometry(self.solids)

    @cached_property
    def painted(self) -> paint.Paint:
        """Textures and baked light."""
        textures = textures_of(self.seed, self.solids)
        layout = paint.light_layout(self.solids)
        faces = paint.faces_of(self.solids)
        means = {key: (picture.mean(axis=(0, 1)) / 255) ** 2.2 for key, picture in textures.items()}
        albedo = np.array([means[paint.skin_key(*face)] for face in faces])
        glow = np.array([skin.glow or (0.0, 0.0, 0.0) for _, _, skin in faces])
        lit = light.bake(self.shapes, layout, albedo, _lights(self.solids), glow)
        return paint.paint(self.solids, textures, layout, lit)

    def distance(self, points: Float[Array, "*n 3"]) -> Float64[Array, "*n"]:
        """Metres from points to the nearest surface: positive in free space, negative in a solid or beyond the room."""
        return distance(self.solids, points)

    def depth(self, camera_to_world: Float64[Array, "4 4"], camera: Camera) -> Float64[Array, "h w"]:
        """Exact z-depth in metres at every pixel centre; 0 where nothing is hit."""
        return cast.trace(cast.view(self.shapes, camera_to_world, cast.lens(camera)))[0]

    def frames(
        self, camera_to_world: Float64[Array, "n 4 4"], cameras: Iterator[Camera], samples: int
    ) -> Iterator[Frame]:
        """RGB, depth and coverage of each pose; faces' edges are antialiased with samples x samples rays."""
        last, optics = None, None
        for pose, camera in zip(camera_to_world, cameras, strict=True):
            if optics is None or camera != last:
                last, optics = camera, cast.lens(camera)
            seen = cast.view(self.shapes, pose, optics)
            hits = cast.trace(seen)
            rgb, alpha = paint.colours(seen, self.painted, hits, samples)
            yield Frame(rgb=rgb, depth=hits[0].astype(np.float32), alpha=alpha)


@lru_cache(maxsize=2)
def build(seed: int) -> World:
    """The world of a seed; the last two are kept."""
    return World(seed=seed, solids=tuple(room.furnish(seeding.generator(seed, "toy", "room"))))


def textures_of(seed: int, things: tuple[Solid, ...]) -> dict[tuple, UInt8[Array, "h w 3"]]:
    """The picture of every skin, by `paint.skin_key`."""
    textures: dict[tuple, UInt8[Array, "h w 3"]] = {}
    for solid, face, skin in paint.faces_of(things):
        key = paint.skin_key(solid, face, skin)
        if key in textures:
            continue
        rng = seeding.generator(seed, "toy", skin.material, skin.variant)
        if skin.material in BALLS:
            picture = BALLS[skin.material](rng, _directions(face))
        else:
            picture = (MATERIALS.get(skin.material) or PICTURES[skin.material])(rng)
        textures[key] = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return textures


def _directions(face: int) -> Float64[Array, "n n 3"]:
    """Unit vectors of the texels of a ball's face, as `cast.face_point` lays it flat."""
    angle = ((np.arange(BALL_TEXELS) + 0.5) / BALL_TEXELS - 0.5) * np.pi / 2
    a, b = np.meshgrid(np.tan(angle), np.tan(-angle))
    ahead = np.full_like(a, 1.0 if face % 2 == 0 else -1.0)
    n = np.stack([(ahead, a, b), (a, ahead, b), (a, b, ahead)][face // 2], axis=-1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def _lights(things: tuple[Solid, ...]) -> light.Lights:
    """Daylight from the panes, warm light from lamps, and an afternoon sun."""
    place, facing, power = [], [], []
    for solid in things:
        materials = {skin.material for skin in solid.skins if skin.glow}
        if "window" in materials:
            for across, up in np.ndindex(3, 3):
                offset = (0.6 * (across - 1) * solid.size[0], -0.06, 0.6 * (up - 1) * solid.size[2])
                place.append(np.add(solid.centre, offset))
                facing.append((0.0, -1.0, 0.0))
                power.append((0.56, 0.62, 0.70))
        elif materials:
            reach = max(solid.size) + 0.05
            for side in ((0, 0, -1), (0.87, 0, 0.3), (-0.44, 0.75, 0.3), (-0.44, -0.75, 0.3)):
                place.append(np.add(solid.centre, np.multiply(side, reach)))
                facing.append((0.0, 0.0, 0.0))
                power.append((0.42, 0.35, 0.25))
    disc = np.sqrt(np.arange(8) + 0.5)[:, None] * [
        np.cos(2.4 * k) * np.eye(3)[0] + np.sin(2.4 * k) * np.eye(3)[2] for k in range(8)
    ]
    sun = np.array([0.35, 0.75, 0.62]) + 0.02 * disc
    return light.Lights(
        place=np.array(place),
        facing=np.array(facing),
        power=np.array(power),
        sun=sun / np.linalg.norm(sun, axis=1, keepdims=True),
        sun_power=np.array([2.6, 2.3, 1.8]),
        sky=np.array([skin.material == "window" for _, _, skin in paint.faces_of(things)], np.int64),
    )
