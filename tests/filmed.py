"""Clips of real pixels that cost little: a room with painted walls, a ray per pixel, and claims about its cameras."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import tracked

from trajkit import se3, seeding
from trajkit.clip import Clip, Provenance, copy_clip, write_clip
from trajkit.scene import Frame
from trajkit.trajectory import Trajectory

WIDTH, HEIGHT = 416, 240
FRAMES = 25
HALF = np.array([4.0, 2.5, 5.0])  # of the room; cameras start in its middle
PAINT = 1024  # pixels of a wall's paint across, which repeats
NOISE = 1.0  # grey levels, rms


@cache
def paint() -> np.ndarray:
    """Blotches of two sizes, three walls; grey levels."""
    rng = seeding.generator(7, "paint")
    walls = np.zeros((3, PAINT, PAINT))
    for size, weight in ((8, 30.0), (32, 35.0)):
        coarse = rng.normal(size=(3, PAINT // size, PAINT // size))
        walls += weight * _smooth(coarse.repeat(size, 1).repeat(size, 2), size)
    return np.clip(128 + walls, 5, 250)


def _smooth(walls: np.ndarray, size: int) -> np.ndarray:
    for axis in (1, 2):
        walls = sum(np.roll(walls, step, axis) for step in range(0, size, max(size // 8, 1))) / min(size, 8)
    return walls


def walk(frames: int = FRAMES) -> Trajectory:
    """A walk forward along a bend with a little sway."""
    return tracked.walk(frames).resized(WIDTH, HEIGHT)


def still(frames: int = FRAMES) -> Trajectory:
    """The identity again and again."""
    return replace(walk(frames), camera_to_world=np.tile(np.eye(4), (frames, 1, 1)))


def pictures(trajectory: Trajectory, *, flat: bool = False) -> Iterator[Frame]:
    """What these cameras see of the room; `flat`: its walls are one grey."""
    rng = seeding.generator(8, "noise")
    for number, pose in enumerate(trajectory.camera_to_world):
        lens = trajectory.camera(number)
        y, x = np.mgrid[: lens.height, : lens.width] + 0.5
        rays = lens.rays(np.stack([x, y], axis=-1).reshape(-1, 2)) @ pose[:3, :3].T
        steps = (np.sign(rays) * HALF - pose[:3, 3]) / np.where(rays == 0, 1e-12, rays)
        wall = steps.argmin(1)
        depth = steps.min(1)
        grey = np.full(len(rays), 128.0) if flat else _paint_at(pose[:3, 3] + rays * depth[:, None], wall)
        rgb = (grey + rng.normal(size=len(grey)) * NOISE).clip(0, 255).astype(np.uint8)
        shape = (lens.height, lens.width)
        yield Frame(rgb=rgb.reshape(*shape, 1).repeat(3, 2), depth=depth.reshape(shape).astype(np.float32))


def _paint_at(points: np.ndarray, wall: np.ndarray) -> np.ndarray:
    row = np.arange(len(wall))
    place = np.stack([points[row, np.array((1, 0, 0))[wall]], points[row, np.array((2, 2, 1))[wall]]])
    at = place * 100  # pixels of paint
    low = np.floor(at).astype(np.int64)
    part = at - low
    total = np.zeros(len(wall))
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - part[0]) * np.abs(1 - column - part[1])
            total += weight * paint()[wall, (low[0] + row) % PAINT, (low[1] + column) % PAINT]
    return total


def film(
    folder: Path, key: str, trajectory: Trajectory, *, flat: bool = False, depth: bool = False, caption: str = ""
) -> Clip:
    """A clip in the folder whose poses are exact."""
    clip = Clip(
        key=key,
        trajectory=trajectory,
        fps=tracked.FPS,
        caption=caption,
        provenance=Provenance(kind="estimated", source="test:room", generator="room", scene="room"),
        licence="CC0-1.0",
    )
    return write_clip(folder, clip, pictures(trajectory, flat=flat), depth="z" if depth else None)


def claim(clip: Clip, folder: Path, key: str, trajectory: Trajectory) -> Clip:
    """The same pictures under another key, with other poses."""
    return copy_clip(folder, replace(clip, key=key, trajectory=trajectory))


def wrong(name: str, exact: Trajectory) -> Trajectory:
    """Poses that are wrong in a way that everyone has met."""
    poses = exact.camera_to_world
    changed = {
        "w2c": lambda: se3.inverse(poses),
        "opengl": lambda: poses @ np.diag([1.0, -1, -1, 1]),
        "frozen": lambda: np.tile(poses[:1], (len(poses), 1, 1)),
        "offset": lambda: poses[np.minimum(np.arange(len(poses)) + 6, len(poses) - 1)],
        "jump": lambda: _jump(poses),
    }[name]()
    return replace(exact, camera_to_world=np.ascontiguousarray(changed))


def _jump(poses: np.ndarray) -> np.ndarray:
    after = poses.copy()
    half = len(after) // 2
    after[half:] = after[half:] @ se3.pose(se3.axis_rotation("y", np.array(9.0)), np.zeros(3))
    return after


def lens(factor: float, exact: Trajectory) -> Trajectory:
    """The same path through a lens whose focal length is off."""
    return replace(exact, intrinsics=exact.intrinsics * [factor, factor, 1, 1])
