"""How evenly the claimed cameras move: jumps, shaking, frozen stretches, interpolated key frames, repeated poses.

Formula: with v_i the velocity of the centre (or the rotation vector) over step i, per video frame, the jump score of a
step is |v_i - (v_i-1 + v_i+1) / 2| over the median speed of the ten steps around it (at least a quarter of the mean
speed). The value is the largest of both kinds. jerk = median |third difference| / median speed. Interpolated key
frames show as a velocity that only changes at even distances, `key_period` frames apart.
Unit: ratio (no unit: the scale of poses is not visible); `jump_turn_px` in pixels of the picture's middle.
Source: constant-acceleration checks of pose sets (SpatialVID's evaluation.py), made independent of scale and of frame.
Sees: single poses that were lost, tracking that froze or jumped, poses that were interpolated or filled up.
Cannot see: anything smooth. Smoothed and interpolated poses look better than exact ones of a hand-held camera, and key
presses of a rendered walk look like faults: this is a diagnosis, never a quality.
"""

import numpy as np
from jaxtyping import Bool, Float64

from trajkit.score import Better, Score
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ._common import Array, largest, quantile, ratio, scored, steps

NEEDS: tuple[str, ...] = ()
UNIT = "ratio"
BETTER: Better = "neither"
VERSION = "1"
AROUND = 5  # steps on either side
QUIET = 0.03  # of the loud changes of velocity: rounding of poses, not motion
STILL_DEG = 1e-4  # per frame
SAME = 1e-7  # distance of equal poses: of centres over the size of the path, plus of rotation matrices


def score(evidence: Evidence) -> Score:
    """The largest jump against its neighbours, and what else is uneven."""
    trajectory = evidence.trajectory
    if len(trajectory) < 4:
        return scored(__name__, np.nan, why=f"{len(trajectory)} poses have no neighbours to compare with")
    body, turn = steps(trajectory)
    turn[np.linalg.norm(turn, axis=1) < STILL_DEG] = 0.0
    move = np.einsum("nij,nj->ni", trajectory.camera_to_world[:-1, :3, :3], body)
    jumps, twists = _jumps(move), _jumps(turn)
    both, worst = np.fmax(jumps, twists), int(np.argmax(np.fmax(jumps, twists)))
    kink = _kinks(turn) * np.pi / 180 * float(np.median(trajectory.intrinsics[:, 0]))
    values = {
        "jump": largest(jumps),
        "jump_turn": largest(twists),
        "jump_turn_px": largest(kink),
        "jump_frame": float(trajectory.frame_index[worst + 1]),
        "jerk": _jerk(move),
        "jerk_turn": _jerk(turn),
        "key_period": _key_period(move, turn),
        **_frozen(move, turn),
        **_repeated(trajectory),
    }
    return scored(__name__, both[worst], values, per_frame=[np.nan, *both])


def _kinks(velocity: Float64[Array, "m 3"]) -> Float64[Array, "m"]:
    """How far each step's velocity is from the mean of its neighbours'."""
    padded = np.concatenate([velocity[1:2], velocity, velocity[-2:-1]])
    return np.linalg.norm(velocity - (padded[:-2] + padded[2:]) / 2, axis=1)


def _jumps(velocity: Float64[Array, "m 3"]) -> Float64[Array, "m"]:
    speed = np.linalg.norm(velocity, axis=1)
    if not speed.any():
        return np.zeros(len(speed))
    last = len(speed) - 1
    around = np.arange(last + 1)[:, None] + np.r_[-AROUND:0, 1 : AROUND + 1]
    around = np.abs(np.where(around > last, 2 * last - around, around))  # mirrored at the ends
    local = np.median(speed[np.minimum(around, last)], axis=1)
    return _kinks(velocity) / np.maximum(local, speed.mean() / 4)


def _jerk(velocity: Float64[Array, "m 3"]) -> float:
    third = np.linalg.norm(np.diff(velocity, 2, axis=0), axis=1)
    return ratio(quantile(third), quantile(np.linalg.norm(velocity, axis=1)))


def _frozen(move: Array, turn: Array) -> dict[str, float]:
    """Stretches without motion between steps that move: the longest (steps), their share, the step that ends one."""
    speed = np.hypot(*(np.linalg.norm(v, axis=1) / max(np.linalg.norm(v, axis=1).mean(), 1e-300) for v in (move, turn)))
    stretches = [(a, b) for a, b in _runs(speed == 0) if a > 0 and b < len(speed)]
    usual = quantile(speed[speed > 0])
    return {
        "frozen_longest": float(max((b - a for a, b in stretches), default=0)),
        "frozen_share": sum(b - a for a, b in stretches) / len(speed),
        "frozen_catch_up": max((ratio(float(speed[b]), usual) for _, b in stretches), default=0.0),
    }


def _key_period(move: Array, turn: Array) -> float:
    """Frames between changes of velocity, where these are evenly spaced and nothing happens between them; else 0."""
    kinks = np.zeros(len(move) - 1)
    for velocity in (move, turn):
        size = np.linalg.norm(np.diff(velocity, axis=0), axis=1)
        kinks = np.hypot(kinks, size / max(quantile(np.linalg.norm(velocity, axis=1)), 1e-300))
    loud = kinks > max(QUIET * quantile(kinks, 0.9), 1e-5)
    starts = np.array([low for low, _ in _runs(loud)])
    even = len(starts) >= 4 and loud.mean() <= 0.7 and np.ptp(np.diff(starts)) <= 1
    return float(np.diff(starts).mean()) if even else 0.0


def _runs(flags: Bool[Array, "m"]) -> list[tuple[int, int]]:
    """First and one past the last of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(np.int8), 0]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _repeated(trajectory: Trajectory) -> dict[str, float]:
    """Shares of poses that equal the one before, and of the others that equal an earlier one."""
    from scipy.spatial import cKDTree

    size = max(float(np.linalg.norm(np.ptp(trajectory.centres, axis=0))), 1e-300)
    rows = trajectory.camera_to_world[:, :3].copy()
    rows[:, :, 3] = (rows[:, :, 3] - trajectory.centres.mean(0)) / size
    rows = rows.reshape(len(rows), 12)
    fresh = np.r_[True, np.linalg.norm(np.diff(rows, axis=0), axis=1) > SAME]
    near = cKDTree(rows[fresh]).query(rows[fresh], k=2)[0][:, 1] if fresh.sum() > 1 else np.array([np.inf])
    return {"repeated": float(1 - fresh[1:].mean()), "returns_exactly": float((near <= SAME).mean())}
