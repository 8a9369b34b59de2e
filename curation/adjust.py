"""Claimed cameras after robust bundle adjustment on tracks: the cameras that the pictures ask for, with their noise.

All posed frames, one focal factor of the whole clip, and the points of up to TRACKS tracks are moved until the points
are seen where the tracks are (Triggs et al. 1999), under a Cauchy loss that narrows. Where the claim is no good start,
cameras are also built up from the tracks alone, and the better end of the two is kept.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from trajkit import se3
from trajkit.trajectory import Trajectory

from . import _covariance
from ._bundle import Sightings, Views, distances
from ._moved import Induced, induced
from ._solve import Solved, drift_gain, focal_factors, solve, triangulated
from ._start import chained
from .induced import WIDTH
from .residuals import Points, posed_rows, triangulate, unit_world
from .tracks import Tracks

__all__ = ["Adjusted", "Induced", "adjust", "errors_of", "induced"]
Array = np.ndarray
TRACKS, SEEN = 700, 20  # used at most, and observations of each
SPAN = 64  # poses that one point may be seen over: a longer track becomes several points
GRID = 6  # cells across, that tracks are chosen evenly from
NARROW_PX, INLIER_PX, WIDE_PX = 1.0, 2.0, 24.0
TOUCH_PX, TOUCHES = 0.5, 8  # scale of the loss of a last touch, and its steps
CLEARLY = 1.1  # times the loss of others, the claim's neighbourhood may have: less than that, movers can tip
LEAST_LOSS = 0.02  # mean loss of points that are followed well
STILL_SHARE = 0.9  # of observations that fit: with fewer, something moves
FAR_PX = 3.0  # median residual of the claim beyond which it is no good start
GOOD_PX, GOOD_SHARE, GOOD_FRAME = 0.7, 0.85, 0.6  # of all, of all, of each frame: else the end is no good either
DRIFT_PAYS = 0.04  # share of the cost that a focal length which changes has to save, to be one
HOLDS = 0.75  # of a track's observations that have to fit, for it to link the frames that it spans
LEAST_TRACKS = 12
PARALLAX_PX = 1.0  # median motion of points beside the rotation's, below which no translation shows
FOCAL_SIGMA = 0.03  # of the factor, above which the focal length is not known


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adjusted:
    """Cameras that fit the tracks, in the claim's frame and scale as far as those are comparable."""

    trajectory: Trajectory
    focal_factor: float  # of the claimed focal lengths, in the middle of the clip
    focal_sigma: float  # of that factor
    focal_drift: float  # by which it grows from the first pose to the last, as a factor
    points: Points  # all tracks not left out, under these cameras
    track: Int64[Array, "m"]  # of the observations in `points`, its row in points.xyzw
    inlier: Bool[Array, "m"]
    covariance: Float64[Array, "n 6 6"]  # of each pose's left twist (trajectory's unit, radians) against the middle one
    spread: _covariance.Spread  # what `induced` works its sigma out from
    support: Float64[Array, "n 2"]  # per pose: tracks seen, share of them that are inliers
    residual_px: float  # median over the observations
    inlier_share: float
    unit: float  # of the trajectory's units per unit of `spread`'s world
    parallax_px: float  # median, over tracks, of the motion that the translation gives a point
    unobservable: tuple[str, ...]  # of "translation", "focal", "all"; the scale never is
    converged: bool
    restarted: bool  # the claim was no good start
    relief: Float64[Array, "n"]  # per pose, share of the saturating loss under the claim that adjusting takes away


