"""Splat scenes: the world of the capture, whichever way the splats were normalised."""

import json

import numpy as np
import pytest

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians, write_ply
from trajkit.poses import nerfstudio
from trajkit.scene import Rejected
from trajkit.scenes import open_scenes
from trajkit.scenes.splat import load_gaussians
from trajkit.trajectory import Scale, Trajectory

TURN = se3.axis_rotation("x", 40.0) @ se3.axis_rotation("z", -70.0)
NORMALISED_FROM_ORIGINAL = se3.Similarity(0.25, TURN, 0.25 * np.array([1.0, -2.0, 0.5]))


def splats() -> Gaussians:
    """A ball of opaque Gaussians of radius 0.3 around (1, 2, 3), and faint ones far out."""
    rng = np.random.default_rng(3)
    means = np.concatenate([rng.normal((1, 2, 3), 0.1, (400, 3)), rng.normal(0, 50, (40, 3))])
    return Gaussians(
        means=means.astype(np.float32),
        log_scales=np.full((440, 3), -4, np.float32),
        quaternions_wxyz=rng.normal(size=(440, 4)).astype(np.float32),
        logit_opacities=np.repeat([3.0, -3.0], [400, 40]).astype(np.float32),
        sh=rng.normal(0, 0.2, (440, 4, 3)).astype(np.float32),
    )


def cameras() -> Trajectory:
    angle = np.linspace(0, 5, 10)
    centres = np.array([1, 2, 3.0]) + 2 * np.stack([np.cos(angle), np.sin(angle), 0.2 + 0 * angle], axis=-1)
    poses = se3.look_at(centres, np.array([1, 2, 3.0]), np.array([0, 0, 1.0]))
    return Trajectory.from_camera(poses, Camera.from_fov(80, 60, 50), fps=1, scale=Scale(kind="sfm"))


def dataparser(path):
    table = {"transform": np.c_[TURN, [1.0, -2.0, 0.5]].tolist(), "scale": 0.25}
    path.write_text(json.dumps(table))


def one(spec):
    (scene,) = open_scenes(spec)
    return scene


def test_plain_splats(tmp_path):
    write_ply(splats(), tmp_path / "my splat.ply")
    scene = one(f"splat:{tmp_path / 'my splat.ply'}")
    assert scene.id in ("my-splat", "my_splat")
    assert scene.seen is None
    assert (scene.extent[0] > (0.5, 1.5, 2.5)).all()  # the faint ones far out do not count
    assert (scene.extent[1] < (1.5, 2.5, 3.5)).all()
    edge = np.median(scene.extent[1] - scene.extent[0])
    assert scene.unit == pytest.approx(edge / 8)
    np.testing.assert_array_equal(scene.up, [0, -1, 0])
    assert scene.assets["splat"] == tmp_path / "my splat.ply"
    np.testing.assert_array_equal(load_gaussians(scene).means, splats().means)


@pytest.mark.parametrize("named", [True, False])
def test_a_normalised_world_is_undone(tmp_path, named):
    write_ply(splats().moved(NORMALISED_FROM_ORIGINAL), tmp_path / "splat.ply")
    dataparser(tmp_path / ("norm.json" if named else "dataparser_transforms.json"))
    nerfstudio.write(cameras(), tmp_path / "transforms.json")
    options = "cameras=transforms.json" + (",dataparser=norm.json" if named else "")
    scene = one(f"splat:{tmp_path / 'splat.ply'};{options}")
    back = load_gaussians(scene)
    np.testing.assert_allclose(back.means[:400], splats().means[:400], atol=1e-5)
    np.testing.assert_allclose(back.log_scales, splats().log_scales, atol=1e-5)
    np.testing.assert_allclose(back.sh, splats().sh, atol=1e-5)
    np.testing.assert_allclose(scene.seen.camera_to_world, cameras().camera_to_world, atol=1e-9)
    assert scene.unit == pytest.approx(0.5, rel=0.1)  # a quarter of the distance from the cameras to the ball
    np.testing.assert_allclose(scene.up, [0, 0, 1], atol=1e-6)
    assert (scene.extent[0] <= scene.seen.centres.min(axis=0)).all()


def test_without_cameras_up_is_that_of_nerfstudio(tmp_path):
    write_ply(splats().moved(NORMALISED_FROM_ORIGINAL), tmp_path / "splat.ply")
    dataparser(tmp_path / "dataparser_transforms.json")
    scene = one(f"splat:{tmp_path / 'splat.ply'}")
    np.testing.assert_allclose(TURN @ scene.up, [0, 0, 1], atol=1e-9)
    plain = one(f"splat:{tmp_path / 'splat.ply'};dataparser=none,up=-x")
    np.testing.assert_array_equal(plain.up, [-1, 0, 0])
    assert "dataparser" not in plain.assets


def test_a_damaged_ply_is_rejected(tmp_path):
    write_ply(splats(), tmp_path / "a.ply")
    content = (tmp_path / "a.ply").read_bytes()
    for damaged in (b"", content[:500], content[:-7], content + b"x", b"ply\nformat ascii 1.0\nend_header\n"):
        (tmp_path / "a.ply").write_bytes(damaged)
        found = one(f"splat:{tmp_path / 'a.ply'}")
        assert isinstance(found, Rejected)
        assert found.findings[0].code == "unreadable-splat"


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ("cameras=none.json", None),
        ("dataparser=none.json", None),
        ("dataparser=d.json", '{"scale": 1}'),
        ("dataparser=d.json", '{"transform": [[1,0,0,0],[0,1,0,0],[0,0,1,NaN]], "scale": 1}'),
        ("cameras=d.json", "{}"),
        ("up=z", None),
        ("camera=d.json", None),
    ],
)
def test_files_that_were_asked_for_must_be_usable(tmp_path, options, content):
    write_ply(splats(), tmp_path / "a.ply")
    if content:
        (tmp_path / "d.json").write_text(content)
    with pytest.raises(TrajkitError):
        list(open_scenes(f"splat:{tmp_path / 'a.ply'};{options}"))
