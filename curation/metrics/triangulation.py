"""How well each followed point is one point of a still world, over all frames that see it.

Formula: points are triangulated from all their observations with the claimed cameras (robust, points at infinity
allowed); the residual is the distance of an observation from the projected point. The value is the median; `p90`,
`worst` (largest median of one frame), `over_2px` (share of tracks whose median is above 2 px), `behind` (share of
tracks whose point lies behind a camera), `inliers` (share of observations within a pixel) tell more.
Unit: pixels of the clip; limits at 832 pixels of width.
Source: reprojection error of bundle adjustment, cameras held (Triggs et al. 1999).
Sees: all that `ray` sees, and scale drift within the life of a track; conventions that put points behind the camera.
Cannot see: freezes and jumps along the path much better than pairs do; moving things count as wrong cameras.
"""

import numpy as np

from trajkit.score import Better, Score

from ..evidence import Evidence
from ..induced import WIDTH
from ..residuals import triangulate
from ..tracks import Tracks
from ._common import FEWEST, NOTHING, Array, by_pose, largest, quantile, scored, tracks_of

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "px"
BETTER: Better = "lower"
VERSION = "1"
MOST = 600  # tracks
LEAST_SEEN = 3  # observations: two always fit a point on their epipolar plane


def score(evidence: Evidence) -> Score:
    """Median reprojection residual of triangulated tracks, in pixels."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    if tracks is None:
        return scored(__name__, np.nan, why=NOTHING)
    tracks = _long(tracks)
    points = triangulate(trajectory, tracks)
    owner = tracks.track[points.observation]
    seen = np.bincount(owner, minlength=tracks.count)
    used = seen[owner] >= LEAST_SEEN
    residual, pose, owner = points.residual_px[used], points.pose[used], owner[used]
    if len(residual) < FEWEST:
        return scored(__name__, np.nan, why=NOTHING)
    order, unit = np.argsort(pose, kind="stable"), trajectory.width / WIDTH
    frames = by_pose(pose[order], residual[order], len(trajectory))
    per_track = by_pose(owner, residual, tracks.count, LEAST_SEEN)
    known = seen >= LEAST_SEEN
    values = {
        "p90": quantile(residual, 0.9),
        "worst": largest(frames),
        "over_2px": float((per_track[known] > 2 * unit).mean()),
        "behind": float(1 - points.in_front[known].mean()),
        "inliers": float((residual < unit).mean()),
        "tracks": float(known.sum()),
    }
    return scored(__name__, quantile(residual), values, per_frame=frames)


def _long(tracks: Tracks) -> Tracks:
    """The longest ones, at most MOST."""
    if tracks.count <= MOST:
        return tracks
    length: Array = np.bincount(tracks.track, minlength=tracks.count)
    keep = np.zeros(tracks.count, bool)
    keep[np.argsort(-length, kind="stable")[:MOST]] = True
    return tracks.only(keep)
