"""MegaSaM's files: whose lens counts, how large the pictures are, and what is never opened."""

from dataclasses import replace

import numpy as np
import pytest

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.poses import megasam, spatialvid
from trajkit.poses._arrays import npy_bytes, npz_bytes, npz_shape

POSES = se3.pose(se3.axis_rotation("y", np.array([0.0, 5, 10])), np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0.0]]))
K = np.array([[200.0, 0, 104], [0, 200, 60], [0, 0, 1]])


def test_the_size_is_that_of_the_pictures(tmp_path):
    path = tmp_path / "a_droid.npz"
    for name, shape in (("images", (3, 128, 216, 3)), ("depths", (3, 128, 216))):
        path.write_bytes(npz_bytes({"cam_c2w": POSES, "intrinsic": K, name: np.zeros(shape, np.uint8)}))
        track = megasam.read(path)
        assert (track.width, track.height) == (216, 128)
    path.write_bytes(npz_bytes({"cam_c2w": POSES, "intrinsic": K}))
    assert megasam.read(path).width == 208  # twice cx
    assert megasam.read(path, megasam.Options(width=210)).width == 210


def test_a_known_point_lands_where_the_poses_say(tmp_path):
    (tmp_path / "a_droid.npz").write_bytes(npz_bytes({"cam_c2w": POSES, "intrinsic": K}))
    (tmp_path / "poses.npy").write_bytes(npy_bytes(_rows(se3.inverse(POSES))))
    (tmp_path / "intrinsics.npy").write_bytes(npy_bytes(np.array([[200, 200, 104, 60], [0, 0, 0, 0]])))
    point = POSES[1] @ (0.5, -0.25, 2, 1)
    for path in (tmp_path / "a_droid.npz", tmp_path, tmp_path / "poses.npy"):
        track = megasam.read(path)
        seen = se3.transform(track.world_to_camera[1], point[:3])
        np.testing.assert_allclose(track.camera(1).project(seen), [104 + 50, 60 - 25], atol=1e-5)


def _rows(world_to_camera):
    return np.hstack([world_to_camera[:, :3, 3], se3.to_quaternion_xyzw(world_to_camera[:, :3, :3])])


def test_other_arrays_are_never_read(tmp_path):
    """Pictures of a thousand frames stay on disk, and pickled ones are no danger to the poses."""
    path = tmp_path / "a_droid.npz"
    np.savez(path, cam_c2w=POSES, intrinsic=K, images=np.array([{"a": 1}], object))
    assert len(megasam.read(path)) == 3
    np.savez(path, cam_c2w=np.array([{"a": 1}], object), intrinsic=K)
    with pytest.raises(TrajkitError, match="damaged"):
        megasam.read(path)


def test_a_lens_that_changes_is_refused(tmp_path, exact_trajectory):
    zoomed = replace(exact_trajectory, intrinsics=exact_trajectory.intrinsics * [[1], [1.1], [1]])
    with pytest.raises(TrajkitError, match="lens changes"):
        megasam.write(zoomed, tmp_path / "a_droid.npz")


def test_only_what_is_surely_its_own_is_taken_for_it(tmp_path, exact_trajectory):
    spatialvid.write(exact_trajectory, tmp_path)
    assert not megasam.matches(tmp_path)
    (tmp_path / "images.npy").write_bytes(npy_bytes(np.zeros((3, 3, 8, 8), np.uint8)))
    assert megasam.matches(tmp_path)
    megasam.write(exact_trajectory, tmp_path / "a.npz")
    assert megasam.matches(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK no archive")
    assert not megasam.matches(tmp_path / "b.npz")
    assert not megasam.matches(tmp_path / "absent.npz")
    assert npz_shape(tmp_path / "a.npz", "depths") == ()
