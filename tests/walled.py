"""A place with a wall, a pillar and a half that nobody photographed: its splats, its cameras, and its true shape."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from trajkit import se3
from trajkit.camera import Camera
from trajkit.gaussians import Gaussians, write_ply
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

WIDE, LONG, HIGH = 4.0, 3.0, 3.0  # the photographed half: 0..WIDE x -LONG..LONG x 0..HIGH, z up
WALL_X, WALL_END = 0.8, -0.6  # a wall x = WALL_X for y in -LONG..WALL_END, all the way up
PILLAR, RADIUS = np.array([2.4, 1.0]), 0.25  # all the way up
STEP, THICK = 0.06, 0.004  # between the splats of a surface, and their deviation across it
UP = np.array([0.0, 0.0, 1.0])
LENS = Camera.from_fov(160, 96, 40)


def distance(points: np.ndarray) -> np.ndarray:
    """True distance of points (n, 3) to wall, pillar, floor, ceiling and the three walls that stand."""
    x, y, z = points.T
    wall = np.hypot(x - WALL_X, np.maximum(y - WALL_END, 0))
    pillar = np.hypot(x - PILLAR[0], y - PILLAR[1]) - RADIUS
    room = np.minimum.reduce([z, HIGH - z, WIDE - x, y + LONG, LONG - y])
    return np.minimum.reduce([wall, pillar, room])


def unseen_share(path: Trajectory) -> np.ndarray:
    """True share of each picture that shows the half x < 0 (n,): rays that cross x = 0 before anything else."""
    small = path.resized(32, 20)
    rows, columns = np.mgrid[:20, :32] + 0.5
    shares = []
    for index, pose in enumerate(small.camera_to_world):
        rays = small.camera(index).rays(np.stack([columns, rows], axis=-1).reshape(-1, 2)) @ pose[:3, :3].T
        with np.errstate(divide="ignore", invalid="ignore"):
            shares.append(float((_first_hit(pose[:3, 3], rays) > _reach(-pose[0, 3], rays[:, 0])).mean()))
    return np.array(shares)


def _reach(gap: float, speed: np.ndarray) -> np.ndarray:
    """How far along rays a plane is: infinite where it is never met."""
    along = gap / speed
    return np.where(along > 0, along, np.inf)


def _first_hit(origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    hits = [
        _reach(gap, rays[:, axis])
        for axis, gap in ((2, -origin[2]), (2, HIGH - origin[2]), (0, WIDE - origin[0]), (1, -LONG - origin[1]),
                          (1, LONG - origin[1]))
    ]  # fmt: skip
    wall = _reach(WALL_X - origin[0], rays[:, 0])
    hits.append(np.where(origin[1] + np.where(np.isfinite(wall), wall, 0) * rays[:, 1] <= WALL_END, wall, np.inf))
    away, flat = origin[:2] - PILLAR, rays[:, :2]
    a, b, c = (flat**2).sum(1), flat @ away, away @ away - RADIUS**2
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    pillar = (-b - root) / a
    hits.append(np.where((b * b >= a * c) & (pillar > 0), pillar, np.inf))
    return np.minimum.reduce(hits)


def scene(folder: Path) -> Scene:
    """The splats of what was photographed and the 40 cameras that did, none of which looks towards x < 0."""
    write_ply(_splats(), folder / "walled.ply")
    angle = np.radians(np.linspace(130, 230, 20))
    arc = np.stack([2.4 + 1.2 * np.cos(angle), 1.0 + 1.2 * np.sin(angle), np.full(20, 1.5)], axis=-1)
    inward = se3.look_at(arc, np.array([2.4, 1.0, 1.4]), UP)
    along = np.stack([np.full(20, 1.6), np.linspace(-2.2, 2.2, 20), np.full(20, 1.5)], axis=-1)
    outward = se3.look_at(along, along + np.array([2.0, 0.0, -0.1]), UP)
    seen = Trajectory.from_camera(np.concatenate([inward, outward]), LENS, fps=2)
    return Scene(
        id="walled", source="splat:walled.ply", licence="CC0", up=UP, unit=0.6,
        extent=np.array([[0, -LONG, 0], [WIDE, LONG, HIGH]]), seen=seen, assets={"splat": folder / "walled.ply"},
    )  # fmt: skip


def _splats() -> Gaussians:
    """Opaque flat discs on a grid over every surface of the photographed half; nothing where x < 0."""
    flat = lambda axis, value, first, second: _face(  # noqa: E731 - a plane where one coordinate is fixed
        first, second, lambda a, b: np.insert(np.stack([a, b], axis=-1), axis, value, axis=1), lambda a: np.eye(3)[axis]
    )
    around = (0.0, 2 * np.pi * RADIUS)
    turn = lambda a: np.stack([np.cos(a / RADIUS), np.sin(a / RADIUS), 0 * a], axis=-1)  # noqa: E731
    faces = [
        flat(2, 0.0, (0, WIDE), (-LONG, LONG)),
        flat(2, HIGH, (0, WIDE), (-LONG, LONG)),
        flat(0, WIDE, (-LONG, LONG), (0, HIGH)),
        flat(1, -LONG, (0, WIDE), (0, HIGH)),
        flat(1, LONG, (0, WIDE), (0, HIGH)),
        flat(0, WALL_X, (-LONG, WALL_END), (0, HIGH)),
        _face(around, (0, HIGH), lambda a, b: np.array([*PILLAR, 0]) + RADIUS * turn(a) + b[:, None] * UP, turn),
    ]
    means, normals = (np.concatenate(arrays) for arrays in zip(*faces, strict=True))
    n = len(means)
    quaternions = np.concatenate([1 + normals[:, 2:], np.cross(UP, normals)], axis=1)  # wxyz: turns z to the normal
    return Gaussians(
        means=means,
        log_scales=np.tile(np.log([0.6 * STEP, 0.6 * STEP, THICK]), (n, 1)),
        quaternions_wxyz=quaternions,
        logit_opacities=np.full(n, 5.0),
        sh=np.random.default_rng(0).uniform(-1.5, 1.5, (n, 1, 3)),
    )


def _face(first, second, place, normal) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Points (n, 3) on a grid of two coordinates, and the normals there."""
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(*first, STEP), np.arange(*second, STEP)))
    points = place(a, b)
    return points, np.broadcast_to(normal(a), points.shape)


def turned_around(path: Trajectory) -> Trajectory:
    """The same walk, looking back."""
    poses = path.camera_to_world.copy()
    poses[:, :3, :3] = poses[:, :3, :3] @ se3.axis_rotation("y", 180)
    return replace(path, camera_to_world=poses)
