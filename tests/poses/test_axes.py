"""Signs: one camera, written down by hand in each format's own convention, sees one known point on one known pixel.

The camera stands at (1, 2, 3), OpenCV world, and looks along +x with its image upright, a quarter turn to the right of
the identity. Four units ahead of it, one to its right and half a unit up, there is a point.
"""

import json

import numpy as np
import pytest

from trajkit import se3
from trajkit.camera import Camera
from trajkit.poses import (
    colmap,
    kitti,
    lingbot,
    megasam,
    minwm,
    nerfstudio,
    re10k,
    spatialvid,
    tartanair,
    tum,
    vipe,
    worldplay,
)
from trajkit.poses._arrays import npy_bytes, npz_bytes

POINT = np.array([1.0 + 4, 2 - 0.5, 3 - 1])  # forward is +x, up is -y, right is -z
LENS = Camera(width=640, height=480, fx=400, fy=300, cx=320, cy=240)
PIXEL = (320 + 400 * 1 / 4, 240 - 300 * 0.5 / 4)

# columns: right (-z), down (+y), forward (+x), centre
OPENCV = [[0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
# columns: right, up, back, centre
OPENGL = [[0, 0, -1, 1], [0, -1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
# rows: right, down, forward; last column: minus the centre along them
WORLD_TO_CAMERA = [[0, 0, -1, 3], [0, 1, 0, -2], [1, 0, 0, -1], [0, 0, 0, 1]]
HALF = 0.5**0.5
CAMERA_TO_WORLD_XYZW = (0, HALF, 0, HALF)
WORLD_TO_CAMERA_TQ = (3, -2, -1, 0, -HALF, 0, HALF)
K = [[400, 0, 320], [0, 300, 240], [0, 0, 1]]
NORMALISED = (400 / 640, 300 / 480, 0.5, 0.5)
SIZE = {"width": 640, "height": 480}
LENS_OPTIONS = {"width": 640, "height": 480, "fx": 400.0, "fy": 300.0}


def _text(*numbers):
    return " ".join(map(str, numbers))


def _nerfstudio(folder, transform=None, matrix=OPENGL):
    table = {"w": 640, "h": 480, "fl_x": 400, "fl_y": 300, "cx": 320, "cy": 240}
    table["frames"] = [{"file_path": "images/1.png", "transform_matrix": matrix}]
    if transform is not None:
        table["applied_transform"] = transform
    (folder / "transforms.json").write_text(json.dumps(table))
    return nerfstudio.read(folder / "transforms.json")


def _camera_path(folder):
    fov = np.degrees(2 * np.arctan(240 / 300))
    frame = {"camera_to_world": np.ravel(OPENGL).tolist(), "fov": fov, "aspect": 640 / 480}
    table = {"render_width": 640, "render_height": 480, "fps": 24, "camera_path": [frame]}
    (folder / "camera_path.json").write_text(json.dumps(table))
    seen = nerfstudio.read(folder / "camera_path.json")
    np.testing.assert_allclose(seen.intrinsics, [[300, 300, 320, 240]])
    return seen.with_camera(LENS)


def _colmap(folder):
    (folder / "cameras.txt").write_text("1 PINHOLE 640 480 400 300 320 240\n")
    (folder / "images.txt").write_text(f"1 {HALF} 0 {-HALF} 0 3 -2 -1 1 1.png\n\n")
    return colmap.read(folder)


def _minwm(folder):
    (folder / "poses.npy").write_bytes(npy_bytes(np.array([WORLD_TO_CAMERA_TQ])))
    (folder / "intrinsics.npy").write_bytes(npy_bytes(np.array(NORMALISED)))
    return minwm.read(folder / "poses.npy", minwm.Options(**SIZE))


def _inference(folder):
    (folder / "pose.json").write_text(json.dumps({"0": {"extrinsic": OPENCV, "K": K}}))
    return worldplay.read(folder / "pose.json")


def _training(folder):
    (folder / "pose.json").write_text(json.dumps({"0": {"w2c": WORLD_TO_CAMERA, "intrinsic": K}}))
    return worldplay.read(folder / "pose.json")


def _re10k(folder):
    rows = np.ravel(WORLD_TO_CAMERA[:3])
    (folder / "clip.txt").write_text(f"https://example.org\n1000 {_text(*NORMALISED, 0, 0, *rows)}\n")
    return re10k.read(folder / "clip.txt", re10k.Options(**SIZE))


def _tum(folder):
    (folder / "poses.txt").write_text(f"# t x y z qx qy qz qw\n0.5 {_text(1, 2, 3, *CAMERA_TO_WORLD_XYZW)}\n")
    return tum.read(folder / "poses.txt", tum.Options(**LENS_OPTIONS))


def _kitti(folder):
    (folder / "poses.txt").write_text(_text(*np.ravel(OPENCV[:3])) + "\n")
    return kitti.read(folder / "poses.txt", kitti.Options(**LENS_OPTIONS))


def _spatialvid(folder):
    (folder / "poses.npy").write_bytes(npy_bytes(np.array([WORLD_TO_CAMERA_TQ])))
    (folder / "intrinsics.npy").write_bytes(npy_bytes(np.array([NORMALISED])))
    (folder / "indexes.txt").write_text("# pose frame\n0 3\n")
    return spatialvid.read(folder, spatialvid.Options(**SIZE))


def _vipe(folder):
    for name, row in (("pose", OPENCV), ("intrinsics", (400, 300, 320, 240))):
        (folder / name).mkdir()
        content = npz_bytes({"data": np.array([row], np.float32), "inds": np.array([5])})
        (folder / name / "clip.npz").write_bytes(content)
    return vipe.read(folder)


def _lingbot(folder):
    (folder / "poses.npy").write_bytes(npy_bytes(np.array([OPENCV], np.float32)))
    (folder / "intrinsics.npy").write_bytes(npy_bytes(np.array([[400, 300, 320, 240]], np.float32)))
    return lingbot.read(folder, lingbot.Options(**SIZE))


def _megasam(folder):
    (folder / "a_droid.npz").write_bytes(
        npz_bytes({"cam_c2w": np.array([OPENCV], np.float32), "intrinsic": np.array(K)})
    )
    return megasam.read(folder / "a_droid.npz")


def _megasam_folder(folder):
    (folder / "poses.npy").write_bytes(npy_bytes(np.array([WORLD_TO_CAMERA_TQ])))
    (folder / "intrinsics.npy").write_bytes(npy_bytes(np.array([[400, 300, 320, 240], [0, 0, 0, 0]])))
    return megasam.read(folder)


def _tartanair(folder):
    """North, east, down: OpenCV's z, x, y. Looking east is a quarter turn about down."""
    (folder / "pose_left.txt").write_text(_text(3, 1, 2, 0, 0, HALF, HALF) + "\n")
    return tartanair.read(folder / "pose_left.txt").with_camera(LENS)


READERS = [
    *(_nerfstudio, _camera_path, _colmap, _minwm, _inference, _training, _re10k, _tum, _kitti, _spatialvid),
    *(_vipe, _lingbot, _megasam, _megasam_folder, _tartanair),
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__[1:])
def test_a_known_point_lands_on_its_pixel(read, tmp_path):
    seen = read(tmp_path)
    assert (seen.width, seen.height) == (640, 480)
    np.testing.assert_allclose(seen.camera_to_world[0], OPENCV, atol=1e-12)
    pixel = seen.camera(0).project(se3.transform(seen.world_to_camera[0], POINT))
    np.testing.assert_allclose(pixel, PIXEL, atol=1e-9)


@pytest.mark.parametrize("transform", [nerfstudio.OLD_TRANSFORM, nerfstudio.NEW_TRANSFORM], ids=["old", "new"])
def test_applied_transform_of_either_age_is_undone(transform, tmp_path):
    change = np.vstack([transform, (0, 0, 0, 1)])
    seen = _nerfstudio(tmp_path, [list(row) for row in transform], (change @ OPENGL).tolist())
    np.testing.assert_allclose(seen.camera_to_world[0], OPENCV, atol=1e-12)


def test_the_two_transforms_differ_by_a_third_of_a_turn():
    old, new = (np.array(each)[:, :3] for each in (nerfstudio.OLD_TRANSFORM, nerfstudio.NEW_TRANSFORM))
    assert se3.angle_deg(old.T @ new) == pytest.approx(120)
