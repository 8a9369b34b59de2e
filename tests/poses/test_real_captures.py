"""Real files of other projects (../shared/data), and the yardsticks evo and pycolmap on what is made of them."""

from dataclasses import replace

import numpy as np
import pytest

from trajkit import se3
from trajkit.poses import colmap, kitti, lingbot, nerfstudio, re10k, tum, worldplay


def _nearest_point(trajectory):
    """The point nearest to all optical axes, in the least-squares sense."""
    axes = trajectory.camera_to_world[:, :3, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    return np.linalg.solve(across.sum(0), (across @ trajectory.centres[:, :, None]).sum(0))[:, 0]


def _in_front(trajectory):
    """How many cameras have the point that all look at before them, and its pixels."""
    points = se3.transform(trajectory.world_to_camera, _nearest_point(trajectory))
    return int((points[:, 2] > 0).sum()), trajectory.camera(0).project(points)


def test_all_fox_cameras_look_at_the_fox(shared):
    fox = nerfstudio.read(shared / "data/fox/transforms.json")
    assert (len(fox), fox.width, fox.height) == (67, 1080, 1920)
    assert (fox.frame_index[0], fox.frame_index[-1], fox.names[0]) == (1, 115, "images/0001.jpg")
    assert fox.distortion == (0.0578421, -0.0805099, -0.000980296, 0.00015575)
    count, pixels = _in_front(fox)
    assert count == 67
    inside = np.all((pixels > 0) & (pixels < (1080, 1920)), axis=1)
    assert inside.mean() > 0.95  # the bust is in nearly every picture
    flipped = replace(fox, camera_to_world=fox.camera_to_world @ np.diag([1.0, -1, -1, 1]))
    assert _in_front(flipped)[0] == 0  # with OpenGL axes taken for OpenCV's, it lies behind all of them


def test_fox_pictures_stand_upright(shared):
    """instant-ngp's world is z up, so the cameras' image-up axes lie along it on average."""
    fox = nerfstudio.read(shared / "data/fox")
    up = -fox.camera_to_world[:, :3, 1].mean(0)
    assert up @ (0, 0, 1) > 0.9


@pytest.mark.parametrize("form", ["binary", "text"])
def test_fox_as_a_colmap_model_in_pycolmap(form, shared, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    fox = nerfstudio.read(shared / "data/fox")
    colmap.write(fox, tmp_path, colmap.Options(form=form))
    reconstruction = pycolmap.Reconstruction(str(tmp_path))
    assert reconstruction.num_cameras() == 1
    camera = reconstruction.camera(1)
    assert (camera.model_name, camera.width, camera.height) == ("OPENCV", 1080, 1920)
    np.testing.assert_allclose(camera.params, [1375.52, 1374.49, 554.558, 965.268, *fox.distortion], rtol=1e-15)
    images = {image.name: image for image in reconstruction.images.values()}
    assert set(images) == set(fox.names)
    for name, pose in zip(fox.names, fox.world_to_camera, strict=True):
        np.testing.assert_allclose(images[name].cam_from_world().matrix(), pose[:3], atol=1e-12)
    np.testing.assert_allclose(colmap.read(tmp_path).camera_to_world, fox.camera_to_world, atol=1e-12)


def test_re10k_clips(shared):
    for path in sorted((shared / "data/re10k").glob("*.txt")):
        clip = re10k.read(path, re10k.Options(width=1280, height=720))
        fx, fy = clip.intrinsics[0, :2]
        assert fx == pytest.approx(fy, rel=0.01)  # square pixels at 16:9
        steps = np.linalg.norm(np.diff(clip.centres, axis=0), axis=1)
        assert steps.max() < 12 * np.median(steps)  # a hand-held walk, without jumps
        first = np.fromstring(path.read_text().splitlines()[1], sep=" ")
        np.testing.assert_allclose(clip.world_to_camera[0, :3].ravel(), first[7:], atol=2e-9)
        assert clip.times_s[0] == pytest.approx(first[0] * 1e-6)


def test_re10k_frame_numbers_from_times(shared):
    path = sorted((shared / "data/re10k").glob("*.txt"))[0]
    clip = re10k.read(path, re10k.Options(fps=29.97))
    assert np.abs(clip.frame_index / 29.97 - clip.times_s).max() < 0.5 / 29.97
    assert len(set(clip.frame_index)) == len(clip)


def test_kitti_drive(shared, tmp_path):
    drive = kitti.read(shared / "data/trajectories/KITTI_00_gt.txt", kitti.Options(scale="metric"))
    assert len(drive) == 4541
    assert drive.path_length == pytest.approx(3724, rel=1e-3)  # the sequence's known length in metres
    steps = np.diff(drive.centres, axis=0)
    along = np.einsum("ni,ni->n", steps, drive.camera_to_world[:-1, :3, 2])
    assert along.sum() / np.linalg.norm(steps, axis=1).sum() > 0.99  # a car drives where it looks
    kitti.write(drive, tmp_path / "out.txt")
    raw = np.loadtxt(shared / "data/trajectories/KITTI_00_gt.txt")
    np.testing.assert_allclose(np.loadtxt(tmp_path / "out.txt"), raw, atol=2e-6)


def test_evo_finds_no_difference_in_an_exported_tum_file(shared, tmp_path):
    metrics = pytest.importorskip("evo.core.metrics")
    from evo.tools import file_interface

    for name in ("freiburg1_xyz-groundtruth.txt", "freiburg1_xyz-rgbdslam.txt"):
        source = shared / "data/trajectories" / name
        tum.write(tum.read(source, tum.Options(scale="metric")), tmp_path / name)
        original, exported = (file_interface.read_tum_trajectory_file(str(path)) for path in (source, tmp_path / name))
        np.testing.assert_array_equal(exported.timestamps, original.timestamps)
        np.testing.assert_array_equal(exported.positions_xyz, original.positions_xyz)
        for relation, tolerance in (
            (metrics.PoseRelation.translation_part, 0.0),
            (metrics.PoseRelation.rotation_angle_deg, 1e-5),
        ):
            error = metrics.APE(relation)
            error.process_data((original, exported))
            assert error.get_statistic(metrics.StatisticsType.rmse) <= tolerance


def test_evo_reads_fox_as_tum_and_kitti(shared, tmp_path):
    pytest.importorskip("evo.core.metrics")
    from evo.tools import file_interface

    fox = nerfstudio.read(shared / "data/fox")
    tum.write(fox, tmp_path / "fox.txt")
    kitti.write(fox, tmp_path / "fox.kitti")
    as_tum = file_interface.read_tum_trajectory_file(str(tmp_path / "fox.txt"))
    as_kitti = file_interface.read_kitti_poses_file(str(tmp_path / "fox.kitti"))
    np.testing.assert_allclose(as_tum.timestamps, fox.frame_index)
    for found in (as_tum, as_kitti):
        np.testing.assert_allclose(np.array(found.poses_se3), fox.camera_to_world, atol=1e-12)


@pytest.mark.parametrize("name", ["00", "01"])
def test_lingbot_examples(name, shared, tmp_path):
    folder = shared / "data/lingbot" / name
    seen = lingbot.read(folder)
    assert abs(seen.intrinsics[0, 2] - 416) < 1
    assert (seen.width, seen.height) == (832, 480)
    steps = np.linalg.norm(np.diff(seen.centres, axis=0), axis=1)
    assert steps.max() < 25 * max(np.median(steps), 1e-3)
    lingbot.write(seen, tmp_path)
    for array in ("poses.npy", "intrinsics.npy"):
        original, written = np.load(folder / array), np.load(tmp_path / array)
        assert written.dtype == original.dtype
        np.testing.assert_allclose(written, original, rtol=2e-6, atol=2e-6)


def test_a_lingbot_path_becomes_worldplay_latents(shared, tmp_path):
    seen = lingbot.read(shared / "data/lingbot/00")[:77]
    worldplay.write(seen, tmp_path / "pose.json", worldplay.Options(lossy=True))
    latents = worldplay.read(tmp_path / "pose.json", worldplay.Options(fps=16))
    assert len(latents) == 20
    np.testing.assert_allclose(latents.camera_to_world, seen.relative_to(0)[::4].camera_to_world, atol=1e-9)
    np.testing.assert_allclose(latents.times_s, seen.times_s[::4])
