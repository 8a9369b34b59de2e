"""Toy scenes by exact ray casting on the CPU: RGB, z-depth and coverage."""

from collections.abc import Iterator
from dataclasses import dataclass

from trajkit.options import option
from trajkit.scene import Frame, Scene
from trajkit.scenes.toy import world
from trajkit.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Options:
    """How smooth edges are."""

    samples: int = option(2, "rays along each side of a pixel that an edge crosses (RGB alone)", low=1, high=8)


class Renderer:
    """Casts a toy scene's rays. Depth is that of the ray through the pixel's centre, in metres, 0 beyond the room.

    Lenses may be distorted. Raises TrajkitError for a scene of another source.
    """

    def __init__(self, scene: Scene, options: Options) -> None:
        self.world = world(scene)
        self.samples = options.samples

    def frames(self, trajectory: Trajectory) -> Iterator[Frame]:
        """One frame per pose, in order."""
        cameras = (trajectory.camera(index) for index in range(len(trajectory)))
        return self.world.frames(trajectory.camera_to_world, cameras, self.samples)
