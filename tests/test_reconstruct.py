"""Photos with poses become splats: good ones, the same ones each time, and whole or absent."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from splatting import relief, splat_scene, walk

from trajkit import se3
from trajkit.camera import Camera
from trajkit.commands.reconstruct import command
from trajkit.errors import TrajkitError
from trajkit.fidelity import psnr_db
from trajkit.fit import View, halved
from trajkit.gaussians import read_ply
from trajkit.reconstruct import Options, inscribed, photo_views, read_photo, reconstruct
from trajkit.renderers.splats import Options as RenderOptions
from trajkit.renderers.splats import Renderer
from trajkit.scene import Finding, Rejected, Scene
from trajkit.scenes import open_scenes

pytest.importorskip("pycolmap")
QUICK = Options(engine="cpu:longest=200,iterations=220,gaussians=3000")
LENS = (0.05, -0.02, 0.001, -0.001)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Sixteen photos of a wavy wall, 240x180, taken through a lens with distortion."""
    folder = tmp_path_factory.mktemp("capture")
    scene, pinhole = splat_scene(relief(), folder), walk(16, 240, 180)
    seen = replace(pinhole, distortion=LENS)
    wide = pinhole.with_camera(Camera(width=480, height=360, fx=216, fy=220, cx=230, cy=190))
    camera, photos = seen.camera(0), []
    rows, columns = np.mgrid[:180, :240] + 0.5
    at = wide.camera(0).project(camera.rays(np.stack([columns, rows], axis=-1))).astype(int)  # nearest pixel
    for index, frame in enumerate(Renderer(scene, RenderOptions()).frames(wide)):
        photos.append(folder / f"{index:04d}.png")
        Image.fromarray(frame.rgb[at[..., 1], at[..., 0]]).save(photos[-1])
    return replace(scene, id="blobs", seen=seen, photos=tuple(photos), assets={})


