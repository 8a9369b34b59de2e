"""How the picture itself moves between two frames, and whether a turning camera alone explains it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from trajkit import se3
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ..induced import WIDTH
from ..tracks import Tracks
from ._common import STILL, Array, largest, mean, pairs, quantile, tracks_of

FEWEST = 12  # points; fewer do not tell a homography (8 numbers) from chance
PASSES = 3  # of reweighting
KINDS = ("unknown", "static", "rotation", "parallax")
PARALLAX_PX = 1.0
TURNED_SHARE = 0.05  # of the flow may be left by turning alone
LEAST_TURN_DEG = 2.0  # over the clip
FEW_PAIRS = 8


class Flow(NamedTuple):
    """Of each pair of poses, in pixels; NaN where too few points were followed.

    What a fit leaves is its residual's 75th percentile: parallax, or moving things.
    """

    median: Float64[Array, "m"]  # motion of points
    homography: Float64[Array, "m"]  # what the best homography leaves; nothing of a planar scene
    rotation: Float64[Array, "m"]  # what the best rotation of the claimed lens leaves


def flows(tracks: Tracks, trajectory: Trajectory, first: Int64[Array, "m"], second: Int64[Array, "m"]) -> Flow:
    """Motion of the picture between the frames of pairs of poses."""
    index, rows = trajectory.frame_index, []
    for a, b in zip(first, second, strict=True):
        here, there, _ = tracks.pair(int(index[a]), int(index[b]))
        if len(here) < FEWEST:
            rows.append((np.nan, np.nan, np.nan))
            continue
        here, there = here.astype(np.float64), there.astype(np.float64)
        landings = _homography(here, there), _rotation(here, there, trajectory.intrinsics[a], trajectory.intrinsics[b])
        left, turned = (quantile(np.linalg.norm(landed - there, axis=1), 0.75) for landed in landings)
        rows.append((quantile(np.linalg.norm(there - here, axis=1)), left, turned))
    return Flow(*np.array(rows, np.float64).reshape(-1, 3).T)


def kind(evidence: Evidence) -> str:
    """One of KINDS: what the picture shows, or where there is no picture, what the cameras claim."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    if tracks is not None:
        return _shown(trajectory, tracks)
    if len(trajectory) < 2:
        return "unknown"
    if trajectory.path_length > STILL * np.abs(trajectory.centres).max():
        return "parallax"
    turned = se3.angle_deg(trajectory.camera_to_world[0, :3, :3].T @ trajectory.camera_to_world[:, :3, :3])
    return "rotation" if largest(turned) > LEAST_TURN_DEG else "static"


def _shown(trajectory: Trajectory, tracks: Tracks) -> str:
    unit = PARALLAX_PX * trajectory.width / WIDTH
    for stride in (32, 8):
        flow = flows(tracks, trajectory, *pairs(trajectory, stride, FEW_PAIRS))
        if not np.isfinite(flow.median).any():
            continue
        if quantile(flow.median, 0.9) < unit:
            return "static"
        if quantile(flow.homography, 0.9) > unit:
            return "parallax"
        left = flow.rotation > np.maximum(TURNED_SHARE * flow.median, unit)
        return "parallax" if mean(left[np.isfinite(flow.median)]) > 0.5 else "rotation"  # a plane shows no parallax
    return "unknown"


def _rotation(here: Array, there: Array, lens: Array, other: Array) -> Float64[Array, "m 2"]:
    """Where the rotation that fits most rays puts them (Kabsch 1976, Cauchy weights), in pixels."""
    a, b = _rays(here, lens), _rays(there, other)
    weight = np.ones(len(a))
    for _ in range(PASSES):
        moved = a @ se3.nearest_rotation((b.T * weight) @ a).T
        distance = np.linalg.norm(moved - b, axis=1)
        weight = 1 / (1 + (distance / max(quantile(distance), 1e-6)) ** 2)
    depth = np.where(moved[:, 2:] > 1e-3, moved[:, 2:], 1e-3)
    return moved[:, :2] / depth * other[:2] + other[2:]


def _rays(pixels: Array, lens: Array) -> Float64[Array, "m 3"]:
    rays = np.c_[(pixels - lens[2:]) / lens[:2], np.ones(len(pixels))]
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _homography(here: Float64[Array, "m 2"], there: Float64[Array, "m 2"]) -> Float64[Array, "m 2"]:
    """Where the homography that fits most points puts them: linear least squares (h33 = 1), Cauchy weights.

    Source: Hartley and Zisserman 2004, section 4.1 (inhomogeneous solution on normalised points).
    """
    middle, size = there.mean(0), max(float(there.std()), 1e-9)
    a, b = (here - middle) / size, (there - middle) / size
    one, zero = np.ones(len(a)), np.zeros(len(a))
    rows = np.concatenate(
        [
            np.stack([a[:, 0], a[:, 1], one, zero, zero, zero, -a[:, 0] * b[:, 0], -a[:, 1] * b[:, 0]], axis=1),
            np.stack([zero, zero, zero, a[:, 0], a[:, 1], one, -a[:, 0] * b[:, 1], -a[:, 1] * b[:, 1]], axis=1),
        ]
    )
    wanted, weight = b.T.reshape(-1), np.ones(len(rows))
    for _ in range(PASSES):
        normal = (rows.T * weight) @ rows + 1e-12 * np.eye(8)
        answer = np.append(np.linalg.solve(normal, (rows.T * weight) @ wanted), 1.0).reshape(3, 3)
        moved = np.c_[a, one] @ answer.T
        scale = np.where(np.abs(moved[:, 2:]) > 1e-6, moved[:, 2:], 1e-6)
        landed = moved[:, :2] / scale
        distance = np.linalg.norm(landed - b, axis=1)
        weight = np.tile(1 / (1 + (distance / max(quantile(distance), 1e-6)) ** 2), 2)
    return landed * size + middle
