"""Whether the claimed lens can be real, and whether it stays the same.

Formula: the largest of 20 / fov and fov / 120 (degrees, each axis), centre offset / 5 % of the picture's side, and
|fx / fy - 1| / 2 %: above 1 the lens is implausible. Stability over the clip is told apart: `focal_range` is the log
ratio of the longest and the shortest focal length, `focal_step` the largest change from one pose to the next (log
ratio), `centre_range` the motion of the principal point (share of the side).
Unit: ratio to the limit.
Source: limits from the range of lenses in public pose sets; reference table of defects found blind.
Sees: focal lengths of another picture size, swapped or normalised intrinsics, cropped pictures, zooms and steps.
Cannot see: a wrong focal length that is plausible (`focal` and `induced` look for it); real zooms look like drift.
"""

import numpy as np

from trajkit.score import Better, Score

from ..evidence import Evidence
from ._common import largest, quantile, scored

NEEDS: tuple[str, ...] = ()
UNIT = "ratio"
BETTER: Better = "lower"
VERSION = "1"
FOV_DEG = (20.0, 120.0)
CENTRE_SHARE = 0.05  # of the side of the picture
ASPECT_SHARE = 0.02


def score(evidence: Evidence) -> Score:
    """How near to, or beyond, the limits of real lenses the claimed one is."""
    trajectory = evidence.trajectory
    size = np.array([trajectory.width, trajectory.height], np.float64)
    focal, centre = trajectory.intrinsics[:, :2], trajectory.intrinsics[:, 2:] / size
    fov = np.degrees(2 * np.arctan2(size / 2, focal))  # of the centred lens: the offset is judged on its own
    offset, aspect = np.abs(centre - 0.5).max(1), np.abs(focal[:, 0] / focal[:, 1] - 1)
    odd = np.stack(
        [FOV_DEG[0] / fov.min(1), fov.max(1) / FOV_DEG[1], offset / CENTRE_SHARE, aspect / ASPECT_SHARE]
    ).max(0)
    log_focal = np.log(focal).mean(1)
    third = max(len(log_focal) // 3, 1)
    values = {
        "fov_horizontal_deg": quantile(fov[:, 0]),
        "fov_vertical_deg": quantile(fov[:, 1]),
        "centre_share": quantile(offset),
        "aspect_share": quantile(aspect),
        "focal_range": float(np.ptp(log_focal)),
        "focal_step": largest(np.abs(np.diff(log_focal))) if len(log_focal) > 1 else 0.0,
        "focal_drift": float(np.median(log_focal[-third:]) - np.median(log_focal[:third])),
        "centre_range": float(np.ptp(centre, axis=0).max()),
    }
    return scored(__name__, odd.max(), values, per_frame=odd)
