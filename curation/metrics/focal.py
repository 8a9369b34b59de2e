"""Whether another focal length explains the picture better than the claimed one.

Formula: median half-line residual eight frames apart with all focal lengths times 0.625 to 1.6 (eleven steps). The
value is the claimed residual over the best one (0.1 px added to both): 1 = none fits better. `factor` is the best
multiplier, refined by a parabola through its neighbours on log scale.
Unit: ratio.
Source: self-calibration by a scan (Hartley and Zisserman 2004, chapter 19, for when it is possible at all).
Sees: focal lengths of another lens or picture size, from a few per cent where the camera turns.
Cannot see: anything where motion is small or forward (focal length and depth trade): no value where the residual
hardly changes. Lens distortion looks like another focal length. Zooms are not looked for: one factor for all frames.
"""

from dataclasses import replace

import numpy as np

from trajkit.score import Better, Score
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ._common import NOTHING, scored
from ._scan import Scan

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "ratio"
BETTER: Better = "lower"
VERSION = "1"
FACTORS = 1.6 ** np.linspace(-1, 1, 11)
FLAT = 1.15  # worst over best residual: less says nothing


def score(evidence: Evidence) -> Score:
    """Residual of the claim over that of the best focal length."""
    scan = Scan(evidence)
    if scan.batch is None:
        return scored(__name__, np.nan, why=NOTHING)
    residuals = np.array([scan.residual_px(_zoomed(evidence.trajectory, factor)) for factor in FACTORS])
    best, claimed = int(np.argmin(residuals)), float(residuals[len(FACTORS) // 2])
    contrast = scan.ratio(float(residuals.max()), float(residuals[best]))
    values = {"residual": float(residuals[best]), "claimed": claimed, "contrast": contrast}
    if contrast < FLAT:
        return scored(__name__, np.nan, values, why="the motion does not tell the focal length")
    values["factor"] = _refined(residuals, best)
    return scored(__name__, scan.ratio(claimed, float(residuals[best])), values)


def _zoomed(trajectory: Trajectory, factor: float) -> Trajectory:
    return replace(trajectory, intrinsics=trajectory.intrinsics * (factor, factor, 1, 1))


def _refined(residuals: np.ndarray, best: int) -> float:
    """Factor at the vertex of the parabola through the best one and its neighbours."""
    logs = np.log(FACTORS)
    if not 0 < best < len(logs) - 1:
        return float(FACTORS[best])
    low, middle, high = residuals[best - 1 : best + 2]
    curvature = low - 2 * middle + high
    offset = (low - high) / (2 * curvature) if curvature > 0 else 0.0
    return float(np.exp(logs[best] + offset * (logs[1] - logs[0])))
