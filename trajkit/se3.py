"""Rotations, rigid motions and similarities on arrays, thin over scipy.spatial.transform.

A pose is a (4, 4) float64 matrix; a stack of them is (N, 4, 4). `a_from_b` names a transform by direction.
Quaternions say their order in their name: xyzw (SciPy) or wxyz.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation, Slerp

Array = np.ndarray


def pose(rotation: Float[Array, "*n 3 3"], translation: Float[Array, "*n 3"]) -> Float64[Array, "*n 4 4"]:
    """Homogeneous matrices [R t; 0 1] from rotations and translations."""
    rotation, translation = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
    matrix = np.zeros((*np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1]), 4, 4))
    matrix[..., :3, :3], matrix[..., :3, 3], matrix[..., 3, 3] = rotation, translation, 1.0
    return matrix


def inverse(matrix: Float[Array, "*n 4 4"]) -> Float64[Array, "*n 4 4"]:
    """Inverse of rigid motions: [R' -R't; 0 1]."""
    transposed = np.swapaxes(matrix[..., :3, :3], -1, -2)
    return pose(transposed, -np.einsum("...ij,...j->...i", transposed, matrix[..., :3, 3]))


def transform(matrix: Float[Array, "*n 4 4"], points: Float[Array, "*n 3"]) -> Float64[Array, "*n 3"]:
    """Points carried by rigid motions; shapes broadcast (one matrix and many points, or one each)."""
    return np.einsum("...ij,...j->...i", matrix[..., :3, :3], points) + matrix[..., :3, 3]


def rotation_defect(rotation: Float[Array, "*n 3 3"]) -> Float64[Array, "*n"]:
    """How far a 3x3 matrix is from a rotation: max |R'R - I|, infinite for a reflection or a non-finite entry."""
    rotation = np.asarray(rotation, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gram = np.swapaxes(rotation, -1, -2) @ rotation
        defect = np.abs(gram - np.eye(3)).max(axis=(-1, -2))
        proper = np.linalg.det(np.nan_to_num(rotation, nan=0.0, posinf=0.0, neginf=0.0)) > 0
    return np.where(np.isfinite(defect) & proper, defect, np.inf)


def nearest_rotation(matrix: Float[Array, "*n 3 3"]) -> Float64[Array, "*n 3 3"]:
    """Rotation nearest in the Frobenius norm (orthogonal Procrustes by SVD, determinant forced to +1)."""
    u, _, vt = np.linalg.svd(np.asarray(matrix, np.float64))
    sign = np.linalg.det(u @ vt)
    u[..., :, 2] *= sign[..., None]
    return u @ vt


def from_quaternion_xyzw(quaternion: Float[Array, "*n 4"]) -> Float64[Array, "*n 3 3"]:
    """Rotation matrices of (not necessarily unit) quaternions, scalar last. A zero quaternion raises ValueError."""
    flat = np.asarray(quaternion, np.float64).reshape(-1, 4)
    return Rotation.from_quat(flat).as_matrix().reshape(*np.shape(quaternion)[:-1], 3, 3)


def to_quaternion_xyzw(rotation: Float[Array, "*n 3 3"]) -> Float64[Array, "*n 4"]:
    """Unit quaternions, scalar last and not negative."""
    flat = np.asarray(rotation, np.float64).reshape(-1, 3, 3)
    quaternion = Rotation.from_matrix(flat).as_quat()
    quaternion *= np.where(quaternion[:, 3:] < 0, -1.0, 1.0)
    return quaternion.reshape(*np.shape(rotation)[:-2], 4)


def angle_deg(rotation: Float[Array, "*n 3 3"]) -> Float64[Array, "*n"]:
    """Rotation angle in degrees, 0..180, accurate near both ends (SciPy's rotation vector, not an arccos)."""
    flat = np.asarray(rotation, np.float64).reshape(-1, 3, 3)
    return np.degrees(Rotation.from_matrix(flat).magnitude()).reshape(np.shape(rotation)[:-2])


def axis_rotation(axis: str, angle_deg: float | Float[Array, "*n"]) -> Float64[Array, "*n 3 3"]:
    """Right-handed rotations about "x", "y" or "z". In OpenCV axes Ry(+) turns right and Rx(+) looks up."""
    angles = np.asarray(angle_deg, np.float64)
    return Rotation.from_euler(axis, angles.reshape(-1, 1), degrees=True).as_matrix().reshape(*angles.shape, 3, 3)


def exp(twist: Float[Array, "*n 6"]) -> Float64[Array, "*n 4 4"]:
    """SE(3) exponential of twists (translation part first, rotation vector last).

    t = V rho with V = I + (1-cos a)/a^2 [w] + (a - sin a)/a^3 [w]^2 (Barfoot 2017, eq. 7.37).
    """
    rho, omega = np.asarray(twist, np.float64)[..., :3], np.asarray(twist, np.float64)[..., 3:]
    rotation = Rotation.from_rotvec(omega.reshape(-1, 3)).as_matrix().reshape(*omega.shape[:-1], 3, 3)
    return pose(rotation, np.einsum("...ij,...j->...i", _left_jacobian(omega), rho))


def log(matrix: Float[Array, "*n 4 4"]) -> Float64[Array, "*n 6"]:
    """SE(3) logarithm, the inverse of `exp` for rotations below 180 degrees."""
    rotation = matrix[..., :3, :3]
    omega = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec().reshape(*rotation.shape[:-2], 3)
    rho = np.linalg.solve(_left_jacobian(omega), matrix[..., :3, 3, None])[..., 0]
    return np.concatenate([rho, omega], axis=-1)


def _left_jacobian(omega: Float64[Array, "*n 3"]) -> Float64[Array, "*n 3 3"]:
    angle = np.linalg.norm(omega, axis=-1)[..., None, None]
    small = angle < 1e-4  # where the closed form loses digits, its Taylor series has 1e-17 error
    safe = np.where(small, 1.0, angle)
    b = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    c = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    skew = np.zeros((*omega.shape[:-1], 3, 3))
    x, y, z = omega[..., 0], omega[..., 1], omega[..., 2]
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -z, y, -x
    skew[..., 1, 0], skew[..., 2, 0], skew[..., 2, 1] = z, -y, x
    return np.eye(3) + b * skew + c * (skew @ skew)


def interpolate(
    camera_to_world: Float64[Array, "n 4 4"], times: Float[Array, " n"], query: Float[Array, " m"]
) -> Float64[Array, "m 4 4"]:
    """Poses at the query times: slerp of rotations, linear camera *centres*, ends held.

    Never interpolates world_to_camera translations: those mix rotation into the path (data_formats.md 3.4).
    """
    times, query = np.asarray(times, np.float64), np.asarray(query, np.float64)
    query = np.clip(query, times[0], times[-1])
    if len(times) == 1:
        return np.repeat(camera_to_world, len(query), axis=0)
    rotation = Slerp(times, Rotation.from_matrix(camera_to_world[:, :3, :3]))(query).as_matrix()
    centre = np.stack([np.interp(query, times, camera_to_world[:, axis, 3]) for axis in range(3)], axis=-1)
    return pose(rotation, centre)


def look_at(
    centre: Float[Array, "*n 3"], target: Float[Array, "*n 3"], up: Float[Array, "3"]
) -> Float64[Array, "*n 4 4"]:
    """camera_to_world (OpenCV axes) at `centre`, z towards `target`, image up along `up`.

    Raises ValueError where the view direction is parallel to `up` or the target is the centre.
    """
    centre, target = np.broadcast_arrays(np.asarray(centre, np.float64), np.asarray(target, np.float64))
    forward = target - centre
    right = np.cross(forward, np.broadcast_to(np.asarray(up, np.float64), forward.shape))
    if np.any(np.linalg.norm(right, axis=-1) < 1e-9 * np.maximum(np.linalg.norm(forward, axis=-1), 1e-300)):
        raise ValueError("the view direction is parallel to up")
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    return pose(np.stack([right, np.cross(forward, right), forward], axis=-1), centre)


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Float64[Array, "3 3"]
    translation: Float64[Array, "3"]

    def points(self, points: Float[Array, "*n 3"]) -> Float64[Array, "*n 3"]:
        """Points carried into the target frame."""
        return self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def poses(self, camera_to_world: Float64[Array, "*n 4 4"]) -> Float64[Array, "*n 4 4"]:
        """camera_to_world carried into the target frame: centres scaled, rotations kept rigid."""
        return pose(self.rotation @ camera_to_world[..., :3, :3], self.points(camera_to_world[..., :3, 3]))

    def inverse(self) -> "Similarity":
        """The similarity that undoes this one."""
        rotation = self.rotation.T
        return Similarity(1 / self.scale, rotation, -(rotation @ self.translation) / self.scale)


def align(source: Float[Array, "n 3"], target: Float[Array, "n 3"], *, with_scale: bool = True) -> Similarity:
    """Least-squares similarity target <- source (Umeyama 1991, eqs. 40-42; scale 1 unless `with_scale`).

    Raises ValueError below three points or when the points lie on one line, which leaves a rotation free.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if len(source) < 3:
        raise ValueError(f"alignment needs at least 3 points, got {len(source)}")
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, singular, vt = np.linalg.svd(covariance)
    if singular[1] <= 1e-12 * singular[0] or singular[0] == 0:
        raise ValueError("the points lie on one line: a rotation about it stays free")
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = float((singular * signs).sum() / ((source - source_mean) ** 2).sum(1).mean()) if with_scale else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