def adjust(trajectory: Trajectory, tracks: Tracks, *, without: Bool[Array, "count"] | None = None) -> Adjusted:
    """The claimed cameras, adjusted. `without` is True for tracks that are to be left out.

    With fewer than LEAST_TRACKS tracks or two poses the claim comes back as it is, all of it unobservable.
    """
    used = tracks if without is None else tracks.only(~without)
    seen = _chosen(trajectory, used, TRACKS, SEEN)
    if len(trajectory) < 2 or len(seen.start) - 1 < LEAST_TRACKS:
        return _untouched(trajectory, used)
    factor = trajectory.width / WIDTH
    cameras, _, _ = unit_world(trajectory)
    start = _begun(trajectory, cameras)
    solved, began_px = _solved(start, seen, factor)
    restarted, far = False, began_px > FAR_PX * factor
    claimed = _losses(start, triangulated(start, seen, NARROW_PX * factor), seen, factor)
    if claimed.mean() < CLEARLY * _losses(solved.views, solved.points, seen, factor).mean():
        near = _touched(start, seen, solved, factor, CLEARLY)
        if near is not solved:
            return _finished(trajectory, used, seen, near, restarted, claimed)
    if far or not _good(solved, seen, len(trajectory), factor):
        dense = _chosen(trajectory, used, TRACKS, 10**6)
        own = chained(trajectory, used, dense, NARROW_PX * factor)
        if own is not None:
            other, _ = _solved(_begun(trajectory, _unit(own)), seen, factor)
            if other.cost < solved.cost:
                solved, restarted = other, True
    if (_residual(solved.views, solved.points, seen) < INLIER_PX * factor).mean() < STILL_SHARE:
        solved = _touched(solved.views, seen, solved, factor)
    return _finished(trajectory, used, seen, solved, restarted, claimed)


def errors_of(trajectory: Trajectory, tracks: Tracks) -> tuple[float, float]:
    """What any cameras leave on tracks when only the points may move: median in pixels, share within INLIER_PX."""
    points = triangulate(trajectory, tracks, NARROW_PX * trajectory.width / WIDTH)
    residual = points.residual_px[_several(points, tracks)]
    if not len(residual):
        return float("nan"), float("nan")
    return float(np.median(residual)), float((residual < INLIER_PX * trajectory.width / WIDTH).mean())


def _several(points: Points, tracks: Tracks) -> Bool[Array, "m"]:
    """Rows of `points` whose track has three observations or more: two are fitted by any cameras that meet."""
    return np.bincount(tracks.track[points.observation], minlength=tracks.count)[tracks.track[points.observation]] > 2


def _solved(start: Views, seen: Sightings, factor: float) -> tuple[Solved, float]:
    """The adjustment from given cameras, and the median residual (pixels) that it began with."""
    residual = _residual(start, triangulated(start, seen, 4 * factor), seen)
    began = float(np.median(residual))
    wide = float(np.clip(2 * began, 3 * NARROW_PX * factor, WIDE_PX * factor))
    solved = solve(start, seen, wide_px=wide, narrow_px=NARROW_PX * factor)
    if drift_gain(solved) > DRIFT_PAYS:
        other = solve(solved.views, seen, wide_px=2 * NARROW_PX * factor, narrow_px=NARROW_PX * factor, drift=True)
        if other.cost < (1 - DRIFT_PAYS) * solved.cost:
            solved = other
    return solved, began


def _touched(start: Views, seen: Sightings, solved: Solved, factor: float, clearly: float = 1.0) -> Solved:
    """The adjustment from a good start under a narrow loss, or `solved` where that explains the tracks clearly better.

    While the loss is wide, things that move pull the cameras along, even away from a claim that is right. What counts
    here is a loss that saturates (Geman and McClure 1987): how well the rest is explained, however far off those are.
    """
    touched = solve(start, seen, wide_px=TOUCH_PX * factor, narrow_px=TOUCH_PX * factor, steps=TOUCHES)
    limit = clearly * _losses(solved.views, solved.points, seen, factor).mean()
    if _losses(touched.views, touched.points, seen, factor).mean() >= limit:
        return solved
    return touched._replace(converged=touched.converged or solved.converged)  # the touch has few steps


