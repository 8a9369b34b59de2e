"""What metrics share: how a score is made, which poses are compared, averages that few bad numbers leave alone."""

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.score import Score
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ..residuals import partners
from ..tracks import Tracks

Array = np.ndarray
STILL = 1e-9  # steps below it, relative to the size of the coordinates, are rounding
FEWEST = 8  # points; the median of fewer is chance
NOTHING = "there are no tracks to compare with"


def scored(
    module: str,
    value: float,
    values: Mapping[str, float] | None = None,
    *,
    why: str = "it is not finite",
    per_frame: Sequence[float] | Array = (),
) -> Score:
    """The score of the metric `module` (its `__name__`): `value` and entries that are not finite count as not known."""
    constants = sys.modules[module]
    known = math.isfinite(value)
    return Score(
        metric=module.rpartition(".")[2],
        value=float(value) if known else None,
        unit=constants.UNIT,
        better=constants.BETTER,
        version=constants.VERSION,
        per_frame=tuple(float(one) if math.isfinite(one) else None for one in per_frame),
        values={name: float(number) for name, number in (values or {}).items() if math.isfinite(number)},
        why="" if known else why,
    )


def tracks_of(evidence: Evidence) -> Tracks | None:
    """The tracks, or None where the clip has no video that decodes."""
    if evidence.clip.video is None and "tracks" not in vars(evidence):
        return None
    try:
        return evidence.tracks
    except TrajkitError:
        return None


def quantile(values: Array, share: float = 0.5) -> float:
    """Quantile (median) of the finite values, linear between them; NaN where there are none."""
    good = np.sort(values[np.isfinite(values)])
    if not len(good):
        return math.nan
    low, rest = divmod((len(good) - 1) * share, 1)  # np.quantile takes ten times as long for arrays this small
    return float(good[int(low)] + rest * (good[min(int(low) + 1, len(good) - 1)] - good[int(low)]))


def mean(values: Array) -> float:
    """Mean of the finite values; NaN where there are none."""
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else math.nan


def largest(values: Array) -> float:
    """Largest finite value; NaN where there are none."""
    return quantile(values, 1.0)


def ratio(above: float, below: float) -> float:
    """above / below; NaN where that says nothing."""
    return above / below if below > 0 and math.isfinite(above) else math.nan


def steps(trajectory: Trajectory) -> tuple[Float64[Array, "m 3"], Float64[Array, "m 3"]]:
    """Of each of the N-1 steps, per video frame: displacement and rotation vector (degrees), both in the first camera.

    Displacements within rounding of the coordinates are exactly zero.
    """
    poses, centres = trajectory.camera_to_world, trajectory.centres
    twist = se3.inverse(poses[:-1]) @ poses[1:]
    frames = np.maximum(np.diff(trajectory.frame_index), 1)[:, None]
    moves = twist[:, :3, 3]
    moves = np.where(np.linalg.norm(moves, axis=1, keepdims=True) > STILL * np.abs(centres).max(), moves, 0.0)
    return moves / frames, rotation_vectors_deg(twist[:, :3, :3]) / frames


def rotation_vectors_deg(rotations: Float64[Array, "m 3 3"]) -> Float64[Array, "m 3"]:
    """Axis times angle, in degrees."""
    from scipy.spatial.transform import Rotation

    return np.degrees(Rotation.from_matrix(rotations).as_rotvec()) if len(rotations) else np.zeros((0, 3))


def pairs(trajectory: Trajectory, stride: int, limit: int = 1000) -> tuple[Int64[Array, "m"], Int64[Array, "m"]]:
    """Positions of poses that lie about `stride` video frames apart, at most `limit` of them, evenly spread."""
    partner = partners(trajectory, stride)
    first = np.flatnonzero(partner >= 0)
    if len(first) > limit:
        first = first[np.linspace(0, len(first) - 1, limit).round().astype(np.int64)]
    return first, partner[first]


def spread(
    first: Int64[Array, "m"], second: Int64[Array, "m"], values: Float64[Array, "m"], poses: int
) -> Float64[Array, "n"]:
    """Of each pose the mean of the pairs that span it; NaN where none does."""
    known = np.isfinite(values)
    total, count = np.zeros(poses + 1), np.zeros(poses + 1)
    for ends, sign in ((first[known], 1.0), (second[known] + 1, -1.0)):
        np.add.at(total, ends, sign * values[known])
        np.add.at(count, ends, sign)
    total, count = total.cumsum()[:-1], count.cumsum()[:-1]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def by_pose(
    first: Int64[Array, "m"], values: Float64[Array, "m"], poses: int, fewest: int = FEWEST
) -> Float64[Array, "n"]:
    """Median of the values of each pose, NaN where it has fewer than `fewest`; `first` is sorted."""
    edges = np.searchsorted(first, np.arange(poses + 1))
    rows = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return np.array([np.median(values[low:high]) if high - low >= fewest else np.nan for low, high in rows])
