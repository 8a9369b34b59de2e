"""Trajectory samplers, one per file: `Options(PathOptions)` and `sample(scene, options, rng) -> Trajectory`."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trajkit.camera import Camera
from trajkit.scene import Scene
from trajkit.trajectory import Scale, Trajectory


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """What every sampler is told by its caller: how many frames, how fast, through which lens.

    Fields of subclasses made by `trajkit.options.option` can be set from the command line (`--path orbit:turns=0.5`).
    """

    frames: int = 77
    fps: float = 16.0
    camera: Camera  # lens and size of the clip

    def trajectory(self, camera_to_world: Float[np.ndarray, "n 4 4"], scene: Scene) -> Trajectory:
        """A path's poses as a Trajectory in the scene's unit, at this rate and through this lens."""
        scale = scene.seen.scale if scene.seen else Scale(kind="unit")
        return Trajectory.from_camera(camera_to_world, self.camera, fps=self.fps, scale=scale)
