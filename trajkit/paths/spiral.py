"""A widening spiral about the view axis of a captured camera, always looking at one point ahead."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.paths._pace import Direction, Ease, progress, sign
from trajkit.paths._start import AnchoredOptions, anchor
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

_SAMPLES_PER_TURN = 512  # of the curve when its length is measured: speed varies by less than 0.1 % between frames


@dataclass(frozen=True, kw_only=True)
class Options(AnchoredOptions):
    """Options of `spiral`. With the defaults the camera moves 1.6 path units, as far as 20 latents of key w."""

    turns: float = option(2.0, "times around the view axis", unit="turns of 360 degrees", low=0.05, high=20.0)
    radius: float = option(0.25, "distance from the view axis at the end", unit="path units", low=0.001, high=10.0)
    advance: float = option(0.0, "how far the camera moves forward", unit="path units", low=-10.0, high=10.0)
    depth: float = option(4.0, "distance of the point looked at", unit="path units", low=0.01, high=100.0)
    direction: Direction = option("either", "which way it starts to wind: right, left, or either (drawn)")
    ease: Ease = option("none", "speed profile: none, in, out or in-out")

    def __post_init__(self) -> None:
        if self.advance >= self.depth:
            raise TrajkitError(
                f"spiral: advance={self.advance}",
                f"the camera would pass the point it looks at, {self.depth} ahead",
                "use an advance below depth",
            )


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """An Archimedean spiral (radius grows with the angle) walked at constant speed; frame 0 is the start pose.

    The view turns from the start's axis to the point by the smallest rotation, so the camera does not roll.
    """
    start = anchor(scene, rng, options.anchor)
    side = sign(options.direction, rng)
    grid = np.linspace(0.0, 1.0, int(np.ceil(_SAMPLES_PER_TURN * max(options.turns, 1.0))) + 1)
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(_curve(grid, options, side), axis=0), axis=1).cumsum()])
    reached = np.interp(length[-1] * progress(options.frames, options.ease), length, grid)
    centres = _curve(reached, options, side)
    local = se3.pose(_facing(np.array([0.0, 0.0, options.depth]) - centres), centres * scene.unit)
    return options.trajectory(start @ local, scene)


def _curve(part: Float64[np.ndarray, " n"], options: Options, side: float) -> Float64[np.ndarray, "n 3"]:
    """Camera centres in path units and the start camera's axes after a part (0..1) of the winding."""
    angle = 2 * np.pi * options.turns * part
    right, down = side * np.cos(angle), np.sin(angle)
    return np.stack([options.radius * part * right, options.radius * part * down, options.advance * part], axis=-1)


def _facing(direction: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    """Smallest rotations that carry the z axis to the given directions, none of which points backwards."""
    across = np.cross([0.0, 0.0, 1.0], direction)  # sin(angle) * |direction| * axis
    sine = np.linalg.norm(across, axis=-1)
    angle = np.arctan2(sine, direction[:, 2])
    scale = np.where(sine > 0, angle / np.where(sine > 0, sine, 1.0), 0.0)
    return Rotation.from_rotvec(across * scale[:, None]).as_matrix()
