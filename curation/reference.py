"""Estimated cameras against reference ones: ATE, RPE, RotErr, TransErr, CamMC and AUC, under a named alignment.

Poses are camera_to_world, OpenCV axes, paired by `frame_index`. Where both trajectories are metric, translations are
compared in metres, else as they stand. `align` says how the estimate is carried into the reference's world first:

none               as it stands
se3                rigid motion of least squared distance between the centres (Umeyama 1991)
sim3               the same with a scale
first_frame        the rigid motion that puts the first paired camera onto the reference's
first_frame_scale  the same, with the scale that puts the farthest camera as far from the first as the reference's is

RPE, the angles of AUC and everything about rotations relative to one another do not depend on a rigid motion; RPE
depends on the scale, AUC on neither.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64, Int64

from trajkit import se3
from trajkit.errors import TrajkitError, nearest
from trajkit.trajectory import Trajectory

Array = np.ndarray
Align = Literal["none", "se3", "sim3", "first_frame", "first_frame_scale"]
ALIGNMENTS: tuple[str, ...] = get_args(Align)
FRAMES = (1, 8, 32)  # distances of RPE
PATH_SHARES = (0.1, 0.5)  # of the reference's path: distances of RPE where none are given in its unit
PATH_TOLERANCE = 0.1  # of a distance along the path, by which a pair may miss it
AUC_DEG = (5, 10, 20)
AUC_POSES = 400  # more are thinned out evenly: 79,800 pairs
BASELINE = 1e-4  # of the reference's reach; the direction of a shorter step means nothing
STILL = 1e-9  # of the largest coordinate
FAR = 1e100  # squares of larger coordinates overflow


class Aligned(NamedTuple):
    """Paired poses in the reference's world."""

    estimate: Float64[Array, "n 4 4"]
    reference: Float64[Array, "n 4 4"]
    frame_index: Int64[Array, "n"]
    align: Align
    similarity: se3.Similarity  # reference <- estimate
    unit: str  # of translations: "metres", or "reference units"
    only_estimate: int  # poses left out since the reference has none at their frame
    only_reference: int


class Association(NamedTuple):
    """What was compared, and how it was brought together."""

    poses: int
    only_estimate: int
    only_reference: int
    scale: float  # that the alignment gave the estimate
    align: Align
    unit: str


class Spread(NamedTuple):
    """How errors spread, in their unit."""

    rmse: float
    mean: float
    median: float
    max: float


class Relative(NamedTuple):
    """RPE over pairs of one distance. None where there is no such pair."""

    distance: float | None  # mean of the pairs', in frames or along the reference's path
    pairs: int
    translation: Spread | None
    rotation_deg: Spread | None


class CameraErrors(NamedTuple):
    """Errors of whole cameras, as sums over the poses (what papers print) and as means.

    Translations are divided by `reach`, so that they have no unit; None where the reference stays where it is.
    """

    rot_err_rad: float  # sum
    rot_err_mean_deg: float
    trans_err: float | None  # sum
    trans_err_mean: float | None
    cam_mc: float | None  # sum
    cam_mc_mean: float | None
    reach: float  # distance of the reference's farthest camera from its first one, in its unit


class Auc(NamedTuple):
    """Area under recall over the error of pairs, up to 5, 10 and 20 degrees: 1 is best, None without pairs."""

    at_5: float | None
    at_10: float | None
    at_20: float | None
    pairs: int
    without_baseline: int  # of these, judged by rotation alone
    poses: int  # that the pairs are made of


Records = dict[str, Association | Spread | Relative | CameraErrors | Auc]


def compare(
    estimate: Trajectory,
    reference: Trajectory,
    align: Align = "sim3",
    *,
    frames: tuple[int, ...] = FRAMES,
    path: tuple[float, ...] | None = None,
) -> Records:
    """Every record by name: association, ate, rpe_<frames>, rpe_path_<distance>, camera, auc.

    `path` are distances along the reference's path in its unit; by default a tenth and a half of that path, called
    rpe_path_10pct and rpe_path_50pct. Raises TrajkitError as `aligned` does.
    """
    pair = aligned(estimate, reference, align)
    length = float(_path(pair.reference)[-1])
    if path is None:
        along = {f"rpe_path_{share * 100:g}pct": share * length for share in PATH_SHARES}
    else:
        along = {f"rpe_path_{distance:g}": distance for distance in path}
    records: Records = {
        "association": Association(
            poses=len(pair.reference),
            only_estimate=pair.only_estimate,
            only_reference=pair.only_reference,
            scale=pair.similarity.scale,
            align=align,
            unit=pair.unit,
        ),
        "ate": absolute(pair),
    }
    records |= {f"rpe_{count}": relative(pair, count) for count in frames}
    records |= {name: relative_along(pair, distance) for name, distance in along.items()}
    return records | {"camera": camera_errors(pair), "auc": auc(pair)}


def flat(records: Records) -> dict[str, float]:
    """The numbers of `compare` by dotted name, such as "rpe_8.rotation_deg.median"; what has no value is left out."""
    return {name: float(value) for name, value in _leaves("", records) if isinstance(value, int | float)}


