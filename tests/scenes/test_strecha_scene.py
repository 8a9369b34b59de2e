"""Photos with .camera files as scenes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trajkit.scene import Rejected
from trajkit.scenes import open_scenes

GOLDEN = Path(__file__).parents[1] / "golden/poses/strecha"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """The golden cameras with photos at half the stated size."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "wall"))
    for name in ("0000", "0004", "0008"):
        Image.new("RGB", (320, 240), (90, 120, 90)).save(folder / f"{name}.png")
    return folder


def test_photos_at_half_size_halve_the_lens(capture: Path) -> None:
    (scene,) = open_scenes(f"strecha:{capture};licence=research")
    assert (scene.id, scene.source, scene.licence) == ("wall", "strecha:wall;licence=research", "research")
    assert (scene.seen.width, scene.seen.height) == (320, 240)
    np.testing.assert_allclose(scene.seen.intrinsics[0], [240, 250, 160, 120])
    assert [photo.name for photo in scene.photos] == ["0000.png", "0004.png", "0008.png"]
    assert scene.findings == ()
    assert scene.unit > 0
    assert np.linalg.norm(scene.up) == pytest.approx(1)


def test_a_folder_of_captures_gives_each_by_name(capture: Path) -> None:
    shutil.copytree(capture, capture.parent / "arch")
    assert [scene.id for scene in open_scenes(f"strecha:{capture.parent}")] == ["arch", "wall"]


def test_what_is_wrong_has_a_name(capture: Path) -> None:
    Image.new("RGB", (320, 240)).save(capture / "0009.png")
    Image.new("RGB", (100, 240)).save(capture / "0008.png")
    (scene,) = open_scenes(f"strecha:{capture};min_frames=2")
    assert sorted(finding.code for finding in scene.findings) == ["extra-images", "size-mismatch"]
    assert len(scene.photos) == len(scene.seen) == 2
    codes = {"too-few-frames": lambda: (capture / "0000.png").unlink()}
    codes["unreadable-cameras"] = lambda: (capture / "0004.png.camera").write_text("480 0 320\n")
    for code, damage in codes.items():
        damage()
        (rejected,) = open_scenes(f"strecha:{capture}")
        assert isinstance(rejected, Rejected)
        assert code in rejected.reason


def test_a_folder_without_cameras_is_rejected(tmp_path: Path) -> None:
    (rejected,) = open_scenes(f"strecha:{tmp_path}")
    assert isinstance(rejected, Rejected)
    assert "holds no PHOTO.camera" in rejected.reason


@pytest.mark.parametrize(("name", "metres"), [("fountain-P11", (6, 12)), ("entry-P10", (13, 26))])
def test_real_captures(name: str, metres: tuple[float, float], shared: Path) -> None:
    (scene,) = open_scenes(f"strecha:{shared / 'data/strecha' / name}")
    assert (scene.seen.width, scene.seen.height) == (1024, 683)
    assert len(scene.photos) == int(name[-2:])
    assert metres[0] < 4 * scene.unit < metres[1]  # to what is photographed, by triangulation 8.4 and 19.4 m
    np.testing.assert_allclose(scene.up, [0, 0, -1], atol=0.02)
