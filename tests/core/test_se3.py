"""SE(3) and Sim(3): properties over random motions, and slow twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from trajkit import se3

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None, derandomize=True)


def random_poses(seed: int, n: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return se3.pose(Rotation.random(n, rng).as_matrix(), rng.normal(size=(n, 3)) * 10)


@quick
@given(seeds)
def test_inverse_equals_linear_algebra(seed: int) -> None:
    poses = random_poses(seed)
    np.testing.assert_allclose(se3.inverse(poses), np.linalg.inv(poses), atol=1e-12)


@quick
@given(seeds, st.sampled_from([1e-9, 1e-5, 1e-3, 1.0, 3.0]))
def test_exp_equals_the_matrix_exponential_and_log_undoes_it(seed: int, size: float) -> None:
    twist = np.random.default_rng(seed).normal(size=6)
    twist[3:] *= size / np.linalg.norm(twist[3:])
    rho, (x, y, z) = twist[:3], twist[3:]
    generator = np.array([[0, -z, y, rho[0]], [z, 0, -x, rho[1]], [-y, x, 0, rho[2]], [0, 0, 0, 0]])
    matrix = se3.exp(twist)
    np.testing.assert_allclose(matrix, expm(generator), atol=1e-11)
    np.testing.assert_allclose(se3.log(matrix), twist, atol=1e-9)


@quick
@given(seeds)
def test_quaternions_round_trip_and_are_scalar_last(seed: int) -> None:
    rotation = random_poses(seed)[:, :3, :3]
    quaternion = se3.to_quaternion_xyzw(rotation)
    assert (quaternion[:, 3] >= 0).all()
    np.testing.assert_allclose(se3.from_quaternion_xyzw(quaternion), rotation, atol=1e-12)


def test_quaternion_of_a_quarter_turn_about_z() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(se3.to_quaternion_xyzw(se3.axis_rotation("z", 90.0)), [0, 0, half, half], atol=1e-15)


def test_axis_rotations_turn_right_and_look_up_in_opencv_axes() -> None:
    forward = np.array([0.0, 0.0, 1.0])
    assert (se3.axis_rotation("y", 10.0) @ forward)[0] > 0  # x is right
    assert (se3.axis_rotation("x", 10.0) @ forward)[1] < 0  # y is down


@quick
@given(seeds)
def test_nearest_rotation_repairs_noise_and_rejects_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotation = random_poses(seed)[:, :3, :3]
    repaired = se3.nearest_rotation(rotation + rng.normal(size=rotation.shape) * 1e-4)
    assert se3.rotation_defect(repaired).max() < 1e-12
    assert np.abs(repaired - rotation).max() < 1e-3


def test_rotation_defect_of_a_reflection_and_of_nan_is_infinite() -> None:
    assert se3.rotation_defect(np.diag([1.0, 1.0, -1.0])) == np.inf
    assert se3.rotation_defect(np.full((3, 3), np.nan)) == np.inf


@quick
@given(seeds)
def test_interpolate_hits_the_poses_and_halves_the_angle(seed: int) -> None:
    poses, times = random_poses(seed, 4), np.array([0.0, 1.0, 1.5, 4.0])
    np.testing.assert_allclose(se3.interpolate(poses, times, times), poses, atol=1e-12)
    middle = se3.interpolate(poses, times, np.array([0.5]))[0]
    np.testing.assert_allclose(middle[:3, 3], (poses[0] + poses[1])[:3, 3] / 2, atol=1e-12)
    whole = se3.angle_deg(poses[0, :3, :3].T @ poses[1, :3, :3])
    np.testing.assert_allclose(se3.angle_deg(poses[0, :3, :3].T @ middle[:3, :3]), whole / 2, atol=1e-6)
    held = se3.interpolate(poses, times, np.array([-1.0, 9.0]))
    np.testing.assert_allclose(held, poses[[0, 3]], atol=1e-12)


@quick
@given(seeds)
def test_look_at_puts_the_target_ahead_and_up_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, target, up = rng.normal(size=(3, 3))
    matrix = se3.look_at(centre, target, up)
    assert se3.rotation_defect(matrix[:3, :3]) < 1e-12
    np.testing.assert_allclose(
        se3.transform(se3.inverse(matrix), target), [0, 0, np.linalg.norm(target - centre)], atol=1e-9
    )
    assert matrix[:3, 1] @ up < 0  # the image's y axis points down
    with pytest.raises(ValueError, match="parallel"):
        se3.look_at(centre, centre + up, up)


@quick
@given(seeds, st.booleans())
def test_align_recovers_a_similarity(seed: int, with_scale: bool) -> None:
    rng = np.random.default_rng(seed)
    scale = float(rng.uniform(0.1, 10)) if with_scale else 1.0
    truth = se3.Similarity(scale, Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
    points = rng.normal(size=(10, 3))
    found = se3.align(points, truth.points(points), with_scale=with_scale)
    np.testing.assert_allclose(found.scale, truth.scale, rtol=1e-9)
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=1e-9)
    np.testing.assert_allclose(found.inverse().points(truth.points(points)), points, atol=1e-9)


def test_align_agrees_with_pycolmap_on_noisy_points() -> None:
    pycolmap = pytest.importorskip("pycolmap")
    rng = np.random.default_rng(3)
    source = rng.normal(size=(50, 3))
    target = 2.5 * source @ Rotation.random(rng=rng).as_matrix().T + 1 + rng.normal(size=(50, 3)) * 0.05
    theirs = pycolmap.estimate_sim3d(source, target)
    ours = se3.align(source, target)
    np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-6)
    np.testing.assert_allclose(ours.rotation, theirs.rotation.matrix(), atol=1e-6)


def test_align_of_mirrored_points_is_the_best_rotation() -> None:
    points = np.random.default_rng(5).normal(size=(20, 3))
    points -= points.mean(0)
    mirrored = points * (1, 1, -1)
    found = se3.align(points, mirrored, with_scale=False).rotation
    assert se3.rotation_defect(found) < 1e-12
    error = lambda rotation: ((points @ rotation.T - mirrored) ** 2).sum()  # noqa: E731
    assert all(error(found) < error(found @ se3.axis_rotation(axis, sign)) for axis in "xyz" for sign in (-3.0, 3.0))


def test_align_refuses_points_on_a_line_and_too_few() -> None:
    line = np.arange(5.0)[:, None] * [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="line"):
        se3.align(line, line)
    with pytest.raises(ValueError, match="at least 3"):
        se3.align(line[:2], line[:2])


@quick
@given(seeds)
def test_a_similarity_moves_poses_as_it_moves_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = se3.Similarity(2.0, Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
    poses, in_camera = random_poses(seed), rng.normal(size=3)
    moved = se3.transform(similarity.poses(poses), similarity.scale * in_camera)
    np.testing.assert_allclose(moved, similarity.points(se3.transform(poses, in_camera)), atol=1e-9)
