"""Whether the claimed poses belong to other frames of the video: a shift in time.

Formula: median half-line residual eight frames apart with the poses of frames f + s for those of frames f, for shifts
s of -5 to 5 frames, over the same correspondences. The value is the claimed residual over the best one (0.1 px added
to both): 1 = no shift fits better. `shift` is the best one: poses claimed for a frame belong `shift` frames earlier.
Unit: ratio.
Source: time calibration by residuals, as between cameras and other sensors.
Sees: pose files cut or resampled from another start or rate, streams that lag.
Cannot see: shifts of even motion, whose residuals hardly change: no value then. A wrong rate looks like a mixture.
"""

from dataclasses import replace

import numpy as np

from trajkit import se3
from trajkit.score import Better, Score
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ._common import NOTHING, scored
from ._scan import Scan

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "ratio"
BETTER: Better = "lower"
VERSION = "1"
SHIFTS = tuple(range(-5, 6))  # frames
EVEN = 1.15  # worst over best residual: less says nothing


def score(evidence: Evidence) -> Score:
    """Residual of the claim over that of the best shift."""
    trajectory, scan = evidence.trajectory, Scan(evidence)
    index = trajectory.frame_index
    reach = min(max(SHIFTS), int(index[-1] - index[0]) // 6)
    scan.within((index - index[0] >= reach) & (index[-1] - index >= reach))
    if scan.batch is None or not reach:
        return scored(__name__, np.nan, why=NOTHING if scan.batch is None else "the clip is too short to shift")
    shifts = [shift for shift in SHIFTS if abs(shift) <= reach]
    residuals = np.array([scan.residual_px(_shifted(trajectory, shift)) for shift in shifts])
    best, claimed = int(np.argmin(residuals)), float(residuals[shifts.index(0)])
    contrast = scan.ratio(float(residuals.max()), float(residuals[best]))
    values = {
        "shift": float(shifts[best]),
        "residual": float(residuals[best]),
        "claimed": claimed,
        "contrast": contrast,
    }
    if contrast < EVEN:
        return scored(__name__, np.nan, values, why="the motion is too even to tell")
    return scored(__name__, scan.ratio(claimed, float(residuals[best])), values)


def _shifted(trajectory: Trajectory, shift: int) -> Trajectory:
    """For each frame the pose claimed for `shift` frames later; between poses it is interpolated."""
    index = trajectory.frame_index.astype(np.float64)
    poses = se3.interpolate(trajectory.camera_to_world, index, index + shift)
    return replace(trajectory, camera_to_world=poses)
