"""Sparse bundle adjustment, compiled loops: normal equations with the points eliminated (Schur complement).

Unknowns: each camera's left twist (translation, then rotation), two shared ones (log focal, its slope), each point's
three tangents. The reduced matrix of the cameras is banded, since a track spans few poses; the shared unknowns are a
border. Layout: band[r - c, c] = S[r, c] for r >= c, as LAPACK's pbtrf wants it. Loss: Cauchy, as weights (IRLS).
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from ._triangulation import CAP_PX, NEAR, solve3, tangent

Array = np.ndarray
SHARED = 2  # log focal, its slope over the clip
RIDGE = 1e-6  # of a point's equations, pixels squared: its depth may be free


class Views(NamedTuple):
    """Cameras [R | t] (world to camera), fx fy cx cy time (-1 .. 1) of each; shared: log focal factor, its slope."""

    cameras: Float64[Array, "n 3 4"]
    lenses: Float64[Array, "n 5"]
    shared: Float64[Array, "2"]


class Sightings(NamedTuple):
    """Observations sorted by point: those of point p are start[p] .. start[p + 1], their poses ascending."""

    start: Int64[Array, "p1"]
    pose: Int64[Array, "m"]
    xy: Float64[Array, "m 2"]
    point: Int64[Array, "m"]


class System(NamedTuple):
    """Normal equations of the cameras, and what gives the points' step afterwards."""

    band: Float64[Array, "w n6"]
    border: Float64[Array, "n6 2"]
    corner: Float64[Array, "2 2"]
    right: Float64[Array, "n6"]
    right_shared: Float64[Array, "2"]
    coupling: Float64[Array, "m 6 3"]  # pose by point, of each observation
    hessian: Float64[Array, "p 3 3"]  # of each point; after `eliminate` its inverse
    gradient: Float64[Array, "p 3"]
    share: Float64[Array, "p 2 3"]  # shared by point


def blank(poses: int, seen: Sightings) -> System:
    """Room for the equations."""
    n, s, count = 6 * poses, SHARED, len(seen.start) - 1
    first, last = seen.pose[seen.start[:-1]], seen.pose[seen.start[1:] - 1]
    span = int((last - first).max()) if count else 0
    shapes = [(6 * span + 6, n), (n, s), (s, s), (n,), (s,), (len(seen.pose), 6, 3), (count, 3, 3), (count, 3)]
    return System(*(np.zeros(shape) for shape in [*shapes, (count, s, 3)]))


@njit(cache=True)
def project(camera, lens, shared, point, place):
    """Fills pixel x, y, plane x, y and camera z of a homogeneous point; False where it is behind."""
    z = camera[2, 0] * point[0] + camera[2, 1] * point[1] + camera[2, 2] * point[2] + camera[2, 3] * point[3]
    place[4] = z
    if z <= NEAR:
        return False
    for k in range(2):
        value = camera[k, 0] * point[0] + camera[k, 1] * point[1] + camera[k, 2] * point[2] + camera[k, 3] * point[3]
        place[2 + k] = value / z
    factor = np.exp(shared[0] + shared[1] * lens[4])
    place[0] = lens[0] * factor * place[2] + lens[2]
    place[1] = lens[1] * factor * place[3] + lens[3]
    return True


@njit(cache=True)
def distances(views, points, seen, out):
    """Fills the distance in pixels of each observation from its projected point, at most CAP_PX."""
    place = np.empty(5)
    for m in range(len(seen.pose)):
        p = seen.pose[m]
        out[m] = CAP_PX
        if project(views.cameras[p], views.lenses[p], views.shared, points[seen.point[m]], place):
            out[m] = min(np.sqrt((place[0] - seen.xy[m, 0]) ** 2 + (place[1] - seen.xy[m, 1]) ** 2), CAP_PX)


@njit(cache=True)
def rows_of(camera, lens, shared, point, basis, place, by_pose, by_shared, by_point):
    """Fills the derivatives of a projected pixel by twist (2, 6), shared unknowns (2, 2) and point tangents (2, 3)."""
    x, y, z, w = place[2], place[3], place[4], point[3]
    factor = np.exp(shared[0] + shared[1] * lens[4])
    for k in range(2):
        slope = lens[k] * factor / z
        a, b = (slope, 0.0) if k == 0 else (0.0, slope)
        c = -slope * place[2 + k]
        by_pose[k, 0], by_pose[k, 1], by_pose[k, 2] = a * w, b * w, c * w
        by_pose[k, 3] = (c * y - b) * z  # (a, b, c) . (w x p), p = z (x, y, 1)
        by_pose[k, 4] = (a - c * x) * z
        by_pose[k, 5] = (b * x - a * y) * z
        by_shared[k, 0] = lens[k] * factor * place[2 + k]
        by_shared[k, 1] = by_shared[k, 0] * lens[4]
        for j in range(3):
            value = 0.0
            for i in range(4):
                value += (a * camera[0, i] + b * camera[1, i] + c * camera[2, i]) * basis[i, j]
            by_point[k, j] = value


