"""Conformity with numbers that minWM's own code produced (../shared/vectors)."""

import numpy as np
import pytest

from trajkit import se3
from trajkit.poses import minwm
from trajkit.poses._arrays import npy_bytes


@pytest.fixture(scope="module")
def vectors(shared):
    return np.load(shared / "vectors/minwm_vectors.npz")


def _from_text(tmp_path, text):
    path = tmp_path / "pose.txt"
    path.write_text(f"{text}\n")
    return minwm.read(path)


def _from_rows(tmp_path, rows, lens=None):
    (tmp_path / "poses.npy").write_bytes(npy_bytes(rows))
    if lens is not None:
        (tmp_path / "intrinsics.npy").write_bytes(npy_bytes(lens))
    return minwm.read(tmp_path / "poses.npy")


def _normalised(trajectory):
    return trajectory.intrinsics / (trajectory.width, trajectory.height, trajectory.width, trajectory.height)


def test_the_thirty_shipped_strings_in_one_file(vectors, tmp_path):
    path = tmp_path / "trajectories.txt"
    path.write_text("\n".join(vectors["traj_strings"]) + "\n")
    for number, expected in enumerate(vectors["traj_viewmats"], 1):
        trajectory = minwm.read(path, minwm.Options(line=number))
        np.testing.assert_allclose(trajectory.world_to_camera, expected, atol=1e-6)
        np.testing.assert_array_equal(trajectory.frame_index, np.arange(20) * 4)


def test_strings_with_vertical_keys_and_other_lengths(vectors, tmp_path):
    for number, text in enumerate(vectors["traj_extra_strings"]):
        expected = vectors[f"traj_extra_{number}"]
        np.testing.assert_allclose(_from_text(tmp_path, text).world_to_camera, expected, atol=1e-6)


def test_default_lens(vectors, tmp_path):
    fx, fy, cx, cy = _normalised(_from_text(tmp_path, "w*1"))[0]
    np.testing.assert_allclose([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], vectors["traj_default_K"], atol=1e-6)


def test_pose_strings_rows_and_lens(vectors, tmp_path):
    for text, rows, lens, views in zip(
        vectors["pose_strings"],
        vectors["pose_tq"],
        vectors["pose_intrinsics"],
        vectors["pose_viewmats"],
        strict=True,
    ):
        from_text, from_rows = _from_text(tmp_path, text), _from_rows(tmp_path, rows, lens)
        np.testing.assert_allclose(from_text.world_to_camera, from_rows.world_to_camera, atol=1e-5)
        np.testing.assert_allclose(minwm.view_matrices(from_rows), views, atol=1e-5)
        np.testing.assert_allclose(_normalised(from_text), np.tile(lens, (20, 1)), atol=1e-6)
        np.testing.assert_allclose(_normalised(from_rows), np.tile(lens, (20, 1)), atol=1e-6)


def test_lens_matrix_of_the_loader(vectors, tmp_path):
    for rows, lens, matrix in zip(vectors["pose_tq"], vectors["pose_intrinsics"], vectors["pose_Ks"], strict=True):
        fx, fy, cx, cy = _normalised(_from_rows(tmp_path, rows, lens))[0]
        np.testing.assert_allclose([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], matrix, atol=1e-6)


def test_writing_the_rows_back(vectors, tmp_path):
    rows = vectors["pose_tq"][3]
    minwm.write(_from_rows(tmp_path, rows), tmp_path / "out_poses.npy")
    written = np.load(tmp_path / "out_poses.npy")
    same_sign = np.sign((written[:, 3:] * rows[:, 3:]).sum(1, keepdims=True))
    np.testing.assert_allclose(written[:, :3], rows[:, :3], atol=1e-6)
    np.testing.assert_allclose(written[:, 3:] * same_sign, rows[:, 3:], atol=1e-6)
    assert written.dtype == np.float32


def test_anchoring_removes_a_world_offset(vectors, tmp_path):
    trajectory = _from_rows(tmp_path, vectors["reanchor_tq"])
    assert np.abs(trajectory.world_to_camera[0] - np.eye(4)).max() > 0.1  # reading alone keeps the offset
    views = minwm.view_matrices(trajectory)
    np.testing.assert_allclose(views, vectors["reanchor_viewmats"], atol=1e-5)
    np.testing.assert_allclose(views, vectors["pose_viewmats"][0], atol=1e-5)
    assert views.dtype == np.float32


def test_interpolation_of_rows(vectors):
    found = minwm.interpolate_rows(vectors["interp_src"], vectors["interp_src_idx"], vectors["interp_tgt_idx"])
    expected = vectors["interp_out"].astype(np.float64)
    np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=1e-5)
    turned = se3.from_quaternion_xyzw(found[:, 3:])
    np.testing.assert_allclose(turned, se3.from_quaternion_xyzw(expected[:, 3:]), atol=1e-5)


def test_frames_that_are_encoded(vectors):
    np.testing.assert_array_equal(minwm.sample_frames(np.arange(0, 77, 4)), vectors["frameidx_dense4"])
    np.testing.assert_array_equal(minwm.sample_frames(np.arange(3, 150, 6)), vectors["frameidx_sparse6_n25"])


def test_folder_names_of_videos(vectors):
    for text, wan, hy in zip(
        vectors["pose_strings"], vectors["pose_dir_suffix_wan"], vectors["pose_dir_suffix_hy"], strict=True
    ):
        assert (minwm.video_slug(text, "wan"), minwm.video_slug(text, "hy")) == (wan, hy)


def test_strings_written_back(vectors, tmp_path):
    for text in (*vectors["traj_strings"], *vectors["traj_extra_strings"]):
        assert minwm.to_string(_from_text(tmp_path, text)) == text
    for text in vectors["pose_strings"]:
        assert minwm.to_string(_from_text(tmp_path, text), grammar="dataset") == text
