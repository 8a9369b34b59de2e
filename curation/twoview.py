"""Relative poses of single pairs of frames from their tracks alone: what a claim is compared with, pair by pair.

The essential matrix is estimated by PoseLib (LO-RANSAC, five points) where it is installed, else by OpenCV (USAC). A
rotation alone is fitted to the same rays: where that explains the points as well, nothing shows a translation.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.trajectory import Trajectory

from .induced import WIDTH
from .tracks import Tracks

Array = np.ndarray
LEAST = 16  # points of a pair
INLIER_PX = 1.0  # at 832 pixels across; Sampson distance
AS_WELL = 0.9  # share of the inliers that a rotation alone has to explain to count as the explanation
PARALLAX_PX = 1.0  # at 832 pixels across: median motion beside the rotation's below which no direction is known


class TwoView(NamedTuple):
    """One pair of poses. Rotation and direction are those of second_from_first, as estimated."""

    first: int  # number of the pose
    second: int
    points: int
    inliers: float  # share
    rotation: Float64[Array, "3 3"]
    direction: Float64[Array, "3"]  # of length 1
    parallax_px: float  # median motion of the inliers that the rotation does not explain
    only_rotation: bool  # explains the points as well: the direction says nothing
    rotation_error_deg: float  # of the claim against the estimate
    direction_error_deg: float  # NaN where the estimate or the claim has no direction


def spread(trajectory: Trajectory, stride: int, most: int) -> list[tuple[int, int]]:
    """At most `most` pairs of poses `stride` frames apart, evenly over the clip."""
    from .residuals import partners

    second = partners(trajectory, stride)
    first = np.flatnonzero(second >= 0)
    chosen = first[np.unique(np.linspace(0, len(first) - 1, min(most, len(first))).astype(np.int64))]
    return [(int(one), int(second[one])) for one in chosen]


def relative(trajectory: Trajectory, tracks: Tracks, pairs: Iterable[tuple[int, int]]) -> list[TwoView]:
    """The relative pose of each pair (numbers of poses) that shares enough points, against the claimed one.

    The focal length is the claimed one. Raises TrajkitError where neither PoseLib nor OpenCV is installed.
    """
    found = []
    for first, second in pairs:
        frames = trajectory.frame_index[[first, second]]
        here, there, _ = tracks.pair(int(frames[0]), int(frames[1]))
        estimate = essential(trajectory, first, second, here, there)
        if estimate is not None:
            found.append(_compared(trajectory, first, second, here, there, *estimate))
    return found


def essential(
    trajectory: Trajectory, first: int, second: int, here: Float64[Array, "m 2"], there: Float64[Array, "m 2"]
) -> tuple[Float64[Array, "3 3"], Float64[Array, "3"], Bool[Array, "m"]] | None:
    """Rotation, direction and inliers of second_from_first; None where too few points agree on one."""
    if len(here) < LEAST:
        return None
    lens = trajectory.intrinsics[[first, second]]
    limit = INLIER_PX * trajectory.width / WIDTH
    here, there = here.astype(np.float64), there.astype(np.float64)
    try:
        import poselib
    except ImportError:
        return _by_opencv(rays(lens[0], here)[:, :2], rays(lens[1], there)[:, :2], limit / float(lens[:, :2].mean()))
    cameras = [
        {"model": "PINHOLE", "width": trajectory.width, "height": trajectory.height, "params": list(map(float, row))}
        for row in lens
    ]
    options = {"max_epipolar_error": limit, "max_iterations": 200, "min_iterations": 20}
    pose, about = poselib.estimate_relative_pose(here, there, *cameras, options, {})
    inlier = np.array(about["inliers"], bool)
    length = float(np.linalg.norm(pose.t))
    if inlier.sum() < LEAST or not np.isfinite(pose.R).all() or not length > 0:
        return None
    return np.asarray(pose.R, np.float64), np.asarray(pose.t, np.float64) / length, inlier


def _by_opencv(
    here: Float64[Array, "m 2"], there: Float64[Array, "m 2"], limit: float
) -> tuple[Float64[Array, "3 3"], Float64[Array, "3"], Bool[Array, "m"]] | None:
    try:
        import cv2
    except ImportError:
        raise TrajkitError("two views", "need PoseLib or OpenCV", "pip install trajkit[quality]") from None
    matrix, inlier = cv2.findEssentialMat(here, there, np.eye(3), cv2.USAC_MAGSAC, 0.999, limit)
    if matrix is None or matrix.shape != (3, 3) or inlier is None or inlier.sum() < LEAST:
        return None
    keep = inlier[:, 0] > 0
    _, rotation, direction, _ = cv2.recoverPose(matrix, here[keep], there[keep], np.eye(3))
    return np.asarray(rotation, np.float64), np.asarray(direction, np.float64)[:, 0], keep


def rays(lens: Float64[Array, "4"], pixels: Float64[Array, "m 2"]) -> Float64[Array, "m 3"]:
    """Camera-frame rays of z = 1."""
    return np.column_stack([(pixels - lens[2:]) / lens[:2], np.ones(len(pixels))])


def rotation_only(
    here: Float64[Array, "m 3"], there: Float64[Array, "m 3"], focal: float, limit: float
) -> tuple[Float64[Array, "3 3"], Float64[Array, "m"]]:
    """The rotation that carries most rays `here` to `there`, and how far each misses, in pixels.

    Weighted Procrustes (Kabsch), the weights of Geman and McClure narrowing from 16 `limit` to `limit` pixels.
    """
    here = here / np.linalg.norm(here, axis=1, keepdims=True)
    there = there / np.linalg.norm(there, axis=1, keepdims=True)
    weight = np.ones(len(here))
    for width in (16.0, 8.0, 4.0, 2.0, 1.0, 1.0):
        rotation = se3.nearest_rotation((there * weight[:, None]).T @ here)
        miss = focal * np.linalg.norm(there - here @ rotation.T, axis=1)
        weight = 1 / (1 + (miss / (width * max(limit, 1e-9))) ** 2) ** 2
    return rotation, miss


def _compared(
    trajectory: Trajectory,
    first: int,
    second: int,
    here: Float64[Array, "m 2"],
    there: Float64[Array, "m 2"],
    rotation: Float64[Array, "3 3"],
    direction: Float64[Array, "3"],
    inlier: Bool[Array, "m"],
) -> TwoView:
    factor = trajectory.width / WIDTH
    lens = trajectory.intrinsics[[first, second]]
    one, other = rays(lens[0], here.astype(np.float64)), rays(lens[1], there.astype(np.float64))
    focal = float(lens[1, :2].mean())
    alone, miss = rotation_only(one, other, focal, INLIER_PX * factor)
    parallax = float(np.median(miss[inlier]))
    only = parallax < PARALLAX_PX * factor or np.count_nonzero(miss < 2 * INLIER_PX * factor) >= AS_WELL * inlier.sum()
    if only:
        rotation = alone
    claim = se3.inverse(trajectory.camera_to_world[second]) @ trajectory.camera_to_world[first]
    length = float(np.linalg.norm(claim[:3, 3]))
    still = length <= 1e-9 * (1e-3 + float(np.abs(trajectory.centres - trajectory.centres[0]).max()))
    angle = np.nan
    if not (only or still):
        angle = float(
            np.degrees(np.arctan2(np.linalg.norm(np.cross(direction, claim[:3, 3])), direction @ claim[:3, 3]))
        )
    return TwoView(
        first=first,
        second=second,
        points=len(here),
        inliers=float(inlier.mean()),
        rotation=rotation,
        direction=direction,
        parallax_px=parallax,
        only_rotation=bool(only),
        rotation_error_deg=float(se3.angle_deg(rotation.T @ claim[:3, :3])),
        direction_error_deg=angle,
    )
