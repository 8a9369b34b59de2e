"""Trajectory: what it refuses, and that its derived quantities mean what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.trajectory import Scale, Trajectory

LENS = Camera.from_fov(64, 48, 50)
quick = settings(max_examples=30, deadline=None, derandomize=True)


def walk(seed: int = 0, n: int = 9, fps: float = 8.0) -> Trajectory:
    rng = np.random.default_rng(seed)
    steps = np.concatenate([rng.normal(size=(n, 3)), rng.normal(size=(n, 3)) * 0.1], axis=1)
    poses = [np.eye(4)]
    for step in se3.exp(steps)[1:]:
        poses.append(poses[-1] @ step)
    return Trajectory.from_camera(np.array(poses), LENS, fps=fps)


def test_arrays_are_read_only_and_not_shared() -> None:
    poses = np.eye(4)[None].repeat(3, 0)
    trajectory = Trajectory.from_camera(poses, LENS, fps=1)
    poses[0, 0, 3] = 99
    assert trajectory.camera_to_world[0, 0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        trajectory.camera_to_world[0, 0, 0] = 2


def test_forward_then_turn_has_length_one() -> None:
    # SpatialVID's moveDist, summed on world_to_camera translations, says 2.57 here (reference/data_formats.md 3.4)
    turns = np.linspace(0, 90, 20)
    forward = se3.pose(np.eye(3), np.linspace(0, 1, 20)[:, None] * [0, 0, 1])
    pan = se3.pose(se3.axis_rotation("y", turns), np.array([0.0, 0.0, 1.0]))
    trajectory = Trajectory.from_camera(np.concatenate([forward, pan[1:]]), LENS, fps=10)
    assert trajectory.path_length == pytest.approx(1.0)
    assert trajectory.turn_rates_deg.sum() / 10 == pytest.approx(90.0)
    assert trajectory.speeds.max() == pytest.approx(10 / 19)
    assert trajectory.fps == pytest.approx(10)


@quick
@given(st.integers(0, 10**6))
def test_a_change_of_world_leaves_motion_unchanged(seed: int) -> None:
    trajectory, rng = walk(seed), np.random.default_rng(seed)
    similarity = se3.Similarity(3.0, Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
    moved = trajectory.moved(similarity)
    np.testing.assert_allclose(moved.speeds, trajectory.speeds * 3, rtol=1e-9)
    np.testing.assert_allclose(moved.turn_rates_deg, trajectory.turn_rates_deg, rtol=1e-9, atol=1e-9)
    assert moved.path_length * moved.scale.factor == pytest.approx(trajectory.path_length)
    relative = trajectory.relative_to(2)
    np.testing.assert_allclose(relative.camera_to_world[2], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(relative.speeds, trajectory.speeds, rtol=1e-9)


def test_scaled_remembers_how_to_undo_itself() -> None:
    trajectory = walk().scaled(4.0)
    assert trajectory.scale.factor == 0.25
    np.testing.assert_allclose(trajectory.scaled(0.25).centres, walk().centres)
    assert trajectory.scaled(0.25).scale.factor == 1.0


def test_resampling_interpolates_centres_not_world_to_camera_translations() -> None:
    trajectory = walk(fps=5)
    finer = trajectory.resampled(np.arange(0, 1.61, 0.1))
    np.testing.assert_allclose(finer.centres[::2], trajectory.centres, atol=1e-9)
    np.testing.assert_allclose(finer.centres[1], trajectory.centres[:2].mean(0), atol=1e-9)
    assert list(finer.frame_index[:5]) == [0, 0, 1, 2, 2]  # ties to even


def test_slicing_keeps_times_names_and_indices() -> None:
    named = Trajectory.from_camera(walk().camera_to_world, LENS, fps=8, names=[f"{i}.jpg" for i in range(9)])
    part = named[np.array([1, 5])]
    assert (part.names, list(part.frame_index), list(part.times_s)) == (("1.jpg", "5.jpg"), [1, 5], [0.125, 0.625])
    assert len(named[2:7:2]) == 3
    with pytest.raises(TypeError, match="slice"):
        named[0]


def test_rough_rotations_are_snapped_onto_se3() -> None:
    rough = walk().camera_to_world.astype(np.float32).astype(np.float64)
    rough[:, :3, :3] *= 1 + 1e-4
    snapped = Trajectory.from_camera(rough, LENS, fps=1)
    assert se3.rotation_defect(snapped.camera_to_world[:, :3, :3]).max() < 1e-12
    np.testing.assert_allclose(snapped.camera_to_world, walk().camera_to_world, atol=1e-4)


def _broken(**change: object) -> dict:
    poses = np.eye(4)[None].repeat(4, 0)
    fields: dict = {
        "camera_to_world": poses,
        "intrinsics": np.tile([50.0, 50, 32, 24], (4, 1)),
        "width": 64,
        "height": 48,
        "times_s": np.arange(4.0),
        "frame_index": np.arange(4),
    }
    return fields | change


def _with(index: tuple, value: float) -> np.ndarray:
    poses = np.eye(4)[None].repeat(4, 0)
    poses[index] = value
    return poses


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"camera_to_world": np.zeros((0, 4, 4))}, "shape"),
        ({"camera_to_world": np.eye(4)}, "shape"),
        ({"camera_to_world": _with((2, 0, 3), np.nan)}, "pose 2 is not finite"),
        ({"camera_to_world": _with((1, 0, 0), -1.0)}, "pose 1 is not a rotation"),
        ({"camera_to_world": _with((3, 0, 0), 1.1)}, "pose 3 is not a rotation"),
        ({"camera_to_world": _with((0, 3, 0), 1.0)}, "last row"),
        ({"times_s": np.arange(3.0)}, "4 poses but 3 times_s"),
        ({"times_s": np.array([0.0, 2, 1, 3])}, "backwards"),
        ({"times_s": np.array([0.0, 1, 2, np.inf])}, "times_s 3 is not finite"),
        ({"intrinsics": np.tile([50.0, 0, 32, 24], (4, 1))}, "positive"),
        ({"names": ("a",)}, "1 names"),
        ({"scale": "metric"}, ""),
    ],
)
def test_what_is_no_trajectory_is_refused(change: dict, words: str) -> None:
    if "scale" in change:
        with pytest.raises(TrajkitError, match="no such kind"):
            Scale(kind="metres")  # type: ignore[arg-type]
        return
    with pytest.raises(TrajkitError, match=words):
        Trajectory(**_broken(**change))
