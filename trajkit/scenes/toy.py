"""A furnished room made from a seed, with exact depth and known surfaces; needs no download."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from trajkit import options as options_
from trajkit import se3, seeding, toy_world
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.scene import Rejected, Scene
from trajkit.scenes import spec_of
from trajkit.toy_world import World
from trajkit.trajectory import Scale, Trajectory

Array = np.ndarray
TAKES_PATH = False
LICENCE = "CC0-1.0"
VIEWS, RATE = 60, 4.0  # of the capture: pictures, and pictures per second
LENS = Camera.from_fov(640, 360, 55.0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which rooms: `count` of them, with the seeds seed, seed + 1, ..."""

    count: int = option(1, "number of rooms", low=1, high=100_000)
    seed: int = option(0, "seed of the first room", low=0)


def scenes(root: Path | None, options: Options) -> Iterator[Scene | Rejected]:
    """Rooms in metres, z up, floor at z = 0. `seen` is a walk around the middle, 640x360; there are no photos."""
    for seed in range(options.seed, options.seed + options.count):
        yield _scene(seed)


def world(scene: Scene) -> World:
    """The geometry and paint behind a toy scene. Raises TrajkitError for a scene of another source."""
    name, text = options_.split_spec(scene.source)
    if name != "toy":
        raise TrajkitError(f"scene {scene.id}", f"comes from {scene.source}, not from toy", "use toy:")
    return toy_world.build(options_.parse(Options, text, where=scene.source).seed)


def _scene(seed: int) -> Scene:
    place = toy_world.build(seed)
    half = np.array(place.solids[0].size)
    seen = Trajectory.from_camera(_walk(seed, half), LENS, fps=RATE, scale=Scale(kind="metric"))
    preview = LENS.resized(64, 36)
    depths = [np.median(place.depth(pose, preview)) for pose in seen.camera_to_world[::5]]
    return Scene(
        id=f"toy-{seed}",
        source=spec_of("toy", None, Options(seed=seed)),
        licence=LICENCE,
        up=np.array([0.0, 0.0, 1.0]),
        extent=np.array([[-half[0], -half[1], 0.0], [half[0], half[1], 2 * half[2]]]),
        unit=float(np.median(depths)) / 4,
        seen=seen,
    )


def _walk(seed: int, half: Float64[Array, "3"]) -> Float64[Array, "n 4 4"]:
    """Once around the table at eye height, looking across it, as someone with a camera in hand would."""
    rng = seeding.generator(seed, "toy", "walk")
    turn = np.arange(VIEWS) / VIEWS
    angle = 2 * np.pi * (turn + rng.random())
    wobble = lambda rate, size: size * np.sin(2 * np.pi * (rate * turn + rng.random()))  # noqa: E731
    reach = 1 + wobble(3, 0.05)
    centre = np.stack(
        [(half[0] - 1.75) * reach * np.cos(angle), (half[1] - 1.45) * reach * np.sin(angle), 1.5 + wobble(2, 0.15)],
        axis=-1,
    )
    target = np.stack([wobble(2, 0.3), wobble(3, 0.3), 1.05 + wobble(4, 0.15)], axis=-1)
    level = se3.look_at(centre, target, np.array([0.0, 0.0, 1.0]))
    roll = se3.axis_rotation("z", wobble(5, 1.0))
    return level @ se3.pose(roll, np.zeros(3))
