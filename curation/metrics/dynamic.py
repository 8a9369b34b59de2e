"""How much of what was followed moves by itself, or disagrees with any still world.

Formula: tracks whose median residual under the adjusted cameras is above 2 px (at 832 pixels of width), weighted by
their observations. `clustered` is the share of such tracks among the five nearest neighbours (place and time) of such
tracks: near 1 for moving things, near the value for mistakes of following. `area` is the share of an 8 x 6 grid of the
picture where most points disagree, in the usual frame, `area_most` in the worst tenth of frames.
Unit: share of observations.
Source: dynamic ratios that video sets publish, from residuals instead of a segmentation.
Sees: moving things that differ from the camera's story by pixels; cuts; cameras that could not be adjusted at all.
Cannot see: movers that follow the epipolar geometry, such as a car driven behind; movers so large that the adjusted
cameras follow them, after which the still world disagrees.
"""

import numpy as np
from jaxtyping import Bool, Float64

from trajkit.score import Better, Score

from ..evidence import Evidence
from ..induced import WIDTH
from ._common import NOTHING, Array, by_pose, quantile, ratio, scored, tracks_of

NEEDS: tuple[str, ...] = ("tracks", "adjusted")
UNIT = "share"
BETTER: Better = "lower"
VERSION = "1"
DISAGREES_PX = 2.0
LEAST_SEEN = 4  # observations of a track that counts
LEAST_TRACKS = 30
NEIGHBOURS = 5
GRID = (8, 6)


def score(evidence: Evidence) -> Score:
    """Share of the observations that belong to tracks which no still world explains."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    if tracks is None:
        return scored(__name__, np.nan, why=NOTHING)
    points, unit = evidence.adjusted.points, trajectory.width / WIDTH
    owner, xy = tracks.track[points.observation], tracks.xy[points.observation].astype(np.float64)
    seen = np.bincount(owner, minlength=tracks.count)
    known = seen >= LEAST_SEEN
    if known.sum() < LEAST_TRACKS:
        return scored(__name__, np.nan, why=NOTHING)
    residual = by_pose(owner, points.residual_px, tracks.count, LEAST_SEEN)
    odd = np.nan_to_num(residual) > DISAGREES_PX * unit
    total = np.stack([np.bincount(owner, column, tracks.count) for column in (*xy.T, points.pose)], axis=1)
    place = total[known] / seen[known, None] / (*tracks.size, len(trajectory))
    rows = known[owner]
    areas, shares = _areas(points.pose[rows], xy[rows] / tracks.size, odd[owner[rows]], len(trajectory))
    values = {
        "tracks": float(odd[known].mean()),
        "clustered": _clustered(place, odd[known]),
        "area": quantile(areas),
        "area_most": quantile(areas, 0.9),
    }
    return scored(__name__, ratio(float((seen * odd)[known].sum()), float(seen[known].sum())), values, per_frame=shares)


def _clustered(place: Float64[Array, "m 3"], odd: Bool[Array, "m"]) -> float:
    """Share of disagreeing tracks among the nearest neighbours of disagreeing ones; 0 where there are none."""
    from scipy.spatial import cKDTree

    if not odd.any():
        return 0.0
    near = cKDTree(place).query(place[odd], k=NEIGHBOURS + 1)[1][:, 1:]
    return float(odd[near].mean())


def _areas(
    pose: Array, place: Float64[Array, "m 2"], odd: Bool[Array, "m"], poses: int
) -> tuple[Float64[Array, "n"], Float64[Array, "n"]]:
    """Per pose, the share of occupied cells where most points disagree, and the share of points; NaN without points."""
    cells = GRID[0] * GRID[1]
    column, row = np.clip(place * GRID, 0, np.array(GRID) - 1).astype(np.int64).T
    cell = pose * cells + row * GRID[0] + column
    points, against = (
        np.bincount(cell, weights, poses * cells).reshape(poses, cells) for weights in (np.ones(len(cell)), odd)
    )
    occupied, total = (points > 0).sum(1), points.sum(1)
    most = ((against * 2 > points) & (points > 0)).sum(1)
    return (
        np.where(occupied > 0, most / np.maximum(occupied, 1), np.nan),
        np.where(total > 0, against.sum(1) / np.maximum(total, 1), np.nan),
    )
