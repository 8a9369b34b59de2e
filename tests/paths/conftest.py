"""Small synthetic scenes and one call that samples a path the way the command line does."""

import functools
from collections.abc import Callable

import numpy as np
import pytest

from trajkit import options, plugins, se3, seeding
from trajkit.camera import Camera
from trajkit.scene import Scene
from trajkit.trajectory import Scale, Trajectory

LENS = Camera.from_fov(832, 480, 58.0)


def make_scene(camera_to_world: np.ndarray | None, *, unit: float = 1.0, up: tuple = (0.0, -1.0, 0.0)) -> Scene:
    """A scene with these captured cameras, or none."""
    seen = None
    if camera_to_world is not None:
        seen = Trajectory.from_camera(camera_to_world, LENS, fps=5.0, scale=Scale(kind="sfm"))
    extent = np.array([[-4.0, -2.0, -4.0], [4.0, 2.0, 6.0]])
    return Scene(id="test", source="test:", licence="CC0", up=up, extent=extent, unit=unit, seen=seen)


@pytest.fixture(scope="session")
def scene_of() -> Callable[..., Scene]:
    """Makes a scene of given camera_to_world poses (or None), unit and up."""
    return make_scene


@pytest.fixture(scope="session")
def identity_scene() -> Scene:
    """One captured camera at the identity, unit 1: paths come out as minWM's do."""
    return make_scene(np.eye(4)[None])


@pytest.fixture(scope="session")
def ring_scene() -> Scene:
    """40 cameras on an uneven ring of radius 6 around the origin, in a world whose up is +z; unit 3."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False) + 0.05 * np.sin(np.arange(40.0) * 2.1)
    radius = 6 + 0.2 * np.cos(3 * angle)
    centre = np.stack([radius * np.cos(angle), radius * np.sin(angle), 1.0 + 0.3 * np.sin(2 * angle)], axis=-1)
    return make_scene(se3.look_at(centre, np.zeros(3), np.array([0.0, 0.0, 1.0])), unit=3.0, up=(0.0, 0.0, 1.0))


@pytest.fixture(scope="session")
def bare_scene() -> Scene:
    """A scene without captured cameras."""
    return make_scene(None, unit=2.0, up=(0.0, 0.6, 0.8))


@pytest.fixture(scope="session")
def walk() -> Callable[..., Trajectory]:
    """walk(scene, "orbit:turns=0.5", frames=77, fps=16.0, seed=0): a sampled path."""

    load = functools.cache(plugins.load)  # thousands of calls

    def sample(scene: Scene, spec: str, *, frames: int = 77, fps: float = 16.0, seed: int = 0) -> Trajectory:
        name, text = options.split_spec(spec)
        module = load("paths", name)
        parsed = options.parse(module.Options, text, where=f"path {name}", frames=frames, fps=fps, camera=LENS)
        return module.sample(scene, parsed, seeding.generator(seed, scene.id, 0))

    return sample
