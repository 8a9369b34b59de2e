"""Bundle adjustment of a short video: cameras and homogeneous points of least robust reprojection error.

All lengths in the picture are on the plane z = 1; a point is a unit 4-vector, so that one at infinity is regular.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from trajkit import se3

Array = np.ndarray
SCALES_PX = (8.0, 2.0, 0.0)  # of the Cauchy loss, one after the other; 0 = 1.5 times the median residual
ROUNDS = 15  # at each scale
BEHIND = 1e-6  # z at and below which nothing is seen


class Sightings(NamedTuple):
    """Which frame sees which point on which ray (x, y of z = 1), sorted by point, then frame; each pair once."""

    frame: Int64[Array, " m"]
    point: Int64[Array, " m"]
    ray: Float64[Array, "m 2"]

    def only(self, keep: Bool[Array, " m"]) -> "Sightings":
        """Some of them, the points numbered anew."""
        return Sightings(self.frame[keep], np.unique(self.point[keep], return_inverse=True)[1], self.ray[keep])


class _Normal(NamedTuple):
    """Normal equations: cameras (N, D, D), points (P, 3, 3), between them (N, D, P, 3), and both right sides."""

    cameras: Float64[Array, "n d d"]
    points: Float64[Array, "p 3 3"]
    between: Float64[Array, "n d p 3"]
    right: Float64[Array, "n d"]
    right_points: Float64[Array, "p 3"]


def unit_rows(rows: Float64[Array, "n d"]) -> Float64[Array, "n d"]:
    """Rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)


def far_points(poses: Float64[Array, "n 4 4"], seen: Sightings) -> Float64[Array, "p 4"]:
    """Points on their first rays, one unit away from a camera (world-to-camera `poses`) that never moves."""
    first = np.flatnonzero(np.diff(seen.point, prepend=-1))
    rays = unit_rows(np.column_stack([seen.ray[first], np.ones(len(first))]))
    rays = np.einsum("nji,nj->ni", poses[seen.frame[first], :3, :3], rays)
    return unit_rows(np.column_stack([rays, np.ones(len(rays))]))


def misses(poses: Float64[Array, "n 4 4"], points: Float64[Array, "p 4"], seen: Sightings) -> Float64[Array, " m"]:
    """How far each ray passes by its point, on the plane z = 1; infinite behind the camera."""
    place = np.einsum("mij,mj->mi", poses[seen.frame, :3], points[seen.point])
    front = place[:, 2] > BEHIND
    miss = place[:, :2] / np.where(front, place[:, 2], 1)[:, None] - seen.ray
    return np.where(front, np.linalg.norm(miss, axis=1), np.inf)


def adjusted(
    poses: Float64[Array, "n 4 4"],
    points: Float64[Array, "p 4"],
    seen: Sightings,
    focal: float,
    *,
    free: slice,
    scales_px: tuple[float, ...] = SCALES_PX,
) -> tuple[Float64[Array, "n 4 4"], Float64[Array, "p 4"]]:
    """World-to-camera poses and points of least sum of log(1 + miss^2 / scale^2); the first pose stays.

    Levenberg-Marquardt, points eliminated by the Schur complement (Triggs et al. 2000, section 6). `free` of each
    camera's left twist: translation 0..3, rotation 3..6. `focal` (pixels) turns `scales_px` into lengths.
    """
    for scale_px in scales_px:
        own = float(np.clip(1.5 * np.median(misses(poses, points, seen)) * focal, 0.2, 2.0))
        scale = (scale_px or own) / focal
        damping, least = 1e-3, cost(poses, points, seen, scale)
        for _ in range(ROUNDS):
            trial = _step(poses, points, seen, scale, free, damping)
            new = cost(*trial, seen, scale)
            if not new < least:
                damping *= 10
                continue
            gain, damping = (least - new) / least, max(damping / 10, 1e-9)
            (poses, points), least = trial, new
            if gain < 1e-3:
                break
    return poses, points


def cost(poses: Float64[Array, "n 4 4"], points: Float64[Array, "p 4"], seen: Sightings, scale: float) -> float:
    """Sum of log(1 + miss^2 / scale^2); what lies behind a camera counts as a miss of 1."""
    return float(np.log1p(np.minimum(misses(poses, points, seen), 1.0) ** 2 / scale**2).sum())


