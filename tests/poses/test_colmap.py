"""COLMAP models against pycolmap, both ways, and the damage that pycolmap does not notice."""

from dataclasses import replace

import numpy as np
import pytest

from trajkit.errors import TrajkitError
from trajkit.poses import colmap

pycolmap = pytest.importorskip("pycolmap")


def _pycolmap_model(folder, form, model="OPENCV", parameters=(500, 510, 320, 240, 0.1, -0.02, 0.001, 0.002), count=4):
    """A model written by pycolmap itself, with rigs and frames, photos registered out of order."""
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(camera_id=3, model=model, width=640, height=480, params=list(parameters))
    reconstruction.add_camera_with_trivial_rig(camera)
    rng = np.random.default_rng(1)
    poses = []
    for number in range(count):
        quaternion = rng.normal(size=4)
        rotation = pycolmap.Rotation3d(quaternion / np.linalg.norm(quaternion))
        image = pycolmap.Image(image_id=number + 1, name=f"cam/{count - number:03d}.png", camera_id=3)
        poses.append(pycolmap.Rigid3d(rotation, rng.normal(size=3) * 9))
        reconstruction.add_image_with_trivial_frame(image, poses[-1])
    folder.mkdir(parents=True)
    (reconstruction.write_binary if form == "binary" else reconstruction.write_text)(str(folder))
    return [pose.matrix() for pose in reversed(poses)]


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("below", ["", "sparse/0", "colmap/sparse/0"])
def test_reading_what_pycolmap_wrote(form, below, tmp_path):
    poses = _pycolmap_model(tmp_path / "scan" / below, form)
    seen = colmap.read(tmp_path / "scan")
    np.testing.assert_allclose(seen.world_to_camera[:, :3], poses, atol=1e-12)
    assert seen.names == tuple(f"cam/{number:03d}.png" for number in (1, 2, 3, 4))
    assert seen.frame_index.tolist() == [1, 2, 3, 4]
    assert seen.intrinsics[2].tolist() == [500, 510, 320, 240]
    assert seen.distortion == (0.1, -0.02, 0.001, 0.002)
    assert (seen.width, seen.height) == (640, 480)


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("distorted", [False, True])
def test_pycolmap_reads_what_is_written(form, distorted, make_trajectory, tmp_path):
    trajectory = make_trajectory(11, 6)
    trajectory = replace(trajectory, distortion=(0.1, -0.2, 0.01, 0.02) if distorted else ())
    colmap.write(trajectory, tmp_path, colmap.Options(form=form))
    reconstruction = pycolmap.Reconstruction(str(tmp_path))
    assert (reconstruction.num_reg_images(), reconstruction.num_points3D()) == (6, 0)
    for number in range(6):
        image = reconstruction.image(number + 1)
        assert image.name == f"frame_{trajectory.frame_index[number]:05d}.png"
        np.testing.assert_allclose(image.cam_from_world().matrix(), trajectory.world_to_camera[number, :3], rtol=1e-12)
        camera, lens = reconstruction.camera(image.camera_id), trajectory.camera(number)
        assert camera.params.tolist() == [lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion]
        point = np.array([0.3, -0.2, 2.0])
        np.testing.assert_allclose(camera.img_from_cam(point[None])[0], lens.project(point), rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "parameters", "intrinsics", "distortion"),
    [
        ("SIMPLE_PINHOLE", (500, 320, 240), (500, 500, 320, 240), ()),
        ("PINHOLE", (500, 510, 320, 240), (500, 510, 320, 240), ()),
        ("SIMPLE_RADIAL", (500, 320, 240, 0.1), (500, 500, 320, 240), (0.1, 0, 0, 0)),
        ("RADIAL", (500, 320, 240, 0.1, 0.02), (500, 500, 320, 240), (0.1, 0.02, 0, 0)),
    ],
)
@pytest.mark.parametrize("form", ["binary", "text"])
def test_camera_models(form, model, parameters, intrinsics, distortion, tmp_path):
    _pycolmap_model(tmp_path / "model", form, model, parameters)
    seen = colmap.read(tmp_path / "model")
    assert (tuple(seen.intrinsics[0]), seen.distortion) == (intrinsics, distortion)
    camera = pycolmap.Camera(model=model, width=640, height=480, params=list(parameters))
    point = np.array([0.3, -0.2, 1.0])
    np.testing.assert_allclose(seen.camera(0).project(point), camera.img_from_cam(point[None])[0], rtol=1e-12)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_other_camera_models_are_refused(form, tmp_path):
    _pycolmap_model(tmp_path / "model", form, "OPENCV_FISHEYE", (500, 500, 320, 240, 0, 0, 0, 0))
    with pytest.raises(TrajkitError, match="undistort"):
        colmap.read(tmp_path / "model")


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_binary_file_cut_anywhere_is_refused(name, tmp_path):
    _pycolmap_model(tmp_path / "model", "binary", count=2)
    path = tmp_path / "model" / name
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(TrajkitError, match=rf"{name}.*(damaged|no photo|no camera)"):
            colmap.read(tmp_path / "model")
    path.write_bytes(content + b"\0")
    with pytest.raises(TrajkitError, match="1 bytes too long"):
        colmap.read(tmp_path / "model")


def test_a_name_with_blanks_stays_whole(make_trajectory, tmp_path):
    trajectory = replace(make_trajectory(2, 2), names=("a photo 1.png", "a photo 2.png"))
    colmap.write(trajectory, tmp_path, colmap.Options(form="text"))
    assert colmap.read(tmp_path).names == trajectory.names


def test_photos_of_two_sizes_are_refused(tmp_path):
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 400 300 320 240\n2 PINHOLE 480 640 400 300 240 320\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 1.png\n\n2 1 0 0 0 0 0 0 2 2.png\n\n")
    with pytest.raises(TrajkitError, match="2 sizes"):
        colmap.read(tmp_path)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_a_reconstruction_is_not_written_over(form, make_trajectory, tmp_path):
    _pycolmap_model(tmp_path / "model", form)
    trajectory = make_trajectory(1, 2)
    for wanted in ("binary", "text"):
        with pytest.raises(TrajkitError, match="another folder"):
            colmap.write(trajectory, tmp_path / "model", colmap.Options(form=wanted))
    (tmp_path / "points").mkdir()
    (tmp_path / "points/points3D.txt").write_text("# points\n1 0 0 0 9 9 9 0.5 1 2\n")
    with pytest.raises(TrajkitError, match="3D points"):
        colmap.write(trajectory, tmp_path / "points", colmap.Options(form="text"))
    for _ in range(2):  # its own export may be written again
        colmap.write(trajectory, tmp_path / "own", colmap.Options(form=form))
