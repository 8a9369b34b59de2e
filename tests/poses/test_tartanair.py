"""TartanAir's NED axes, by where known points land; the lens that its files do not hold."""

from dataclasses import replace

import numpy as np
import pytest

from trajkit import se3
from trajkit.poses import tartanair
from trajkit.trajectory import Scale

HALF = 0.5**0.5
NORTH, EAST, DOWN = np.array([0.0, 0, 1]), np.array([1.0, 0, 0]), np.array([0.0, 1, 0])  # in the world that is read


def _read(tmp_path, *rows, **options):
    path = tmp_path / "pose_left.txt"
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    return tartanair.read(path, tartanair.Options(**options))


@pytest.mark.parametrize(
    ("quaternion", "ahead", "right", "below"),
    [
        ((0, 0, 0, 1), NORTH, EAST, DOWN),
        ((0, 0, HALF, HALF), EAST, -NORTH, DOWN),  # a quarter turn about down: from north to east
        ((0, 0, -HALF, HALF), -EAST, NORTH, DOWN),
        ((0, HALF, 0, HALF), -DOWN, EAST, NORTH),  # nose up
        ((HALF, 0, 0, HALF), NORTH, DOWN, -EAST),  # rolled to the right: its right hand points down
    ],
)
def test_points_ahead_to_the_right_and_below_land_there(tmp_path, quaternion, ahead, right, below):
    track = _read(tmp_path, (10, 20, 30, *quaternion))
    centre = 10 * NORTH + 20 * EAST + 30 * DOWN
    points = centre + np.stack([4 * ahead, 4 * ahead + right, 4 * ahead + below])
    pixels = track.camera(0).project(se3.transform(track.world_to_camera[0], points))
    np.testing.assert_allclose(pixels, [[320, 240], [400, 240], [320, 320]], atol=1e-9)


def test_a_flight_north_goes_ahead_in_metres(tmp_path):
    track = _read(tmp_path, (0, 0, 0, 0, 0, 0, 1), (1.5, 0, 0, 0, 0, 0, 1), fps=20.0)
    np.testing.assert_allclose(track.centres[1], [0, 0, 1.5])
    assert track.scale == Scale(kind="metric")
    assert track.times_s.tolist() == [0, 0.05]


def test_the_lens_is_90_degrees_wide_at_any_height(tmp_path):
    track = _read(tmp_path, (0, 0, 0, 0, 0, 0, 1), height=640)
    np.testing.assert_allclose(track.intrinsics, [[320, 320, 320, 320]])
    assert track.camera(0).fov_deg[0] == pytest.approx(90)


def test_metres_are_written(exact_trajectory, tmp_path):
    path = tmp_path / "pose_left.txt"
    tartanair.write(replace(exact_trajectory, scale=Scale(kind="metric", factor=2)), path)
    np.testing.assert_allclose(tartanair.read(path).centres, exact_trajectory.centres * 2)


def test_only_files_of_its_name_are_taken_for_it(tmp_path):
    for name, looks in (("pose_left.txt", True), ("pose_lcam_front.txt", True), ("poses.txt", False)):
        (tmp_path / name).write_text("0 0 0 0 0 0 1\n")
        assert tartanair.matches(tmp_path / name) is looks
    (tmp_path / "pose_left.txt").write_text("0 0 0 0 0 0 0 1\n")
    assert not tartanair.matches(tmp_path / "pose_left.txt")