@njit(cache=True)
def observe(views, points, seen, scale, system):
    """Sums the weighted products of derivatives of all observations; returns the robust cost, pixels squared."""
    _clear(system)
    basis, place, cost = np.empty((4, 3)), np.empty(5), 0.0
    by_pose, by_shared, by_point = np.empty((2, 6)), np.empty((2, SHARED)), np.empty((2, 3))
    for n in range(len(seen.start) - 1):
        tangent(points[n], basis)
        for m in range(seen.start[n], seen.start[n + 1]):
            p = seen.pose[m]
            square = CAP_PX * CAP_PX
            front = project(views.cameras[p], views.lenses[p], views.shared, points[n], place)
            if front:
                square = min(square, (place[0] - seen.xy[m, 0]) ** 2 + (place[1] - seen.xy[m, 1]) ** 2)
            cost += scale * scale * np.log(1.0 + square / (scale * scale))
            if not front or square >= CAP_PX * CAP_PX:
                continue
            weight = 1.0 / (1.0 + square / (scale * scale))
            rows_of(
                views.cameras[p], views.lenses[p], views.shared, points[n], basis, place, by_pose, by_shared, by_point
            )
            for k in range(2):
                error = place[k] - seen.xy[m, k]
                _add_camera(system, p, m, weight, error, by_pose[k], by_shared[k], by_point[k])
                _add_point(system, n, weight, error, by_shared[k], by_point[k])
    return cost


@njit(cache=True)
def _clear(system):
    system.band[:], system.border[:], system.corner[:], system.right[:] = 0.0, 0.0, 0.0, 0.0
    system.right_shared[:], system.coupling[:], system.share[:] = 0.0, 0.0, 0.0
    system.hessian[:], system.gradient[:] = 0.0, 0.0


@njit(cache=True)
def _add_camera(system, p, m, weight, error, by_pose, by_shared, by_point):
    for i in range(6):
        wi = weight * by_pose[i]
        system.right[6 * p + i] += wi * error
        for j in range(i + 1):
            system.band[i - j, 6 * p + j] += wi * by_pose[j]
        for j in range(SHARED):
            system.border[6 * p + i, j] += wi * by_shared[j]
        for j in range(3):
            system.coupling[m, i, j] += wi * by_point[j]


@njit(cache=True)
def _add_point(system, n, weight, error, by_shared, by_point):
    for i in range(SHARED):
        wi = weight * by_shared[i]
        system.right_shared[i] += wi * error
        for j in range(SHARED):
            system.corner[i, j] += wi * by_shared[j]
        for j in range(3):
            system.share[n, i, j] += wi * by_point[j]
    for i in range(3):
        wi = weight * by_point[i]
        system.gradient[n, i] += wi * error
        for j in range(3):
            system.hessian[n, i, j] += wi * by_point[j]


@njit(cache=True)
def eliminate(seen, damping, system):
    """Takes the points out of the equations (Schur complement); `hessian` holds their inverses afterwards."""
    unit, column, inverse = np.zeros(3), np.empty(3), np.empty((3, 3))
    for n in range(len(seen.start) - 1):
        hessian, gradient, share = system.hessian[n], system.gradient[n], system.share[n]
        for k in range(3):
            hessian[k, k] += damping * hessian[k, k] + RIDGE
        inverse[:] = 0.0
        for k in range(3):
            unit[:] = 0.0
            unit[k] = 1.0
            if solve3(hessian, unit, column):
                inverse[:, k] = column
        hessian[:] = inverse
        for i in range(SHARED):
            for a in range(3):
                product = share[i, 0] * inverse[0, a] + share[i, 1] * inverse[1, a] + share[i, 2] * inverse[2, a]
                system.right_shared[i] -= product * gradient[a]
                for j in range(SHARED):
                    system.corner[i, j] -= product * share[j, a]
        _eliminate_point(seen, n, inverse, system)


@njit(cache=True)
def _eliminate_point(seen, n, inverse, system):
    gradient, share, band, coupling = system.gradient[n], system.share[n], system.band, system.coupling
    for m in range(seen.start[n], seen.start[n + 1]):
        p = seen.pose[m]
        for i in range(6):
            c0, c1, c2 = coupling[m, i, 0], coupling[m, i, 1], coupling[m, i, 2]
            e0 = c0 * inverse[0, 0] + c1 * inverse[1, 0] + c2 * inverse[2, 0]
            e1 = c0 * inverse[0, 1] + c1 * inverse[1, 1] + c2 * inverse[2, 1]
            e2 = c0 * inverse[0, 2] + c1 * inverse[1, 2] + c2 * inverse[2, 2]
            row = 6 * p + i
            system.right[row] -= e0 * gradient[0] + e1 * gradient[1] + e2 * gradient[2]
            for j in range(SHARED):
                system.border[row, j] -= e0 * share[j, 0] + e1 * share[j, 1] + e2 * share[j, 2]
            for o in range(seen.start[n], m + 1):
                first = 6 * seen.pose[o]
                for j in range(6 if o < m else i + 1):
                    c = first + j
                    band[row - c, c] -= e0 * coupling[o, j, 0] + e1 * coupling[o, j, 1] + e2 * coupling[o, j, 2]


