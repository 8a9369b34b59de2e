"""By how many pixels the claimed cameras move the points of the still scene off where the pictures want them.

Formula: points of the adjusted world, seen in one frame, are moved into the frame 8 later by the claimed and by the
adjusted cameras; the distance in pixels, median over points, mean over all such pairs. One factor of the claimed
translations, the best for the clip, is granted. `px_1`, `px_8`, `px_32`: at each stride; `worst_1_px`, `worst_px` (8),
`worst_32_px`: of the worst pair; `worst_frame`: where that of 8 begins; `sigma_px`: what a perfect claim would get at
8 from the noise of tracks, and `worst_sigma_px`; `rotation_deg`: largest error of the rotation from a pose to the
next; `borne_*`: errors as far as the tracks bear them out, that is times the share of the claim's loss (`relief`) that
the adjusted cameras take away; `focal_factor`: that the pictures ask for; `support`: points per frame.
Unit: pixels of the clip.
Source: residual flow error (Structure and Motion from Casual Videos, 2022), between claimed and adjusted cameras.
Sees: nearly every fault, in the unit of what a model is taught wrongly.
Cannot see: what tracks do not decide (`translation_unknown`, `focal_sigma`), zoom against dolly, distortion, a world
that movers make consistent; below about 0.7 px there is only noise of tracks.
"""

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.score import Better, Score
from trajkit.trajectory import Trajectory

from .._moved import Induced
from ..adjust import induced
from ..evidence import Evidence
from ..residuals import partners
from ._common import NOTHING, Array, largest, mean, quantile, scored, spread, tracks_of

NEEDS: tuple[str, ...] = ("tracks", "adjusted")
UNIT = "px"
BETTER: Better = "lower"
VERSION = "1"
STRIDE = 8  # frames: of the value


def score(evidence: Evidence) -> Score:
    """Mean induced error eight frames apart, in pixels."""
    trajectory = evidence.trajectory
    if tracks_of(evidence) is None:
        return scored(__name__, np.nan, why=NOTHING)
    adjusted = evidence.adjusted
    if "all" in adjusted.unobservable:
        return scored(__name__, np.nan, why="too few points were followed to adjust the cameras")
    found = induced(trajectory, adjusted)
    at = found.strides.index(STRIDE)
    values = {f"px_{stride}": found.mean_px[row] for row, stride in enumerate(found.strides)}
    names = {1: "worst_1_px", STRIDE: "worst_px", 32: "worst_32_px"}
    values |= {names[stride]: found.worst_px[row] for row, stride in enumerate(found.strides)}
    values |= {
        "worst_frame": float(found.worst_frame[at]),
        "sigma_px": found.sigma_px[at],
        "worst_sigma_px": found.worst_sigma_px[at],
        "rotation_deg": largest(_rotation_errors_deg(trajectory, adjusted.trajectory)),
        "focal_factor": adjusted.focal_factor,
        "focal_off": abs(np.log(adjusted.focal_factor)),
        "focal_sigma": adjusted.focal_sigma,
        "support": quantile(adjusted.support[:, 0]),
        "outliers": 1 - adjusted.inlier_share,
        "residual_px": adjusted.residual_px,
        "parallax_px": adjusted.parallax_px,
        "translation_unknown": float("translation" in adjusted.unobservable),
        "converged": float(adjusted.converged),
        "restarted": float(adjusted.restarted),
    }
    values |= _borne(found, adjusted.relief, trajectory)
    begins = found.by_pose_px[at]
    known = np.flatnonzero(np.isfinite(begins))
    blame = spread(known, partners(trajectory, STRIDE)[known], begins[known], len(trajectory))
    return scored(__name__, values["px_8"], values, why="no two poses are eight frames apart", per_frame=blame)


def _borne(found: Induced, relief: Float64[Array, "n"], trajectory: Trajectory) -> dict[str, float]:
    """The same errors, each times the share of the claim's loss at its two poses that the adjusted cameras take away:
    where other cameras explain the tracks no better, that they are elsewhere says nothing against the claim."""
    values: dict[str, float] = {}
    for row, stride in enumerate(found.strides):
        partner = partners(trajectory, stride)
        share = np.where(partner >= 0, np.maximum(relief, relief[partner]), np.nan)
        borne = found.by_pose_px[row] * share
        values |= {f"borne_{stride}": mean(borne), f"borne_worst_{stride}": largest(borne)}
    return values | {"relief": mean(relief), "relief_worst": largest(relief)}


def _rotation_errors_deg(claimed: Trajectory, reference: Trajectory) -> Float64[Array, "m"]:
    """Angle between the claimed and the adjusted rotation of each step, in degrees."""
    steps = [np.swapaxes(r[:-1], 1, 2) @ r[1:] for r in (c.camera_to_world[:, :3, :3] for c in (claimed, reference))]
    return se3.angle_deg(np.swapaxes(steps[0], 1, 2) @ steps[1])
