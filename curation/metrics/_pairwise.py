"""Scores of residuals between two frames, at several distances of these."""

import numpy as np

from trajkit.score import Score

from ..evidence import Evidence
from ..induced import WIDTH
from ..residuals import Kind, pair_errors, partners
from ..residuals import pairs as correspondences
from ._common import NOTHING, by_pose, largest, quantile, scored, spread, tracks_of

STRIDES = (1, 8, 32)  # frames
PER_PAIR = 60  # correspondences


def pairwise(module: str, evidence: Evidence, kind: Kind) -> Score:
    """Median residual eight frames apart, in pixels; further figures for each stride."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    values: dict[str, float] = {}
    if tracks is None:
        return scored(module, np.nan, why=NOTHING)
    blame = np.full(len(trajectory), np.nan)
    for stride in STRIDES:
        batch = correspondences(trajectory, tracks, stride, PER_PAIR)
        errors = pair_errors(trajectory, batch, kind)
        windows = by_pose(batch.first, errors, len(trajectory))
        values |= {
            f"median_{stride}": quantile(errors),
            f"p90_{stride}": quantile(errors, 0.9),
            f"worst_{stride}": largest(windows),
            f"inliers_{stride}": float((errors < trajectory.width / WIDTH).mean()) if len(errors) else np.nan,
        }
        if stride == 8:
            known = np.flatnonzero(np.isfinite(windows))
            blame = spread(known, partners(trajectory, stride)[known], windows[known], len(trajectory))
    return scored(module, values["median_8"], values, why=NOTHING, per_frame=blame)