def _begun(trajectory: Trajectory, cameras: Float64[Array, "n 3 4"]) -> Views:
    """Cameras with the claimed lenses, as a start; the fifth number of a lens is the time, -1 to 1."""
    time = np.interp(trajectory.frame_index, trajectory.frame_index[[0, -1]], [-1.0, 1.0])
    return Views(np.ascontiguousarray(cameras), np.column_stack([trajectory.intrinsics, time]), np.zeros(2))


def _losses(views: Views, points: Float64[Array, "p 4"], seen: Sightings, factor: float) -> Float64[Array, "m"]:
    """Geman-McClure loss of each observation, at most 1."""
    square = (_residual(views, points, seen) / (NARROW_PX * factor)) ** 2
    return np.asarray(square / (1 + square))


def _relief(claimed: Float64[Array, "m"], found: Float64[Array, "m"], seen: Sightings, poses: int) -> Array:
    """Of each pose, by which share its observations' loss falls; LEAST_LOSS keeps noise of nearly nothing small."""
    total = np.maximum(np.bincount(seen.pose, minlength=poses), 1)
    before, after = (np.bincount(seen.pose, loss, minlength=poses) / total for loss in (claimed, found))
    return np.asarray(np.maximum(before - after, 0) / (before + LEAST_LOSS))


def _residual(views: Views, points: Float64[Array, "p 4"], seen: Sightings) -> Float64[Array, "m"]:
    out = np.empty(len(seen.pose))
    distances(views, points, seen, out)
    return out


def _good(solved: Solved, seen: Sightings, poses: int, factor: float) -> bool:
    """Whether the tracks fit: on the whole, in every frame, and from every frame to the next."""
    residual = _residual(solved.views, solved.points, seen)
    near = residual < INLIER_PX * factor
    total = np.bincount(seen.pose, minlength=poses)
    share = np.bincount(seen.pose, near, minlength=poses) / np.maximum(total, 1)
    count = np.diff(seen.start)
    holds = np.add.reduceat(near, seen.start[:-1]) > HOLDS * count
    first, last = seen.pose[seen.start[:-1]], seen.pose[seen.start[1:] - 1]

    def across(weight: Bool[Array, "p"]) -> Float64[Array, "n"]:  # tracks that go on from each pose to the next
        change = np.bincount(first, weight, minlength=poses) - np.bincount(last, weight, minlength=poses)
        return np.cumsum(change)

    crossing = across(np.ones(len(first), bool))
    link = across(holds) / np.maximum(crossing, 1)
    return bool(
        np.median(residual) < GOOD_PX * factor
        and near.mean() > GOOD_SHARE
        and share[total > LEAST_TRACKS].min(initial=1.0) > GOOD_FRAME
        and link[crossing > LEAST_TRACKS].min(initial=1.0) > GOOD_FRAME
    )


def _chosen(trajectory: Trajectory, tracks: Tracks, most: int, each: int) -> Sightings:
    """Up to `most` tracks, long ones first but evenly over picture and time, up to `each` observations of a track."""
    rows, pose = posed_rows(trajectory, tracks)
    track = tracks.track[rows].astype(np.int64)
    new = np.ones(len(rows), bool)
    new[1:] = track[1:] != track[:-1]
    first = np.flatnonzero(new)
    piece = np.cumsum(new) - 1
    part = (pose - pose[first][piece]) // SPAN if len(rows) else pose  # of a track longer than SPAN
    new[1:] |= part[1:] != part[:-1]
    first, length = np.flatnonzero(new), np.diff(np.append(np.flatnonzero(new), len(rows)))
    keep = length >= 3
    first, length = first[keep], length[keep]
    chosen = np.sort(_spread_out(trajectory, tracks, rows, pose, first, length)[:most])
    first, length = first[chosen], length[chosen]
    taken = np.minimum(length, each)
    start = np.concatenate([[0], np.cumsum(taken)]).astype(np.int64)
    point = np.repeat(np.arange(len(first)), taken)
    step = np.arange(len(point)) - start[:-1][point]
    inside = np.rint(step * (length[point] - 1) / np.maximum(taken[point] - 1, 1)).astype(np.int64)
    picked = first[point] + inside
    return Sightings(start, pose[picked], tracks.xy[rows[picked]].astype(np.float64), point)


