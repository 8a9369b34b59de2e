"""`Place`: what surrounds the clips of one scene, as far as it is known: captured cameras, which way is up, points."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.spatial import cKDTree

from trajkit import se3
from trajkit.camera import Camera
from trajkit.gaussians import Gaussians
from trajkit.harmonics import C0
from trajkit.trajectory import Trajectory

Array = np.ndarray
HAZE = 0.3  # opacity up to which a Gaussian is left out: drawn as a solid disc it would hide what it barely tints


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cloud:
    """Coloured points in the scene's world, each with the radius of what it stands for."""

    points: Float32[Array, "n 3"]
    colours: UInt8[Array, "n 3"]
    radii: Float32[Array, " n"]
    source: str  # such as "points from depth"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Place:
    """The surroundings of the clips of scene `id`."""

    id: str
    up: Float[Array, "3"]
    cameras: Trajectory | None = None
    cloud: Cloud | None = None
    quality: str = ""  # figures of its reconstruction, in one line
    load: Callable[[], Gaussians] | None = None  # its splats, for the live viewer
    tally: str = ""  # such as "7 of 12 paths refused: clearance 4, unseen 3"


class View(NamedTuple):
    """A picture with z-depth of its size, and the camera of that size that saw it."""

    rgb: UInt8[Array, "h w 3"]
    depth: Float[Array, "h w"]  # in the trajectory's unit; 0 where nothing is
    camera: Camera
    camera_to_world: Float[Array, "4 4"]


def upwards(trajectories: Iterable[Trajectory]) -> Float[Array, "3"]:
    """Unit vector against the mean of all cameras' y axes (OpenCV: down): up, where people hold cameras level."""
    down = np.concatenate([one.camera_to_world[:, :3, 1] for one in trajectories]).mean(0)
    length = np.linalg.norm(down)
    return -down / length if length > 1e-6 else np.array([0.0, -1.0, 0.0])


def cloud_of_gaussians(gaussians: Gaussians, limit: int, rng: np.random.Generator) -> Cloud | None:
    """At most `limit` of the Gaussians, drawn by opacity, in the colour of their constant harmonic.

    A point's radius is the geometric mean of its Gaussian's two larger axes, widened for those that were left out.
    """
    means, scales = np.asarray(gaussians.means), np.sort(np.asarray(gaussians.log_scales), axis=1)
    finite = np.isfinite(means).all(1) & np.isfinite(scales).all(1)
    opacity = 1 / (1 + np.exp(-np.clip(np.asarray(gaussians.logit_opacities, np.float64), -30, 30)))
    solid = np.flatnonzero(finite & (opacity > HAZE))
    if not len(solid):
        return None
    chosen = solid
    if len(solid) > limit:
        chosen = np.sort(rng.choice(solid, limit, replace=False, p=opacity[solid] / opacity[solid].sum()))
    radii = np.exp(scales[chosen, 1:].mean(1)) * min(np.sqrt(len(solid) / len(chosen)), 2.5)
    colours = 0.5 + C0 * np.asarray(gaussians.sh)[chosen, 0]
    return Cloud(
        points=means[chosen].astype(np.float32),
        colours=(np.clip(np.nan_to_num(colours), 0, 1) * 255).round().astype(np.uint8),
        radii=np.minimum(radii, np.quantile(radii, 0.98)).astype(np.float32),
        source="points from its Gaussians",
    )


def cloud_of_views(views: Iterable[View], limit: int, rng: np.random.Generator) -> Cloud | None:
    """At most `limit` pixels of pictures with depth, as points: world <- camera of each ray times its depth."""
    points, colours, radii = [], [], []
    for view in views:
        rows, columns = np.nonzero(np.isfinite(view.depth) & (view.depth > 0))
        depth = view.depth[rows, columns].astype(np.float64)
        rays = view.camera.rays(np.stack([columns, rows], axis=-1) + 0.5) * depth[:, None]
        points.append(se3.transform(view.camera_to_world, rays))
        colours.append(view.rgb[rows, columns])
        radii.append(0.7 * depth / view.camera.fx)
    if not sum(map(len, points)):
        return None
    every = np.concatenate(points)
    chosen = np.sort(rng.permutation(len(every))[:limit])
    # a disc covers those that were left out; views overlap, so it can be a quarter smaller than for one view alone
    widened = np.concatenate(radii)[chosen] * np.clip(0.75 * np.sqrt(len(every) / len(chosen)), 1, 5)
    return Cloud(
        points=every[chosen].astype(np.float32),
        colours=np.concatenate(colours)[chosen],
        radii=widened.astype(np.float32),
        source="points from depth",
    )


def cloud_of_points(points: Float[Array, "n 3"], radius: float, limit: int, rng: np.random.Generator) -> Cloud | None:
    """At most `limit` of a capture's sparse points, grey, since nothing is known but where they are."""
    if not len(points):
        return None
    chosen = points[np.sort(rng.permutation(len(points))[:limit])].astype(np.float32)
    colours = np.full((len(chosen), 3), 128, np.uint8)
    radii = np.full(len(chosen), radius, np.float32)
    return Cloud(points=chosen, colours=colours, radii=radii, source="points of the capture's COLMAP model")


def seers(place: Place, trajectories: Iterable[Trajectory]) -> Float[Array, "m 3"]:
    """At most 64 camera centres, evenly spaced along the capture (or the paths)."""
    cameras = [place.cameras] if place.cameras else list(trajectories)
    centres = np.concatenate([one.centres for one in cameras])
    return centres[np.unique(np.linspace(0, len(centres) - 1, 64).round().astype(int))]


def nearest(points: Float[Array, "n 3"], centres: Float[Array, "m 3"]) -> UInt8[Array, " n"]:
    """For each point the number of the centre nearest to it: the side from which it was seen."""
    return cKDTree(centres).query(points)[1].astype(np.uint8)


def outline(place: Place, trajectories: Iterable[Trajectory]) -> Float[Array, "2 3"]:
    """Corners of the box to look at: the captured cameras (or the paths) and the middle of the points around them."""
    cameras = [place.cameras] if place.cameras else list(trajectories)
    centres = np.concatenate([one.centres for one in cameras])
    low, high = np.quantile(centres, [0.02, 0.98], axis=0)
    if place.cloud:
        points = place.cloud.points
        middle, reach = np.median(centres, axis=0), np.linalg.norm(high - low)
        if reach > 0:
            close = points[np.linalg.norm(points - middle, axis=1) < 1.5 * reach]
            points = close if len(close) > len(points) / 20 else points
        inner = np.quantile(points, [0.1, 0.9], axis=0)
        low, high = np.minimum(low, inner[0]), np.maximum(high, inner[1])
    return np.stack([low, high])