@pytest.fixture(scope="module")
def made(capture: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reconstruct(capture, QUICK, tmp_path_factory.mktemp("made"))


def test_held_out_photos_look_like_the_photos(made: Path, capture: Scene) -> None:
    record = json.loads(made.with_suffix(".json").read_text())
    assert record["held_out"] == ["0000.png", "0008.png"]
    assert record["photos"] == len(record["psnr_by_photo_db"]) == 16
    assert 20 < record["psnr_held_out_db"] < record["psnr_fitted_db"] + 1
    assert record["points"] < record["gaussians"] == len(read_ply(made)) <= 3000


def test_splats_lie_in_the_scenes_own_world(made: Path, capture: Scene) -> None:
    """A rendered view of the result, at a captured pose through another lens, is the true scene's."""
    there = replace(capture, assets={"splat": made})
    truth = replace(capture, assets={"splat": capture.photos[0].parent / "blobs.ply"})
    narrow = capture.seen[8:9].with_camera(Camera(width=120, height=90, fx=120, fy=120, cx=60, cy=45))
    mine, wanted = (next(Renderer(scene, RenderOptions(depth="median")).frames(narrow)) for scene in (there, truth))
    assert np.abs(mine.rgb.astype(int) - wanted.rgb).mean() < 20
    both = (mine.depth > 0) & (wanted.depth > 0)
    assert both.mean() > 0.9
    assert np.median(np.abs(mine.depth - wanted.depth)[both] / wanted.depth[both]) < 0.03


def test_same_input_and_seed_give_the_same_bytes(made: Path, capture: Scene, tmp_path: Path) -> None:
    again = reconstruct(capture, QUICK, tmp_path)
    assert again.read_bytes() == made.read_bytes()
    assert again.with_suffix(".json").read_bytes() == made.with_suffix(".json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs.json", "blobs.judges.npz", "blobs.ply"]
    text = again.with_suffix(".json").read_text()
    assert str(tmp_path) not in text
    assert str(capture.photos[0].parent) not in text


def test_a_finished_scene_is_left_alone_until_something_changes(
    made: Path, capture: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("reconstructed again")

    monkeypatch.setattr("trajkit.reconstruct.photo_views", never)
    assert reconstruct(capture, QUICK, made.parent) == made
    turned = capture.seen.moved(se3.Similarity(1.0, se3.axis_rotation("x", 1.0), np.zeros(3)))
    for scene, options in (
        (capture, Options(engine="cpu:longest=200,iterations=121,gaussians=3000")),
        (capture, replace(QUICK, seed=1)),
        (replace(capture, seen=turned), QUICK),
    ):
        with pytest.raises(AssertionError, match="again"):
            reconstruct(scene, options, made.parent)
    (tmp_path / "blobs.json").write_bytes(made.with_suffix(".json").read_bytes())
    (tmp_path / "blobs.ply").write_bytes(made.read_bytes()[:-4])
    with pytest.raises(AssertionError, match="again"):
        reconstruct(capture, QUICK, tmp_path)


def test_wrong_poses_are_noticed(capture: Scene, tmp_path: Path) -> None:
    """Poses in OpenGL's axes, unconverted: hardly a point agrees, and nothing is written."""
    turned = replace(capture.seen, camera_to_world=capture.seen.camera_to_world @ np.diag([1, -1, -1, 1.0]))
    with pytest.raises(TrajkitError, match=r"scene blobs: only \d+ points .* convention"):
        reconstruct(replace(capture, seen=turned), QUICK, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_photos_of_nothing_are_one_error(capture: Scene, tmp_path: Path) -> None:
    photos = tuple(tmp_path / photo.name for photo in capture.photos[:4])
    for photo in photos:
        Image.new("RGB", (240, 180), (90, 90, 90)).save(photo)
    with pytest.raises(TrajkitError, match="only 0 points of its 3 photos"):
        reconstruct(replace(capture, seen=capture.seen[:4], photos=photos), QUICK, tmp_path / "out")


def test_scenes_and_photos_that_cannot_be_used(capture: Scene, tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match="no photo for each pose"):
        reconstruct(replace(capture, photos=()), QUICK, tmp_path)
    with pytest.raises(TrajkitError, match="has 2 photos"):
        reconstruct(replace(capture, seen=capture.seen[:2], photos=capture.photos[:2]), QUICK, tmp_path)
    photo = tmp_path / "photo.png"
    with pytest.raises(TrajkitError, match=r"photo\.png: no such file"):
        read_photo(photo, (240, 180), (60, 45))
    photo.write_bytes(capture.photos[0].read_bytes()[:2000])
    with pytest.raises(TrajkitError, match=r"photo\.png: not a readable picture"):
        read_photo(photo, (240, 180), (60, 45))
    with pytest.raises(TrajkitError, match="is 240x180, but its pose is for 480x360"):
        read_photo(capture.photos[0], (480, 360), (60, 45))


def test_views_are_pinhole_pictures_without_a_border(capture: Scene) -> None:
    views = photo_views(capture, 120)
    assert len({view.camera for view in views}) == 1
    camera = views[0].camera
    assert camera.distortion == ()
    assert 110 <= camera.width <= 120
    corners = np.array([[0, 0], [camera.width, 0], [0, camera.height], [camera.width, camera.height]], float)
    seen = capture.seen.camera(0).project(camera.rays(corners))
    assert seen.min() >= -1e-6
    assert (seen <= np.array([240, 180]) + 1e-6).all()
    half = halved(views[0])
    assert half.photo.shape == (camera.height // 2, camera.width // 2, 3)
    np.testing.assert_allclose(half.camera.project(np.array([0.1, 0.2, 1.0])) * 2, camera.project([0.1, 0.2, 1.0]))


def test_a_lens_that_leaves_no_picture_is_refused() -> None:
    with pytest.raises(TrajkitError, match=r"does not invert|leaves no picture"):
        inscribed(replace(Camera.from_fov(100, 80, 60), distortion=(0.0, 0.0, 0.9, 0.9)))


def test_psnr_of_a_known_error(made: Path, capture: Scene) -> None:
    gaussians, view = read_ply(made), photo_views(capture, 200)[0]
    black = View(np.zeros_like(view.photo), view.camera, se3.inverse(view.world_to_camera) @ np.diag([1, 1, -1, 1.0]))
    behind = psnr_db(gaussians, black._replace(photo=np.full_like(view.photo, 51)), near=1e3)  # renders black
    assert behind == pytest.approx(20 * np.log10(5))


def test_the_command_says_how_good_and_counts_what_it_could_not_use(
    made: Path, capture: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding(code="missing-transforms", level="error", where="x", message="no transforms.json")
    broken = Rejected(key="broken", findings=(finding,))
    found = [capture, broken]
    monkeypatch.setattr("trajkit.scenes.open_scenes", lambda spec: iter(found))
    for name in ("blobs.ply", "blobs.json"):  # finished: so the command has nothing to fit
        (tmp_path / name).write_bytes((made.parent / name).read_bytes())
    arguments = ["--engine", QUICK.engine]
    result = CliRunner().invoke(command, ["any:", "--out", str(tmp_path), "--json", *arguments], standalone_mode=False)
    report = json.loads(result.stdout)
    assert result.return_value == 3
    assert report["rejected"] == {"broken": broken.reason}
    assert report["psnr_held_out_db"]["blobs"] > 20
    plan = CliRunner().invoke(command, ["any:", "--out", str(tmp_path / "new"), "--dry-run"], standalone_mode=False)
    assert "engine: auto" in plan.stdout
    assert not (tmp_path / "new").exists()
    found[1] = capture
    with pytest.raises(TrajkitError, match="share this id"):
        CliRunner().invoke(command, ["any:", "--out", str(tmp_path)], standalone_mode=False, catch_exceptions=False)


@pytest.mark.slow
def test_the_fox_reaches_twenty_two_decibel(shared: Path, tmp_path: Path) -> None:
    scene = next(open_scenes(f"dl3dv:{shared / 'data' / 'fox'}"))
    record = json.loads(reconstruct(scene, Options(), tmp_path).with_suffix(".json").read_text())
    assert record["psnr_held_out_db"] > 22
