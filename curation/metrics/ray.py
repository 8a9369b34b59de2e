"""How far followed points lie from where they could be: the half line of all depths, in front of both cameras.

Formula: distance of the observed point from {K_b (R b + r t), r >= 0}, the picture of the ray of its partner at all
inverse depths r, mean of both directions, for frames 1, 8 and 32 apart. The value is the median at 8; `median_s`,
`p90_s`, `worst_s` (largest median of one pair of frames) and `inliers_s` (share within a pixel at 832 pixels of width)
tell of each stride.
Unit: pixels of the clip.
Source: the half-line residual of residuals.py; like Sampson's distance, without three of its blind spots.
Sees: wrong rotations, directions and signs of translation, focal lengths, conventions; translation that is missing.
Cannot see: how far the camera moves (scale drift, freezes, jumps along the path): pairs of frames have no scale.
"""

from trajkit.score import Better, Score

from ..evidence import Evidence
from ._pairwise import pairwise

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "px"
BETTER: Better = "lower"
VERSION = "1"


def score(evidence: Evidence) -> Score:
    """Median half-line residual eight frames apart, in pixels."""
    return pairwise(__name__, evidence, "half_line")
