"""Captures with a transforms.json: the fox, and every way in which a capture can be broken."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.poses import nerfstudio
from trajkit.scene import Rejected
from trajkit.scenes import open_scenes
from trajkit.scenes.dl3dv import LICENCE

COUNT = 12


def capture(folder: Path, *, images: str = "images", size: tuple[int, int] = (64, 36)) -> Path:
    """Twelve cameras in a half ring around the origin, z up, three units away, with blank photos."""
    angle = np.linspace(0, np.pi, COUNT)
    centres = np.stack([3 * np.cos(angle), 3 * np.sin(angle), np.full(COUNT, 1.0)], axis=-1)
    poses = se3.look_at(centres, np.zeros(3), np.array([0, 0, 1.0])) @ np.diag([1, -1, -1, 1])
    (folder / images).mkdir(parents=True)
    frames = []
    for number, pose in enumerate(poses, 1):
        name = f"frame_{number:05d}.png"
        Image.new("RGB", size).save(folder / images / name)
        frames.append({"file_path": f"images/{name}", "transform_matrix": pose.tolist()})
    table = {"w": 256, "h": 144, "fl_x": 200.0, "fl_y": 202.0, "cx": 130.0, "cy": 70.0, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    table = json.loads((folder / "transforms.json").read_text())
    edit(table)
    (folder / "transforms.json").write_text(json.dumps(table))


def one(spec: str):
    (scene,) = open_scenes(spec)
    return scene


def codes(item) -> dict[str, str]:
    return {finding.code: finding.level for finding in item.findings}


def test_the_fox(shared):
    scene = one(f"dl3dv:{shared / 'data/fox'}")
    assert scene.id == "fox"
    assert codes(scene) == {"missing-images": "warning", "gaps": "warning", "distorted-model": "warning"}
    assert "17 of 67" in next(finding.message for finding in scene.findings if finding.code == "missing-images")
    assert len(scene.seen) == len(scene.photos) == 50
    assert all(photo.is_file() for photo in scene.photos)
    assert [int(photo.stem) for photo in scene.photos] == scene.seen.frame_index.tolist()
    assert np.all(np.diff(scene.seen.frame_index) > 0)
    assert (scene.seen.width, scene.seen.height) == (1080, 1920)
    assert scene.seen.distortion == pytest.approx((0.0578421, -0.0805099, -0.000980296, 0.00015575))
    everything = nerfstudio.read(shared / "data/fox")
    rows = [everything.names.index(name) for name in scene.seen.names]
    np.testing.assert_allclose(scene.seen.camera_to_world, everything.camera_to_world[rows])
    assert scene.up[2] > 0.97  # instant-ngp turned this capture upright
    low, high = scene.extent
    assert ((scene.seen.centres >= low) & (scene.seen.centres <= high)).all()
    assert scene.licence == "unknown"


def test_small_photos_rescale_the_lens(tmp_path):
    scene = one(f"dl3dv:{capture(tmp_path / 'a b', images='images_4')}")
    assert scene.id in ("a-b", "a_b")
    assert not scene.findings
    assert (scene.seen.width, scene.seen.height) == (64, 36)
    np.testing.assert_allclose(scene.seen.intrinsics[0], [50, 50.5, 32.5, 17.5])
    assert scene.photos[0].parent.name == "images_4"


def test_how_to_stand_in_it(tmp_path):
    scene = one(f"dl3dv:{capture(tmp_path / 'ring')}")
    np.testing.assert_allclose(scene.up, [0, 0, 1], atol=1e-9)
    assert scene.unit == pytest.approx(math.sqrt(10) / 4)  # a quarter of the distance to where all cameras look
    assert (scene.extent[0] <= 0).all()
    assert (scene.extent[1] >= 0).all()


def test_licence_can_be_stated(tmp_path):
    scene = one(f"dl3dv:{capture(tmp_path / 'mine')};licence=CC0-1.0")
    assert scene.licence == "CC0-1.0"
    assert one(f"dl3dv:{capture(tmp_path / ('0f' * 32))}").licence == LICENCE, "a DL3DV hash names DL3DV's terms"
    assert "CC0-1.0" in scene.source


def test_folders_of_captures_are_searched(tmp_path):
    capture(tmp_path / "2K" / "beef")
    capture(tmp_path / "1K" / "cafe" / "nerfstudio", images="images_8")
    (tmp_path / "1K" / "dead" / "images_4").mkdir(parents=True)
    (tmp_path / "1K" / ".cache").mkdir()
    (tmp_path / "1K" / "cafe" / "gaussian_splat").mkdir()
    found = list(open_scenes(f"dl3dv:{tmp_path}"))
    assert [getattr(item, "id", None) or item.key for item in found] == ["cafe", "dead", "beef"]
    assert [isinstance(item, Rejected) for item in found] == [False, True, False]
    assert codes(found[1]) == {"missing-transforms": "error"}


def pose_of(index: int, row: int, column: int, value: float) -> Callable[[Path], None]:
    def edit(table: dict) -> None:
        table["frames"][index]["transform_matrix"][row][column] = value

    return lambda folder: change(folder, edit)


def mirror(folder: Path) -> None:
    def edit(table: dict) -> None:
        for row in table["frames"][4]["transform_matrix"][:3]:
            row[0] = -row[0]

    change(folder, edit)


def shear(folder: Path) -> None:
    def edit(table: dict) -> None:
        for row in table["frames"][4]["transform_matrix"][:3]:
            row[0] += 0.05 * row[1]

    change(folder, edit)


def fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def put(key: str, value: object) -> Callable[[Path], None]:
    return lambda folder: change(folder, lambda table: table.update({key: value}))


def drop(folder: Path, count: int) -> None:
    for path in sorted((folder / "images").iterdir())[:count]:
        path.unlink()


BROKEN: list[tuple[str, str, Callable[[Path], object]]] = [
    ("no transforms", "missing-transforms", lambda at: (at / "transforms.json").unlink()),
    ("empty transforms", "unreadable-transforms", lambda at: fill(at / "transforms.json", b"")),
    ("truncated transforms", "unreadable-transforms", lambda at: fill(at / "transforms.json", b'{"frames": [')),
    ("binary transforms", "unreadable-transforms", lambda at: fill(at / "transforms.json", b"\xff\xfe\x00")),
    ("transforms is a list", "unreadable-transforms", lambda at: fill(at / "transforms.json", b"[]")),
    ("no frames", "unusable-photos", put("frames", [])),
    ("frames is a number", "unusable-photos", put("frames", 3)),
    ("frames of text", "unusable-photos", put("frames", ["a", "b"])),
    ("no file names", "unusable-photos", put("frames", [{"transform_matrix": np.eye(4).tolist()}])),
    ("NaN pose", "non-finite-pose", pose_of(3, 0, 3, float("nan"))),
    ("infinite pose", "non-finite-pose", pose_of(3, 1, 1, float("inf"))),
    ("mirrored pose", "bad-determinant", mirror),
    ("scaled pose", "bad-determinant", pose_of(2, 0, 0, 7.0)),
    ("3x3 pose", "bad-pose", lambda at: change(at, lambda t: t["frames"][1].update(transform_matrix=[[1, 0, 0]] * 3))),
    ("pose of text", "bad-pose", lambda at: change(at, lambda t: t["frames"][1].update(transform_matrix="eye"))),
    ("ragged pose", "bad-pose", lambda at: change(at, lambda t: t["frames"][1].update(transform_matrix=[[1], [2, 3]]))),
    ("no pose", "bad-pose", lambda at: change(at, lambda t: t["frames"][1].pop("transform_matrix"))),
    ("skewed pose", "not-a-rotation", shear),
    ("no photos at all", "unusable-photos", lambda at: drop(at, COUNT)),
    ("few photos", "too-few-frames", lambda at: drop(at, COUNT - 3)),
    (
        "photo climbs out",
        "unusable-photos",
        lambda at: change(at, lambda t: t["frames"][0].update(file_path="../x.png")),
    ),
    ("absolute photo", "unusable-photos", lambda at: change(at, lambda t: t["frames"][0].update(file_path="/x.png"))),
    ("first photo truncated", "image-unreadable", lambda at: fill(at / "images/frame_00001.png", b"\x89PNG")),
    ("first photo is text", "image-unreadable", lambda at: fill(at / "images/frame_00001.png", b"not found")),
    ("turned photos", "size-mismatch", put("w", 100)),
    ("fisheye", "unreadable-transforms", put("camera_model", "OPENCV_FISHEYE")),
    ("no focal length", "unreadable-transforms", lambda at: change(at, lambda t: (t.pop("fl_x"), t.pop("fl_y")))),
    ("NaN focal length", "unreadable-transforms", put("fl_x", float("nan"))),
    ("all too far", "too-few-frames", lambda at: change(at, lambda t: far(t, range(COUNT)))),
    ("applied_transform of text", "unreadable-transforms", put("applied_transform", "none")),
]


def far(table: dict, frames: range) -> None:
    for index in frames:
        table["frames"][index]["transform_matrix"][0][3] = 5e3


@pytest.mark.parametrize(("code", "damage"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_broken_captures_are_rejected_by_name(tmp_path, code, damage):
    folder = capture(tmp_path / "cap")
    damage(folder)
    found = one(f"dl3dv:{folder}")
    assert isinstance(found, Rejected)
    assert found.key == "cap"
    assert codes(found)[code] == "error"
    assert code in found.reason
    assert all(finding.where and finding.message for finding in found.findings)


def blank(path: Path) -> None:
    Image.new("RGB", (9, 9)).save(path)


DAMAGED: list[tuple[str, str, int, Callable[[Path], object]]] = [
    ("absent photos", "missing-images", 10, lambda at: drop(at, 2)),
    ("later photo unreadable", "image-unreadable", 11, lambda at: fill(at / "images/frame_00007.png", b"?")),
    ("later photo of another size", "size-mismatch", 11, lambda at: blank(at / "images/frame_00007.png")),
    ("far cameras", "huge-translation", 10, lambda at: change(at, lambda t: far(t, range(3, 5)))),
    ("unlisted photo", "extra-images", 12, lambda at: blank(at / "images/extra.png")),
    ("distorted", "distorted-model", 12, put("k1", 0.1)),
    ("unregistered frames", "gaps", 10, lambda at: change(at, lambda t: t["frames"].__delitem__(slice(3, 5)))),
]


@pytest.mark.parametrize(("code", "left", "damage"), [pytest.param(*case[1:], id=case[0]) for case in DAMAGED])
def test_damage_that_leaves_the_rest_usable_is_a_warning(tmp_path, code, left, damage):
    folder = capture(tmp_path / "cap")
    damage(folder)
    scene = one(f"dl3dv:{folder}")
    assert codes(scene)[code] == "warning"
    assert len(scene.seen) == len(scene.photos) == left
    assert np.abs(scene.seen.centres).max() < 10


def test_order_in_the_file_does_not_matter(tmp_path):
    folder = capture(tmp_path / "cap")
    before = one(f"dl3dv:{folder}")
    change(folder, lambda table: table["frames"].reverse())
    after = one(f"dl3dv:{folder}")
    assert after.seen.names == before.seen.names
    np.testing.assert_array_equal(after.seen.camera_to_world, before.seen.camera_to_world)


def test_missing_paths_are_errors(tmp_path):
    for spec in (f"dl3dv:{tmp_path / 'none'}", "dl3dv:", "dl3dv"):
        with pytest.raises(TrajkitError):
            list(open_scenes(spec))


def test_a_file_is_no_capture(tmp_path):
    (tmp_path / "f.txt").write_text("x")
    with pytest.raises(TrajkitError, match=r"f\.txt"):
        list(open_scenes(f"dl3dv:{tmp_path / 'f.txt'}"))
