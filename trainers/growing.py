"""First guesses of all cameras and points of a video: from two views, frame by frame."""

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from trajkit import se3
from trajkit.errors import TrajkitError

from .adjustment import Sightings, adjusted, far_points, misses, sums, unit_rows

Array = np.ndarray
GAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # frames between the two first views that are tried
PAIRS = 3  # that a video is grown from, one after the other
ENOUGH = 30  # points that two views must share
LEAST = 12  # sure points that place a frame
INLIER_PX = 2.0
ANGLE = np.radians(1.0)  # between the rays of a point that is sure
WIDE = np.radians(6.0)  # a wider angle between two views gains nothing more
ADJUST_AT = (3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200)  # placed frames at which all of them are adjusted
RANSAC = {"max_iterations": 300, "min_iterations": 30, "seed": 0}


class _Pair(NamedTuple):
    """Two frames, and world-to-camera of the second where the first one's camera is the world."""

    score: float
    first: int
    second: int
    pose: Float64[Array, "4 4"]


def starts(
    poses: Float64[Array, "n 4 4"], points: Float64[Array, "p 4"], seen: Sightings, focal: float
) -> Iterator[tuple[Float64[Array, "n 4 4"], Float64[Array, "p 4"]]]:
    """World-to-camera poses and points to adjust from: as given, then grown from each of the best pairs of views.

    Incremental structure from motion (Snavely et al. 2006): five-point pose of the pair, P3P for the others, adjusted
    now and then. Frames that stay unplaced are as given. Raises TrajkitError without PoseLib.
    """
    poselib = quality("poselib")
    lens = {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal, 0.0, 0.0]}
    yield poses, points
    for pair in _best_pairs(poselib, lens, seen, len(poses), focal):
        yield _grown(poselib, lens, poses, pair, seen, focal)


def _grown(
    poselib: Any, lens: dict[str, Any], poses: Array, pair: _Pair, seen: Sightings, focal: float
) -> tuple[Array, Array]:
    """Each next frame by the points that it shares with those placed before it."""
    poses, known = poses.copy(), np.isin(np.arange(len(poses)), (pair.first, pair.second))
    poses[pair.first], poses[pair.second] = np.eye(4), pair.pose
    while True:
        points, sure = _triangulated(poses, seen, known, focal)
        count = np.where(known, 0, np.bincount(seen.frame[sure[seen.point]], minlength=len(poses)))
        frame = int(count.argmax())
        if count[frame] < LEAST:
            return poses, points
        row = np.flatnonzero((seen.frame == frame) & sure[seen.point])
        place = points[seen.point[row], :3] / points[seen.point[row], 3:]
        options = {"max_reproj_error": 3 * INLIER_PX, **RANSAC}
        pose, _ = poselib.estimate_absolute_pose(seen.ray[row] * focal, place, lens, options, {})
        poses[frame] = se3.pose(pose.R, pose.t)
        known[frame] = True
        if known.sum() in ADJUST_AT:
            poses[known], points[sure] = _adjusted_part(poses, points, seen, known, sure, focal)


def _best_pairs(poselib: Any, lens: dict[str, Any], seen: Sightings, frames: int, focal: float) -> list[_Pair]:
    """Of each gap the pair with most points that agree on a pose times their angle; then the best of those."""
    rows = [np.flatnonzero(seen.frame == frame) for frame in range(frames)]
    best: dict[int, _Pair] = {}
    for gap in GAPS:
        for first in range(0, frames - gap, max(gap // 2, 1)):
            one, other = rows[first], rows[first + gap]
            _, here, there = np.intersect1d(seen.point[one], seen.point[other], True, return_indices=True)
            if len(here) < ENOUGH:
                continue
            rays = seen.ray[one[here]], seen.ray[other[there]]
            options = {"max_epipolar_error": INLIER_PX, **RANSAC}
            pose, about = poselib.estimate_relative_pose(rays[0] * focal, rays[1] * focal, lens, lens, options, {})
            lines = [unit_rows(np.column_stack([ray, np.ones(len(ray))])) for ray in rays]
            angle = np.arccos(np.clip((lines[0] @ pose.R.T * lines[1]).sum(1), -1, 1))
            score = sum(about["inliers"]) * min(float(np.median(angle)), WIDE)
            if gap not in best or score > best[gap].score:
                best[gap] = _Pair(score, first, first + gap, se3.pose(pose.R, pose.t))
    return sorted(best.values(), key=lambda pair: -pair.score)[:PAIRS]


def _adjusted_part(
    poses: Array, points: Array, seen: Sightings, known: Bool[Array, " n"], sure: Bool[Array, " p"], focal: float
) -> tuple[Array, Array]:
    """Known poses and sure points, adjusted to each other."""
    part = known[seen.frame] & sure[seen.point]
    number, which = np.cumsum(known) - 1, np.cumsum(sure) - 1
    few = Sightings(number[seen.frame[part]], which[seen.point[part]], seen.ray[part])
    return adjusted(poses[known], points[sure], few, focal, free=slice(0, 6), scales_px=(4.0, 1.0))


def _triangulated(
    poses: Array, seen: Sightings, known: Bool[Array, " n"], focal: float
) -> tuple[Float64[Array, "p 4"], Bool[Array, " p"]]:
    """Points by the direct linear transform (Hartley and Zisserman, 12.2), and which of them are sure.

    Sure: near all their rays, in front, and seen at an angle. A point that fewer than two known frames see lies on its
    first ray.
    """
    count = int(seen.point.max()) + 1
    known_rows = np.flatnonzero(known[seen.frame])
    few = Sightings(seen.frame[known_rows], seen.point[known_rows], seen.ray[known_rows])
    camera = poses[few.frame, :3]
    lines = few.ray[:, :, None] * camera[:, 2:] - camera[:, :2]
    square = sums(lines.transpose(0, 2, 1) @ lines, few.point, count)
    points = np.linalg.eigh(square)[1][:, :, 0]
    ahead = sums(np.sign(np.einsum("mj,mj->m", camera[:, 2], points[few.point])), few.point, count)
    points *= np.where(ahead < 0, -1, 1)[:, None]
    worst, angle = np.zeros(count), np.zeros(count)
    np.maximum.at(worst, few.point, misses(poses, points, few) * focal)
    rays = unit_rows(np.column_stack([few.ray, np.ones(len(few.ray))]))
    rays = np.einsum("mji,mj->mi", camera[:, :, :3], rays)
    first = np.flatnonzero(np.diff(few.point, prepend=-1))
    start = first[np.cumsum(np.diff(few.point, prepend=-1) > 0) - 1]
    np.maximum.at(angle, few.point, np.arccos(np.clip((rays * rays[start]).sum(1), -1, 1)))
    number = np.bincount(few.point, minlength=count)
    points[number < 2] = far_points(poses, seen)[number < 2]
    sure = (number >= 2) & (worst < 2 * INLIER_PX) & (angle > ANGLE) & (points[:, 3] > 1e-6)
    return points, sure


def quality(package: str) -> Any:
    """A package of the extra `quality`. Raises TrajkitError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        remedy = "pip install trajkit[quality]"
        raise TrajkitError("achieved cameras", f"need {package}, which is not installed", remedy) from None
