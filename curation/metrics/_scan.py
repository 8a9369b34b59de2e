"""One residual for many stories about the same correspondences: which of them fits best?"""

import numpy as np
from jaxtyping import Bool

from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ..induced import WIDTH
from ..residuals import Pairs, pair_errors
from ..residuals import pairs as correspondences
from ._common import Array, quantile, tracks_of

STRIDE = 8  # frames; fewer hide slow faults, more lose points
PER_PAIR = 16  # correspondences
FEWEST = 60  # of them in all
FLOOR_PX = 0.1  # added to both sides of a ratio: below it is noise of tracks


class Scan:
    """The correspondences of a clip, and the residual that other cameras of the same poses' frames leave."""

    def __init__(self, evidence: Evidence) -> None:
        self.trajectory, tracks = evidence.trajectory, tracks_of(evidence)
        index = self.trajectory.frame_index
        self.floor_px = FLOOR_PX * self.trajectory.width / WIDTH
        self.batch: Pairs | None = None
        if tracks is not None and len(index) > 1:
            stride = min(STRIDE, max(1, int(index[-1] - index[0]) // 2))
            stride = max(stride, int(np.median(np.diff(index))))
            batch = correspondences(self.trajectory, tracks, stride, PER_PAIR)
            self.batch = batch if len(batch.first) >= FEWEST else None

    def within(self, keep: Bool[Array, "n"]) -> None:
        """Leaves out the pairs of poses that are not both kept."""
        if self.batch is not None:
            rows = keep[self.batch.first] & keep[self.batch.second]
            self.batch = Pairs(*(column[rows] for column in self.batch)) if rows.sum() >= FEWEST else None

    def residual_px(self, trajectory: Trajectory) -> float:
        """Median half-line residual eight frames apart; NaN where there are too few correspondences."""
        return quantile(pair_errors(trajectory, self.batch)) if self.batch is not None else np.nan

    def ratio(self, claimed_px: float, other_px: float) -> float:
        """Residual of the claim over that of another story: above 1 the other one fits better."""
        return (claimed_px + self.floor_px) / (other_px + self.floor_px)