def _step(
    poses: Array, points: Array, seen: Sightings, scale: float, free: slice, damping: float
) -> tuple[Array, Array]:
    """The poses and points after one damped step."""
    tangents = _tangents(points)
    normal = _normal(poses, points, tangents, seen, scale, free)
    n, d, p, _ = normal.between.shape
    ridge = damping * np.einsum("pii->p", normal.points) / 3 + 1e-12
    inverse = np.linalg.inv(normal.points + ridge[:, None, None] * np.eye(3))
    between = normal.between.reshape(n * d, p * 3)
    carried = (normal.between[..., None, :] @ inverse).reshape(n * d, p * 3)
    system = -carried @ between.T
    index = np.arange(n * d).reshape(n, d)
    system[index[:, :, None], index[:, None]] += normal.cameras
    system[np.diag_indices(n * d)] += damping * np.tile(np.einsum("nii->i", normal.cameras) / n, n) + 1e-12
    right = carried @ normal.right_points.ravel() - normal.right.ravel()
    twists = np.zeros((n, 6))
    twists[1:, free] = np.linalg.solve(system[d:, d:], right[d:]).reshape(n - 1, d)
    pull = normal.right_points + (between.T @ twists[:, free].ravel()).reshape(p, 3)
    shift = -np.einsum("pij,pj->pi", inverse, pull)
    return se3.exp(twists) @ poses, unit_rows(points + np.einsum("pij,pj->pi", tangents, shift))


def _tangents(points: Float64[Array, "p 4"]) -> Float64[Array, "p 4 3"]:
    """Orthonormal tangents of unit 4-vectors: three columns of the Householder reflection I - 2 v v' / v'v."""
    away = points.copy()
    away[:, 3] += np.where(points[:, 3] < 0, -1, 1)
    return (np.eye(4) - 2 * away[:, :, None] * away[:, None] / (away**2).sum(1)[:, None, None])[:, :, :3]


def _normal(poses: Array, points: Array, tangents: Array, seen: Sightings, scale: float, free: slice) -> _Normal:
    n, p, d = len(poses), len(points), free.stop - free.start
    place = np.einsum("mij,mj->mi", poses[seen.frame, :3], points[seen.point])
    x, y, z = place[:, 0], place[:, 1], np.maximum(place[:, 2], BEHIND)
    plane = place[:, :2] / z[:, None]
    miss = plane - seen.ray
    weight = np.where(place[:, 2] > BEHIND, 1 / (1 + (miss**2).sum(1) / scale**2), 0)  # Cauchy's
    project = np.zeros((len(z), 2, 3))  # derivative of the plane by the place
    project[:, 0, 0] = project[:, 1, 1] = 1 / z
    project[:, :, 2] = -plane / z[:, None]
    twist = np.zeros((len(z), 3, 6))  # of the place by the camera's left twist: [w I, -place x]
    twist[:, :, :3] = points[seen.point, 3, None, None] * np.eye(3)
    twist[:, 0, 4], twist[:, 0, 5], twist[:, 1, 3] = z, -y, -z
    twist[:, 1, 5], twist[:, 2, 3], twist[:, 2, 4] = x, y, -x
    by_camera = project @ twist[:, :, free]
    by_point = project @ (poses[seen.frame, :3] @ tangents[seen.point])
    camera_rows, point_rows = (one.transpose(0, 2, 1) * weight[:, None, None] for one in (by_camera, by_point))
    between = np.zeros((n, d, p, 3))
    between[seen.frame, :, seen.point] = camera_rows @ by_point
    return _Normal(
        cameras=sums(camera_rows @ by_camera, seen.frame, n),
        points=sums(point_rows @ by_point, seen.point, p),
        between=between,
        right=sums((camera_rows @ miss[:, :, None])[..., 0], seen.frame, n),
        right_points=sums((point_rows @ miss[:, :, None])[..., 0], seen.point, p),
    )


def sums(rows: Float64[Array, "m *s"], number: Int64[Array, " m"], count: int) -> Float64[Array, "count *s"]:
    """The rows of each number added up."""
    flat = rows.reshape(len(rows), -1)
    columns = [np.bincount(number, column, minlength=count) for column in flat.T]
    return np.stack(columns, axis=-1).reshape(count, *rows.shape[1:])
