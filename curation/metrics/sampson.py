"""How far followed points lie from their epipolar lines.

Formula: Sampson distance (Hartley and Zisserman 2004, eq. 11.9) of the claimed relative pose, for frames 1, 8 and 32
apart. The value is the median at 8; `median_s`, `p90_s`, `worst_s` (largest median of one pair of frames) and
`inliers_s` (share within a pixel at 832 pixels of width) tell of each stride. Pairs without translation are measured
to the infinitely far point.
Unit: pixels of the clip.
Source: the usual figure of published pose sets, for comparison with them.
Sees: wrong rotations and directions of translation, wrong focal lengths.
Cannot see: how far the camera moves (scale drift, freezes, jumps along the path), the sign of the translation, points
behind the camera, faults of few frames (medians), faults along the epipolar lines. `ray` and `induced` see more.
"""

from trajkit.score import Better, Score

from ..evidence import Evidence
from ._pairwise import pairwise

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "px"
BETTER: Better = "lower"
VERSION = "1"


def score(evidence: Evidence) -> Score:
    """Median Sampson distance eight frames apart, in pixels."""
    return pairwise(__name__, evidence, "sampson")
