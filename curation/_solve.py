"""Levenberg-Marquardt on the reduced equations of `_bundle`, the robust loss narrowing as it goes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded
from scipy.spatial.transform import Rotation

from ._bundle import (
    Sightings,
    System,
    Views,
    apply_twists,
    blank,
    eliminate,
    observe,
    points_step,
    replace_worse,
    robust,
)
from ._triangulation import triangulate_all

Array = np.ndarray
PRIOR_TWIST = (1.0, 1.0, 1.0, 0.2, 0.2, 0.2)  # sigma of each pose about its start: units of the path's spread, radians
PRIOR_FOCAL, PRIOR_SLOPE = 0.5, 0.1  # sigma of the logarithm, and of its slope over half the clip
HELD = 1e-4  # sigma of what is not to move
NOISE_PX = 0.5  # what a prior of one sigma weighs, against residuals
NARROW = 0.55  # of the loss, per step
TRIES, LEAST_GAIN, AGAIN = 4, 1e-3, 3


class Solved(NamedTuple):
    """What the adjustment ended with."""

    views: Views
    points: Float64[Array, "p 4"]
    cost: float  # robust, pixels squared, without priors
    converged: bool
    system: System  # at the end, points eliminated, not damped


def solve(
    start: Views, seen: Sightings, *, wide_px: float, narrow_px: float, steps: int = 24, drift: bool = False
) -> Solved:
    """Cameras and points that fit the observations best, from the given cameras.

    The Cauchy loss narrows from `wide_px` to `narrow_px`. `drift`: the focal length may change along the clip.
    """
    prior = _Prior(start, drift)
    system = blank(len(start.cameras), seen)
    views = Views(start.cameras.copy(), start.lenses, start.shared.copy())
    points = triangulated(views, seen, wide_px)
    scale, damping, converged, again = wide_px, 1e-3, False, AGAIN
    for _ in range(steps):
        gain, views, points, damping = _stepped(views, points, seen, scale, damping, prior, system)
        if scale <= narrow_px and gain < LEAST_GAIN:
            # a point may have been left in a minimum of its own, such as behind a camera that has moved since
            gain = replace_worse(views, seen, scale, points, triangulated(views, seen, scale))
            again -= 1
            if gain < 10 * LEAST_GAIN or not again:
                converged = True
                break
        scale = max(scale * NARROW, narrow_px)
    if np.median(points[:, 3]) < 0:  # all seen behind, every translation reversed: projects alike, so turn it round
        views.cameras[:, :, 3] *= -1
        points[:, 3] *= -1
    cost = observe(views, points, seen, scale, system)
    prior.add(views, system)
    eliminate(seen, 0.0, system)
    return Solved(views, points, float(cost), converged, system)


def _stepped(
    views: Views,
    points: Float64[Array, "p 4"],
    seen: Sightings,
    scale: float,
    damping: float,
    prior: "_Prior",
    system: System,
) -> tuple[float, Views, Float64[Array, "p 4"], float]:
    """One step: by which share the cost fell (0: no step helped), views, points, the next damping."""
    moved = np.empty_like(points)
    for _ in range(TRIES):
        cost = observe(views, points, seen, scale, system) + prior.cost(views)
        prior.add(views, system)
        eliminate(seen, damping, system)
        step, step_shared = _solved(system, damping)
        trial = Views(views.cameras.copy(), views.lenses, views.shared + step_shared)
        apply_twists(trial.cameras, step)
        points_step(points, seen, system, step, step_shared, moved)
        reached = robust(trial, moved, seen, scale) + prior.cost(trial)
        if reached < cost:
            return (cost - reached) / cost, trial, moved, max(damping * 0.2, 1e-8)
        damping = min(damping * 20, 1e6)
    return 0.0, views, points, damping


def drift_gain(solved: Solved) -> float:
    """The share of the cost that a focal length which changes along the clip would save, to first order."""
    system, held = solved.system, (NOISE_PX / HELD) ** 2
    corner, right = system.corner.copy(), system.right_shared.copy()
    corner[1, 1] -= held  # as if its prior had not held it
    right[1] -= held * solved.views.shared[1]
    both = np.column_stack([system.right, system.border])
    solution = cho_solve_banded((factored(system.band), True), both, check_finite=False)
    gradient, curvature = right - system.border.T @ solution[:, 0], corner - system.border.T @ solution[:, 1:]
    if np.linalg.eigvalsh(curvature)[0] <= 0 or solved.cost <= 0:
        return 0.0
    return float(gradient @ np.linalg.solve(curvature, gradient) / solved.cost)


def focal_factors(views: Views) -> Float64[Array, "n"]:
    """What each camera's claimed focal lengths are multiplied by."""
    return np.asarray(np.exp(views.shared[0] + views.shared[1] * views.lenses[:, 4]))


