"""How far tracks lie from where claimed cameras put them, in pixels: pair by pair, and over all frames of a track.

The half-line residual of a correspondence (a, b): the point seen at a lies on a ray; at inverse depth r >= 0 camera B
sees it at K_b (R b + r t), with b the ray and (R, t) = B_from_A. That is a half line, or a segment up to the epipole;
the residual is the distance of b from it, meant over both directions. Unlike the Sampson distance it knows the sign of
t, sees points behind a camera, and means something where t = 0.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

from trajkit.trajectory import Trajectory

from ._triangulation import CAP_PX, triangulate_all
from .tracks import Tracks

Array = np.ndarray
TINY = 1e-12
Kind = Literal["half_line", "sampson", "rotation"]
KINDS = {"half_line": 0, "sampson": 1, "rotation": 2}


class Pairs(NamedTuple):
    """Correspondences between poses, sorted by first pose, then track."""

    first: Int64[Array, "m"]  # number of the pose, not of the frame
    second: Int64[Array, "m"]
    track: Int64[Array, "m"]
    xy_first: Float64[Array, "m 2"]
    xy_second: Float64[Array, "m 2"]


class Points(NamedTuple):
    """Tracks as points of a still world, under cameras that are taken as given."""

    xyzw: Float64[Array, "count 4"]  # of norm 1, w / z the inverse depth in world units; zeros where seen once or never
    observation: Int64[Array, "m"]  # rows of the tracks that have a pose
    pose: Int64[Array, "m"]
    residual_px: Float64[Array, "m"]  # of each such row, at most CAP_PX
    in_front: Bool[Array, "count"]  # inverse depth not negative beyond its noise, in front of all its cameras

    @property
    def share_in_front(self) -> float:
        """Of the tracks with a point; 1.0 where there is none."""
        known = np.abs(self.xyzw).any(1)
        return float(self.in_front[known].mean()) if known.any() else 1.0


def posed_rows(trajectory: Trajectory, tracks: Tracks) -> tuple[Int64[Array, "m"], Int64[Array, "m"]]:
    """Rows of the tracks whose frame has a pose, and the number of that pose."""
    frames = max(int(trajectory.frame_index[-1]), tracks.frames - 1) + 1
    pose_of = np.full(frames, -1)
    pose_of[trajectory.frame_index] = np.arange(len(trajectory))
    pose = pose_of[tracks.frame]
    rows = np.flatnonzero(pose >= 0)
    return rows, pose[rows]


def partners(trajectory: Trajectory, stride: int) -> Int64[Array, "n"]:
    """For each pose the one nearest to `stride` frames later, -1 where none is within half of that."""
    index = trajectory.frame_index
    target = index + stride
    after = np.clip(np.searchsorted(index, target), 0, len(index) - 1)
    before = np.maximum(after - 1, 0)
    near = np.where(np.abs(index[before] - target) <= np.abs(index[after] - target), before, after)
    fits = (np.abs(index[near] - target) <= stride / 2) & (near > np.arange(len(index)))
    return np.where(fits, near, -1)


def pairs(trajectory: Trajectory, tracks: Tracks, stride: int, limit: int = 0) -> Pairs:
    """All points seen by a pose and by the pose nearest to `stride` frames later; at most `limit` a pair, if given."""
    rows, pose = posed_rows(trajectory, tracks)
    partner = partners(trajectory, stride)[pose]
    rows, pose, partner = rows[partner >= 0], pose[partner >= 0], partner[partner >= 0]
    if not len(rows):
        empty = np.empty(0, np.int64)
        return Pairs(empty, empty, empty, np.empty((0, 2)), np.empty((0, 2)))
    keys = tracks.track.astype(np.int64) * tracks.frames + tracks.frame
    wanted = tracks.track[rows].astype(np.int64) * tracks.frames + trajectory.frame_index[partner]
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    there = keys[found] == wanted
    rows, pose, partner, found = rows[there], pose[there], partner[there], found[there]
    order = np.argsort(pose, kind="stable")
    if limit:
        count = np.bincount(pose, minlength=len(trajectory))
        rank = np.arange(len(order)) - (np.cumsum(count) - count)[pose[order]]
        share = np.minimum(limit / np.maximum(count, 1), 1.0)[pose[order]]
        order = order[np.floor((rank + 1) * share + 1e-9) > np.floor(rank * share + 1e-9)]
    rows, found = rows[order], found[order]
    return Pairs(
        first=pose[order],
        second=partner[order],
        track=tracks.track[rows].astype(np.int64),
        xy_first=tracks.xy[rows].astype(np.float64),
        xy_second=tracks.xy[found].astype(np.float64),
    )


def pair_errors(trajectory: Trajectory, batch: Pairs, kind: Kind = "half_line") -> Float64[Array, "m"]:
    """Residual of each correspondence, in pixels, at most CAP_PX.

    half_line: see the module. rotation: distance to where the point lies if it is infinitely far away. sampson: first
    order distance to the epipolar line (Hartley and Zisserman 2004, eq. 11.9); as rotation where the cameras coincide.
    """
    errors = np.empty(len(batch.first))
    still = 1e-9 * (1e-3 + float(np.abs(trajectory.centres - trajectory.centres[0]).max()))
    _pair_errors(
        np.ascontiguousarray(trajectory.camera_to_world),
        np.ascontiguousarray(trajectory.intrinsics),
        batch.first,
        batch.second,
        batch.xy_first,
        batch.xy_second,
        KINDS[kind],
        still,
        errors,
    )
    return errors


def triangulate(trajectory: Trajectory, tracks: Tracks, scale_px: float = 1.0, steps: int = 8) -> Points:
    """Each track as the homogeneous point that fits its posed observations best, the cameras taken as given.

    Robust Gauss-Newton on the unit 3-sphere, where points at infinity are points like others; Cauchy loss of
    `scale_px`. Tracks without two posed observations get no point.
    """
    rows, pose = posed_rows(trajectory, tracks)
    world_to_camera, origin, unit = unit_world(trajectory)
    track = tracks.track[rows].astype(np.int64)
    start = np.searchsorted(track, np.arange(tracks.count + 1))
    xyzw, residual = np.zeros((tracks.count, 4)), np.full(len(rows), CAP_PX)
    in_front = np.zeros(tracks.count, bool)
    xy = tracks.xy[rows].astype(np.float64)
    intrinsics = np.array(trajectory.intrinsics, order="C")  # writable like those of other callers: compiled once
    triangulate_all(world_to_camera, intrinsics, start, pose, xy, scale_px, steps, xyzw, residual, in_front)
    return Points(from_unit_world(xyzw, origin, unit), rows, pose, residual, in_front)


def unit_world(trajectory: Trajectory) -> tuple[Float64[Array, "n 3 4"], Float64[Array, "3"], float]:
    """World-to-camera matrices in a world whose origin is the mean centre and whose unit is the cameras' spread."""
    origin = trajectory.centres.mean(0)
    spread = float(np.sqrt(((trajectory.centres - origin) ** 2).sum(1).mean()))
    unit = spread if spread > 1e-9 * (1 + np.abs(origin).max()) else 1.0
    rotation = np.swapaxes(trajectory.camera_to_world[:, :3, :3], 1, 2)
    translation = -np.einsum("nij,nj->ni", rotation, (trajectory.centres - origin) / unit)
    return np.ascontiguousarray(np.concatenate([rotation, translation[:, :, None]], axis=2)), origin, unit


