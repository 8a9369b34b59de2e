"""Paths that can be rendered: drawn, judged, repaired, drawn again, and at last refused with the reasons."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from trajkit.safety import MARGIN, Accept, Judgement, Reason, judge
from trajkit.survey import Survey
from trajkit.trajectory import Trajectory

Array = np.ndarray
SLOWEST = 0.4  # of the drawn path's length: a shorter walk is drawn anew rather than slowed down
BENDS = 6  # pushes away from a surface
FARTHEST_BEND = 0.75  # path units


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """A path and what was found about it. Without reasons it is accepted."""

    trajectory: Trajectory
    reasons: tuple[Reason, ...]
    measured: dict[str, float]
    repair: str  # "none", "slowed to 0.7", "bent by 0.2"
    draw: int  # the number of the draw that it comes from


def safe_path(survey: Survey, accept: Accept, draw: Callable[[int], Trajectory]) -> Drawn:
    """The first path that keeps to `accept`: of draw(0), draw(1), ... as they are, else of their repairs.

    A repaired walk is no longer the one that its spec names, so it comes second. Where none keeps to the limits: the
    first draw, with those that it breaks.
    """
    drawn: list[Drawn] = []
    for number in range(accept.tries):
        path = draw(number)
        if drawn and np.array_equal(path.camera_to_world, drawn[-1].trajectory.camera_to_world):
            break  # nothing is left to chance in this path
        drawn.append(_drawn(path, judge(survey, path, accept), "none", number))
        if not drawn[-1].reasons:
            return drawn[-1]
    for refused in drawn if accept.repair else ():
        for repaired in _repairs(survey, accept, refused):
            if not repaired.reasons:
                return repaired
    return drawn[0]


def _repairs(survey: Survey, accept: Accept, refused: Drawn) -> Iterator[Drawn]:
    """The path bent away from surfaces, then walked less and less far."""
    path, number = refused.trajectory, refused.draw
    if {reason.name for reason in refused.reasons} == {"clearance"}:
        away, by = bent(survey, path, accept)
        if by:
            yield _drawn(away, judge(survey, away, accept), f"bent by {by:.2g}", number)
    share = _share(refused.reasons, len(path))
    while share >= SLOWEST:
        slower = slowed(path, share)
        again = judge(survey, slower, accept)
        yield _drawn(slower, again, f"slowed to {share:.2g}", number)
        share *= min(_share(again.reasons, len(path)), 0.85)


def _drawn(path: Trajectory, found: Judgement, repair: str, number: int) -> Drawn:
    return Drawn(trajectory=path, reasons=found.reasons, measured=found.measured, repair=repair, draw=number)


def _share(reasons: tuple[Reason, ...], frames: int) -> float:
    """Part of a path that keeps within its limits: up to the first broken one, or slow enough throughout."""
    share = 1.0
    for reason in reasons:
        if reason.name in ("speed", "turn_deg"):
            share = min(share, reason.threshold / (MARGIN * reason.value))
        else:
            share = min(share, (reason.first - 1) / (frames - 1) / MARGIN)
    return share


def slowed(path: Trajectory, share: float) -> Trajectory:
    """The first `share` (0..1) of a path, walked in the time of the whole: as many frames, same rate."""
    times_s = path.times_s
    part = path.resampled(times_s[0] + share * (times_s - times_s[0]))
    return replace(part, times_s=times_s, frame_index=path.frame_index)


def bent(survey: Survey, path: Trajectory, accept: Accept) -> tuple[Trajectory, float]:
    """The path with its centres pushed away from surfaces, smoothly over time, and by how many path units at most.

    The first pose stays; rotations stay. 0 where pushing does not help within 0.75 path units.
    """
    unit = survey.scene.unit
    target = MARGIN * accept.clearance * unit
    start = path.centres.copy()
    centres = start.copy()
    width = max(1.0, len(path) / 12)
    ramp = np.minimum(np.arange(len(path)) / (2 * width), 1.0)[:, None]
    for _ in range(BENDS):
        lack = np.maximum(target - survey.surface.distance(centres), 0)
        if not lack.any():
            break
        push = lack[:, None] * _away(survey, centres, 0.02 * unit)
        smooth = gaussian_filter1d(push, width, axis=0, mode="nearest")
        peak = np.abs(push).max() / max(np.abs(smooth).max(), 1e-12)
        centres += ramp * smooth * min(peak, 4.0)
    by = float(np.linalg.norm(centres - start, axis=1).max() / unit)
    if by == 0 or by > FARTHEST_BEND:
        return path, 0.0
    poses = path.camera_to_world.copy()
    poses[:, :3, 3] = centres
    return replace(path, camera_to_world=poses), by


def _away(survey: Survey, points: Array, step: float) -> Array:
    """Unit vectors along which the distance to surfaces grows, by central differences."""
    offsets = step * np.eye(3)
    sides = [survey.surface.distance(points + sign * offset) for offset in offsets for sign in (1, -1)]
    gradient = np.stack([sides[2 * axis] - sides[2 * axis + 1] for axis in range(3)], axis=-1)
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-12)
