"""Whether the claimed cameras' unit of length stays the same from the clip's start to its end.

Formula: log of the claimed over the adjusted distance of poses eight frames apart, in windows where the adjusted
cameras move by at least a quarter of the usual distance. The value is the range from the 10th to the 90th percentile
over the clip (0 = one scale for all); `drift` the difference of the medians of its last and first third, `worst` the
largest deviation of a window from the median, `known` the share of windows that count.
Unit: log ratio (0.7 is a factor of two).
Source: scale drift of monocular odometry, told against cameras that share points over many frames.
Sees: drifting scale, freezes, jumps along the path, of which residuals between two frames know nothing.
Cannot see: scale where nothing shows parallax; drift slower than tracks can carry (the adjusted cameras drift too).
"""

import numpy as np

from trajkit.score import Better, Score

from ..evidence import Evidence
from ._common import NOTHING, largest, pairs, quantile, scored, spread, tracks_of

NEEDS: tuple[str, ...] = ("tracks", "adjusted")
UNIT = "log ratio"
BETTER: Better = "lower"
VERSION = "1"
ENOUGH = 0.25  # of the usual adjusted distance
LEAST = 0.01  # ratio: what stands still has no logarithm
FEWEST = 5  # windows


def score(evidence: Evidence) -> Score:
    """Range of the claimed over the adjusted scale within the clip."""
    trajectory = evidence.trajectory
    if tracks_of(evidence) is None:
        return scored(__name__, np.nan, why=NOTHING)
    adjusted = evidence.adjusted
    if {"translation", "all"} & set(adjusted.unobservable):
        return scored(__name__, np.nan, why="no parallax shows how far the camera moves")
    first, second = pairs(trajectory, 8)
    claimed, reference = (
        np.linalg.norm(cameras.centres[second] - cameras.centres[first], axis=1)
        for cameras in (trajectory, adjusted.trajectory)
    )
    enough = reference > ENOUGH * max(quantile(reference), 0.0) if len(reference) else reference > 0
    if enough.sum() < FEWEST or not claimed[enough].any():
        return scored(__name__, np.nan, why="too few stretches of eight frames show how far the camera moves")
    ratios = np.where(enough, claimed, np.nan) / np.where(enough, reference, 1.0)
    logs = np.log(np.maximum(ratios / quantile(ratios[claimed > 0]), LEAST))
    logs -= quantile(logs)
    third = max(len(logs) // 3, 1)
    values = {
        "drift": quantile(logs[-third:]) - quantile(logs[:third]),
        "worst": largest(np.abs(logs)),
        "known": float(enough.mean()),
        "parallax_px": adjusted.parallax_px,
    }
    blame = spread(first, second, np.abs(logs), len(trajectory))
    return scored(__name__, quantile(logs, 0.9) - quantile(logs, 0.1), values, per_frame=blame)
