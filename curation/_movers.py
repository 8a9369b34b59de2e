"""Things that move through a scene: crates, figures, balls and panels with rich textures, on smooth ways."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64

from trajkit import se3
from trajkit.toy_world import cast, paint, textures_of
from trajkit.toy_world.solids import (
    FIRST_FACE,
    KIND,
    PLACE,
    SIZE,
    TURN,
    Geometry,
    Skin,
    Solid,
    ball,
    box,
    cone,
    geometry,
)

Array = np.ndarray
PICTURES = ("crate", "blocks", "circles", "glass", "books", "cushion", "landscape")
ROUND = ("beach", "globe", "swirl")
WRAPPED = ("stripes", "vase")
SPEED_M = (0.3, 1.5)  # per second


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mover:
    """Solids that move as one. Their own frame has z up and the foot at its origin."""

    solids: tuple[Solid, ...]
    upright: Float64[Array, "3 3"]  # world<-own frame, but for the turn about z
    place: Float64[Array, "3"]  # of the foot in the world in the middle of the clip
    middle_s: float
    velocity: Float64[Array, "3"]  # scene units per second
    sway: Float64[Array, "3"]  # scene units, about the way
    sway_hz: float
    phase: float
    spin_deg: float  # per second
    size: float = 1.0  # factor of the solids

    def pose(self, time_s: float) -> Float64[Array, "4 4"]:
        """world<-own frame at a moment."""
        since = time_s - self.middle_s
        wave = np.sin(2 * np.pi * self.sway_hz * since + self.phase)
        turn = self.upright @ se3.axis_rotation("z", self.spin_deg * since + np.degrees(self.phase))
        return se3.pose(turn, self.place + self.velocity * since + self.sway * wave)

    @property
    def placed(self) -> list[Solid]:
        """The solids at their size, still in their own frame."""
        scaled = lambda values: tuple(float(self.size * value) for value in values)  # noqa: E731
        return [
            replace(solid, centre=scaled(solid.centre), size=scaled(solid.size))  # type: ignore[arg-type]
            for solid in self.solids
        ]


class Troupe:
    """Some movers, ready to be painted: their solids as one table, which `at` puts where they are at a moment."""

    def __init__(self, movers: Sequence[Mover]) -> None:
        self.movers = tuple(movers)
        self.solids = tuple(solid for mover in movers for solid in mover.placed)
        counts = np.array([len(mover.solids) for mover in movers], np.int64)
        self.mover_of = np.repeat(np.arange(len(movers)), counts)

    @cached_property
    def rest(self) -> Geometry:
        """The solids in their movers' own frames. There has to be one."""
        return geometry(self.solids)

    def at(self, time_s: float) -> Geometry:
        """The solids' table at a moment."""
        moved = np.array([mover.pose(time_s) for mover in self.movers])[self.mover_of]
        table = self.rest.table.copy()
        local_from_world = self.rest.rotation @ np.swapaxes(moved[:, :3, :3], 1, 2)
        table[:, TURN:PLACE] = local_from_world.reshape(-1, 9)
        table[:, PLACE : PLACE + 3] = se3.transform(moved, self.rest.centre)
        return self.rest._replace(table=table)

    def painted(self, seed: int) -> paint.Paint:
        """Textures, and light from above that turns with the things."""
        layout = paint.light_layout(self.solids)
        return paint.paint(self.solids, textures_of(seed, self.solids), layout, _lit(self.rest, layout))