@njit(cache=True)
def points_step(points, seen, system, step, step_shared, moved):
    """Fills the points after the cameras' step: each follows from its own three equations."""
    basis, rest = np.empty((4, 3)), np.empty(3)
    for n in range(len(seen.start) - 1):
        for k in range(3):
            rest[k] = system.gradient[n, k]
            for j in range(SHARED):
                rest[k] += system.share[n, j, k] * step_shared[j]
        for m in range(seen.start[n], seen.start[n + 1]):
            for i in range(6):
                for k in range(3):
                    rest[k] += system.coupling[m, i, k] * step[6 * seen.pose[m] + i]
        tangent(points[n], basis)
        moved[n] = points[n]
        for k in range(3):
            move = 0.0
            for j in range(3):
                move -= system.hessian[n, k, j] * rest[j]
            for i in range(4):
                moved[n, i] += basis[i, k] * move
        moved[n] /= np.sqrt((moved[n] * moved[n]).sum())


@njit(cache=True)
def robust(views, points, seen, scale):
    """The robust cost of all observations, pixels squared."""
    place, cost = np.empty(5), 0.0
    for m in range(len(seen.pose)):
        p, square = seen.pose[m], CAP_PX * CAP_PX
        if project(views.cameras[p], views.lenses[p], views.shared, points[seen.point[m]], place):
            square = min(square, (place[0] - seen.xy[m, 0]) ** 2 + (place[1] - seen.xy[m, 1]) ** 2)
        cost += scale * scale * np.log(1.0 + square / (scale * scale))
    return cost


@njit(cache=True)
def replace_worse(views, seen, scale, points, others):
    """Puts the other point where it costs less; returns by which share the robust cost falls."""
    place, total, gain = np.empty(5), 0.0, 0.0
    for n in range(len(points)):
        costs = np.zeros(2)
        for m in range(seen.start[n], seen.start[n + 1]):
            p = seen.pose[m]
            for k in range(2):
                square = CAP_PX * CAP_PX
                if project(views.cameras[p], views.lenses[p], views.shared, points[n] if k == 0 else others[n], place):
                    square = min(square, (place[0] - seen.xy[m, 0]) ** 2 + (place[1] - seen.xy[m, 1]) ** 2)
                costs[k] += scale * scale * np.log(1.0 + square / (scale * scale))
        total += costs[0]
        if costs[1] < costs[0]:
            gain += costs[0] - costs[1]
            points[n] = others[n]
    return gain / total if total > 0 else 0.0


@njit(cache=True)
def resect(camera, lens, points, xy, scale, steps):
    """Moves one camera to where the points are seen (Gauss-Newton, Geman-McClure weights that narrow to `scale`)."""
    place, basis = np.empty(5), np.zeros((4, 3))
    by_pose, by_shared, by_point = np.empty((2, 6)), np.empty((2, SHARED)), np.empty((2, 3))
    shared = np.zeros(SHARED)
    width = 8.0 * scale
    for _ in range(steps):
        hessian, gradient = np.eye(6) * 1e-3, np.zeros(6)
        for m in range(len(points)):
            if not project(camera, lens, shared, points[m], place):
                continue
            square = (place[0] - xy[m, 0]) ** 2 + (place[1] - xy[m, 1]) ** 2
            weight = 1.0 / (1.0 + square / (width * width)) ** 2
            rows_of(camera, lens, shared, points[m], basis, place, by_pose, by_shared, by_point)
            for k in range(2):
                error = place[k] - xy[m, k]
                for i in range(6):
                    gradient[i] += weight * by_pose[k, i] * error
                    for j in range(6):
                        hessian[i, j] += weight * by_pose[k, i] * by_pose[k, j]
        apply_twist(camera, -np.linalg.solve(hessian, gradient))
        width = max(width * 0.6, scale)


@njit(cache=True)
def apply_twist(camera, twist):
    """Moves a camera [R | t] in place: R <- E R, t <- E t + twist's translation, E the rotation of its last three."""
    angle = np.sqrt(twist[3] ** 2 + twist[4] ** 2 + twist[5] ** 2)
    a = 1.0 - angle * angle / 6.0 if angle < 1e-5 else np.sin(angle) / angle
    b = 0.5 if angle < 1e-5 else (1.0 - np.cos(angle)) / (angle * angle)
    x, y, z = twist[3], twist[4], twist[5]
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation = np.eye(3) + a * skew + b * (skew @ skew)
    moved = rotation @ camera
    for i in range(3):
        for j in range(4):
            camera[i, j] = moved[i, j]
        camera[i, 3] += twist[i]


@njit(cache=True)
def apply_twists(cameras, step):
    """Moves all cameras in place."""
    for p in range(len(cameras)):
        apply_twist(cameras[p], step[6 * p : 6 * p + 6])
