"""COLMAP models with photos: points set unit and extent, damage is named."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trajkit import se3
from trajkit.camera import Camera
from trajkit.poses import colmap
from trajkit.scene import Rejected
from trajkit.scenes import open_scenes
from trajkit.trajectory import Scale, Trajectory

COUNT = 9
DEPTH = 4.0


def points() -> np.ndarray:
    """A cloud around the origin."""
    return np.random.default_rng(0).normal(0, 0.2, (500, 3))


def points_bin(cloud: np.ndarray) -> bytes:
    rows = [struct.pack("<Q3d3BdQ2I", i, *xyz, 1, 2, 3, 0.5, 1, 7, 8) for i, xyz in enumerate(cloud)]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


def capture(folder: Path, form: str = "binary") -> Path:
    """Cameras on an arc, COLMAP's world (y down), with photos at half the model's size."""
    angle = np.linspace(-0.6, 0.6, COUNT)
    centres = DEPTH * np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], axis=-1)
    poses = se3.look_at(centres, np.zeros(3), np.array([0, -1.0, 0]))
    names = [f"p{number:02d}.png" for number in range(COUNT)]
    lens = Camera.from_fov(80, 60, 50)
    seen = Trajectory.from_camera(poses, lens, fps=1, scale=Scale(kind="sfm"), names=names)
    colmap.write(seen, folder / "sparse/0", colmap.Options(form=form))
    if form == "binary":
        (folder / "sparse/0/points3D.bin").write_bytes(points_bin(points()))
    else:
        rows = [f"{i} {x!r} {y!r} {z!r} 1 2 3 0.5 7 8" for i, (x, y, z) in enumerate(points().tolist())]
        (folder / "sparse/0/points3D.txt").write_text("# a comment\n" + "\n".join(rows) + "\n")
    (folder / "images").mkdir()
    for name in names:
        Image.new("RGB", (40, 30)).save(folder / "images" / name)
    return folder


def one(spec: str):
    (scene,) = open_scenes(spec)
    return scene


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("below", ["", "sparse/0"])
def test_a_model_with_points(tmp_path, form, below):
    scene = one(f"colmap:{capture(tmp_path / 'arc', form) / below}")
    assert scene.id == "arc"
    assert not scene.findings
    assert (scene.seen.width, scene.seen.height) == (40, 30)  # the photos' size, not the model's
    assert len(scene.photos) == COUNT
    assert scene.unit == pytest.approx(DEPTH / 4, rel=0.02)
    np.testing.assert_allclose(scene.up, [0, -1, 0], atol=1e-6)
    inner = np.percentile(points(), [5, 95], axis=0)
    assert (scene.extent[0] <= inner[0]).all()
    assert (scene.extent[1] >= inner[1]).all()
    assert scene.assets["colmap"].name == "0"


def test_pycolmap_reads_the_same_points(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    from trajkit.scenes._stance import read_points

    model = capture(tmp_path / "arc") / "sparse/0"
    cloud = points_bin(points()[:4]).replace(struct.pack("<2I", 7, 8), struct.pack("<2I", 1, 0))
    (model / "points3D.bin").write_bytes(cloud)
    assert len(read_points(model)) == 4
    np.testing.assert_allclose(read_points(model), points()[:4])
    reference = pycolmap.Reconstruction()
    for xyz in points()[:4]:
        reference.add_point3D(xyz, pycolmap.Track())
    for form in ("binary", "text"):
        (tmp_path / form).mkdir()
        getattr(reference, f"write_{form}")(str(tmp_path / form))
        np.testing.assert_allclose(read_points(tmp_path / form), points()[:4])


def test_photos_elsewhere(tmp_path):
    folder = capture(tmp_path / "arc")
    (folder / "images").rename(folder / "half")
    assert isinstance(one(f"colmap:{folder}"), Rejected)
    assert len(one(f"colmap:{folder};images=half").photos) == COUNT
    assert len(one(f"colmap:{folder};images={folder / 'half'}").photos) == COUNT


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def turn(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        Image.new("RGB", (30, 40)).save(path)


BROKEN = [
    ("no model", "unreadable-model", lambda at: (at / "sparse/0/images.bin").unlink()),
    ("truncated images", "unreadable-model", lambda at: cut(at / "sparse/0/images.bin", 100)),
    ("truncated points", "unreadable-model", lambda at: cut(at / "sparse/0/points3D.bin", 100)),
    ("endless points", "unreadable-model", lambda at: (at / "sparse/0/points3D.bin").write_bytes(b"\xff" * 64)),
    ("truncated cameras", "unreadable-model", lambda at: cut(at / "sparse/0/cameras.bin", 20)),
    ("few photos", "too-few-frames", lambda at: [(at / f"images/p{n:02d}.png").unlink() for n in range(7)]),
    ("first photo broken", "image-unreadable", lambda at: cut(at / "images/p00.png", 5)),
    ("photos of another shape", "too-few-frames", turn),
]


@pytest.mark.parametrize(("code", "damage"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_broken_models_are_rejected_by_name(tmp_path, code, damage):
    folder = capture(tmp_path / "arc")
    damage(folder)
    found = one(f"colmap:{folder}")
    assert isinstance(found, Rejected)
    assert found.key == "arc"
    assert code in {finding.code for finding in found.findings if finding.level == "error"}
