"""How far the claimed relative poses are from those that two pictures alone ask for.

Formula: essential matrices (or rotations, where these explain the points as well) of pairs of frames 8 and 20 apart,
estimated from their tracks with the claimed lens. The value is the median angle between the claimed and the estimated
rotation; `direction_deg` the same for the direction of translation, where there is parallax; `rotation_p90`,
`rotation_worst`, `direction_p90` tell more. `direction_known` is the share of pairs with a direction, `inliers` and
`parallax_px` say what the estimates rest on.
Unit: degrees.
Source: essential matrices by RANSAC (Nister 2004); PoseLib or OpenCV, twoview.py.
Sees: wrong rotations and directions independently of the claim: nothing is refined from it.
Cannot see: errors below about 0.3 degrees (noise of two views), how far the camera moves, pairs with few points; the
dominant motion of the picture wins, also where it is a moving thing's; a wrong lens makes both wrong in the same way.
"""

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.score import Better, Score

from .. import twoview
from ..evidence import Evidence
from ._common import NOTHING, largest, mean, quantile, scored, spread, tracks_of

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "deg"
BETTER: Better = "lower"
VERSION = "1"
STRIDES = (8, 20)  # frames
MOST_PAIRS = 8  # of each
ERRORS = ("rotation_error_deg", "direction_error_deg")


def score(evidence: Evidence) -> Score:
    """Median rotation error of single pairs of frames, in degrees."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    if tracks is None:
        return scored(__name__, np.nan, why=NOTHING)
    chosen = [pair for stride in STRIDES for pair in twoview.spread(trajectory, stride, MOST_PAIRS)]
    try:
        pairs = twoview.relative(trajectory, tracks, chosen)
    except TrajkitError as error:
        return scored(__name__, np.nan, why=error.problem)
    if not pairs:
        return scored(__name__, np.nan, why="no two frames share enough points to tell a relative pose")
    turned, aside = (np.array([getattr(pair, name) for pair in pairs]) for name in ERRORS)
    values = {
        "rotation_p90": quantile(turned, 0.9),
        "rotation_worst": largest(turned),
        "direction_deg": quantile(aside),
        "direction_p90": quantile(aside, 0.9),
        "direction_known": float(np.isfinite(aside).mean()),
        "inliers": quantile(np.array([pair.inliers for pair in pairs])),
        "parallax_px": quantile(np.array([pair.parallax_px for pair in pairs])),
        "only_rotation": mean(np.array([pair.only_rotation for pair in pairs], np.float64)),
    }
    first, second = (np.array([getattr(pair, name) for pair in pairs]) for name in ("first", "second"))
    return scored(__name__, quantile(turned), values, per_frame=spread(first, second, turned, len(trajectory)))
