"""What the formats of video data sets leave to options, and how they choose poses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import motion, se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.poses import kitti, lingbot, minwm, poses_from_tq, spatialvid, tq_from_poses, tum, vipe
from trajkit.poses._arrays import npz_bytes
from trajkit.trajectory import Scale, Trajectory

LENS = Camera.from_fov(1280, 720, 60)


def _walk(frames, fps):
    moves = np.tile([1.0, 0.2, 0, 0.01, 0, 0.05], (frames - 1, 1))
    return Trajectory.from_camera(motion.integrate(moves), LENS, fps=fps)


def test_spatialvid_takes_a_pose_every_fifth_of_a_second(tmp_path):
    walk = _walk(91, 30.0)
    spatialvid.write(walk, tmp_path)
    assert (tmp_path / "indexes.txt").read_text().splitlines()[:3] == ["0 0", "1 6", "2 12"]
    seen = spatialvid.read(tmp_path)
    assert len(seen) == 16
    np.testing.assert_allclose(seen.camera_to_world, walk.camera_to_world[::6], atol=1e-6)
    np.testing.assert_allclose(seen.times_s, np.arange(16) * 0.2)
    assert seen.frame_index.tolist() == list(range(0, 91, 6))


def test_spatialvid_between_frames(tmp_path):
    """At 24 frames per second a fifth of a second is no whole frame: the nearest one is named."""
    spatialvid.write(_walk(25, 24.0), tmp_path)
    assert spatialvid.read(tmp_path).frame_index.tolist() == [0, 5, 10, 14, 19, 24]


def test_spatialvid_times_come_from_the_video_rate_where_it_is_given(tmp_path):
    spatialvid.write(_walk(25, 24.0), tmp_path)
    seen = spatialvid.read(tmp_path, spatialvid.Options(fps=24))
    np.testing.assert_allclose(seen.times_s, np.array([0, 5, 10, 14, 19, 24]) / 24)


def test_spatialvid_without_indexes(tmp_path):
    spatialvid.write(_walk(91, 30.0), tmp_path)
    (tmp_path / "indexes.txt").unlink()
    seen = spatialvid.read(tmp_path / "poses.npy", spatialvid.Options(fps=30))
    assert seen.frame_index.tolist() == list(range(0, 91, 6))


def test_vipe_joins_by_frame(tmp_path):
    """Poses of frames 0, 2, 5 with intrinsics of all frames, both in disorder."""
    for folder in ("pose", "intrinsics"):
        (tmp_path / folder).mkdir()
    poses = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
    poses[:, 0, 3] = 5, 0, 2
    (tmp_path / "pose/a.npz").write_bytes(npz_bytes({"data": poses, "inds": np.array([5, 0, 2])}))
    index = np.array([5, 4, 3, 2, 1, 0])
    lens = np.stack([100.0 + index, 100.0 + index, np.full(6, 320), np.full(6, 240)], axis=1)
    (tmp_path / "intrinsics/a.npz").write_bytes(npz_bytes({"data": lens, "inds": index}))
    for path in (tmp_path, tmp_path / "pose/a.npz"):
        seen = vipe.read(path)
        assert seen.frame_index.tolist() == [0, 2, 5]
        assert seen.centres[:, 0].tolist() == [0, 2, 5]
        assert seen.intrinsics[:, 0].tolist() == [100, 102, 105]
        assert (seen.width, seen.height) == (640, 480)
        np.testing.assert_allclose(seen.times_s, np.array([0, 2, 5]) / 30)


def test_vipe_folder_with_several_videos(tmp_path):
    for name in ("a", "b"):
        vipe.write(_walk(3 if name == "a" else 4, 30.0), tmp_path, vipe.Options(name=name))
    assert len(vipe.read(tmp_path, vipe.Options(name="b"))) == 4
    assert len(vipe.read(tmp_path / "pose/a.npz")) == 3


def test_vipe_holds_one_pose_per_frame(tmp_path):
    with pytest.raises(TrajkitError, match="share a frame"):
        vipe.write(replace(_walk(2, 30.0), frame_index=np.array([3, 3])), tmp_path)


def test_lingbot_refuses_another_size(tmp_path):
    with pytest.raises(TrajkitError, match="give lingbot:width=1280,height=720"):
        lingbot.write(_walk(5, 16.0), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", [tum, kitti])
def test_metric_factors_are_applied_where_the_format_is_in_metres(module, tmp_path):
    walk = _walk(5, 10.0)
    for scale, factor in ((Scale(kind="metric", factor=2.5), 2.5), (Scale(kind="sfm", factor=2.5), 1.0)):
        module.write(replace(walk, scale=scale), tmp_path / "poses.txt")
        np.testing.assert_allclose(module.read(tmp_path / "poses.txt").centres, walk.centres * factor, atol=1e-12)
    assert module.read(tmp_path / "poses.txt", module.Options(scale="metric")).scale == Scale(kind="metric")


PRESSES = st.lists(st.tuples(st.sampled_from(["w", "s", "a", "d"]), st.integers(1, 9)), min_size=1, max_size=6)


@given(PRESSES)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_both_grammars_mean_the_same_motion(presses):
    inference = ",".join(f"{key}*{count}" for key, count in presses)
    dataset = ", ".join(f"{key}-{count}" for key, count in presses)
    np.testing.assert_array_equal(minwm.poses_from_string(inference), minwm.poses_from_string(dataset))
    assert minwm.key_presses(dataset, "") == presses


def test_arrow_words_and_letters_mean_the_same_motion():
    words, letters = "up-2, down-3, left-4, right-5", "i*2,k*3,j*4,l*5"
    np.testing.assert_array_equal(minwm.poses_from_string(words), minwm.poses_from_string(letters))


@pytest.mark.parametrize(("text", "steps"), [("w-3.0", 3), ("w-2.9", 2), (" w*2 ,, l-1,", 3)])
def test_counts_and_empty_segments_as_minwm_reads_them(text, steps):
    assert len(minwm.poses_from_string(text)) == steps + 1


def test_fewer_poses_than_latents():
    with pytest.raises(TrajkitError, match="19 poses for 20 latents"):
        minwm.sample_frames(np.arange(19))


def test_interpolating_rows_differs_from_interpolating_centres():
    """Turning on the spot, ten units from the origin: minWM's way moves the camera, a trajectory's does not."""
    centre = np.array([0, 0, 10.0])
    poses = se3.pose(se3.axis_rotation("y", np.array([0.0, 90])), centre)
    turn = Trajectory.from_camera(poses, LENS, fps=1)
    np.testing.assert_allclose(turn.resampled(np.array([0.5])).centres[0], centre, atol=1e-12)
    rows = minwm.interpolate_rows(tq_from_poses(turn.world_to_camera), np.array([0, 2]), np.array([1]))
    moved = se3.inverse(poses_from_tq(rows, "", "row {}".format))[0, :3, 3]
    assert np.linalg.norm(moved - centre) > 2
