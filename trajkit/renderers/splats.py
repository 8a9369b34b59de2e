"""Gaussian splats on the CPU."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.rasterize import NEAR, activate, rasterize
from trajkit.scene import Frame, Scene
from trajkit.scenes.splat import load_gaussians
from trajkit.trajectory import Trajectory

Array = np.ndarray
COVERED = 0.5  # alpha from which a pixel has a depth: below it the splats there are haze


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to render."""

    depth: Literal["expected", "median"] = option(
        "median", "where half of a ray's light is gone, or the mean depth of what it meets (nearer in haze)"
    )
    threads: int = option(1, "frames rendered at a time", low=1, high=256)


class Renderer:
    """Renders a scene's splats over black; z-depth in scene units, 0 where alpha is below one half."""

    def __init__(self, scene: Scene, options: Options) -> None:
        self.splats = activate(load_gaussians(scene))
        self.near = near_plane(scene)
        self.median = options.depth == "median"
        self.threads = options.threads

    def frames(self, trajectory: Trajectory) -> Iterator[Frame]:
        """One frame per pose, in order. Raises TrajkitError for a distorted lens."""
        refuse_distortion(trajectory)
        world_to_camera = trajectory.world_to_camera
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[Future[Frame]] = deque()
            for index in range(len(trajectory)):
                waiting.append(pool.submit(self._frame, trajectory, index, world_to_camera[index]))
                if len(waiting) > self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _frame(self, trajectory: Trajectory, index: int, world_to_camera: Array) -> Frame:
        camera = trajectory.camera(index)
        picture = rasterize(self.splats, camera, world_to_camera, near=self.near, median_depth=self.median)
        depth = picture.depth if self.median else picture.depth / np.maximum(picture.alpha, COVERED)
        return Frame(
            rgb=np.rint(np.clip(picture.rgb, 0, 1) * np.float32(255)).astype(np.uint8),
            depth=np.where(picture.alpha >= COVERED, depth, np.float32(0)),
            alpha=np.clip(picture.alpha, 0, 1),
        )


def near_plane(scene: Scene) -> float:
    """z below which nothing is drawn, in scene units: gsplat's, or a hundredth of a small scene's path unit."""
    return NEAR * min(1.0, scene.unit)


def refuse_distortion(trajectory: Trajectory) -> None:
    """Raises TrajkitError for a lens that is no pinhole: splats are projected through one."""
    if any(trajectory.distortion):
        problem = "the lens is distorted, and splats render through a pinhole"
        raise TrajkitError("trajectory", problem, "render with the undistorted lens")
