"""Wrong poses, made from right ones: families of errors that estimators and file formats make, in graded severities.

Severity is in the family's own unit, and 0 leaves the trajectory as it is. Lengths are shares of the clip's median
depth or of its path length, so that they mean the same whatever the scale of the poses. `HARMLESS` are variants that
move no point by a tenth of a pixel or do not touch relative poses at all: a good score does not mind them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.errors import TrajkitError, nearest
from trajkit.trajectory import Trajectory

Array = np.ndarray
LEAST_PATH = 0.1  # of the depth: what errors given as a share of the path refer to where the camera hardly moves
WAVES = 4  # sines of a drift
FASTEST_DRIFT = 1.5  # of them, in turns over the clip
SPIKE = 3  # frames


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What an error is made of: the right poses, how much, at which depth, and chance."""

    trajectory: Trajectory
    severity: float  # in the family's unit
    depth: float  # median depth of the clip, in the trajectory's unit
    rng: np.random.Generator

    @property
    def path(self) -> float:
        """Length that shares of the path refer to, in the trajectory's unit."""
        return max(self.trajectory.path_length, LEAST_PATH * self.depth)

    @property
    def progress(self) -> Float64[Array, " n"]:
        """0 at the first pose, 1 at the last."""
        return np.linspace(0.0, 1.0, len(self.trajectory))


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One kind of error."""

    make: Callable[[Case], Trajectory]
    unit: str
    severities: tuple[float, ...]  # rising
    moderate: int  # number of the severity that a scorer has to find
    what: str


def corrupt(
    trajectory: Trajectory, family: str, severity: float, rng: np.random.Generator, *, depth: float | None = None
) -> Trajectory:
    """The trajectory with one family's error, of the same length and on the same frames.

    `severity` is in the family's unit, one of its `severities` or any other; 0 returns the trajectory unchanged.
    `depth` is the clip's median depth in the trajectory's unit; without it the path length stands in for it.
    Raises TrajkitError for an unknown family.
    """
    chosen = FAMILIES.get(family) or HARMLESS.get(family)
    if chosen is None:
        raise TrajkitError(
            f"family {family!r}", "no such kind of error", nearest(family, sorted({**FAMILIES, **HARMLESS}))
        )
    if severity == 0 or len(trajectory) < 2:
        return trajectory
    scale = depth if depth is not None else (trajectory.path_length or 1.0)
    return chosen.make(Case(trajectory=trajectory, severity=severity, depth=scale, rng=rng))


def _posed(trajectory: Trajectory, rotation: Float64[Array, "n 3 3"], centre: Float64[Array, "n 3"]) -> Trajectory:
    return replace(trajectory, camera_to_world=se3.pose(rotation, centre))


def _turned(trajectory: Trajectory, turn_rad: Float64[Array, "n 3"]) -> Trajectory:
    """Each camera turned in its own axes by a rotation vector; centres stay."""
    turn = Rotation.from_rotvec(turn_rad).as_matrix()
    return _posed(trajectory, trajectory.camera_to_world[:, :3, :3] @ turn, trajectory.centres)


def _shifted(trajectory: Trajectory, offset: Float64[Array, "n 3"]) -> Trajectory:
    return _posed(trajectory, trajectory.camera_to_world[:, :3, :3], trajectory.centres + offset)


def _steps(trajectory: Trajectory) -> Float64[Array, "m 4 4"]:
    """Each pose in the frame of the one before."""
    return se3.inverse(trajectory.camera_to_world[:-1]) @ trajectory.camera_to_world[1:]


def _chained(trajectory: Trajectory, steps: Float64[Array, "m 4 4"]) -> Trajectory:
    """The first pose followed by the steps."""
    poses = [trajectory.camera_to_world[0]]
    for step in steps:
        poses.append(poses[-1] @ step)
    return replace(trajectory, camera_to_world=np.array(poses))


def _axis(rng: np.random.Generator) -> Float64[Array, "3"]:
    axis = rng.normal(size=3)
    return np.asarray(axis / np.linalg.norm(axis))


def _wander(case: Case) -> Float64[Array, "n 3"]:
    """A slow signal on three axes that starts at 0 and is 1 long where it is longest."""
    rng, part = case.rng, case.progress[:, None, None]
    frequency = rng.uniform(0.2, FASTEST_DRIFT, (WAVES, 3))
    waves = np.sin(2 * np.pi * (frequency * part + rng.random((WAVES, 3)))) * rng.normal(size=(WAVES, 3)) / frequency
    signal = waves.sum(axis=1)
    signal -= signal[0]
    return np.asarray(signal / max(float(np.linalg.norm(signal, axis=1).max()), 1e-12))


def _rotation_jitter(case: Case) -> Trajectory:
    noise = case.rng.normal(size=(len(case.trajectory), 3))
    return _turned(case.trajectory, np.radians(case.severity) * noise)


def _translation_jitter(case: Case) -> Trajectory:
    return _shifted(case.trajectory, case.severity * case.depth * case.rng.normal(size=(len(case.trajectory), 3)))


def _rotation_drift(case: Case) -> Trajectory:
    return _turned(case.trajectory, np.radians(case.severity) * _wander(case))


def _translation_drift(case: Case) -> Trajectory:
    return _shifted(case.trajectory, case.severity * case.path * _wander(case))


def _scale_drift(case: Case) -> Trajectory:
    """Steps grow (or shrink) steadily, so that the last is 1 + severity times the first (or the other way round)."""
    growth = (1 + case.severity) ** (_sign(case) * case.progress[1:, None])
    steps = np.diff(case.trajectory.centres, axis=0) * growth
    centres = case.trajectory.centres[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    return _posed(case.trajectory, case.trajectory.camera_to_world[:, :3, :3], centres)


def _sign(case: Case) -> float:
    return float(case.rng.choice([1.0, -1.0]))


def _focal_error(case: Case) -> Trajectory:
    return _zoomed(case.trajectory, np.full(len(case.trajectory), (1 + case.severity) ** _sign(case)))


def _focal_drift(case: Case) -> Trajectory:
    return _zoomed(case.trajectory, (1 + case.severity) ** (_sign(case) * case.progress))


def _zoomed(trajectory: Trajectory, factor: Float64[Array, " n"]) -> Trajectory:
    intrinsics = trajectory.intrinsics.copy()
    intrinsics[:, :2] *= factor[:, None]
    return replace(trajectory, intrinsics=intrinsics)


def _time_offset(case: Case) -> Trajectory:
    """Poses of `severity` frames earlier or later; beyond the ends the camera goes on as it went."""
    poses, steps = case.trajectory.camera_to_world, _steps(case.trajectory)
    beyond = int(np.ceil(case.severity))
    before, after = [poses[0]], [poses[-1]]
    for _ in range(beyond):
        before.append(before[-1] @ se3.inverse(steps[0]))
        after.append(after[-1] @ steps[-1])
    longer = np.concatenate([before[:0:-1], poses, after[1:]])
    at = np.arange(len(poses)) + _sign(case) * case.severity
    return replace(case.trajectory, camera_to_world=se3.interpolate(longer, np.arange(len(longer)) - float(beyond), at))


def _stretch(case: Case) -> tuple[int, int]:
    """First pose and number of further ones of a stretch that covers `severity` of the clip, somewhere inside it."""
    count = min(max(1, round(case.severity * len(case.trajectory))), len(case.trajectory) - 1)
    return int(case.rng.integers(0, len(case.trajectory) - count)), count


def _frozen(case: Case) -> Trajectory:
    first, count = _stretch(case)
    steps = _steps(case.trajectory)
    steps[first : first + count] = np.eye(4)
    return _chained(case.trajectory, steps)


def _frozen_then_back(case: Case) -> Trajectory:
    first, count = _stretch(case)
    poses = case.trajectory.camera_to_world.copy()
    poses[first : first + count] = poses[first]
    return replace(case.trajectory, camera_to_world=poses)


def _jump(case: Case) -> Trajectory:
    steps = _steps(case.trajectory)
    at = int(case.rng.integers(len(steps) // 4, max(3 * len(steps) // 4, len(steps) // 4 + 1)))
    turn = Rotation.from_rotvec(np.radians(case.severity) * _axis(case.rng)).as_matrix()
    steps[at] = se3.pose(turn, np.zeros(3)) @ steps[at]
    return _chained(case.trajectory, steps)


def _spike(case: Case) -> Trajectory:
    turn = np.zeros((len(case.trajectory), 3))
    first = int(case.rng.integers(0, max(len(turn) - SPIKE, 1)))
    shape = np.sin(np.pi * np.arange(1, SPIKE + 1) / (SPIKE + 1))[:, None]
    turn[first : first + SPIKE] = (np.radians(case.severity) * shape * _axis(case.rng))[: len(turn) - first]
    return _turned(case.trajectory, turn)


def _smoothed(case: Case) -> Trajectory:
    quaternion = se3.to_quaternion_xyzw(case.trajectory.camera_to_world[:, :3, :3])
    flips = np.cumprod(np.where(np.einsum("ni,ni->n", quaternion[1:], quaternion[:-1]) < 0, -1.0, 1.0))
    quaternion[1:] *= flips[:, None]
    smooth = [
        gaussian_filter1d(signal, case.severity, axis=0, mode="nearest")
        for signal in (quaternion, case.trajectory.centres)
    ]
    return _posed(case.trajectory, se3.from_quaternion_xyzw(smooth[0]), smooth[1])


def _keyframes(case: Case) -> Trajectory:
    frames = np.arange(len(case.trajectory), dtype=np.float64)
    kept = np.unique([*frames[:: max(1, round(case.severity))], frames[-1]]).astype(int)
    return replace(
        case.trajectory,
        camera_to_world=se3.interpolate(case.trajectory.camera_to_world[kept], kept.astype(np.float64), frames),
    )


def _direction(case: Case) -> Trajectory:
    turn = Rotation.from_rotvec(np.radians(case.severity) * _across(case)).as_matrix()
    steps = _steps(case.trajectory)
    steps[:, :3, 3] = steps[:, :3, 3] @ turn.T
    return _chained(case.trajectory, steps)


def _across(case: Case) -> Float64[Array, "3"]:
    """A drawn unit vector across the main direction in which the camera moves, in camera axes."""
    _, _, axes = np.linalg.svd(_steps(case.trajectory)[:, :3, 3])
    angle = case.rng.uniform(0, 2 * np.pi)
    return np.asarray(np.cos(angle) * axes[1] + np.sin(angle) * axes[2])


def _still(case: Case) -> Trajectory:
    part = min(case.severity, 1.0)
    centres = case.trajectory.centres[0] + (1 - part) * (case.trajectory.centres - case.trajectory.centres[0])
    return _posed(case.trajectory, case.trajectory.camera_to_world[:, :3, :3], centres)


def _identity(case: Case) -> Trajectory:
    return replace(case.trajectory, camera_to_world=np.tile(np.eye(4), (len(case.trajectory), 1, 1)))


def _inverted(case: Case) -> Trajectory:
    return replace(case.trajectory, camera_to_world=case.trajectory.world_to_camera)


def _half_inverted(case: Case) -> Trajectory:
    inverse = case.trajectory.world_to_camera
    return _posed(case.trajectory, case.trajectory.camera_to_world[:, :3, :3], inverse[:, :3, 3])


def _opengl(case: Case) -> Trajectory:
    return replace(case.trajectory, camera_to_world=case.trajectory.camera_to_world @ np.diag([1.0, -1, -1, 1]))


def _transposed(case: Case) -> Trajectory:
    rotations = np.swapaxes(case.trajectory.camera_to_world[:, :3, :3], 1, 2)
    return _posed(case.trajectory, rotations, case.trajectory.centres)


def _mirrored(case: Case) -> Trajectory:
    mirror = np.diag([-1.0, 1, 1, 1])
    return replace(case.trajectory, camera_to_world=mirror @ case.trajectory.camera_to_world @ mirror)


def _reversed(case: Case) -> Trajectory:
    return replace(case.trajectory, camera_to_world=case.trajectory.camera_to_world[::-1])


def _quaternion_order(case: Case) -> Trajectory:
    xyzw = se3.to_quaternion_xyzw(case.trajectory.camera_to_world[:, :3, :3])
    return _posed(case.trajectory, se3.from_quaternion_xyzw(np.roll(xyzw, 1, axis=1)), case.trajectory.centres)


def _yaw_for_translation(case: Case) -> Trajectory:
    """Steps to the right become turns that move a point at the median depth as far across the picture."""
    steps = _steps(case.trajectory)
    part = min(case.severity, 1.0)
    turn = se3.axis_rotation("y", np.degrees(part * steps[:, 0, 3] / case.depth))
    steps[:, :3, :3] = steps[:, :3, :3] @ turn
    steps[:, 0, 3] *= 1 - part
    return _chained(case.trajectory, steps)


def _axes_permuted(case: Case) -> Trajectory:
    return _posed(case.trajectory, case.trajectory.camera_to_world[:, :3, :3], case.trajectory.centres[:, [1, 2, 0]])


def _mixture(case: Case) -> Trajectory:
    """A bit of everything that an estimator gets wrong: jitter, drift of all three kinds, and the focal length."""
    trajectory = case.trajectory
    for make, part in MIXED:
        trajectory = make(replace(case, trajectory=trajectory, severity=part * case.severity))
    return trajectory


MIXED = (
    (_rotation_jitter, 0.03),
    (_translation_jitter, 0.0005),
    (_rotation_drift, 0.7),
    (_translation_drift, 0.04),
    (_scale_drift, 0.1),
    (_focal_error, 0.03),
)


def _slight_jitter(case: Case) -> Trajectory:
    """White noise of 0.002 degrees and 2e-5 of the depth: 0.03 pixels at 832 x 480."""
    turned = _rotation_jitter(replace(case, severity=0.002 * case.severity))
    return _translation_jitter(replace(case, trajectory=turned, severity=2e-5 * case.severity))


def _other_world(case: Case) -> Trajectory:
    turn = Rotation.from_rotvec(case.rng.uniform(0, np.pi) * _axis(case.rng)).as_matrix()
    place = case.severity * case.depth * case.rng.normal(size=3)
    return case.trajectory.moved(se3.Similarity(case.rng.uniform(0.2, 5.0), turn, place))


def _other_scale(case: Case) -> Trajectory:
    return case.trajectory.scaled(float((1 + case.severity) ** _sign(case)))


def _rounded(case: Case) -> Trajectory:
    """Rotation matrices to so many units of 1e-4, centres to the same share of the depth."""
    step = 1e-4 * case.severity
    rotations = np.round(case.trajectory.camera_to_world[:, :3, :3] / step) * step
    start = case.trajectory.centres[0]
    centres = np.round((case.trajectory.centres - start) / (step * case.depth)) * step * case.depth + start
    return _posed(case.trajectory, se3.nearest_rotation(rotations), centres)


def _family(
    make: Callable[[Case], Trajectory], unit: str, severities: tuple[float, ...], moderate: int, what: str
) -> Family:
    return Family(make=make, unit=unit, severities=severities, moderate=moderate, what=what)


def _wrong(make: Callable[[Case], Trajectory], what: str) -> Family:
    return Family(make=make, unit="", severities=(1.0,), moderate=0, what=what)


FAMILIES: Mapping[str, Family] = {
    "rotation-jitter": _family(_rotation_jitter, "deg", (0.05, 0.1, 0.2, 0.5, 1.0), 2, "white noise, rms per axis"),
    "translation-jitter": _family(
        _translation_jitter, "depths", (0.0005, 0.002, 0.006, 0.015, 0.03), 2, "white noise, rms per axis"
    ),
    "rotation-drift": _family(_rotation_drift, "deg", (0.5, 1.0, 2.0, 4.0, 8.0), 2, "slow, largest error"),
    "translation-drift": _family(_translation_drift, "paths", (0.01, 0.03, 0.1, 0.2, 0.4), 2, "slow, largest error"),
    "scale-drift": _family(_scale_drift, "", (0.05, 0.2, 0.5, 1.0, 2.0), 3, "last step longer than the first by"),
    "focal-error": _family(_focal_error, "", (0.03, 0.05, 0.1, 0.2, 0.3), 3, "focal length wrong by this share"),
    "focal-drift": _family(_focal_drift, "", (0.03, 0.1, 0.2, 0.3), 1, "focal length drifts by this share"),
    "time-offset": _family(_time_offset, "frames", (1.0, 2.0, 3.0, 5.0), 1, "poses of earlier or later frames"),
    "frozen": _family(_frozen, "clips", (0.05, 0.1, 0.2, 0.4), 1, "poses stand still, that motion is lost"),
    "frozen-then-back": _family(_frozen_then_back, "clips", (0.05, 0.1, 0.2, 0.4), 1, "poses stand still, then jump"),
    "jump": _family(_jump, "deg", (0.25, 0.5, 1.0, 2.0, 5.0), 2, "one step turned"),
    "spike": _family(_spike, "deg", (0.5, 1.0, 2.0, 5.0), 1, "three poses turned"),
    "smoothed": _family(_smoothed, "frames", (1.0, 2.0, 4.0, 8.0), 2, "poses averaged, standard deviation"),
    "keyframes": _family(_keyframes, "frames", (3.0, 5.0, 7.0, 10.0), 3, "poses between every n-th interpolated"),
    "translation-direction": _family(_direction, "deg", (5.0, 10.0, 20.0, 45.0, 90.0), 2, "steps turned, views not"),
    "translation-zeroed": _wrong(_still, "no translation"),
    "identity": _wrong(_identity, "all poses the same"),
    "inverted": _wrong(_inverted, "world_to_camera for camera_to_world"),
    "half-inverted": _wrong(_half_inverted, "translation of world_to_camera, rotation of camera_to_world"),
    "opengl": _wrong(_opengl, "y up and z backward for y down and z forward"),
    "transposed": _wrong(_transposed, "rotations transposed, centres right"),
    "mirrored": _wrong(_mirrored, "x mirrored"),
    "reversed": _wrong(_reversed, "last pose first"),
    "quaternion-order": _wrong(_quaternion_order, "x y z w read as w x y z"),
    "yaw-for-translation": _family(_yaw_for_translation, "", (0.25, 0.5, 1.0), 1, "share of sideways steps turned"),
    "axes-permuted": _wrong(_axes_permuted, "y z x for x y z in the centres"),
    "mixture": _family(_mixture, "", (0.5, 1.0, 2.0, 4.0), 1, "jitter, drift and focal error at a time"),
}
HARMLESS: Mapping[str, Family] = {
    "slight-jitter": _family(_slight_jitter, "", (1.0,), 0, "noise of some hundredths of a pixel"),
    "other-world": _family(_other_world, "depths", (3.0,), 0, "another world frame, at another scale"),
    "other-scale": _family(_other_scale, "", (2.0,), 0, "all translations times a factor"),
    "rounded": _family(_rounded, "1e-4", (1.0,), 0, "four decimals"),
}
