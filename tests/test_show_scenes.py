"""`trajkit show` of scenes that have no clips yet: their cameras, points and a preview of what they see."""

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from showclips import LENS, content_of, walk, write_clips, write_refused

from trajkit import files
from trajkit.cli import group
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians, write_ply
from trajkit.members import camera_bytes
from trajkit.poses import nerfstudio
from trajkit.renderers import toy
from trajkit.scenes import open_scenes
from trajkit.show import Found, ShowOptions, find, gather
from trajkit.show.exhibit import STILLS
from trajkit.show.preview import cameras_exhibit
from trajkit.show.sheet import HEAD, MARGIN, ROW, WIDTH
from trajkit.trajectory import Trajectory


def run(*arguments: object):
    return CliRunner().invoke(group, ["show", *map(str, arguments)], standalone_mode=False)


def splat_file(path: Path, colour: float = 1.0) -> Path:
    """A wall of opaque red Gaussians at z = 3."""
    across = np.stack(np.meshgrid(np.linspace(-3, 3, 30), np.linspace(-3, 3, 30)), axis=-1).reshape(-1, 2)
    n = len(across)
    splats = Gaussians(
        means=np.column_stack([across, np.full(n, 3.0)]).astype(np.float32),
        log_scales=np.full((n, 3), np.log(0.2), np.float32),
        quaternions_wxyz=np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        logit_opacities=np.full(n, 5.0, np.float32),
        sh=np.tile(np.float32([colour, -1.5, -1.5]), (n, 1, 1)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_ply(splats, path)
    return path


def photo_scan(folder: Path, count: int = 9) -> Path:
    """A capture of grey photos, each a little brighter than the one before."""
    names = [f"images/frame_{k:03d}.png" for k in range(count)]
    (folder / "images").mkdir(parents=True)
    for k, name in enumerate(names):
        Image.new("RGB", (LENS.width, LENS.height), (20 * k, 20 * k, 20 * k)).save(folder / name)
    seen = Trajectory.from_camera(walk(count=count), LENS, fps=1.0, names=names)
    nerfstudio.write(seen, folder / "transforms.json", nerfstudio.Options())
    return folder


def test_a_toy_scene(tmp_path: Path) -> None:
    result = run("toy:seed=3", "--out", tmp_path)
    assert result.exception is None
    assert result.return_value == 0
    content = content_of(tmp_path)
    (item,), (place,) = content["items"], content["places"]
    scene = next(open_scenes("toy:seed=3"))
    assert (item["kind"], item["id"], item["frames"]) == ("cameras", "toy-3", len(scene.seen))
    assert item["caption"] == "captured cameras; pictures by ray casting"
    assert ["Licence", "CC0-1.0"] in item["facts"]
    assert len(item["thumbs"]) == STILLS
    assert place["cameras"]["n"] == len(scene.seen)
    assert place["cloud"]["source"] == "points from depth"
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.size == (WIDTH, HEAD + ROW + MARGIN)
    assert content["summary"] == "1 scene"


def test_stills_are_what_the_captured_cameras_see() -> None:
    scene = next(open_scenes("toy:"))
    one = cameras_exhibit(scene, "x")
    assert one.at == tuple(np.linspace(0, len(scene.seen) - 1, STILLS).round())
    assert {still.size for still in one.stills} == {(320, 180)}
    small = scene.seen[np.array(one.at[3:4])].resized(320, 180)
    (frame,) = toy.Renderer(scene, toy.Options()).frames(small)
    assert np.array_equal(np.asarray(one.stills[3]), frame.rgb)
    assert one.trajectory.camera_to_world == pytest.approx(scene.seen.camera_to_world)


def test_splats_with_the_cameras_that_render_left(tmp_path: Path) -> None:
    splat = splat_file(tmp_path / "scenes/wall.ply")
    seen = Trajectory.from_camera(walk(step=0.05), LENS, fps=10.0)
    files.write_bytes(tmp_path / "scenes/wall.seen.npz", camera_bytes(seen))
    files.write_bytes(tmp_path / "scenes/wall.json", files.json_bytes({"psnr_held_out_db": 22.0}))
    run(f"splat:{splat}", "--out", tmp_path / "page")
    content = content_of(tmp_path / "page")
    (item,), (place,) = content["items"], content["places"]
    assert item["caption"] == "captured cameras; pictures from its splats"
    poses = np.frombuffer(base64.b64decode(item["poses"]), "<f4").reshape(-1, 3, 4)
    assert poses == pytest.approx(seen.camera_to_world[:, :3], abs=1e-6)
    assert place["quality"] == "held-out PSNR 22.00 dB"
    assert place["cloud"]["source"] == "points from its Gaussians"
    (found,) = gather(find([f"splat:{splat}"]), ShowOptions()).exhibits
    red, green, _ = np.asarray(found.stills[0])[24, 32]
    assert red > 150
    assert green < 60


def test_splats_without_cameras_are_circled(tmp_path: Path) -> None:
    scene = next(open_scenes(f"splat:{splat_file(tmp_path / 'wall.ply')};up=+y"))
    one = cameras_exhibit(scene, "x")
    assert "no captured cameras are known" in one.note
    middle = scene.extent.mean(0)
    offsets = one.trajectory.centres - middle
    assert np.ptp(np.linalg.norm(offsets, axis=1)) < 1e-9
    assert offsets[:, 1] == pytest.approx(offsets[0, 1])
    assert offsets[0, 1] > 0, "above"
    forward = one.trajectory.camera_to_world[:, :3, 2]
    assert np.einsum("ni,ni->n", forward, -offsets) == pytest.approx(np.linalg.norm(offsets, axis=1))
    assert max(np.asarray(still)[90, 160, 0] for still in one.stills) > 150


def test_a_capture_without_splats_shows_its_photos(tmp_path: Path) -> None:
    one = cameras_exhibit(next(open_scenes(f"dl3dv:{photo_scan(tmp_path / 'scan')}")), "x")
    assert one.note == "captured cameras; pictures are its photos"
    assert [np.asarray(still)[0, 0, 0] for still in one.stills] == [20 * k for k in one.at]
    assert one.stills[0].size == (LENS.width, LENS.height)


def test_points_of_the_captures_colmap_model(tmp_path: Path) -> None:
    folder = photo_scan(tmp_path / "scan")
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("")
    (model / "images.txt").write_text("")
    lines = [f"{k} {k / 100} 0.5 3.0 255 0 0 0.1" for k in range(200)]
    (model / "points3D.txt").write_text("\n".join(lines))
    place = gather(find([f"dl3dv:{folder}"]), ShowOptions()).places["scan"]
    assert place.cloud.source == "points of the capture's COLMAP model"
    assert place.cloud.points == pytest.approx(np.array([[k / 100, 0.5, 3.0] for k in range(200)]), abs=1e-6)
    (model / "points3D.txt").write_text("1 2\n")
    assert gather(find([f"dl3dv:{folder}"]), ShowOptions()).places["scan"].cloud is None


def test_a_scene_beside_its_clips_and_refused_paths(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips")
    write_refused(tmp_path / "clips")
    splat = splat_file(tmp_path / "hall.ply")
    shown = gather(find([tmp_path / "clips", f"splat:{splat}"]), ShowOptions())
    assert [one.kind for one in shown.exhibits] == ["clip"] * 4 + ["cameras"] + ["refused"] * 3
    hall = shown.places["hall"]
    assert len([one for one in shown.exhibits if one.place == "hall"]) == 6
    assert hall.cloud.source == "points from its Gaussians"
    assert hall.tally == "3 of 5 paths refused: clearance 3, unseen 1"


def test_dry_run_counts_everything(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips")
    write_refused(tmp_path / "clips")
    result = run(tmp_path / "clips", "toy:", "--out", tmp_path / "page", "--dry-run")
    assert result.output.splitlines()[-3:] == ["4 of 4", "3 refused paths", "1 scene"]
    assert not (tmp_path / "page").exists()


def test_a_scene_that_cannot_be_used_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "broken.ply").write_bytes(b"ply\nformat")
    result = run(f"splat:{tmp_path / 'broken.ply'}", "toy:", "--out", tmp_path / "page")
    assert result.return_value == 3
    (line,) = content_of(tmp_path / "page")["unreadable"]
    assert line.startswith("broken: unreadable-splat")
    alone = run(f"splat:{tmp_path / 'broken.ply'}", "--out", tmp_path / "alone")
    assert isinstance(alone.exception, TrajkitError)
    assert not (tmp_path / "alone").exists()


def test_what_has_neither_poses_nor_splats_is_a_line() -> None:
    scene = replace(next(open_scenes("toy:")), id="bare", source="elsewhere:", seen=None)
    shown = gather(Found(scenes=(scene, next(open_scenes("toy:")))), ShowOptions())
    assert [one.id for one in shown.exhibits] == ["toy-0"]
    assert shown.unreadable == ["scene bare: has neither poses nor splats"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [("tey:", "'toy'"), ("toy:sed=1", "'seed'"), ("splat:absent.ply", "no such file"), ("dl3dv:", "no such file")],
)
def test_specs_that_are_wrong(tmp_path: Path, spec: str, problem: str) -> None:
    result = run(spec, "--out", tmp_path / "page")
    assert isinstance(result.exception, TrajkitError)
    assert problem in str(result.exception)
    assert not (tmp_path / "page").exists()


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    write_clips(tmp_path / "toy:clips")
    assert len(find([tmp_path / "toy:clips"]).clips) == 4


def test_out_or_live_is_needed() -> None:
    result = run("toy:")
    assert isinstance(result.exception, TrajkitError)
    assert "--out" in str(result.exception)


def test_same_scene_same_bytes(tmp_path: Path) -> None:
    splat = splat_file(tmp_path / "a/wall.ply")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in "ab":
        run(f"splat:{tmp_path / name / splat.name}", "--out", tmp_path / f"page-{name}")
    for name in ("index.html", "contact_sheet.png"):
        assert (tmp_path / "page-a" / name).read_bytes() == (tmp_path / "page-b" / name).read_bytes()
    told = json.loads(run(f"splat:{splat}", "--out", tmp_path / "page-a", "--json").output)
    assert (told["total"], told["shown"]) == (0, [])
