"""The induced flow error that adjusted cameras say a claim has, and how far that figure may be noise."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from trajkit.trajectory import Trajectory

from . import _covariance
from .induced import STRIDES, Sights, best_scale, by_pair, errors_px, landing
from .residuals import partners

if TYPE_CHECKING:
    from .adjust import Adjusted

Array = np.ndarray
EACH = 40  # points of a pair of poses
TRIED = 240  # of all, that the scale is found on
FAR = 1e6  # depth, in units of the cameras' spread, of points at infinity
SIGMAS = 24  # pairs per stride whose sigma is worked out, at most


class Induced(NamedTuple):
    """Pixels per stride (1, 8, 32 frames; where poses are sparse, the nearest there are). NaN: no pair so far apart."""

    strides: tuple[int, ...]
    mean_px: Float64[Array, "3"]  # over pairs of the median over points
    worst_px: Float64[Array, "3"]  # the worst pair's
    worst_frame: Int64[Array, "3"]  # video frame where that pair begins, -1 for none
    sigma_px: Float64[Array, "3"]  # expected of mean_px from noise of the tracks alone, for a perfect claim
    worst_sigma_px: Float64[Array, "3"]  # the same for the worst pair
    by_pose_px: Float64[Array, "3 n"]  # of the pair that begins at the pose; NaN where none does
    scale: float  # factor of the claimed translations that suits them best


def induced(claimed: Trajectory, adjusted: "Adjusted") -> Induced:
    """How far claimed cameras move the tracks' points off where the adjusted cameras put them.

    Points are those of tracks that fit the adjusted cameras, as seen by them.
    """
    n, reference = len(claimed), adjusted.trajectory
    sights, strides = _sights(adjusted)
    scale = best_scale(claimed, reference, sights, limit=TRIED)
    errors = errors_px(claimed, reference, sights, scale)
    found = np.full((len(STRIDES), n), np.nan)
    figures = np.full((4, len(STRIDES)), np.nan)
    frames = np.full(len(STRIDES), -1)
    for row, stride in enumerate(STRIDES):
        of = strides == stride
        if not of.any():
            continue
        part = Sights(*(column[of] for column in sights))
        found[row] = by_pair(errors[of], part, n)
        if not np.isfinite(found[row]).any():
            continue
        worst = int(np.nanargmax(found[row]))
        frames[row] = claimed.frame_index[worst]
        sigma = _sigmas(adjusted, part, worst)
        known = sigma[np.isfinite(sigma)]
        figures[:, row] = (
            np.nanmean(found[row]),
            found[row, worst],
            known.mean() if len(known) else np.inf,
            sigma[0] if np.isfinite(sigma[0]) else (known.mean() if len(known) else np.inf),
        )
    return Induced(STRIDES, figures[0], figures[1], frames, figures[2], figures[3], found, scale)


def _sights(adjusted: "Adjusted") -> tuple[Sights, Int64[Array, "m"]]:
    """Up to EACH points of every pair of poses, evenly over its tracks, and the stride each belongs to."""
    points, reference = adjusted.points, adjusted.trajectory
    rows = _usable(adjusted)
    order = np.argsort(points.pose[rows], kind="stable")
    rows = rows[order]
    pose = points.pose[rows]
    track = adjusted.track[rows]
    camera = reference.world_to_camera[pose]
    xyzw = points.xyzw[track]
    local = np.einsum("mij,mj->mi", camera[:, :3], xyzw)
    far = FAR * max(float(np.linalg.norm(np.ptp(reference.centres, axis=0))), 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = local[:, 2] / xyzw[:, 3]
    depth = np.where((depth > 0) & (depth < far), depth, far)
    fx, fy, cx, cy = reference.intrinsics[pose].T
    xy = np.stack([fx * local[:, 0] / local[:, 2] + cx, fy * local[:, 1] / local[:, 2] + cy], axis=-1)
    parts, strides = [], []
    for stride in STRIDES:
        second = partners(reference, stride)[pose]
        keep = np.flatnonzero((second >= 0) & (local[:, 2] > 1e-9))
        found = Sights(xy[keep], depth[keep], pose[keep], second[keep])
        _, seen = landing(reference, found)
        found = _thinned(Sights(*(column[seen] for column in found)))
        parts.append(found)
        strides.append(np.full(len(found.first), stride))
    return Sights(*(np.concatenate(column) for column in zip(*parts, strict=True))), np.concatenate(strides)


def _usable(adjusted: "Adjusted") -> Int64[Array, "k"]:
    """Observations that fit, of tracks that mostly do, seen three times or more."""
    track, count = adjusted.track, len(adjusted.points.xyzw)
    total = np.bincount(track, minlength=count)
    share = np.bincount(track, adjusted.inlier, minlength=count) / np.maximum(total, 1)
    good = (share > 0.6) & (total > 2) & adjusted.points.in_front
    return np.flatnonzero(adjusted.inlier & good[track])


def _thinned(sights: Sights) -> Sights:
    """At most EACH sights of each first pose, evenly over the given order, which is by first pose."""
    count = np.bincount(sights.first, minlength=1)
    rank = np.arange(len(sights.first)) - (np.cumsum(count) - count)[sights.first]
    share = np.minimum(EACH / np.maximum(count, 1), 1.0)[sights.first]
    keep = np.floor((rank + 1) * share + 1e-9) > np.floor(rank * share + 1e-9)
    return Sights(*(column[keep] for column in sights))


def _sigmas(adjusted: "Adjusted", sights: Sights, worst: int) -> Float64[Array, "k"]:
    """Sigma in pixels of the pair that begins at `worst`, then of up to SIGMAS others, evenly over the clip."""
    first = np.unique(sights.first)
    others = first[np.unique(np.linspace(0, len(first) - 1, min(SIGMAS, len(first))).astype(np.int64))]
    lens, unit = adjusted.trajectory.intrinsics, adjusted.unit
    begins, ends = np.searchsorted(sights.first, first), np.searchsorted(sights.first, first, side="right")
    found = []
    for pose in np.append(worst, others):
        place = int(np.searchsorted(first, pose))
        rows = slice(begins[place], ends[place])
        rays = np.column_stack(
            [(sights.xy[rows] - lens[pose, 2:]) / lens[pose, :2], np.ones(ends[place] - begins[place])]
        )
        local = np.column_stack([rays, unit / sights.depth[rows]])
        second = int(sights.second[rows][0])
        found.append(_covariance.pixels(adjusted.spread, lens[[pose, second]], (int(pose), second), local))
    return np.array(found)