def triangulated(views: Views, seen: Sightings, scale_px: float, steps: int = 6) -> Float64[Array, "p 4"]:
    """The point of each track under given cameras."""
    points = np.zeros((len(seen.start) - 1, 4))
    lenses = views.lenses.copy()
    lenses[:, :2] *= focal_factors(views)[:, None]
    front = np.zeros(len(points), bool)
    residual = np.empty(len(seen.pose))
    triangulate_all(views.cameras, lenses, seen.start, seen.pose, seen.xy, scale_px, steps, points, residual, front)
    return points


class _Prior:
    """Weak pull of each pose and the focal length to where they started: it holds what the tracks do not."""

    def __init__(self, start: Views, drift: bool) -> None:
        self.start = start.cameras.copy()
        self.weight = (NOISE_PX / np.array(PRIOR_TWIST)) ** 2
        self.shared = (NOISE_PX / np.array([PRIOR_FOCAL, PRIOR_SLOPE if drift else HELD])) ** 2
        self.shared_start = start.shared.copy()

    def _twists(self, views: Views) -> Float64[Array, "n 6"]:
        turned = views.cameras[:, :, :3] @ np.swapaxes(self.start[:, :, :3], 1, 2)
        shift = views.cameras[:, :, 3] - np.einsum("nij,nj->ni", turned, self.start[:, :, 3])
        return np.concatenate([shift, Rotation.from_matrix(turned).as_rotvec()], axis=1)

    def cost(self, views: Views) -> float:
        """Pixels squared."""
        return float(
            (self.weight * self._twists(views) ** 2).sum()
            + (self.shared * (views.shared - self.shared_start) ** 2).sum()
        )

    def add(self, views: Views, system: System) -> None:
        """Adds the prior's part to equations that hold the observations'."""
        system.right[:] += (self.weight * self._twists(views)).ravel()
        system.band[0] += np.tile(self.weight, len(self.start))
        system.right_shared[:] += self.shared * (views.shared - self.shared_start)
        system.corner[:] += np.diag(self.shared)


def _solved(system: System, damping: float) -> tuple[Float64[Array, "n6"], Float64[Array, "2"]]:
    """The damped step of the cameras and of what they share."""
    band, corner = system.band.copy(), system.corner.copy()
    band[0] *= 1 + damping
    corner[np.diag_indices(len(corner))] *= 1 + damping
    factor = factored(band)
    solution = cho_solve_banded((factor, True), np.column_stack([system.right, system.border]), check_finite=False)
    rest = corner - system.border.T @ solution[:, 1:]
    step_shared = -np.linalg.solve(rest, system.right_shared - system.border.T @ solution[:, 0])
    return -solution[:, 0] - solution[:, 1:] @ step_shared, step_shared


def factored(band: Float64[Array, "w n6"]) -> Float64[Array, "w n6"]:
    """Cholesky factor of a banded matrix; what rounding made indefinite is lifted first."""
    lift = 0.0
    while True:
        try:
            lifted = band.copy()
            lifted[0] += lift
            return cholesky_banded(lifted, lower=True, overwrite_ab=True, check_finite=False)
        except LinAlgError:
            lift = max(lift * 100, 1e-9 * float(np.abs(band[0]).max()))
