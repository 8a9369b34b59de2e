"""Golden files: the bytes of each format stay as they were, and mean the same poses.

After a wanted change of a format: `TRAJKIT_GOLDEN=write pytest tests/poses/test_golden.py`, then read the difference.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trajkit import plugins

GOLDEN = Path(__file__).parents[1] / "golden/poses"
SIZE = {"width": 640, "height": 480}
LENS = SIZE | {"fx": 480.0, "fy": 500.0}
# name -> (format, path in the golden folder, options to write, options to read)
CASES = {
    "nerfstudio": ("nerfstudio", "transforms.json", {}, {}),
    "nerfstudio distorted": ("nerfstudio", "transforms_opencv.json", {}, {}),
    "nerfstudio camera path": ("nerfstudio", "camera_path.json", {"lossy": True}, {}),
    "colmap text": ("colmap", "colmap_text", {"form": "text"}, {}),
    "colmap binary": ("colmap", "colmap_binary", {}, {}),
    "minwm string": ("minwm", "minwm.txt", {}, SIZE),
    "minwm dataset string": ("minwm", "minwm_dataset.txt", {"grammar": "dataset"}, SIZE),
    "minwm json": ("minwm", "minwm.json", {}, {}),
    "minwm rows": ("minwm", "minwm_rows/poses.npy", {}, SIZE),
    "worldplay inference": ("worldplay", "worldplay.json", {}, {}),
    "worldplay training": ("worldplay", "worldplay_training.json", {"form": "training"}, {}),
    "re10k": ("re10k", "re10k.txt", {}, SIZE),
    "tum": ("tum", "tum.txt", {}, LENS),
    "kitti": ("kitti", "kitti.txt", {}, LENS),
    "spatialvid": ("spatialvid", "spatialvid", {}, SIZE),
    "vipe": ("vipe", "vipe", {}, SIZE),
    "lingbot": ("lingbot", "lingbot", SIZE, SIZE),
    "megasam archive": ("megasam", "megasam_droid.npz", {}, SIZE),
    "megasam folder": ("megasam", "megasam", {}, SIZE),
    "tartanair": ("tartanair", "pose_left.txt", {}, SIZE),
}


def _fitting(name, trajectory):
    """The trajectory, changed so far that the format can hold it."""
    if "string" in name:
        poses = np.tile(np.eye(4), (3, 1, 1))
        poses[:, 2, 3] = 0, 0.08, 0.16
        return replace(trajectory, camera_to_world=poses)
    if "distorted" in name:
        return replace(trajectory, distortion=(0.5, -0.25, 0.125, 0.0625), names=("a 3.jpg", "b 4.jpg", "c 5.jpg"))
    if name == "spatialvid":
        return replace(trajectory, times_s=np.arange(3) * 0.2)
    return trajectory


@pytest.mark.parametrize("name", CASES)
def test_golden(name, exact_trajectory, tmp_path):
    format_name, relative, writing, reading = CASES[name]
    module, trajectory = plugins.load("poses", format_name), _fitting(name, exact_trajectory)
    if os.environ.get("TRAJKIT_GOLDEN") == "write":
        module.write(trajectory, GOLDEN / relative, module.Options(**writing))
    module.write(trajectory, tmp_path / relative, module.Options(**writing))
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert written
    for path in written:
        assert (tmp_path / path).read_bytes() == (GOLDEN / path).read_bytes(), path
    seen = module.read(GOLDEN / relative, module.Options(**reading))
    np.testing.assert_allclose(seen.camera_to_world, trajectory.camera_to_world, atol=1e-6)
    if name != "nerfstudio camera path":  # holds one focal length
        np.testing.assert_allclose(seen.intrinsics, np.tile([480.0, 500, 320, 240], (3, 1)) * _lens_factor(name))
    assert seen.distortion == trajectory.distortion


def _lens_factor(name):
    if name == "tartanair":
        return np.array([320 / 480, 320 / 500, 1, 1])  # the lens of all its pictures
    if "string" not in name:
        return 1.0
    worldplay = np.array([969.69697 / 1920 * 640, 969.69697 / 1080 * 480, 320, 240])  # the lens of all strings
    return worldplay / (480, 500, 320, 240)
