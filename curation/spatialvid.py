"""SpatialVID's own trajectory columns, worked out again: on what they were computed on, and on camera centres.

SpatialVID's utils/evaluation.py takes the first three numbers of each row of poses.npy for the camera's position; they
are the translation of world to camera, -R c, into which every rotation leaks. Here each column is computed once on that
and once on the centres c. Units are the clip's own, poses are 0.2 s apart, angles in radians, as there:

moveDist   length of the polyline
distLevel  0 to 4: how many of 0.08, 0.28, 0.92, 2.41 moveDist reaches
rotAngle   sum of 2 acos(w) over the quaternions of the steps. Where a quaternion changes its sign between two rows, w
           is negative and the step counts as a turn the long way round, of up to 2 pi; that on centres is without this
trajTurns  at each point but the ends, the angle between the way from the start and the way to the end; smoothed over 5
           points (sigma); the peaks above 0.45 rad that are 5 points apart, and the maximum where it is no peak
anomaly    whether p + v + a / 2 (v, a: last velocity and acceleration per pose) misses the next position by more than
           0.03 twice in a row; true below four poses
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d

from trajkit import se3
from trajkit.errors import TrajkitError, nearest
from trajkit.trajectory import Trajectory

if TYPE_CHECKING:
    import polars as pl

Array = np.ndarray
LEVELS = (0.08, 0.28, 0.92, 2.41)  # units of moveDist
MISS = 0.03  # units
MISSES = 2  # in a row
TURN_RAD = 0.45
SIGMA = 5.0  # poses
APART = 5  # poses
NOTHING = 1e-8  # units; ways shorter than this have no direction
PUBLISHED = ("moveDist", "distLevel", "rotAngle", "trajTurns", "anomaly")  # anomaly is not in every release
NEEDED = PUBLISHED[:4]
W2C = "w2c_"  # prefix of values on what was published, in the metric's score


class Columns(NamedTuple):
    """One clip's columns, called as SpatialVID calls them."""

    moveDist: float
    distLevel: int
    rotAngle: float
    trajTurns: int
    anomaly: bool


class Recomputed(NamedTuple):
    """Both readings of one clip. `misled` names the columns that differ by more than rounding."""

    translations: Columns  # on -R c, as SpatialVID does
    centres: Columns  # on c
    misled: tuple[str, ...]


def recompute(trajectory: Trajectory, rows: Float64[Array, "n 7"] | None = None) -> Recomputed:
    """The columns of a clip. `rows` are those of its poses.npy, whose quaternions have signs that a rotation has not.

    Raises TrajkitError where the rows are not those of the trajectory.
    """
    rotations, translations = trajectory.camera_to_world[:, :3, :3], trajectory.world_to_camera[:, :3, 3]
    steps = np.radians(se3.angle_deg(np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]))
    signed = steps
    if rows is not None:
        if rows.shape != (len(rotations), 7) or not np.allclose(rows[:, :3], translations, rtol=1e-3, atol=1e-5):
            raise TrajkitError("poses.npy", "its rows are not the trajectory's poses", "give the clip's own poses.npy")
        signed = _signed_angles(rows[:, 3:])
    theirs, ours = columns(translations, signed), columns(trajectory.centres, steps)
    return Recomputed(theirs, ours, _misled(theirs, ours))


def columns(positions: Float64[Array, "n 3"], steps_rad: Float64[Array, "n-1"]) -> Columns:
    """The columns of positions, and of the angles between successive rotations."""
    distance = float(np.linalg.norm(np.diff(positions, axis=0), axis=-1).sum())
    level = int(np.searchsorted(LEVELS, distance, side="right"))
    return Columns(distance, level, float(steps_rad.sum()), _turns(positions), _jumps(positions))


def _jumps(positions: Float64[Array, "n 3"]) -> bool:
    if len(positions) < 4:
        return True
    velocity = np.diff(positions, axis=0)
    expected = positions[2:-1] + velocity[1:-1] + np.diff(velocity, axis=0)[:-1] / 2
    off = np.linalg.norm(expected - positions[3:], axis=-1) > MISS
    return any(off[first : first + MISSES].all() for first in range(len(off) - MISSES + 1))