def _leaves(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, item)
    else:
        yield prefix, value


def aligned(estimate: Trajectory, reference: Trajectory, align: Align) -> Aligned:
    """The poses of shared frames, the estimate carried into the reference's world.

    Raises TrajkitError where no frame is shared, a frame has two poses, or the alignment is not defined: se3 and sim3
    below three centres or on a line, a scale where one of the two stands still.
    """
    if align not in ALIGNMENTS:
        raise TrajkitError(f"alignment {align!r}", "no such alignment", nearest(align, ALIGNMENTS))
    _check(estimate, "estimate")
    _check(reference, "reference")
    shared, mine, theirs = np.intersect1d(estimate.frame_index, reference.frame_index, return_indices=True)
    if not len(shared):
        first, last = (f"{t.frame_index.min()}..{t.frame_index.max()}" for t in (estimate, reference))
        raise TrajkitError(
            "estimate", f"frames {first} meet none of the reference's {last}", "check which video each is of"
        )
    metric = estimate.scale.kind == reference.scale.kind == "metric"
    moving, fixed = (_poses(t, metric)[at] for t, at in ((estimate, mine), (reference, theirs)))
    similarity = _similarity(moving, fixed, align)
    return Aligned(
        estimate=similarity.poses(moving),
        reference=fixed,
        frame_index=shared,
        align=align,
        similarity=similarity,
        unit="metres" if metric else "reference units",
        only_estimate=len(estimate) - len(shared),
        only_reference=len(reference) - len(shared),
    )


def absolute(pair: Aligned) -> Spread:
    """ATE: distance of the estimated centre from the reference's, over all poses (Sturm et al. 2012)."""
    return _spread(np.linalg.norm(pair.estimate[:, :3, 3] - pair.reference[:, :3, 3], axis=-1))


def relative(pair: Aligned, frames: int) -> Relative:
    """RPE between each pose and the first one that is at least `frames` video frames later (Sturm et al. 2012).

    The error of a pair is inv(inv(Q_i) Q_j) inv(P_i) P_j, with reference poses Q: its translation and its angle.
    """
    later = np.searchsorted(pair.frame_index, pair.frame_index + max(frames, 1))
    first = np.flatnonzero(later < len(later))
    second = later[first]
    return _relative(pair, first, second, pair.frame_index[second] - pair.frame_index[first])


def relative_along(pair: Aligned, distance: float) -> Relative:
    """RPE between each pose and the one whose distance along the reference's path is nearest to `distance`.

    A pair that misses it by more than a tenth is none.
    """
    path = _path(pair.reference)
    first = np.arange(len(path) - 1)
    if distance <= 0 or not len(first):
        return Relative(None, 0, None, None)
    above = np.minimum(np.maximum(np.searchsorted(path, path[:-1] + distance), first + 1), len(path) - 1)
    below = np.maximum(np.searchsorted(path, path[above - 1]), first + 1)  # the first of those that share a place
    steps = np.stack([path[below], path[above]]) - path[:-1]
    second = np.where(np.abs(steps[0] - distance) <= np.abs(steps[1] - distance), below, above)
    steps = path[second] - path[:-1]
    near = np.abs(steps - distance) <= PATH_TOLERANCE * distance
    return _relative(pair, first[near], second[near], steps[near])


def camera_errors(pair: Aligned) -> CameraErrors:
    """RotErr, TransErr and CamMC over all poses.

    RotErr: angle of R_ref' R_est. TransErr: |c_est - c_ref| / reach. CamMC: Frobenius norm of the difference of the 3x4
    [R | c / reach]. CameraCtrl, MotionCtrl and CamI2V print sums, on poses relative to the first frame, which changes
    none of the three. CamI2V's "relative" figures are those under first_frame_scale, its "absolute" ones those under
    first_frame; undivided translations, as in CameraCtrl, are trans_err * reach.
    """
    poses = len(pair.reference)
    angles = se3.angle_deg(np.swapaxes(pair.reference[:, :3, :3], 1, 2) @ pair.estimate[:, :3, :3])
    reach = _reach(pair.reference)
    centres, rotations = ((pair.estimate - pair.reference)[:, :3, part] for part in (3, slice(3)))
    sums: list[float | None] = [None, None]
    if reach > _still(pair.reference):
        apart = np.linalg.norm(centres, axis=-1) / reach
        sums = [float(apart.sum()), float(np.sqrt(apart**2 + (rotations**2).sum((1, 2))).sum())]
    means = [None if total is None else total / poses for total in sums]
    return CameraErrors(
        rot_err_rad=float(np.radians(angles).sum()),
        rot_err_mean_deg=float(angles.mean()),
        trans_err=sums[0],
        trans_err_mean=means[0],
        cam_mc=sums[1],
        cam_mc_mean=means[1],
        reach=reach,
    )


