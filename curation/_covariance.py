"""How well tracks determine cameras: the inverse of the reduced equations, and what it means in pixels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.linalg import cho_solve_banded

from ._bundle import SHARED
from ._solve import Solved, factored

Array = np.ndarray
INFLATION = 3.0  # of sigma: errors of a followed point are alike in neighbouring frames
MOST = 96  # poses whose covariance is worked out; the others have that of the nearest one


class Spread(NamedTuple):
    """Covariance of the left twists of sampled poses (unit world), then log focal and its slope; one scale held."""

    sampled: Int64[Array, "s"]
    joint: Float64[Array, "j j"]
    poses: Float64[Array, "n 6 6"]  # each against the middle one
    focal: float  # sigma of the logarithm
    cameras: Float64[Array, "n 3 4"]  # world to camera, unit world


def unknown(poses: int) -> Spread:
    """Of cameras that nothing is known about."""
    inf = np.full((poses, 6, 6), np.inf)
    return Spread(np.empty(0, np.int64), np.empty((0, 0)), inf, np.inf, np.tile(np.eye(4)[:3], (poses, 1, 1)))


def spread(solved: Solved, noise_px: float) -> Spread:
    """Covariance at the end of an adjustment whose median residual is `noise_px`."""
    n = len(solved.views.cameras)
    sampled = np.unique(np.linspace(0, n - 1, min(n, MOST)).astype(np.int64))
    system = solved.system
    factor = factored(system.band)
    columns = (6 * sampled[:, None] + np.arange(6)).ravel()
    unit = np.zeros((6 * n, len(columns)))
    unit[columns, np.arange(len(columns))] = 1.0
    scale = _scale_direction(solved.views.cameras)
    solution = cho_solve_banded((factor, True), np.column_stack([unit, system.border, scale]), check_finite=False)
    inverse, border, along = solution[:, : len(columns)], solution[:, -SHARED - 1 : -1], solution[:, -1]
    corner = np.linalg.inv(system.corner - system.border.T @ border)
    mixed = -border @ corner
    joint = np.block(
        [[inverse[columns] + border[columns] @ corner @ border[columns].T, mixed[columns]], [mixed[columns].T, corner]]
    )
    along_all = np.concatenate(
        [along[columns] + border[columns] @ corner @ (border.T @ scale), -corner @ (border.T @ scale)]
    )
    total = float(scale @ along + (border.T @ scale) @ corner @ (border.T @ scale))
    if total > 0:
        joint = joint - np.outer(along_all, along_all) / total
    joint *= (INFLATION * noise_px) ** 2
    poses = _against_middle(joint, solved.views.cameras[sampled])
    nearest = np.abs(np.arange(n)[:, None] - sampled[None]).argmin(1)
    focal = float(np.sqrt(max(joint[-SHARED, -SHARED], 0.0)))
    return Spread(sampled, joint, poses[nearest], focal, solved.views.cameras)


def _scale_direction(cameras: Float64[Array, "n 3 4"]) -> Float64[Array, "n6"]:
    """Twists that make the world larger about the mean centre, so that a shift of the world counts nothing."""
    rotation, translation = cameras[:, :, :3], cameras[:, :, 3]
    mean = -np.einsum("nji,nj->ni", rotation, translation).mean(0)
    direction = np.zeros((len(cameras), 6))
    direction[:, :3] = translation + rotation @ mean
    return direction.ravel()


def _against_middle(joint: Float64[Array, "j j"], cameras: Float64[Array, "s 3 4"]) -> Float64[Array, "s 6 6"]:
    """Covariance of each pose's twist with the middle pose held: twist - Ad(pose from middle) middle's twist."""
    count = len(cameras)
    middle = count // 2
    out = np.empty((count, 6, 6))
    for k in range(count):
        carry = _adjoint(cameras[k], cameras[middle])
        both = np.zeros((6, joint.shape[0]))
        both[:, 6 * k : 6 * k + 6] = np.eye(6)
        both[:, 6 * middle : 6 * middle + 6] -= carry
        out[k] = both @ joint @ both.T
    return out


def _adjoint(to: Float64[Array, "3 4"], start: Float64[Array, "3 4"]) -> Float64[Array, "6 6"]:
    """Carries a left twist (translation, rotation) of camera `start` over to camera `to`."""
    rotation = to[:, :3] @ start[:, :3].T
    x, y, z = to[:, 3] - rotation @ start[:, 3]
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.block([[rotation, skew @ rotation], [np.zeros((3, 3)), rotation]])


def pixels(known: Spread, lenses: Float64[Array, "2 4"], pair: tuple[int, int], local: Float64[Array, "k 4"]) -> float:
    """Sigma, in pixels, of where points land in the second pose of a pair; NaN where neither pose was sampled.

    `local` are homogeneous points in the first camera, unit world: xyz of its depth 1, then the inverse depth. The
    lenses are fx fy cx cy of the two poses.
    """
    places = np.searchsorted(known.sampled, pair)
    if not len(known.sampled) or (known.sampled[np.minimum(places, len(known.sampled) - 1)] != pair).any():
        return float("nan")
    columns = (6 * places[:, None] + np.arange(6)).ravel()
    chosen = np.append(columns, len(known.joint) - SHARED)
    covariance = known.joint[np.ix_(chosen, chosen)]
    first, second = known.cameras[pair[0]], known.cameras[pair[1]]
    rotation = second[:, :3] @ first[:, :3].T
    shift = second[:, 3] - rotation @ first[:, 3]
    there = local[:, :3] @ rotation.T + local[:, 3:] * shift
    front = there[:, 2] > 1e-6
    local, there = local[front], there[front]
    by_second = _by_twist(there, local[:, 3])
    by_first = -rotation @ _by_twist(local[:, :3], local[:, 3])
    by_focal = -(local[:, :3] * (1, 1, 0)) @ rotation.T
    moves = np.concatenate([by_first, by_second, by_focal[:, :, None]], axis=2)  # (k, 3, 13): of the point in `second`
    x, y, z = there.T
    fx, fy = lenses[1, :2]
    zero = np.zeros_like(z)
    image = np.stack([np.stack([fx / z, zero, -fx * x / z**2], -1), np.stack([zero, fy / z, -fy * y / z**2], -1)], 1)
    rows = image @ moves
    rows[:, :, 12] += np.stack([fx * x / z, fy * y / z], axis=-1)
    variance = np.einsum("kij,jl,kil->k", rows, covariance, rows)
    return float(np.sqrt(max(np.median(variance), 0.0))) if len(variance) else float("nan")


def _by_twist(point: Float64[Array, "k 3"], inverse_depth: Float64[Array, "k"]) -> Float64[Array, "k 3 6"]:
    """Derivative of points in a camera by that camera's left twist: translation times inverse depth, then w x point."""
    x, y, z = point.T
    zero = np.zeros_like(x)
    turn = np.stack([np.stack([zero, z, -y], -1), np.stack([-z, zero, x], -1), np.stack([y, -x, zero], -1)], axis=1)
    return np.concatenate([np.eye(3)[None] * inverse_depth[:, None, None], turn], axis=2)
