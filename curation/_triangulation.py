"""Points from several views with the cameras given: compiled loops. Homogeneous points of norm 1, w >= 0 in front.

A camera is [R | t] (world to camera) with its fx, fy, cx, cy. A step moves a point in the tangent space of the unit
3-sphere, so that a point at infinity (w = 0) is a point like any other (Triggs et al. 1999, section 2.2).
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np
from numba import njit

CAP_PX = 100.0
NEAR = 1e-6  # of a camera's z, relative to the point's norm: below, the point counts as behind
PIXEL_NOISE = 0.3  # least pixel noise assumed where the sign of a depth is judged


@njit(cache=True)
def tangent(point, basis):
    """Fills the (4, 3) orthonormal basis of what is perpendicular to a unit 4-vector (a Householder reflection)."""
    sign = 1.0 if point[0] >= 0 else -1.0
    first = point[0] + sign
    square = first * first + point[1] ** 2 + point[2] ** 2 + point[3] ** 2
    for j in range(3):
        pull = 2.0 * point[j + 1] / square
        basis[0, j] = -pull * first
        for i in range(1, 4):
            basis[i, j] = (1.0 if i == j + 1 else 0.0) - pull * point[i]


@njit(cache=True)
def solve3(matrix, right, out):
    """Solves a symmetric positive (3, 3) system by Cramer's rule; False where it is singular."""
    a, b, c = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    d, e, f = matrix[1, 1], matrix[1, 2], matrix[2, 2]
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * aa + b * bb + c * cc
    if not determinant > 1e-300:
        return False
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    out[0] = (aa * right[0] + bb * right[1] + cc * right[2]) / determinant
    out[1] = (bb * right[0] + dd * right[1] + ee * right[2]) / determinant
    out[2] = (cc * right[0] + ee * right[1] + ff * right[2]) / determinant
    return True


@njit(cache=True)
def seen_at(camera, lens, point, place):
    """Fills pixel x, y and camera x, y, z of a homogeneous point; False where it is behind."""
    for k in range(3):
        place[2 + k] = (
            camera[k, 0] * point[0] + camera[k, 1] * point[1] + camera[k, 2] * point[2] + camera[k, 3] * point[3]
        )
    if place[4] <= NEAR:
        return False
    place[0] = lens[0] * place[2] / place[4] + lens[2]
    place[1] = lens[1] * place[3] / place[4] + lens[3]
    return True


@njit(cache=True)
def robust_cost(cameras, lenses, poses, xy, scale, point, place):
    """Sum of the Cauchy loss of a track's observations, pixels squared."""
    cost = 0.0
    for m in range(len(poses)):
        square = CAP_PX * CAP_PX
        if seen_at(cameras[poses[m]], lenses[poses[m]], point, place):
            square = min(square, (place[0] - xy[m, 0]) ** 2 + (place[1] - xy[m, 1]) ** 2)
        cost += scale * scale * np.log(1.0 + square / (scale * scale))
    return cost


@njit(cache=True)
def linear_point(cameras, lenses, poses, xy, anchor, point):
    """Fills the point on the ray of observation `anchor` whose inverse depth fits the others best, linearly."""
    camera, lens = cameras[poses[anchor]], lenses[poses[anchor]]
    ray = np.array([(xy[anchor, 0] - lens[2]) / lens[0], (xy[anchor, 1] - lens[3]) / lens[1], 1.0])
    far, centre, q, t = np.zeros(3), np.zeros(3), np.empty(3), np.empty(3)
    for k in range(3):
        for i in range(3):
            far[k] += camera[i, k] * ray[i]
            centre[k] -= camera[i, k] * camera[i, 3]
    top = bottom = 0.0
    for m in range(len(poses)):
        other, glass = cameras[poses[m]], lenses[poses[m]]
        for k in range(3):
            q[k] = other[k, 0] * far[0] + other[k, 1] * far[1] + other[k, 2] * far[2]
            t[k] = other[k, 0] * centre[0] + other[k, 1] * centre[1] + other[k, 2] * centre[2] + other[k, 3]
        if q[2] <= NEAR:
            continue
        for k in range(2):  # (x/z of the picture) * z - x of the point is 0, linear in the inverse depth
            seen = (xy[m, k] - glass[2 + k]) / glass[k]
            constant, slope = glass[k] * (seen * q[2] - q[k]) / q[2], glass[k] * (seen * t[2] - t[k]) / q[2]
            top -= slope * constant
            bottom += slope * slope
    depth_inverse = top / bottom if bottom > 1e-18 else 0.0
    for k in range(3):
        point[k] = far[k] + depth_inverse * centre[k]
    point[3] = depth_inverse
    point /= np.sqrt((point * point).sum())


