"""An arc around a point ahead of a captured camera, which stays in the middle of the picture."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.options import option
from trajkit.paths._pace import Direction, Ease, progress, sign
from trajkit.paths._start import AnchoredOptions, anchor
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Options(AnchoredOptions):
    """Options of `orbit`. The arc of the defaults is 3.14 path units long, as long as 39 latents of key w."""

    turns: float = option(0.125, "arc walked over the clip", unit="turns of 360 degrees", low=0.0, high=10.0)
    depth: float = option(4.0, "distance of the point on the view axis", unit="path units", low=0.01, high=100.0)
    direction: Direction = option("either", "which way the camera moves: right, left, or either (drawn)")
    axis: Literal["up", "camera"] = option("up", "axis of the arc: the scene's up, or the camera's own up")
    ease: Ease = option("none", "speed profile: none, in, out or in-out")


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """The start pose turned rigidly about an axis through the point `depth` ahead; that distance never changes.

    With axis=camera this is HY-WorldPlay's third_yaw (reference/minwm.md 1.3, step 6).
    """
    start = anchor(scene, rng, options.anchor)
    angles_deg = sign(options.direction, rng) * 360.0 * options.turns * progress(options.frames, options.ease)
    target = se3.transform(start, np.array([0.0, 0.0, options.depth * scene.unit]))
    axis = scene.up if options.axis == "up" else -start[:3, 1]
    return options.trajectory(_about(target, axis, angles_deg) @ start, scene)


def _about(
    point: Float64[np.ndarray, "3"], axis: Float64[np.ndarray, "3"], angles_deg: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 4 4"]:
    """Right-handed turns (world<-world) about an axis through a point; about `up`, positive moves to the right."""
    turn = Rotation.from_rotvec(np.radians(angles_deg)[:, None] * (axis / np.linalg.norm(axis))).as_matrix()
    return se3.pose(turn, point - turn @ point)
