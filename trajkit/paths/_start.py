"""Where a path starts: a captured camera, or the middle of the scene where there is none."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.paths import PathOptions
from trajkit.scene import Scene

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class AnchoredOptions(PathOptions):
    """Options of the samplers that start at one camera."""

    anchor: int | None = option(None, "captured camera to start from, in capture order; none = drawn", low=0)


def anchor(scene: Scene, rng: np.random.Generator, index: int | None = None) -> Float64[Array, "4 4"]:
    """camera_to_world (OpenCV axes, scene units) that a path starts from.

    Captured camera number `index`, else one drawn uniformly. A scene without captured cameras gives the centre of its
    extent, looking horizontally in a drawn direction. Raises TrajkitError for a camera that the scene does not have.
    """
    check_anchor(scene, index)
    if scene.seen is None:
        return _middle(scene, rng)
    return np.array(scene.seen.camera_to_world[rng.integers(len(scene.seen)) if index is None else index])


def check_anchor(scene: Scene, index: int | None) -> None:
    """Raises TrajkitError where the scene has no captured camera number `index`; None always passes."""
    if index is None or (scene.seen and index < len(scene.seen)):
        return
    where = f"scene {scene.id}: anchor={index}"
    if scene.seen is None:
        raise TrajkitError(where, "the scene has no captured cameras", "leave anchor out")
    count = len(scene.seen)
    raise TrajkitError(where, f"the capture has {count} cameras", f"use 0 to {count - 1}, or leave anchor out")


def _middle(scene: Scene, rng: np.random.Generator) -> Float64[Array, "4 4"]:
    centre = scene.extent.mean(axis=0)
    away = np.eye(3)[np.argmin(np.abs(scene.up))]  # the axis that is least parallel to up spans the horizon with it
    horizon = np.cross(scene.up, away)
    horizon /= np.linalg.norm(horizon)
    angle = rng.uniform(0, 2 * np.pi)
    heading = np.cos(angle) * horizon + np.sin(angle) * np.cross(scene.up, horizon)
    return se3.look_at(centre, centre + heading, scene.up)