def auc(pair: Aligned) -> Auc:
    """Area under recall(e) for e in 0..t degrees, divided by t: the mean over pairs of max(0, 1 - error / t).

    A pair's error is the larger of the angle between the relative rotations and the angle between the directions of the
    relative translations, which have a sign. Without a baseline in the reference the rotation alone counts; where only
    the estimate has none, the direction is 180 degrees off.
    """
    poses = min(len(pair.reference), AUC_POSES)
    chosen = np.linspace(0, len(pair.reference) - 1, poses).round().astype(np.int64)
    first, second = (chosen[side] for side in np.triu_indices(poses, 1))
    if not len(first):
        return Auc(None, None, None, 0, 0, poses)
    here, there = (se3.inverse(side[first]) @ side[second] for side in (pair.estimate, pair.reference))
    rotation = se3.angle_deg(np.swapaxes(there[:, :3, :3], 1, 2) @ here[:, :3, :3])
    moved = np.linalg.norm(there[:, :3, 3], axis=-1) > max(BASELINE * _reach(pair.reference), _still(pair.reference))
    direction = np.where(moved, _angle_deg(here[:, :3, 3], there[:, :3, 3], _still(pair.estimate)), 0.0)
    error = np.maximum(rotation, direction)
    areas = [float(np.maximum(0.0, 1 - error / limit).mean()) for limit in AUC_DEG]
    return Auc(areas[0], areas[1], areas[2], len(first), int((~moved).sum()), poses)


def _check(trajectory: Trajectory, name: str) -> None:
    index, count = np.unique(trajectory.frame_index, return_counts=True)
    if count.max() > 1:
        problem = f"has {count.max()} poses for frame {index[count.argmax()]}"
        raise TrajkitError(name, problem, "give each frame one pose")
    if np.abs(trajectory.centres).max() > FAR:
        raise TrajkitError(name, f"has centres beyond {FAR:g} units", "check its format")


def _poses(trajectory: Trajectory, metric: bool) -> Float64[Array, "n 4 4"]:
    return trajectory.scaled(trajectory.scale.factor).camera_to_world if metric else trajectory.camera_to_world


def _similarity(moving: Float64[Array, "n 4 4"], fixed: Float64[Array, "n 4 4"], align: Align) -> se3.Similarity:
    """reference <- estimate."""
    if align == "none":
        return se3.Similarity(1.0, np.eye(3), np.zeros(3))
    if align in ("se3", "sim3"):
        try:
            return se3.align(moving[:, :3, 3], fixed[:, :3, 3], with_scale=align == "sim3")
        except ValueError as error:
            raise TrajkitError(f"alignment {align}", str(error), "use first_frame or first_frame_scale") from None
    scale = 1.0
    if align == "first_frame_scale":
        reaches = [(_reach(poses), _still(poses)) for poses in (moving, fixed)]
        stands = [reach <= still for reach, still in reaches]
        if stands[0] != stands[1]:
            name = "estimate" if stands[0] else "reference"
            raise TrajkitError(f"alignment {align}", f"the {name} alone stands still: no scale fits", "use first_frame")
        scale = 1.0 if stands[0] else reaches[1][0] / reaches[0][0]
    rotation = fixed[0, :3, :3] @ moving[0, :3, :3].T
    return se3.Similarity(scale, rotation, fixed[0, :3, 3] - scale * rotation @ moving[0, :3, 3])


def _relative(pair: Aligned, first: Array, second: Array, distances: Array) -> Relative:
    if not len(first):
        return Relative(None, 0, None, None)
    here, there = (se3.inverse(side[first]) @ side[second] for side in (pair.estimate, pair.reference))
    error = se3.inverse(there) @ here
    shifts, angles = np.linalg.norm(error[:, :3, 3], axis=-1), se3.angle_deg(error[:, :3, :3])
    return Relative(float(distances.mean()), len(first), _spread(shifts), _spread(angles))


def _spread(errors: Float64[Array, "m"]) -> Spread:
    root = float(np.sqrt((errors**2).mean()))
    return Spread(root, float(errors.mean()), float(np.median(errors)), float(errors.max()))


def _path(poses: Float64[Array, "n 4 4"]) -> Float64[Array, "n"]:
    """Length of the path of the centres up to each pose."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=-1))])


def _reach(poses: Float64[Array, "n 4 4"]) -> float:
    return float(np.linalg.norm(poses[:, :3, 3] - poses[0, :3, 3], axis=-1).max())


def _still(poses: Float64[Array, "n 4 4"]) -> float:
    """Distances up to this are rounding."""
    return STILL * float(np.abs(poses[:, :3, 3]).max())


def _angle_deg(first: Float64[Array, "m 3"], second: Float64[Array, "m 3"], still: float) -> Float64[Array, "m"]:
    """Angle between vectors, accurate near both ends (Kahan); 180 where the first is no longer than `still`."""
    lengths = [np.linalg.norm(side, axis=-1, keepdims=True) for side in (first, second)]
    one, two = (side / np.where(length > 0, length, 1.0) for side, length in zip((first, second), lengths, strict=True))
    angle = 2 * np.arctan2(np.linalg.norm(one - two, axis=-1), np.linalg.norm(one + two, axis=-1))
    return np.where(lengths[0][:, 0] > still, np.degrees(angle), 180.0)
