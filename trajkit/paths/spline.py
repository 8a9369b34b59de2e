"""A smooth path through neighbouring captured cameras, at constant speed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from trajkit import motion, se3
from trajkit.errors import TrajkitError
from trajkit.latents import FRAMES_PER_LATENT
from trajkit.options import option
from trajkit.paths._pace import Ease, progress
from trajkit.paths._start import AnchoredOptions, check_anchor
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

Array = np.ndarray
_TURN_GAP_DEG = 45.0  # neighbours that differ by more share too little of the picture to go between them
_SPACING, _SPACING_DEG = 0.1, 5.0  # path units and degrees between knots: closer cameras differ by the hand's jitter
_MARGIN_LATENTS = 4.0  # of the run beyond the clip, as knots are fewer and chords shorter than the captured steps
_SAMPLES_PER_KNOT = 256  # of the curve where its length is measured: a gap takes some 50 frames at most
_LEAST_PART = 0.7  # in a capture too short for the clip, any start with this part of the longest run will do


@dataclass(frozen=True, kw_only=True)
class Options(AnchoredOptions):
    """Options of `spline`."""

    speed: float = option(
        motion.LATENT_STEP, "mean speed over many clips", unit="path units per latent", low=0.001, high=5.0
    )
    vary: float = option(0.5, "a clip's speed is drawn from 1-vary to 1+vary times that", low=0.0, high=0.9)
    turn_deg: float = option(
        6.0, "the camera slows down where it would turn faster", unit="degrees per latent", low=0.1, high=45.0
    )
    gap: float = option(2.0, "no path between neighbours further apart", unit="path units", low=0.001, high=100.0)
    direction: Literal["either", "forward", "backward"] = option(
        "either", "through the capture forward, backward, or either (drawn)"
    )
    ease: Ease = option("none", "speed profile: none, in, out or in-out")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measure:
    """A distance between poses: 1 is a move of `length` or a turn of `angle_deg`, whichever is more."""

    length: float  # scene units
    angle_deg: float

    def between(self, first: Float64[Array, "*n 4 4"], second: Float64[Array, "*n 4 4"]) -> Float64[Array, "*n"]:
        distance = np.linalg.norm(second[..., :3, 3] - first[..., :3, 3], axis=-1)
        return np.maximum(distance / self.length, _angle_deg(first, second) / self.angle_deg)


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """A C2 curve through captured cameras in capture order; frame 0 is the first of them.

    Centres: natural cubic spline. Rotations: SciPy's RotationSpline. Both over centripetal parameters, which keep the
    curve near its chords (Yuksel, Schaefer, Keyser 2011). The camera goes along it at constant speed, slower where it
    would turn faster than `turn_deg`, and slower altogether where the capture is shorter than the clip.
    Raises TrajkitError where the scene has no captured cameras, or none near each other.
    """
    if scene.seen is None:
        raise TrajkitError(f"scene {scene.id}", "spline needs captured cameras", "use orbit, keys or blocks instead")
    check_anchor(scene, options.anchor)
    speed = options.speed * scene.unit * rng.uniform(1 - options.vary, 1 + options.vary)
    latents = _Measure(length=speed, angle_deg=options.turn_deg)
    spacing = _Measure(length=_SPACING * scene.unit, angle_deg=_SPACING_DEG)
    duration = (options.frames - 1) / FRAMES_PER_LATENT
    run = _draw_run(scene, options, latents, duration, rng)
    centre, rotation, parameters = _curve(_thinned(run, spacing), spacing)
    knots = np.arange(len(parameters))
    dense = np.interp(np.linspace(0, knots[-1], knots[-1] * _SAMPLES_PER_KNOT + 1), knots, parameters)
    curve = se3.pose(rotation(dense).as_matrix(), centre(dense))
    reached = np.concatenate([[0.0], np.cumsum(latents.between(curve[:-1], curve[1:]))])
    moments = np.interp(min(duration, reached[-1]) * progress(options.frames, options.ease), reached, dense)
    return options.trajectory(se3.pose(rotation(moments).as_matrix(), centre(moments)), scene)


def _draw_run(
    scene: Scene, options: Options, latents: _Measure, duration: float, rng: np.random.Generator
) -> Float64[Array, "m 4 4"]:
    """Neighbouring captured poses from a drawn start, forward or backward, a little longer than the clip's duration."""
    poses = scene.seen.camera_to_world if scene.seen else np.empty((0, 4, 4))
    gap = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) > options.gap * scene.unit
    gap |= _angle_deg(poses[:-1], poses[1:]) > _TURN_GAP_DEG
    time = np.concatenate([[0.0], np.cumsum(latents.between(poses[:-1], poses[1:]))])
    run = np.concatenate([[0], np.cumsum(gap)])
    first, last = np.searchsorted(run, run), np.searchsorted(run, run, side="right") - 1
    room = np.stack([time[last] - time, time - time[first]])  # latents ahead of each camera, forward and backward
    if options.direction != "either":
        room[1 if options.direction == "forward" else 0] = 0.0
    if options.anchor is not None:
        room[:, np.arange(len(poses)) != options.anchor] = 0.0
    if not room.max() > 0:
        raise TrajkitError(
            f"scene {scene.id}",
            f"no captured camera within {options.gap:g} path units and {_TURN_GAP_DEG:g} degrees of the next one",
            "use another anchor or direction, a larger gap, or orbit",
        )
    ways = np.argwhere((room > 0) & (room >= min(duration, _LEAST_PART * room.max())))
    backward, start = ways[rng.integers(len(ways))]
    ahead = poses[first[start] : start + 1][::-1] if backward else poses[start : last[start] + 1]
    enough = np.cumsum(latents.between(ahead[:-1], ahead[1:])) > duration + _MARGIN_LATENTS
    return ahead[: 2 + int(np.argmax(enough))] if enough.any() else ahead


def _thinned(poses: Float64[Array, "m 4 4"], spacing: _Measure) -> Float64[Array, "k 4 4"]:
    """The first pose and those at least 1 (the last: 0.5) from the one before; if all are close, also the furthest."""
    kept, last = [0], len(poses) - 1
    for index in range(1, len(poses)):
        if spacing.between(poses[kept[-1]], poses[index]) >= (0.5 if index == last else 1):
            kept.append(index)
    return poses[kept if len(kept) > 1 else [0, int(np.argmax(spacing.between(poses[0], poses)))]]


def _curve(
    poses: Float64[Array, "k 4 4"], spacing: _Measure
) -> tuple[CubicSpline, RotationSpline, Float64[Array, " k"]]:
    """Centre and rotation as functions of a parameter, and its values at the poses."""
    parameters = np.concatenate([[0.0], np.cumsum(np.sqrt(spacing.between(poses[:-1], poses[1:])))])
    centre = CubicSpline(parameters, poses[:, :3, 3], bc_type="natural")
    return centre, RotationSpline(parameters, Rotation.from_matrix(poses[:, :3, :3])), parameters


def _angle_deg(first: Float64[Array, "*n 4 4"], second: Float64[Array, "*n 4 4"]) -> Float64[Array, "*n"]:
    return se3.angle_deg(np.swapaxes(first[..., :3, :3], -1, -2) @ second[..., :3, :3])
