"""Strecha's .camera files: made ones read exactly, real ones agree with their photos, damaged ones are named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from test_cli import trajkit

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.poses import nerfstudio, strecha
from trajkit.reconstruct import photo_views
from trajkit.scenes import open_scenes
from trajkit.sparse import pairs, triangulate

GOLDEN = Path(__file__).parents[1] / "golden/poses/strecha"


def test_golden_files_mean_the_poses_they_were_made_from(exact_trajectory) -> None:
    seen = strecha.read(GOLDEN)
    np.testing.assert_array_equal(seen.camera_to_world, exact_trajectory.camera_to_world)
    np.testing.assert_array_equal(seen.intrinsics, exact_trajectory.intrinsics)
    np.testing.assert_array_equal(seen.frame_index, [0, 4, 8])
    assert (seen.width, seen.height) == (640, 480)
    assert seen.names == ("0000.png", "0004.png", "0008.png")
    assert seen.scale.kind == "metric"
    assert strecha.read(GOLDEN, strecha.Options(scale="sfm", fps=2.0)).times_s[-1] == 4.0


def test_convert_reads_it(tmp_path: Path) -> None:
    code, out, err = trajkit("convert", GOLDEN, tmp_path / "transforms.json", "--to", "nerfstudio")
    assert code == 0, err
    assert out.startswith("3 poses from strecha to nerfstudio")
    back = nerfstudio.read(tmp_path / "transforms.json")
    np.testing.assert_allclose(back.camera_to_world, strecha.read(GOLDEN).camera_to_world, atol=1e-12)
    assert back.names == strecha.read(GOLDEN).names


def line(number: int, text: str) -> dict[int, str]:
    return {number: text}


BAD = {
    "eight lines": (line(9, ""), "8 lines, not 9"),
    "two columns": (line(2, "500 240"), "line 2: 2 columns, not 3"),
    "a word": (line(8, "0.5 -0.25 two"), "line 8: could not convert"),
    "nan": (line(8, "0.5 nan 2"), "0004.png.camera: pose 1 is not finite"),
    "distorted": (line(4, "0.1 0 0"), "lens distortion [0.1, 0.0, 0.0]; undistort"),
    "skew": (line(1, "480 7 320"), "K has skew"),
    "no last row": (line(3, "0 0 2"), "K has skew or a last row other than 0 0 1"),
    "no focal length": (line(1, "0 0 320"), "not finite and positive"),
    "no finite focal length": (line(1, "inf 0 320"), "not finite and positive"),
    "scaled rotation": (line(5, "-2 0 0"), "0004.png.camera: pose 1 is not a rotation"),
    "half a pixel": (line(9, "640.5 480"), "width is 640.5"),
    "another size": (line(9, "320 240"), "photos of 2 sizes (320x240, 640x480)"),
}


@pytest.mark.parametrize("case", BAD)
def test_damage_is_named(case: str, tmp_path: Path) -> None:
    changes, says = BAD[case]
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "in"))
    rows = (folder / "0004.png.camera").read_text().splitlines()
    for number, text in changes.items():
        rows[number - 1] = text
    (folder / "0004.png.camera").write_text("\n".join(rows))
    with pytest.raises(TrajkitError) as caught:
        strecha.read(folder)
    assert says in str(caught.value), caught.value
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_cut_or_flipped_byte_is_an_error_or_a_trajectory(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "in"))
    path, rng = folder / "0004.png.camera", np.random.default_rng(0)
    content = path.read_bytes()
    for _ in range(200):
        damaged = bytearray(content[: rng.integers(1, len(content))] if rng.random() < 0.3 else content)
        for place in rng.integers(len(damaged), size=rng.integers(3)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert np.isfinite(strecha.read(folder).camera_to_world).all()
        except TrajkitError:
            continue


@pytest.mark.parametrize("name", ["fountain-P11", "entry-P10"])
def test_real_cameras_stand_level_before_what_they_all_look_at(name: str, shared: Path) -> None:
    seen = strecha.read(shared / "data/strecha" / name)
    assert (len(seen), seen.width, seen.height) == (int(name[-2:]), 3072, 2048)
    downward = seen.camera_to_world[:, :3, 1]
    assert (downward @ downward.mean(axis=0) > 0.95).all()  # the photographer stood upright, whatever axis that is
    steps = np.linalg.norm(np.diff(seen.centres, axis=0), axis=1)
    assert 0.3 < steps.min() < steps.max() < 10  # metres between two photos


def test_points_of_real_photos_agree_with_the_poses(shared: Path) -> None:
    """Four photos of the fountain, small: the points that SIFT matches meet in lie metres before the cameras; with the
    rotations taken for world to camera, none do."""
    (scene,) = open_scenes(f"strecha:{shared / 'data/strecha/fountain-P11'}")
    views = photo_views(scene, 512)[3:7]
    assert len(pairs(scene.seen.camera_to_world[3:7])) == 6
    points = triangulate(views, "fountain").points
    for view in views:
        depth = se3.transform(view.world_to_camera, points)[:, 2]
        assert np.mean(depth > 0) > 0.99
        assert 4 < np.median(depth) < 15
    turned = [view._replace(world_to_camera=se3.inverse(view.world_to_camera)) for view in views]
    with pytest.raises(TrajkitError, match=r"only \d+ points of its 4 photos agree"):
        triangulate(turned, "fountain")