def from_unit_world(xyzw: Float64[Array, "n 4"], origin: Float64[Array, "3"], unit: float) -> Float64[Array, "n 4"]:
    """Homogeneous points of `unit_world` in the trajectory's own world, of norm 1 again (or zeros)."""
    out = xyzw.copy()
    out[:, :3] = xyzw[:, :3] * unit + xyzw[:, 3:] * origin
    norm = np.linalg.norm(out, axis=1, keepdims=True)
    return out / np.where(norm > 0, norm, 1.0)


@njit(cache=True)
def half_line(rotation, translation, lens_a, lens_b, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Pixels from (bx, by) to the half line of (ax, ay); (rotation, translation of length 1) is B_from_A."""
    x, y = (ax - lens_a[2]) / lens_a[0], (ay - lens_a[3]) / lens_a[1]
    qx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2]
    qy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2]
    qz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2]
    tx, ty, tz = translation[0], translation[1], translation[2]
    far, near = qz > TINY, tz > TINY
    if not far and not near:
        return CAP_PX
    # the image moves along one straight line as the inverse depth grows, always in this direction
    dx, dy = lens_b[0] * (tx * qz - qx * tz), lens_b[1] * (ty * qz - qy * tz)
    length = np.sqrt(dx * dx + dy * dy)
    low, high = -np.inf, np.inf
    ox, oy = 0.0, 0.0
    if near:
        ox, oy = lens_b[0] * tx / tz + lens_b[2], lens_b[1] * ty / tz + lens_b[3]
        high = 0.0
    if far:
        ux, uy = lens_b[0] * qx / qz + lens_b[2], lens_b[1] * qy / qz + lens_b[3]
        if length < TINY:
            return min(np.sqrt((bx - ux) ** 2 + (by - uy) ** 2), CAP_PX)
        if near:
            high = max(((ox - ux) * dx + (oy - uy) * dy) / length, 0.0)
        ox, oy, low = ux, uy, 0.0
    if length < TINY:
        return min(np.sqrt((bx - ox) ** 2 + (by - oy) ** 2), CAP_PX)
    along = ((bx - ox) * dx + (by - oy) * dy) / length
    along = min(max(along, low), high)
    ex, ey = bx - ox - along * dx / length, by - oy - along * dy / length
    return min(np.sqrt(ex * ex + ey * ey), CAP_PX)


@njit(cache=True)
def infinite(rotation, lens_a, lens_b, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Distance in pixels of (bx, by) from the infinitely far point at (ax, ay)."""
    x, y = (ax - lens_a[2]) / lens_a[0], (ay - lens_a[3]) / lens_a[1]
    qz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2]
    if qz <= TINY:
        return CAP_PX
    qx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2]
    qy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2]
    ex, ey = lens_b[0] * qx / qz + lens_b[2] - bx, lens_b[1] * qy / qz + lens_b[3] - by
    return min(np.sqrt(ex * ex + ey * ey), CAP_PX)