@njit(cache=True)
def normal_equations(cameras, lenses, poses, xy, scale, point, basis, hessian, gradient, place):
    """Fills Gauss-Newton's (3, 3) matrix and (3,) gradient of one track, Cauchy weights; returns the cost."""
    hessian[:] = 0.0
    gradient[:] = 0.0
    tangent(point, basis)
    cost = 0.0
    rows = np.empty((2, 3))
    for m in range(len(poses)):
        camera, lens = cameras[poses[m]], lenses[poses[m]]
        square = CAP_PX * CAP_PX
        seen = seen_at(camera, lens, point, place)
        if seen:
            square = min(square, (place[0] - xy[m, 0]) ** 2 + (place[1] - xy[m, 1]) ** 2)
        cost += scale * scale * np.log(1.0 + square / (scale * scale))
        if not seen or square >= CAP_PX * CAP_PX:
            continue
        weight = 1.0 / (1.0 + square / (scale * scale))
        for k in range(2):
            slope = place[2 + k] / place[4]
            for j in range(3):
                value = 0.0
                for i in range(4):
                    value += (camera[k, i] - slope * camera[2, i]) * basis[i, j]
                rows[k, j] = lens[k] / place[4] * value
        for k in range(2):
            error = place[k] - xy[m, k]
            for i in range(3):
                gradient[i] += weight * rows[k, i] * error
                for j in range(3):
                    hessian[i, j] += weight * rows[k, i] * rows[k, j]
    return cost


@njit(cache=True)
def fit_point(cameras, lenses, poses, xy, scale, steps, point):
    """Moves the point to a minimum of the robust cost (Levenberg-Marquardt); returns the cost."""
    basis, hessian, gradient, place = np.empty((4, 3)), np.empty((3, 3)), np.empty(3), np.empty(5)
    damped, move, trial = np.empty((3, 3)), np.empty(3), np.empty(4)
    damping = 1e-3
    cost = robust_cost(cameras, lenses, poses, xy, scale, point, place)
    for _ in range(steps):
        normal_equations(cameras, lenses, poses, xy, scale, point, basis, hessian, gradient, place)
        better = False
        for _ in range(4):
            damped[:] = hessian
            for k in range(3):
                damped[k, k] += damping * hessian[k, k] + 1e-9
            if solve3(damped, gradient, move):
                for i in range(4):
                    trial[i] = point[i] - basis[i, 0] * move[0] - basis[i, 1] * move[1] - basis[i, 2] * move[2]
                trial /= np.sqrt((trial * trial).sum())
                reached = robust_cost(cameras, lenses, poses, xy, scale, trial, place)
                if reached < cost:
                    better = True
                    break
            damping *= 10.0
        if not better:
            break
        gain = cost - reached
        point[:] = trial
        cost = reached
        damping = max(damping * 0.1, 1e-9)
        if gain < 1e-4 * cost:
            break
    return cost


@njit(cache=True)
def judge_point(cameras, lenses, poses, xy, scale, point, residual):
    """Fills the residual of each observation; returns whether the point may lie in front of all its cameras."""
    place = np.empty(5)
    front = True
    for m in range(len(poses)):
        residual[m] = CAP_PX
        if seen_at(cameras[poses[m]], lenses[poses[m]], point, place):
            residual[m] = min(np.sqrt((place[0] - xy[m, 0]) ** 2 + (place[1] - xy[m, 1]) ** 2), CAP_PX)
        else:
            front = False
    if front and point[3] < 0:
        basis, hessian, gradient, spread = np.empty((4, 3)), np.empty((3, 3)), np.empty(3), np.empty(3)
        normal_equations(cameras, lenses, poses, xy, scale, point, basis, hessian, gradient, place)
        for k in range(3):
            hessian[k, k] += 1e-9
        if solve3(hessian, basis[3], spread):
            noise = max(np.median(residual), PIXEL_NOISE)
            front = point[3] ** 2 < 9.0 * noise**2 * (spread * basis[3]).sum()
    return front


@njit(cache=True)
def triangulate_all(cameras, lenses, start, poses, xy, scale, steps, points, residual, in_front):
    """Every track: a start from each end of it (linear), the better one refined. Fills points, residual, in_front."""
    place, other = np.empty(5), np.empty(4)
    for n in range(len(start) - 1):
        low, high = start[n], start[n + 1]
        if high - low < 2:
            continue
        own, seen = poses[low:high], xy[low:high]
        linear_point(cameras, lenses, own, seen, 0, points[n])
        linear_point(cameras, lenses, own, seen, high - low - 1, other)
        if robust_cost(cameras, lenses, own, seen, scale, other, place) < robust_cost(
            cameras, lenses, own, seen, scale, points[n], place
        ):
            points[n] = other
        fit_point(cameras, lenses, own, seen, scale, steps, points[n])
        in_front[n] = judge_point(cameras, lenses, own, seen, scale, points[n], residual[low:high])
