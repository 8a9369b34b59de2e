"""Whether the clip's depth and its claimed cameras tell of the same still world.

Formula: points of frame i, with their depth, are moved by the claimed cameras into the frame eight later; z there over
the depth stored where they land should be 1. The value is the median |log ratio|. `violates` is the share of points
more than 5 % in front of what is seen there, which nothing in a still world hides; `scale` the factor of the claimed
translations that agrees best (1 = depth and poses share their unit) and `scale_gain` how much better; `colour` the
median difference of colour of such points over the one without any motion (below 1 the motion explains the picture).
Unit: relative.
Source: view consistency of depth maps, as in the fusion of multi-view stereo.
Sees: depth in another unit, distance or inverse depth taken for z, wrong translations (even their size), lost poses.
Cannot see: points without depth (0), moving things (left out only where a mask says so), turning cameras' translation.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from trajkit import se3, video
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.score import Better, Score

from ..evidence import Evidence
from ._common import Array, by_pose, pairs, quantile, ratio, scored

NEEDS: tuple[str, ...] = ("depth",)
UNIT = "relative"
BETTER: Better = "lower"
VERSION = "1"
MOST_PAIRS, COLOUR_PAIRS = 24, 4
GRID, FEWEST = 48, 100  # points along the width, in all
AGREES = 0.05  # log ratio
SCALES = np.exp(np.linspace(-1.5, 1.5, 25))  # of translations


class Points(NamedTuple):
    """Pixels with depth, and the motion to another frame."""

    pose: Int64[Array, "m"]  # in which they are seen
    frames: Int64[Array, "m 2"]  # of the video, of both sights
    pixel: Int64[Array, "m 2"]  # column, row
    turned: Float64[Array, "m 3"]  # in the second camera, but for the translation
    moved: Float64[Array, "m 3"]  # the translation
    lens: Float64[Array, "m 4"]  # of the second camera


def score(evidence: Evidence) -> Score:
    """Median relative difference of depth eight frames apart."""
    try:
        depth = read_depth(evidence.clip)
    except TrajkitError as error:
        return scored(__name__, np.nan, why=error.problem)
    points = _points(evidence, depth)
    logs = _differences(points, depth, 1.0)[0]
    sizes, known = np.abs(logs), np.isfinite(logs)
    if known.sum() < FEWEST:
        return scored(__name__, np.nan, why="too few points have depth in two frames that are eight apart")
    others = [quantile(np.abs(_differences(points, depth, scale)[0])) for scale in SCALES]
    values = {
        "p90": quantile(sizes, 0.9),
        "violates": float((logs[known] < -AGREES).mean()),
        "scale": float(SCALES[int(np.nanargmin(others))]),
        "scale_gain": (quantile(sizes) + AGREES / 10) / (float(np.nanmin(others)) + AGREES / 10),
        "colour": _colour(evidence, points, depth),
    }
    blame = by_pose(points.pose[known], sizes[known], len(evidence.trajectory))
    return scored(__name__, quantile(sizes), values, per_frame=blame)


def _points(evidence: Evidence, depth: Array) -> Points:
    trajectory, (_, height, width) = evidence.trajectory, depth.shape
    (first, second), step = pairs(trajectory, 8, MOST_PAIRS), max(width // GRID, 1)
    row, column = (grid.ravel() for grid in np.mgrid[step // 2 : height : step, step // 2 : width : step])
    pose, other = np.repeat(first, len(row)), np.repeat(second, len(row))
    pixel, frame, mask = np.tile(np.c_[column, row], (len(first), 1)), trajectory.frame_index[pose], evidence.mask
    z = depth[frame, pixel[:, 1], pixel[:, 0]].astype(np.float64)
    seen = z > 0
    if mask is not None and len(mask):
        x, y = (pixel * (mask.shape[2], mask.shape[1]) // (width, height)).T
        seen &= ~mask[np.minimum(frame, len(mask) - 1), y, x]
    pose, other, pixel, z = pose[seen], other[seen], pixel[seen], z[seen]
    lens = trajectory.intrinsics[pose]
    plane = (pixel + 0.5 - lens[:, 2:]) / lens[:, :2]
    relative = se3.inverse(trajectory.camera_to_world[other]) @ trajectory.camera_to_world[pose]
    turned = np.einsum("mij,mj->mi", relative[:, :3, :3], np.c_[plane, np.ones(len(plane))] * z[:, None])
    frames = np.c_[trajectory.frame_index[pose], trajectory.frame_index[other]]
    return Points(pose, frames, pixel, turned, relative[:, :3, 3], trajectory.intrinsics[other])


def _differences(points: Points, depth: Array, scale: float) -> tuple[Float64[Array, "m"], Int64[Array, "m 2"]]:
    """log(z / depth seen where the point lands), NaN outside or where nothing is seen; and the pixel (column, row)."""
    there = points.turned + scale * points.moved
    z = np.where(there[:, 2] > 1e-12, there[:, 2], np.nan)
    with np.errstate(over="ignore"):
        landed = there[:, :2] / z[:, None] * points.lens[:, :2] + points.lens[:, 2:]
    inside = np.isfinite(landed).all(1) & (landed >= 0).all(1) & (landed < (depth.shape[2], depth.shape[1])).all(1)
    pixel = np.where(inside[:, None], landed, 0).astype(np.int64)
    stored = np.where(inside, depth[points.frames[:, 1], pixel[:, 1], pixel[:, 0]], 0).astype(np.float64)
    good = stored > 0
    return np.log(np.where(good, z / np.where(good, stored, 1.0), np.nan)), pixel


def _colour(evidence: Evidence, points: Points, depth: Array) -> float:
    """Median difference of colour with the motion over that without, for points that depth agrees on."""
    logs, landed = _differences(points, depth, 1.0)
    chosen = np.unique(points.pose)
    chosen = chosen[np.linspace(0, len(chosen) - 1, COLOUR_PAIRS).round().astype(np.int64)]
    rows = np.isin(points.pose, chosen) & (np.abs(np.nan_to_num(logs, nan=np.inf)) < AGREES)
    if evidence.clip.video is None or rows.sum() < FEWEST:
        return np.nan
    frames, place = np.unique(points.frames[rows], return_inverse=True)
    try:
        pictures = video.read(evidence.clip.video, frames.tolist()).astype(np.float64)
    except TrajkitError:
        return np.nan
    (first, second), (x, y), (u, v) = place.reshape(-1, 2).T, points.pixel[rows].T, landed[rows].T
    others = pictures[second, v, u], pictures[second, y, x]
    moved, unmoved = (quantile(np.abs(other - pictures[first, y, x]).mean(1)) for other in others)
    return ratio(moved + 1.0, unmoved + 1.0)