def _lit(shapes: Geometry, layout: paint.Layout) -> Float32[Array, "m 3"]:
    """Display factor of each light value: bright above, dim below, a little warmer on one side."""
    light = np.ones((int(layout.size[-1].prod() + layout.start[-1]), 3), np.float32)
    for face, (start, (width, height), scale) in enumerate(zip(layout.start, layout.size, layout.scale, strict=True)):
        row = shapes.table[shapes.owner[face]]
        side = face - int(row[FIRST_FACE])
        size = tuple(row[SIZE : SIZE + 3])
        for index in range(width * height):
            u, v = (index % width) / scale[0], (index // width) / scale[1]
            _, normal = cast.face_point(int(row[KIND]), size, side, u, v)
            gain = 0.66 + 0.26 * normal[2] + 0.1 * normal[0]
            light[start + index] = gain * np.array([1.0, 0.98, 0.94])
    return light


def crate(rng: np.random.Generator) -> tuple[Solid, ...]:
    """One or two boxes on top of each other."""
    edge = rng.uniform(0.5, 0.8)
    lower = box((0, 0, edge / 2), (edge, edge, edge), _picture(rng), _picture(rng))
    if rng.random() < 0.5:
        return (lower,)
    small = edge * rng.uniform(0.6, 0.9)
    return lower, box((0, 0, edge + small / 2), (small,) * 3, _picture(rng), yaw_deg=rng.uniform(10, 40))


def figure(rng: np.random.Generator) -> tuple[Solid, ...]:
    """A body, a head, and a board carried in front."""
    body = Skin(material=str(rng.choice(WRAPPED)), variant=int(rng.integers(9)))
    head = Skin(material=str(rng.choice(ROUND)), variant=int(rng.integers(9)))
    board = box((0.3, 0, 0.95), (0.05, 0.5, 0.5), _picture(rng))
    return cone((0, 0, 0), (0.32, 0.2), 1.35, body), ball((0, 0, 1.5), 0.17, head), board


def balloon(rng: np.random.Generator) -> tuple[Solid, ...]:
    """A ball above the floor."""
    skin = Skin(material=str(rng.choice(ROUND)), variant=int(rng.integers(9)))
    return (ball((0, 0, rng.uniform(0.9, 1.5)), rng.uniform(0.2, 0.4), skin),)


def panel(rng: np.random.Generator) -> tuple[Solid, ...]:
    """A large board on a foot."""
    wide, high = rng.uniform(0.8, 1.4), rng.uniform(0.8, 1.2)
    foot = Skin(material="metal", tile_m=0.4)
    return box((0, 0, 0.35 + high / 2), (wide, 0.06, high), _picture(rng)), cone((0, 0, 0), (0.25, 0.05), 0.35, foot)


KINDS: tuple[Callable[[np.random.Generator], tuple[Solid, ...]], ...] = (crate, figure, balloon, panel)


def _picture(rng: np.random.Generator) -> Skin:
    return Skin(material=str(rng.choice(PICTURES)), variant=int(rng.integers(9)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setting:
    """What movers are placed by: how the camera goes, the floor, and how long a metre is in the scene."""

    poses: Float64[Array, "n 4 4"]  # of the clip
    times_s: Float64[Array, " n"]
    up: Float64[Array, "3"]
    metre: float
    floor: float  # height of the floor along `up`
    fov: float  # half the horizontal one, as a slope


def propose(setting: Setting, count: int, rng: np.random.Generator) -> list[Mover]:
    """Some movers in front of the camera in the middle of the clip; whether they suit is not looked at."""
    return [_proposed(setting, rng) for _ in range(count)]


def _proposed(setting: Setting, rng: np.random.Generator) -> Mover:
    middle = len(setting.poses) // 2
    camera, metre, up = setting.poses[middle], setting.metre, setting.up
    flat = lambda vector: vector - (vector @ up) * up  # noqa: E731
    ahead = flat(camera[:3, 2])
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
    right = np.cross(ahead, up)
    far = rng.uniform(1.4, 3.6) * metre
    place = camera[:3, 3] + far * ahead + rng.uniform(-0.5, 0.5) * far * setting.fov * right
    place = flat(place) + setting.floor * up
    duration = float(setting.times_s[-1] - setting.times_s[0]) or 1.0
    speed = rng.uniform(*SPEED_M) * metre
    way = rng.integers(3)
    velocity, sway = np.zeros(3), np.zeros(3)
    sway_hz = rng.uniform(0.1, 0.3)
    if way == 0:  # crosses the view
        across = 2.2 * far * setting.fov / duration
        velocity = rng.choice([-1.0, 1.0]) * min(speed, across) * right + 0.2 * rng.normal() * speed * ahead
    elif way == 1:  # to and fro; the speed of a sine is highest in the middle
        angle = rng.uniform(-0.6, 0.6)
        sway = speed / (2 * np.pi * sway_hz) * (np.cos(angle) * right + np.sin(angle) * ahead)
        sway *= min(1.0, 0.7 * far * setting.fov / float(np.linalg.norm(sway)))
    else:  # goes with the camera, as someone who is filmed
        velocity = flat(setting.poses[-1, :3, 3] - setting.poses[0, :3, 3]) / duration
        sway = rng.uniform(0.1, 0.3) * metre * right
    return Mover(
        solids=tuple(_scaled(KINDS[rng.integers(len(KINDS))](rng), metre)),
        upright=np.stack([right, np.cross(up, right), up], axis=-1),
        place=place,
        middle_s=float(setting.times_s[middle]),
        velocity=velocity,
        sway=sway,
        sway_hz=sway_hz,
        phase=rng.uniform(0, 2 * np.pi),
        spin_deg=rng.uniform(-40, 40),
    )


def _scaled(solids: tuple[Solid, ...], metre: float) -> list[Solid]:
    scaled = lambda values: tuple(float(metre * value) for value in values)  # noqa: E731
    return [replace(solid, centre=scaled(solid.centre), size=scaled(solid.size)) for solid in solids]  # type: ignore[arg-type]
