"""Trajectories that the pose format tests share."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.trajectory import Scale, Trajectory


def random_trajectory(seed: int, count: int) -> Trajectory:
    """Anything a Trajectory can be: any rotations, centres of any magnitude, a lens per pose, gaps in the frames."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(count, rng).as_matrix()
    centre = rng.normal(size=(count, 3)) * 10 ** rng.uniform(-2, 3)
    width, height = (int(side) for side in rng.integers(16, 4000, 2))
    focal = rng.uniform(0.3, 3, (count, 2)) * width
    middle = rng.uniform(0.3, 0.7, (count, 2)) * (width, height)
    frame_index = np.cumsum(rng.integers(1, 5, count))
    return Trajectory(
        camera_to_world=se3.pose(rotation, centre),
        intrinsics=np.hstack([focal, middle]),
        width=width,
        height=height,
        times_s=rng.uniform(0, 2e9) + frame_index / rng.choice([5.0, 16.0, 23.976, 30.0]),
        frame_index=frame_index,
        scale=Scale(kind=str(rng.choice(["metric", "sfm", "unit", "unknown"]))),
        distortion=tuple(rng.normal(size=4) * 0.05) if rng.random() < 0.5 else (),
    )


@pytest.fixture(scope="session")
def make_trajectory() -> Callable[[int, int], Trajectory]:
    """(seed, count) -> a random trajectory."""
    return random_trajectory


@pytest.fixture
def exact_trajectory() -> Trajectory:
    """Three poses 4 frames apart whose numbers are exact in every encoding: rotations by 0, 180 and 120 degrees."""
    rotations = [np.eye(3), np.diag([-1.0, 1, -1]), np.roll(np.eye(3), 1, axis=0)]
    return Trajectory(
        camera_to_world=se3.pose(np.array(rotations), np.array([[0.0, 0, 0], [0.5, -0.25, 2], [1.5, 0.75, -4]])),
        intrinsics=np.array([480.0, 500, 320, 240]),
        width=640,
        height=480,
        times_s=np.array([0, 0.25, 0.5]),
        frame_index=np.array([0, 4, 8]),
    )
