"""A small room of splats and a walk through it, for tests of renderers."""

from pathlib import Path

import numpy as np

from trajkit import se3
from trajkit.camera import Camera
from trajkit.gaussians import Gaussians, write_ply
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory


def blobs(count: int, sh_degree: int = 3, seed: int = 0) -> Gaussians:
    """Coloured blobs of all sizes and opacities in a box about the origin, 4 wide, 3 high and deep."""
    rng = np.random.default_rng(seed)
    return Gaussians(
        means=rng.uniform(-1, 1, (count, 3)) * (2, 1.5, 1.5),
        log_scales=rng.normal(np.log(0.06), 0.6, (count, 3)),
        quaternions_wxyz=rng.normal(size=(count, 4)),
        logit_opacities=rng.normal(0, 2, count),
        sh=rng.normal(0, 0.3, (count, (sh_degree + 1) ** 2, 3)),
    )


def relief(count: int = 4000, seed: int = 0) -> Gaussians:
    """An opaque, wavy wall about the origin, 5 wide and 4 high, of randomly coloured dots: rich in features."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-2.5, 2.5, count), rng.uniform(-2, 2, count)
    return Gaussians(
        means=np.stack([x, y, 0.5 * np.sin(2 * x) * np.cos(2 * y)], axis=-1),
        log_scales=rng.normal(np.log(0.05), 0.3, (count, 3)),
        quaternions_wxyz=rng.normal(size=(count, 4)),
        logit_opacities=np.full(count, 6.0),
        sh=rng.uniform(-1.7, 1.7, (count, 1, 3)),
    )


def splat_scene(gaussians: Gaussians, folder: Path) -> Scene:
    """A scene that holds these splats."""
    write_ply(gaussians, folder / "blobs.ply")
    extent = np.array([[-2, -1.5, -1.5], [2, 1.5, 1.5]])
    return Scene(
        id="blobs", source="splat:blobs.ply", licence="CC0", up=np.array([0, -1.0, 0]), extent=extent, unit=1.0,
        assets={"splat": folder / "blobs.ply"},
    )  # fmt: skip


def walk(frames: int, width: int, height: int) -> Trajectory:
    """An arc that looks at the origin from about three units away, through an off-centre lens."""
    angles = np.linspace(-0.6, 0.6, frames)
    centres = 3 * np.stack([np.sin(angles), 0.1 * angles, -np.cos(angles)], axis=-1)
    camera = Camera(width=width, height=height, fx=0.9 * width, fy=0.92 * width, cx=0.47 * width, cy=0.54 * height)
    poses = se3.look_at(centres, np.zeros(3), np.array([0, -1.0, 0]))
    return Trajectory.from_camera(poses, camera, fps=16)