def _spread_out(
    trajectory: Trajectory,
    tracks: Tracks,
    rows: Int64[Array, "m"],
    pose: Int64[Array, "m"],
    first: Int64[Array, "p"],
    length: Int64[Array, "p"],
) -> Int64[Array, "p"]:
    """The order in which pieces of tracks are chosen: the longest of every cell of picture and time, then the next."""
    if not len(first):
        return first
    middle = first + length // 2
    cell = np.minimum((tracks.xy[rows[middle]] / max(tracks.size) * GRID).astype(np.int64), GRID - 1)
    when = pose[middle] * 8 // max(len(trajectory), 1)
    group = (when * GRID + cell[:, 1]) * GRID + cell[:, 0]
    order = np.lexsort((first, -length, group))
    begins = np.searchsorted(group[order], group[order])
    rank = np.arange(len(order)) - begins
    return order[np.lexsort((first[order], -length[order], rank))]


def _unit(cameras: Float64[Array, "n 3 4"]) -> Float64[Array, "n 3 4"]:
    """The same cameras in a world whose origin is their mean and whose unit their spread."""
    poses = np.zeros((len(cameras), 4, 4))
    poses[:, :3], poses[:, 3, 3] = cameras, 1.0
    centres = se3.inverse(poses)[:, :3, 3]
    origin = centres.mean(0)
    spread = float(np.sqrt(((centres - origin) ** 2).sum(1).mean()))
    moved = cameras.copy()
    moved[:, :, 3] += cameras[:, :, :3] @ origin
    moved[:, :, 3] /= spread if spread > 1e-9 else 1.0
    return moved


def _finished(
    claimed: Trajectory,
    tracks: Tracks,
    seen: Sightings,
    solved: Solved,
    restarted: bool,
    claimed_losses: Float64[Array, "m"],
) -> Adjusted:
    factor = claimed.width / WIDTH
    residual = _residual(solved.views, solved.points, seen)
    noise = max(float(np.median(residual)), 0.1 * factor)
    spread = _covariance.spread(solved, noise)
    trajectory, unit = _in_frame_of(claimed, solved.views)
    points = triangulate(trajectory, tracks, NARROW_PX * factor)
    near = points.residual_px < INLIER_PX * factor
    total = np.bincount(points.pose, minlength=len(claimed))
    share = np.bincount(points.pose, near, minlength=len(claimed)) / np.maximum(total, 1)
    parallax = _parallax(solved, seen, residual < INLIER_PX * factor)
    unobservable = [] if parallax >= PARALLAX_PX * factor else ["translation"]
    if spread.focal > FOCAL_SIGMA:
        unobservable.append("focal")
    covariance = spread.poses.copy()
    covariance[:, :3] *= unit
    covariance[:, :, :3] *= unit
    return Adjusted(
        trajectory=trajectory,
        focal_factor=float(np.exp(solved.views.shared[0])),
        focal_sigma=spread.focal,
        focal_drift=float(np.exp(2 * solved.views.shared[1])),
        points=points,
        track=tracks.track[points.observation].astype(np.int64),
        inlier=near,
        covariance=covariance,
        spread=spread,
        support=np.column_stack([total, share]),
        residual_px=float(np.median(residual)),
        inlier_share=float((residual < INLIER_PX * factor).mean()),
        unit=unit,
        parallax_px=parallax,
        unobservable=tuple(unobservable),
        converged=solved.converged,
        restarted=restarted,
        relief=_relief(claimed_losses, _losses(solved.views, solved.points, seen, factor), seen, len(claimed)),
    )


