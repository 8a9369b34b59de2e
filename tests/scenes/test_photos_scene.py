"""Photos without poses: listed at once, posed when reconstructed, refused with a reason where they do not fit."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from trajkit import se3, sfm
from trajkit.camera import Camera
from trajkit.commands.reconstruct import command
from trajkit.errors import TrajkitError
from trajkit.renderers.toy import Options as ToyOptions
from trajkit.renderers.toy import Renderer
from trajkit.scene import Rejected, Scene
from trajkit.scenes import open_scenes
from trajkit.sfm import estimator, posed
from trajkit.trajectory import Trajectory

pytest.importorskip("pycolmap")
LENS = Camera.from_fov(480, 270, 60.0)


@pytest.fixture(scope="module")
def walk() -> Trajectory:
    """Ten poses, a third of the way around the toy room."""
    (scene,) = open_scenes("toy:seed=3")
    return scene.seen[np.arange(0, 20, 2)].with_camera(LENS)


@pytest.fixture(scope="module")
def room(walk: Trajectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo for each pose."""
    folder = tmp_path_factory.mktemp("photos") / "room"
    folder.mkdir()
    (scene,) = open_scenes("toy:seed=3")
    for index, frame in enumerate(Renderer(scene, ToyOptions(samples=1)).frames(walk)):
        Image.fromarray(frame.rgb).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def found(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return posed(one(f"photos:{room};focal_px=250"), tmp_path_factory.mktemp("found"))


def one(spec: str):
    (scene,) = open_scenes(spec)
    return scene


def first(count: int, room: Path, folder: Path) -> Path:
    """A folder with the first photos of the room."""
    folder.mkdir()
    for index in range(count):
        (folder / f"{index:03d}.png").write_bytes((room / f"{index:03d}.png").read_bytes())
    return folder


def noise(path: Path, seed: int, size: tuple[int, int] = (480, 270)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 24, size[0] // 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


def check_poses(found: Scene, walk: Trajectory, degrees: float, share: float) -> None:
    """Rotations (median, degrees) and centres (median, share of the path's length) after a similarity."""
    assert found.seen.names == tuple(photo.name for photo in found.photos)
    truth = walk[np.array([int(name[:3]) for name in found.seen.names])]
    into_truth = se3.align(found.seen.centres, truth.centres)
    mine = into_truth.poses(found.seen.camera_to_world)
    turns = np.swapaxes(mine[:, :3, :3], 1, 2) @ truth.camera_to_world[:, :3, :3]
    assert np.median(se3.angle_deg(turns)) < degrees
    assert np.median(np.linalg.norm(mine[:, :3, 3] - truth.centres, axis=1)) < share * truth.path_length
    assert (into_truth.rotation @ found.up)[2] > 0.999
    assert 1.0 < into_truth.scale * found.unit < 1.35  # metres: the room's own is 1.14


def test_recovered_poses_are_the_true_ones(found: Scene, walk: Trajectory) -> None:
    assert len(found.seen) == 10
    check_poses(found, walk, 0.2, 0.01)
    np.testing.assert_allclose(found.seen.intrinsics[:, :2], LENS.fx, rtol=0.02)
    assert len({found.seen.camera(index) for index in range(10)}) == 1


def test_estimated_poses_say_so(found: Scene) -> None:
    assert found.seen.scale.kind == "sfm"
    assert re.fullmatch(r"pycolmap [\d.]+, (incremental|global) mapper", estimator(found))
    assert estimator(replace(found, assets={})) == ""


def test_the_model_is_kept_and_used_again(found: Scene, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = found.assets["sfm"]
    assert sorted(path.name for path in model.parent.iterdir()) == ["room.sfm"]
    text = (model / "sfm.json").read_text()
    assert str(room) not in text
    assert str(model) not in text
    monkeypatch.setattr(sfm, "quiet_pycolmap", lambda where: pytest.fail("estimated again"))
    again = posed(one(f"photos:{room};focal_px=250;licence=mine"), model.parent)
    np.testing.assert_array_equal(again.seen.camera_to_world, found.seen.camera_to_world)
    with pytest.raises(pytest.fail.Exception, match="estimated again"):
        posed(one(f"photos:{room};focal_px=251"), model.parent)


def test_a_scene_with_cameras_is_left_alone(found: Scene, tmp_path: Path) -> None:
    assert posed(found, tmp_path) is found
    bare = replace(found, seen=None, photos=())
    assert posed(bare, tmp_path) is bare
    with pytest.raises(TrajkitError, match="photos without poses; give them as photos:FOLDER"):
        posed(replace(found, seen=None, source="mine:x"), tmp_path)


def test_few_photos_of_many_kinds(room: Path, walk: Trajectory, tmp_path: Path) -> None:
    """Five views of the room pass with two strangers among them, which are named; with six strangers none do. The
    same photos give the same bytes, and a model of other photos is replaced."""
    folder = first(5, room, tmp_path / "room")
    for index in (5, 6):
        noise(folder / f"{index:03d}.png", index)
    scenes = [posed(one(f"photos:{folder}"), tmp_path / out) for out in ("a", "b")]
    assert scenes[0].seen.names == tuple(f"{index:03d}.png" for index in range(5))
    lost = [finding.message for finding in scenes[0].findings if finding.code == "not-registered"]
    assert lost == ["2 of 7 photos: 005.png, 006.png"]
    models = [sorted((tmp_path / out / "room.sfm").iterdir()) for out in ("a", "b")]
    assert [path.name for path in models[0]] == [path.name for path in models[1]]
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(*models, strict=True))
    for index in range(7, 11):
        noise(folder / f"{index:03d}.png", index)
    with pytest.raises(TrajkitError, match=r"scene room: only 5 of 11 photos fit together; not 005\.png, 006\.png"):
        posed(one(f"photos:{folder}"), tmp_path / "a")
    with pytest.raises(TrajkitError, match="only 5 of 11"):  # from the model that was kept
        posed(one(f"photos:{folder}"), tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["room.sfm"]


@pytest.mark.slow
@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_either_mapper_finds_them(mapper: str, room: Path, walk: Trajectory, tmp_path: Path) -> None:
    scene = posed(one(f"photos:{room};mapper={mapper}"), tmp_path)
    check_poses(scene, walk, 0.2, 0.01)
    assert estimator(scene).endswith(f"{mapper} mapper")


def test_photos_of_nothing_are_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    for index in range(4):
        Image.new("RGB", (120, 90), (90, 90, 90)).save(folder / f"{index}.png")
    with pytest.raises(TrajkitError, match="scene grey: none of its 4 photos fit together; take sharper"):
        posed(one(f"photos:{folder}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_listing_drops_what_cannot_be_used(tmp_path: Path) -> None:
    for index in range(12):
        Image.new("RGB", (40, 30)).save(tmp_path / f"p{index}.png")
    Image.new("RGB", (30, 40)).save(tmp_path / "turned.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not a photo")
    scene = one(f"photos:{tmp_path};max_photos=4")
    assert scene.seen is None
    assert [photo.name for photo in scene.photos] == ["p0.png", "p4.png", "p7.png", "p11.png"]
    assert {finding.code: finding.level for finding in scene.findings} == dict.fromkeys(
        ("image-unreadable", "size-mismatch", "photos-left-out"), "warning"
    )
    messages = {finding.code: finding.message for finding in scene.findings}
    assert messages["size-mismatch"] == "1 of 14 photos not 40x30 as most are: turned.png"
    assert messages["image-unreadable"] == "1 of 14 photos not a readable picture: broken.jpg"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_photos_are_rejected(count: int, tmp_path: Path) -> None:
    for index in range(count):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{index}.png")
    rejected = one(f"photos:{tmp_path}")
    assert isinstance(rejected, Rejected)
    assert f"too-few-frames: {tmp_path}: {count} usable photos, not 3" in rejected.reason


def test_many_photos_are_matched_in_sequence(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfm, "EXHAUSTIVE", 5)
    scene = posed(one(f"photos:{first(6, room, tmp_path / 'room')}"), tmp_path)
    assert len(scene.seen) == 6


def test_a_photo_cut_short_does_not_register(room: Path, tmp_path: Path) -> None:
    folder = first(5, room, tmp_path / "room")
    (folder / "002.png").write_bytes((room / "002.png").read_bytes()[:5000])
    scene = posed(one(f"photos:{folder}"), tmp_path / "out")
    assert "002.png" not in scene.seen.names
    assert "not-registered" in {finding.code for finding in scene.findings}


def test_the_command_lists_without_posing_and_records_how_poses_came(
    room: Path, found: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sfm, "quiet_pycolmap", lambda where: pytest.fail("posed while listing"))
        plan = CliRunner().invoke(
            command, [f"photos:{room}", "--out", str(tmp_path / "new"), "--dry-run"], standalone_mode=False
        )
        assert plan.stdout.splitlines()[-1] == "room"
        assert not (tmp_path / "new").exists()
    (tmp_path / "room.sfm").mkdir()
    for path in found.assets["sfm"].iterdir():
        (tmp_path / "room.sfm" / path.name).write_bytes(path.read_bytes())
    spec = [f"photos:{room};focal_px=250", "--out", str(tmp_path), "--json"]
    quick = ["--engine", "cpu:longest=160,iterations=30,gaussians=2000", "--min-psnr", "5", "--min-ssim", "0"]
    result = CliRunner().invoke(command, [*spec, *quick, "--min-coverage", "0"], standalone_mode=False)
    assert result.return_value == 0, result.output
    record = json.loads((tmp_path / "room.json").read_text())
    assert record["poses"] == estimator(found)
    assert record["source"] == "photos:room;focal_px=250.0"
    assert record["findings"] == [f"{finding.code}: {finding.message}" for finding in found.findings]