@njit(cache=True)
def sampson(rotation, translation, lens_a, lens_b, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """First-order distance in pixels to the epipolar constraint; the translation has length 1."""
    x, y = (ax - lens_a[2]) / lens_a[0], (ay - lens_a[3]) / lens_a[1]
    u, v = (bx - lens_b[2]) / lens_b[0], (by - lens_b[3]) / lens_b[1]
    line_b, line_a = np.empty(3), np.empty(3)  # E x, E' u with E = [t] R
    q = rotation[:, 0] * x + rotation[:, 1] * y + rotation[:, 2]
    t = translation
    line_b[0], line_b[1], line_b[2] = t[1] * q[2] - t[2] * q[1], t[2] * q[0] - t[0] * q[2], t[0] * q[1] - t[1] * q[0]
    wx, wy, wz = v * t[2] - t[1], t[0] - u * t[2], u * t[1] - v * t[0]  # u x t
    for k in range(3):
        line_a[k] = wx * rotation[0, k] + wy * rotation[1, k] + wz * rotation[2, k]
    value = u * line_b[0] + v * line_b[1] + line_b[2]
    slope = (line_b[0] / lens_b[0]) ** 2 + (line_b[1] / lens_b[1]) ** 2
    slope += (line_a[0] / lens_a[0]) ** 2 + (line_a[1] / lens_a[1]) ** 2
    if slope < TINY * TINY:
        return 0.0
    return min(abs(value) / np.sqrt(slope), CAP_PX)


@njit(cache=True)
def _pair_errors(poses, lenses, first, second, xy_a, xy_b, kind, still, errors):  # type: ignore[no-untyped-def]
    there, back = np.eye(3), np.eye(3)
    t_there, t_back = np.zeros(3), np.zeros(3)
    last_a, last_b = -1, -1
    for m in range(len(first)):
        a, b = first[m], second[m]
        if a != last_a or b != last_b:
            last_a, last_b = a, b
            there = np.ascontiguousarray(poses[b, :3, :3].T) @ np.ascontiguousarray(poses[a, :3, :3])
            t_there = np.ascontiguousarray(poses[b, :3, :3].T) @ (poses[a, :3, 3] - poses[b, :3, 3])
            back = np.ascontiguousarray(there.T)
            t_back = -(back @ t_there)
        ax, ay, bx, by = xy_a[m, 0], xy_a[m, 1], xy_b[m, 0], xy_b[m, 1]
        length = np.sqrt((t_there * t_there).sum())
        moved = length > still
        if kind == 0 and moved:
            error = half_line(there, t_there / length, lenses[a], lenses[b], ax, ay, bx, by)
            error += half_line(back, t_back / length, lenses[b], lenses[a], bx, by, ax, ay)
            errors[m] = error / 2
        elif kind == 1 and moved:
            errors[m] = sampson(there, t_there / length, lenses[a], lenses[b], ax, ay, bx, by)
        else:
            error = infinite(there, lenses[a], lenses[b], ax, ay, bx, by)
            error += infinite(back, lenses[b], lenses[a], bx, by, ax, ay)
            errors[m] = error / 2
