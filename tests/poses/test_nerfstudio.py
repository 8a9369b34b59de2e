"""What nerfstudio files may hold beside poses: sizes, lenses, names, world changes, and what a camera path cannot."""

import json
from dataclasses import replace

import numpy as np
import pytest

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.poses import nerfstudio
from trajkit.poses._photos import numbered, photo_paths

POSE = np.eye(4).tolist()
LENS = {"w": 3840, "h": 2160, "fl_x": 1800.0, "fl_y": 1810.0, "cx": 1900.0, "cy": 1100.0}


def _write(folder, names=("images/frame_00001.png",), **top):
    frames = [{"file_path": name, "transform_matrix": POSE} for name in names]
    path = folder / "transforms.json"
    path.write_text(json.dumps({**LENS, "frames": frames, **top}))
    return path


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    path = _write(tmp_path, [f"images/frame_{number}.png" for number in (10, 2, 33, 1)])
    seen = nerfstudio.read(path)
    assert seen.frame_index.tolist() == [1, 2, 10, 33]
    assert seen.names == tuple(f"images/frame_{number}.png" for number in (1, 2, 10, 33))
    np.testing.assert_allclose(nerfstudio.read(path, nerfstudio.Options(fps=2)).times_s, [0.5, 1, 5, 16.5])


@pytest.mark.parametrize(
    ("names", "order", "number"),
    [
        (["a_10_4k.png", "a_9_4k.png"], [1, 0], [9, 10]),  # the last number that differs
        (["b.png", "a.png"], [1, 0], [0, 1]),  # none
        (["x1.png", "a.png"], [1, 0], [0, 1]),  # not in all
        (["cam1/2.png", "cam0/1.png", "cam1/1.png"], [1, 2, 0], [1, 1, 2]),  # shared
        (["1305031102.7.png", "1305031103.2.png"], [0, 1], [0, 1]),  # a time stamp's decimals go back
        ([f"{10**30}.png", "5.png"], [1, 0], [0, 1]),  # too large to count with
        (["0007.png"], [0], [7]),
    ],
)
def test_numbers_in_photo_names(names, order, number):
    found = numbered(names)
    assert (found[0].tolist(), found[1].tolist()) == (order, number)


def test_full_size_intrinsics_are_brought_to_the_real_picture(tmp_path):
    seen = nerfstudio.read(_write(tmp_path), nerfstudio.Options(width=480, height=270))
    assert (seen.width, seen.height) == (480, 270)
    np.testing.assert_allclose(seen.intrinsics[0], np.array([1800, 1810, 1900, 1100]) / 8)


def test_distortion_counts_without_a_camera_model(tmp_path):
    terms = {"k1": 0.05, "k2": -0.08, "p1": -0.001, "p2": 0.0002}
    assert nerfstudio.read(_write(tmp_path, **terms)).distortion == tuple(terms.values())
    zero = dict.fromkeys(terms, 0.0)
    assert nerfstudio.read(_write(tmp_path, **zero, camera_model="OPENCV")).distortion == ()


def test_a_lens_per_frame(tmp_path):
    frames = [
        {"file_path": f"{i}.png", "transform_matrix": POSE, "w": 100, "h": 80, "fl_x": 50 + i, "cx": 49, "cy": 41}
        for i in range(3)
    ]
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"frames": frames}))
    np.testing.assert_allclose(nerfstudio.read(path).intrinsics, [[50 + i, 50 + i, 49, 41] for i in range(3)])


def test_a_field_of_view_instead_of_a_focal_length(tmp_path):
    frames = [{"file_path": "./train/r_0", "transform_matrix": POSE}]
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": np.pi / 2, "frames": frames}))
    seen = nerfstudio.read(path, nerfstudio.Options(width=800, height=600))
    np.testing.assert_allclose(seen.intrinsics, [[400, 400, 400, 300]])


def test_a_file_without_applied_transform(tmp_path):
    """Its world is its own, as for instant-ngp; unless COLMAP's model lies beside it, as from old ns-process-data."""
    path = _write(tmp_path)
    own = nerfstudio.read(path)
    np.testing.assert_allclose(own.camera_to_world[0], np.diag([1.0, -1, -1, 1]))
    (tmp_path / "colmap/sparse/0").mkdir(parents=True)
    old = nerfstudio.read(path)
    change = np.array(nerfstudio.OLD_TRANSFORM, float)[:, :3]
    np.testing.assert_allclose(old.camera_to_world[0, :3, :3], change.T @ own.camera_to_world[0, :3, :3])
    chosen = nerfstudio.read(path, nerfstudio.Options(absent="none"))
    np.testing.assert_allclose(chosen.camera_to_world, own.camera_to_world)


