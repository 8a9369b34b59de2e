"""What moves: the claimed cameras, the picture, and where the two disagree.

Formula: over pairs of poses eight frames apart, the claim is still where it turns points by less than 0.3 px and moves
by less than 5 % of the usual distance; the picture is still where the median point moves less than 0.3 px and moves
where it does by more than 2 px (at 832 pixels of width). The value is the share of pairs in which one stands still
while the other moves. Without video only the claim is described, and there is no value.
Kind: static, rotation (turning explains the picture over 32 frames), parallax, or unknown.
Unit: share of pairs; angles in degrees, flow and parallax in pixels, `revisits` the share of poses near an earlier one.
Source: pure rotations and homographies in two views (Hartley and Zisserman 2004, chapters 8 and 13).
Sees: poses lost or zeroed while the picture moves, drift of a camera that stands still.
Cannot see: wrong amounts and directions; movers that fill most of a still camera's picture; far scenes look still.
"""

import numpy as np

from trajkit import se3
from trajkit.score import Better, Score
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ..induced import WIDTH
from ._about import about as about
from ._common import NOTHING, STILL, Array, largest, mean, pairs, quantile, scored, spread, tracks_of
from ._flow import KINDS, flows, kind

NEEDS: tuple[str, ...] = ()
UNIT = "share"
BETTER: Better = "lower"
VERSION = "1"
STILL_PX, MOVES_PX = 0.3, 2.0
STILL_SHARE, MOVES_SHARE = 0.05, 0.5  # of the usual distance
MOST_PAIRS = 16


def score(evidence: Evidence) -> Score:
    """Share of the clip in which claim and picture disagree about whether anything moves."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    values = {"path_extent": _extent(trajectory), "turn_total_deg": _turned_deg(trajectory)}
    values |= {"revisits": _revisits(trajectory), "kind": float(KINDS.index(kind(evidence)))}
    first, second = pairs(trajectory, 8, MOST_PAIRS)
    if tracks is None or not len(first):
        return scored(__name__, np.nan, values, why=NOTHING)
    flow, unit = flows(tracks, trajectory, first, second), trajectory.width / WIDTH
    relative = se3.inverse(trajectory.camera_to_world[first]) @ trajectory.camera_to_world[second]
    turned_px = np.radians(se3.angle_deg(relative[:, :3, :3])) * np.median(trajectory.intrinsics[:, 0])
    moved = np.linalg.norm(relative[:, :3, 3], axis=1)
    moved[moved <= STILL * np.abs(trajectory.centres).max()] = 0.0
    usual = float(np.median(moved[moved > 0])) if moved.any() else np.inf
    still = (turned_px < STILL_PX * unit) & (moved <= STILL_SHARE * usual)
    moving = (turned_px > MOVES_PX * unit) | (moved > MOVES_SHARE * usual)
    known = np.isfinite(flow.median)
    lost = np.where(known, still & (flow.median > MOVES_PX * unit), np.nan)
    adrift = np.where(known, moving & (flow.median < STILL_PX * unit), np.nan)
    values |= {
        "claims_still": mean(lost),
        "claims_motion": mean(adrift),
        "flow_px": quantile(flow.median),
        "parallax_px": quantile(flow.homography),
        "turn_left_px": quantile(flow.rotation),
    }
    blame = spread(first, second, lost + adrift, len(trajectory))
    return scored(__name__, mean(lost + adrift), values, why=NOTHING, per_frame=blame)


def _extent(trajectory: Trajectory) -> float:
    """Farthest point from the start over the length of the path: 1 for a straight line; NaN for none."""
    away = largest(np.linalg.norm(trajectory.centres - trajectory.centres[0], axis=1))
    return away / trajectory.path_length if trajectory.path_length > 0 else np.nan


def _turned_deg(trajectory: Trajectory) -> float:
    """Largest angle between the first pose's rotation and any other's."""
    rotations = trajectory.camera_to_world[:, :3, :3]
    return largest(se3.angle_deg(rotations[0].T @ rotations))


def _revisits(trajectory: Trajectory) -> float:
    """Share of poses within 2 % of the path of one that lies a quarter of the clip, and a tenth of the path, before."""
    chosen = np.unique(np.linspace(0, len(trajectory) - 1, 200).round().astype(np.int64))
    centres, length = trajectory.centres, trajectory.path_length
    travelled = np.r_[0.0, np.linalg.norm(np.diff(centres, axis=0), axis=1).cumsum()]
    rank, centres, travelled = np.arange(len(chosen)), centres[chosen], travelled[chosen]
    before = (rank[:, None] - rank) * 4 >= len(chosen)
    before &= travelled[:, None] - travelled > length / 10
    near: Array = np.linalg.norm(centres[:, None] - centres, axis=2) < length / 50
    return float((near & before).any(1).mean())