def _turns(positions: Float64[Array, "n 3"]) -> int:
    ways = [positions[1:-1] - positions[0], positions[-1] - positions[1:-1]] if len(positions) > 2 else []
    if not ways:
        return 0
    lengths = [np.linalg.norm(way, axis=-1) for way in ways]
    kept = (lengths[0] >= NOTHING) & (lengths[1] >= NOTHING)
    if not kept.any():
        return 0
    cosine = (ways[0] * ways[1]).sum(-1)[kept] / (lengths[0] * lengths[1])[kept]
    angles = gaussian_filter1d(np.arccos(np.clip(cosine, -1, 1)), SIGMA)
    from scipy.signal import find_peaks  # not above: it takes half a second, and most who import this need no turns

    peaks, _ = find_peaks(angles, height=TURN_RAD, distance=APART)
    extra = angles.max() > TURN_RAD and angles.max() not in angles[peaks]
    return len(peaks) + int(extra)


def _signed_angles(quaternions_xyzw: Float64[Array, "n 4"]) -> Float64[Array, "n-1"]:
    """2 acos(w) of q[i+1] inv(q[i]), in radians, 0 to 2 pi: w is the dot product of the two, sign and all."""
    length = np.linalg.norm(quaternions_xyzw, axis=-1, keepdims=True)
    unit = quaternions_xyzw / np.where(length > 0, length, 1.0)
    return 2 * np.arccos(np.clip((unit[:-1] * unit[1:]).sum(-1), -1, 1))


def published(path: Path) -> "pl.LazyFrame":
    """`id` and PUBLISHED of SpatialVID's metadata CSV, anomaly null where the release has none; nothing is read yet.

    Raises TrajkitError where a column is missing.
    """
    import polars as pl

    try:
        table = pl.scan_csv(path, infer_schema=False)
        names = table.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise TrajkitError(path, f"no CSV table ({reason})", "give SpatialVID's metadata") from None
    for name in ("id", *NEEDED):
        if name not in names:
            raise TrajkitError(path, f"has no column {name!r}", nearest(name, names))
    told = pl.col("anomaly").str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)
    numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in NEEDED]
    return table.select("id", *numbers, told if "anomaly" in names else pl.lit(None, pl.Boolean).alias("anomaly"))


BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def compare(path: Path, clips: dict[str, Recomputed]) -> "pl.DataFrame":
    """For each clip (by id) and column: published, translations, centres, and the differences of both to the published.

    `difference` is published - translations: how well the code is understood. `error` is published - centres: what the
    published number is off by. Null where nothing is published. Raises TrajkitError for a CSV that cannot be read.
    """
    import polars as pl

    wanted = published(path).filter(pl.col("id").is_in(sorted(clips)))
    try:
        rows = wanted.collect().unique("id", keep="first", maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise TrajkitError(path, f"no CSV table ({reason})", "give SpatialVID's metadata") from None
    known = {row["id"]: row for row in rows.to_dicts()}
    told = [
        (key, name, _number(known.get(key, {}).get(name)), float(theirs), float(ours))
        for key, one in sorted(clips.items())
        for name, theirs, ours in zip(PUBLISHED, one.translations, one.centres, strict=True)
    ]
    schema = {"id": pl.String, "column": pl.String} | dict.fromkeys(
        ("published", "translations", "centres"), pl.Float64
    )
    table = pl.DataFrame(told, schema=schema, orient="row")
    return table.with_columns(
        difference=pl.col("published") - pl.col("translations"), error=pl.col("published") - pl.col("centres")
    )


def _number(value: float | bool | None) -> float | None:
    return None if value is None else float(value)


def of_score(values: Mapping[str, float]) -> Recomputed:
    """Both readings from the values of the metric `spatialvid`."""

    def read(prefix: str) -> Columns:
        distance, level, angle, turns, anomaly = (values[prefix + name] for name in PUBLISHED)
        return Columns(distance, int(level), angle, int(turns), bool(anomaly))

    theirs, ours = read(W2C), read("")
    return Recomputed(theirs, ours, _misled(theirs, ours))


def _misled(theirs: Columns, ours: Columns) -> tuple[str, ...]:
    pairs = zip(PUBLISHED, theirs, ours, strict=True)
    return tuple(name for name, one, two in pairs if not np.isclose(one, two, rtol=1e-3, atol=1e-5))
