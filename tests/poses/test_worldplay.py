"""WorldPlay's and minWM's JSON: order of keys, latents of frames, what the reader makes of K."""

import json
from dataclasses import replace

import numpy as np
import pytest

from trajkit import motion
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.poses import minwm, worldplay
from trajkit.trajectory import Trajectory

# the lens of all WorldPlay data, at its nominal 1920x1080
LENS = Camera(width=1920, height=1080, fx=969.69697, fy=969.69697, cx=960, cy=540)


def _walk(frames=77):
    """A walk with a turn, one pose per frame at 24 frames per second."""
    moves = np.tile([0.75, 0, 0, 0, 0, 0.02], (frames - 1, 1))
    return Trajectory.from_camera(motion.integrate(moves), LENS, fps=24)


def test_keys_are_written_in_numeric_order(tmp_path):
    worldplay.write(_walk(), tmp_path / "pose.json")
    table = json.loads((tmp_path / "pose.json").read_text())
    assert list(table) == [str(number) for number in range(20)]  # WorldPlay reads them in this order
    assert set(table["0"]) == {"extrinsic", "K"}
    assert table["0"]["K"] == [[969.69697, 0, 960], [0, 969.69697, 540], [0, 0, 1]]


def test_keys_are_read_in_numeric_order_and_metadata_left_out(tmp_path):
    worldplay.write(_walk(), tmp_path / "pose.json")
    table = json.loads((tmp_path / "pose.json").read_text())
    shuffled = {"_metadata": {"pose_str": "w-19"}} | {key: table[key] for key in sorted(table)}
    assert list(shuffled)[2:4] == ["1", "10"]
    (tmp_path / "shuffled.json").write_text(json.dumps(shuffled))
    for read in (worldplay.read, minwm.read):
        seen = read(tmp_path / "shuffled.json")
        np.testing.assert_allclose(seen.camera_to_world, _walk().camera_to_world[::4], atol=1e-12)
        assert seen.frame_index.tolist() == list(range(0, 77, 4))
        assert (seen.width, seen.height) == (1920, 1080)


def test_latents_carry_the_pose_of_their_last_frame(tmp_path):
    worldplay.write(_walk(), tmp_path / "pose.json")
    latents = worldplay.read(tmp_path / "pose.json").camera_to_world
    assert len(latents) == 20
    np.testing.assert_allclose(latents, _walk().camera_to_world[np.arange(20) * 4], atol=1e-12)


def test_inference_starts_at_the_identity_and_training_does_not(make_trajectory, tmp_path):
    walk = replace(_walk(5), camera_to_world=make_trajectory(1, 5).camera_to_world)
    worldplay.write(walk, tmp_path / "a.json")
    np.testing.assert_allclose(worldplay.read(tmp_path / "a.json").camera_to_world[0], np.eye(4), atol=1e-12)
    worldplay.write(walk, tmp_path / "b.json", worldplay.Options(form="training"))
    back = worldplay.read(tmp_path / "b.json")
    np.testing.assert_allclose(back.camera_to_world, walk.camera_to_world, atol=1e-9)
    assert back.frame_index.tolist() == [0, 1, 2, 3, 4]


def test_what_worldplay_makes_of_the_lens(tmp_path):
    """Its reader divides fx by 2 cx and fy by 2 cy: minWM's stored intrinsics must come out."""
    worldplay.write(_walk(5), tmp_path / "pose.json")
    matrix = np.array(json.loads((tmp_path / "pose.json").read_text())["1"]["K"])
    found = matrix[0, 0] / (2 * matrix[0, 2]), matrix[1, 1] / (2 * matrix[1, 2])
    assert found == (pytest.approx(minwm.LENS[0]), pytest.approx(minwm.LENS[1]))


def test_an_off_centre_lens_is_refused_unless_allowed(tmp_path):
    walk = _walk(5).with_camera(replace(LENS, cx=950))
    with pytest.raises(TrajkitError, match="10 pixels off the middle"):
        worldplay.write(walk, tmp_path / "pose.json")
    worldplay.write(walk, tmp_path / "pose.json", worldplay.Options(lossy=True))
    np.testing.assert_allclose(worldplay.read(tmp_path / "pose.json").intrinsics[0], [969.69697, 969.69697, 960, 540])


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (np.arange(6), "the video VAE takes 4n"),
        (np.arange(5) * 2, "neither of consecutive frames nor 4 frames apart"),
    ],
)
def test_frames_that_make_no_latents(frames, says, tmp_path):
    walk = _walk(len(frames))
    with pytest.raises(TrajkitError, match=says):
        worldplay.write(replace(walk, frame_index=frames), tmp_path / "pose.json")
    assert not (tmp_path / "pose.json").exists()


def test_training_needs_a_frame_for_each_pose(tmp_path):
    twice = replace(_walk(3), frame_index=np.array([0, 1, 1]))
    with pytest.raises(TrajkitError, match="does not count up"):
        worldplay.write(twice, tmp_path / "pose.json", worldplay.Options(form="training"))