def test_applied_scale_and_translation_are_undone(make_trajectory, tmp_path):
    wanted = replace(make_trajectory(3, 4), distortion=())
    rotation, shift, scale = se3.axis_rotation("z", 33.0), np.array([1.0, -2, 5]), 2.5
    gl = wanted.camera_to_world @ np.diag([1.0, -1, -1, 1])
    saved = se3.pose(rotation, shift) @ gl
    saved[:, :3, 3] *= scale
    frames = [{"file_path": f"{i}.png", "transform_matrix": pose.tolist()} for i, pose in enumerate(saved)]
    table = {**LENS, "frames": frames, "applied_scale": scale}
    table["applied_transform"] = np.hstack([rotation, shift[:, None]]).tolist()
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps(table))
    seen = nerfstudio.read(path)
    np.testing.assert_allclose(seen.camera_to_world, wanted.camera_to_world, rtol=1e-9, atol=1e-9)
    assert (seen.scale.kind, seen.scale.factor) == ("sfm", 1.0)


def test_dataparser_transforms_lead_back_to_the_original_world(tmp_path):
    rng = np.random.default_rng(5)
    rotation, shift, scale = se3.axis_rotation("y", 70.0), rng.normal(size=3), 0.125
    table = {"transform": np.hstack([rotation, shift[:, None]]).tolist(), "scale": scale}
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(table))
    points = rng.normal(size=(9, 3))
    normalised = scale * (points @ rotation.T + shift)
    for path in (tmp_path, tmp_path / "dataparser_transforms.json"):
        np.testing.assert_allclose(nerfstudio.read_dataparser_transforms(path).points(normalised), points, atol=1e-12)


def _camera_path_case(make_trajectory, **changes):
    trajectory = make_trajectory(4, 5)
    lens = np.tile([500.0, 500, trajectory.width / 2, trajectory.height / 2], (5, 1))
    even = {"distortion": (), "intrinsics": lens, "times_s": np.arange(5) / 30, "frame_index": np.arange(5)}
    return replace(trajectory, **{**even, **changes})


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("principal point", {"intrinsics": np.array([500.0, 500, 8, 8])}),
        ("distortion", {"distortion": (0.1, 0, 0, 0)}),
        ("uneven", {"times_s": np.array([0, 1, 2, 3, 7.0])}),
    ],
)
def test_what_a_camera_path_cannot_hold_is_refused_unless_allowed(what, changes, make_trajectory, tmp_path):
    trajectory, path = _camera_path_case(make_trajectory, **changes), tmp_path / "camera_path.json"
    with pytest.raises(TrajkitError, match=what):
        nerfstudio.write(trajectory, path)
    assert not path.exists()
    nerfstudio.write(trajectory, path, nerfstudio.Options(lossy=True))
    np.testing.assert_allclose(nerfstudio.read(path).camera_to_world, trajectory.camera_to_world, atol=1e-9)


def test_a_pixel_aspect_is_refused(make_trajectory, tmp_path):
    trajectory = _camera_path_case(make_trajectory)
    trajectory = replace(trajectory, intrinsics=trajectory.intrinsics * (1, 1.01, 1, 1))
    with pytest.raises(TrajkitError, match="pixel aspect"):
        nerfstudio.write(trajectory, tmp_path / "camera_path.json")


def test_a_camera_path_has_what_nerfstudio_reads(make_trajectory, tmp_path):
    nerfstudio.write(_camera_path_case(make_trajectory), tmp_path / "camera_path.json")
    table = json.loads((tmp_path / "camera_path.json").read_text())
    assert {"camera_type", "render_height", "render_width", "fps", "seconds", "camera_path", "crop"} <= set(table)
    assert all(len(frame["camera_to_world"]) == 16 and "fov" in frame for frame in table["camera_path"])
    assert (table["fps"], table["seconds"]) == (pytest.approx(30), pytest.approx(5 / 30))


@pytest.mark.parametrize("folder", ["images", "images_4", "images_8"])
def test_photos_are_found_in_the_folder_that_is_there(folder, tmp_path):
    names = ["images/frame_00001.png", "images/frame_00002.png"]
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "frame_00002.png").touch()
    assert photo_paths(tmp_path, names) == tuple(tmp_path / folder / name.split("/")[1] for name in names)


def test_photos_that_are_nowhere_or_outside(tmp_path):
    with pytest.raises(TrajkitError, match="images_8"):
        photo_paths(tmp_path, ["images/1.png"])
    with pytest.raises(TrajkitError, match="outside"):
        photo_paths(tmp_path, ["../1.png"])
