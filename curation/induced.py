"""Induced flow error: by how many pixels claimed cameras move the points of a still scene off where they belong.

Between two frames, a point seen at `xy` in the first has the depth `depth` there (reference camera). Back-projected
through the claimed lens, moved by the claimed relative pose (its translation times one factor for the whole clip,
since the scale of poses is not visible) and projected, it lands somewhere; the reference cameras put it elsewhere. The
distance of the two, in pixels, is what a model that trains on the claim is taught wrongly.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from trajkit import se3
from trajkit.trajectory import Trajectory

Array = np.ndarray
WIDTH = 832  # pixels of the pictures that all limits in pixels are for; they grow with the width
OUTSIDE = 0.1  # of the picture's size
CAP_PX = 100.0  # of one point's error, also where it falls behind the claimed camera
STRIDES = (1, 8, 32)  # frames
FACTORS = np.exp(np.linspace(np.log(0.02), np.log(50), 60))  # of scale, tried first


class Sights(NamedTuple):
    """Points with their depth, each seen in one frame and looked for in another one. Frames index the poses."""

    xy: Float64[Array, "m 2"]  # pixels in `first`
    depth: Float64[Array, "m"]  # z in the reference camera of `first`
    first: Int64[Array, "m"]
    second: Int64[Array, "m"]


def errors_px(claimed: Trajectory, reference: Trajectory, sights: Sights, scale: float = 1.0) -> Float64[Array, "m"]:
    """Distance of where the claim and the reference put each sight in `second`, in pixels, at most CAP_PX.

    `scale` multiplies the claimed translations. Sights that the reference camera does not see in `second`, behind it or
    further than OUTSIDE beyond the picture's edge, count as none: NaN. A hair's breadth moves those by any distance.
    """
    there, known = landing(reference, sights)
    here, front = _landing(claimed, sights, scale)
    with np.errstate(invalid="ignore"):
        distance = np.linalg.norm(here - there, axis=-1)
    return np.where(known, np.where(front, np.minimum(distance, CAP_PX), CAP_PX), np.nan)


def landing(reference: Trajectory, sights: Sights) -> tuple[Float64[Array, "m 2"], Bool[Array, "m"]]:
    """Where the reference puts each sight in `second`, in pixels, and whether that lies in the picture or near it."""
    there, front = _landing(reference, sights, 1.0)
    size = np.array([reference.width, reference.height])
    return there, front & (np.abs(there / size - 0.5) < 0.5 + OUTSIDE).all(axis=-1)


def best_scale(claimed: Trajectory, reference: Trajectory, sights: Sights, limit: int = 4000) -> float:
    """The factor of the claimed translations that makes the mean error smallest; 1.0 where it does not matter.

    A grid first, since the error may have several minima, then a bracket of golden-section steps on log scale.
    """
    if len(sights.first) > limit:
        chosen = np.linspace(0, len(sights.first) - 1, limit).astype(np.int64)
        sights = Sights(*(column[chosen] for column in sights))

    def cost(log_scale: float) -> float:
        return float(np.nanmean(np.minimum(errors_px(claimed, reference, sights, np.exp(log_scale)), 20.0)))

    if not len(sights.first):
        return 1.0
    unit = _relative_size(reference) / max(_relative_size(claimed), 1e-12)
    grid = np.log(FACTORS * (unit if 1e-9 < unit < 1e9 else 1.0))
    costs = [cost(value) for value in grid]
    best = int(np.argmin(costs))
    if np.ptp(costs) < 1e-9:
        return 1.0
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(18):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if cost(left) < cost(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def by_pair(errors: Float64[Array, "m"], sights: Sights, poses: int) -> Float64[Array, "n"]:
    """Median error of the sights of each first frame, in pixels; NaN where a frame has none."""
    return np.array([_median(errors[sights.first == number]) for number in range(poses)])


def _median(values: Array) -> float:
    good = values[np.isfinite(values)]
    return float(np.median(good)) if len(good) else np.nan


def _relative_size(trajectory: Trajectory) -> float:
    return float(np.linalg.norm(np.diff(trajectory.centres, axis=0), axis=-1).sum())


def _landing(trajectory: Trajectory, sights: Sights, scale: float) -> tuple[Array, Array]:
    """Pixels in `second`, and whether the point is in front of the camera there."""
    fx, fy, cx, cy = trajectory.intrinsics[sights.first].T
    x, y = (sights.xy[:, 0] - cx) / fx, (sights.xy[:, 1] - cy) / fy
    points = np.stack([x, y, np.ones_like(x)], axis=-1) * sights.depth[:, None]
    second_from_first = (
        se3.inverse(trajectory.camera_to_world[sights.second]) @ trajectory.camera_to_world[sights.first]
    )
    moved = np.einsum("mij,mj->mi", second_from_first[:, :3, :3], points) + scale * second_from_first[:, :3, 3]
    fx, fy, cx, cy = trajectory.intrinsics[sights.second].T
    z = moved[:, 2]
    safe = np.where(z > 1e-9, z, 1.0)
    return np.stack([fx * moved[:, 0] / safe + cx, fy * moved[:, 1] / safe + cy], axis=-1), z > 1e-9