def _parallax(solved: Solved, seen: Sightings, near: Bool[Array, "m"]) -> float:
    """Median over points of the largest motion that the cameras' translation gives them, in pixels."""
    rotation = solved.views.cameras[:, :, :3]
    centres = -np.einsum("nji,nj->ni", rotation, solved.views.cameras[:, :, 3])
    first, last = seen.pose[seen.start[:-1]], seen.pose[seen.start[1:] - 1]
    across = np.linalg.norm(centres[last] - centres[first], axis=1)
    nearness = np.abs(solved.points[:, 3]) / np.maximum(np.linalg.norm(solved.points[:, :3], axis=1), 1e-12)
    kept = np.add.reduceat(near, seen.start[:-1]) * 2 > np.diff(seen.start)
    focal = float(solved.views.lenses[:, :2].mean())
    return float(np.median((focal * across * nearness)[kept])) if kept.any() else 0.0


def _in_frame_of(claimed: Trajectory, views: Views) -> tuple[Trajectory, float]:
    """The adjusted cameras in the claim's frame, and the claim's units per unit of theirs.

    The scale is the median ratio of steps, weighted by the adjusted ones; frame and place fit on the mean.
    """
    poses = np.zeros((len(claimed), 4, 4))
    poses[:, :3], poses[:, 3, 3] = views.cameras, 1.0
    poses = se3.inverse(poses)
    stride = max(1, len(claimed) // 10)
    own = np.linalg.norm(poses[stride:, :3, 3] - poses[:-stride, :3, 3], axis=1)
    theirs = np.linalg.norm(claimed.centres[stride:] - claimed.centres[:-stride], axis=1)
    unit = 1.0
    if own.max() > 1e-9 and theirs.max() > 1e-9 * (1 + np.abs(claimed.centres).max()):
        ratio = theirs / np.maximum(own, 1e-9 * own.max())
        order = np.argsort(ratio)
        total = np.cumsum(own[order])
        unit = float(ratio[order][np.searchsorted(total, total[-1] / 2)]) or 1.0
    turn = se3.nearest_rotation(np.einsum("nij,nkj->ik", claimed.camera_to_world[:, :3, :3], poses[:, :3, :3]))
    moved = se3.Similarity(unit, turn, claimed.centres.mean(0) - unit * turn @ poses[:, :3, 3].mean(0)).poses(poses)
    moved[:, :3, :3] = se3.nearest_rotation(moved[:, :3, :3])
    intrinsics = claimed.intrinsics.copy()
    intrinsics[:, :2] *= focal_factors(views)[:, None]
    return replace(claimed, camera_to_world=moved, intrinsics=intrinsics), unit


def _untouched(trajectory: Trajectory, tracks: Tracks) -> Adjusted:
    points = triangulate(trajectory, tracks, NARROW_PX * trajectory.width / WIDTH)
    near = points.residual_px < INLIER_PX * trajectory.width / WIDTH
    total = np.bincount(points.pose, minlength=len(trajectory))
    share = np.bincount(points.pose, near, minlength=len(trajectory)) / np.maximum(total, 1)
    return Adjusted(
        trajectory=trajectory,
        focal_factor=1.0,
        focal_sigma=np.inf,
        focal_drift=1.0,
        points=points,
        track=tracks.track[points.observation].astype(np.int64),
        inlier=near,
        covariance=np.full((len(trajectory), 6, 6), np.inf),
        spread=_covariance.unknown(len(trajectory)),
        support=np.column_stack([total, share]),
        residual_px=float(np.median(points.residual_px)) if len(near) else float("nan"),
        inlier_share=float(near.mean()) if len(near) else 0.0,
        unit=1.0,
        parallax_px=0.0,
        unobservable=("all",),
        converged=False,
        restarted=False,
        relief=np.zeros(len(trajectory)),
    )
