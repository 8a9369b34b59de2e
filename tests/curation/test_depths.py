"""Depth from other people's files and from estimators: read, fitted to pictures, and refused where it is damaged."""

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trajkit.curation import exr
from trajkit.curation.depths import fit_depth, open_depth
from trajkit.errors import TrajkitError


def pictures(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [(2 + number + rng.random((6, 8))).astype(np.float16).astype(np.float32) for number in range(count)]


def clips(root: Path) -> None:
    np.savez(root / "a.depth.npz", depth=np.array(pictures(), np.float16))


def inverse_clips(root: Path) -> None:
    np.savez(root / "a.depth.npz", depth=1 / np.array(pictures()))
    (root / "a.json").write_text('{"depth": "inverse"}')


def vipe(root: Path) -> None:
    exr.write_depth_zip(root / "depth/a.zip", pictures())


def megasam(root: Path) -> None:
    (root / "outputs_cvd").mkdir()
    np.savez(root / "outputs_cvd/a_sgd_cvd_hr.npz", depths=np.array(pictures()), images=np.zeros(3))


@pytest.mark.parametrize(
    ("layout", "make", "scale"),
    [
        ("clips", clips, "unknown"),
        ("clips", inverse_clips, "unknown"),
        ("vipe", vipe, "metric"),
        ("megasam", megasam, "unknown"),
    ],
)
def test_each_layout_gives_z_depth_and_says_its_scale(
    tmp_path: Path, layout: str, make: Callable[[Path], None], scale: str
) -> None:
    make(tmp_path)
    depth = pickle.loads(pickle.dumps(open_depth(f"{layout}:{tmp_path}", "part/a.mp4")))  # noqa: S301
    assert (depth.scale, depth.source) == (scale, layout)
    for _ in range(2):
        np.testing.assert_allclose(list(depth()), pictures(), rtol=2e-3)


def test_spatialvid_keeps_disparity_for_some_of_the_frames(tmp_path: Path) -> None:
    exr.write_depth_zip(tmp_path / "depths/group_1/a.zip", [1 / pictures()[0], np.full((6, 8), 1e-4)])
    index = tmp_path / "annotations/group_1/a/indexes.txt"
    index.parent.mkdir(parents=True)
    index.write_text("# pose, frame\n0 0\n1 3\n")
    first, second, third, last = open_depth(f"spatialvid:{tmp_path}", "a.mp4")()
    np.testing.assert_allclose(first, pictures()[0], rtol=2e-3)
    assert second.max() == third.max() == 0
    np.testing.assert_allclose(last, 100)
    index.write_text("0 0\n1 900000000\n")
    with pytest.raises(TrajkitError, match="no frame soon after"):
        list(open_depth(f"spatialvid:{tmp_path}", "a.mp4")())


def test_zips_of_depth_have_the_same_bytes_and_come_back_in_order(tmp_path: Path) -> None:
    for name in ("one", "two"):
        exr.write_depth_zip(tmp_path / name, iter(pictures(12)))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    np.testing.assert_array_equal(list(exr.depth_frames(tmp_path / "one")), pictures(12))
    with zipfile.ZipFile(tmp_path / "one") as archive, zipfile.ZipFile(tmp_path / "mixed", "w") as mixed:
        for name in reversed(archive.namelist()):
            mixed.writestr(f"../../{name}", archive.read(name))  # read by number, never unpacked
    np.testing.assert_array_equal(list(exr.depth_frames(tmp_path / "mixed")), pictures(12))
    with pytest.raises(TrajkitError, match="below 65504"):
        exr.write_depth_zip(tmp_path / "far", [np.full((2, 2), 1e6)])
    assert not (tmp_path / "far").exists()


def _broken(root: Path, kind: str) -> Path:
    path = root / "x.zip"
    exr.write_depth_zip(path, pictures())
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
        return path
    changes = {
        "gap": {"00001.exr": None},
        "twice": {"b/00001.exr": members["00001.exr"]},
        "damaged": {"00001.exr": members["00001.exr"][:300]},
        "junk": {"00001.exr": b"junk"},
        "bomb": {"00001.exr": bytes(1 << 24)},
        "none": dict.fromkeys(members),
    }[kind]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in (members | changes).items():
            if member is not None:
                archive.writestr(name, member)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", "damaged zip"),
        ("gap", "picture 1 of 0 to 2 is missing"),
        ("twice", "same number"),
        ("damaged", "00001.exr: damaged EXR"),
        ("junk", "00001.exr: damaged EXR"),
        ("bomb", "unpacks from"),
        ("none", "no NUMBER.exr"),
    ],
)
def test_broken_zips_are_named_with_the_member(tmp_path: Path, kind: str, said: str) -> None:
    path = _broken(tmp_path, kind)
    with pytest.raises(TrajkitError, match=said) as caught:
        list(exr.depth_frames(path))
    assert str(path) in str(caught.value)


def test_other_channels_and_other_files_are_named(tmp_path: Path) -> None:
    vipe(tmp_path)
    with pytest.raises(TrajkitError, match="holds channels Z, not R"):
        list(exr.depth_frames(tmp_path / "depth/a.zip", channel="R"))
    np.savez(tmp_path / "a.depth.npz", depth=np.array([{}], dtype=object))
    with pytest.raises(TrajkitError, match="object of shape"):
        list(open_depth(f"clips:{tmp_path}", "a.mp4")())
    np.savez(tmp_path / "a.depth.npz", other=np.zeros(3))
    with pytest.raises(TrajkitError, match="damaged npz"):
        list(open_depth(f"clips:{tmp_path}", "a.mp4")())
    for spec, said in ((f"vipe:{tmp_path}/none", "no such folder"), ("nonesuch:", "no such layout, and no module")):
        with pytest.raises(TrajkitError, match=said):
            open_depth(spec, "a.mp4")
    for name in ("b.mp4", "*"):
        with pytest.raises(TrajkitError, match="no depth/"):
            open_depth(f"vipe:{tmp_path}", name)
    (tmp_path / "in/depth").mkdir(parents=True)
    (tmp_path / "in/depth/a.zip").symlink_to(tmp_path / "depth/a.zip")
    with pytest.raises(TrajkitError, match="lies outside"):
        open_depth(f"vipe:{tmp_path / 'in'}", "a.mp4")


def test_an_estimator_is_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "flat_depth.py").write_text(
        "import dataclasses, numpy as np\nfrom trajkit.options import option\nSCALE = 'metric'\n"
        "@dataclasses.dataclass(frozen=True)\nclass Options:\n    z: float = option(2.0, 'depth', low=0)\n"
        "def estimate(frames, options):\n    for rgb in frames:\n        yield np.full(rgb.shape[:2], options.z)\n"
    )
    frames = lambda: iter(np.zeros((2, 6, 8, 3), np.uint8))  # noqa: E731
    depth = open_depth("flat_depth:z=3", "a.mp4", frames)
    assert (depth.scale, np.array(list(depth())).tolist()) == ("metric", np.full((2, 6, 8), 3.0).tolist())
    with pytest.raises(TrajkitError, match="unknown option 'y'"):
        open_depth("flat_depth:y=3", "a.mp4", frames)
    with pytest.raises(TrajkitError, match="estimates from pictures"):
        open_depth("flat_depth", "a.mp4")
    with pytest.raises(TrajkitError, match="defines no estimate"):
        open_depth("json", "a.mp4", frames)
    sys.modules.pop("flat_depth")


def test_depth_of_another_size_keeps_edges_and_planes() -> None:
    depth = np.full((20, 30), 8.0, np.float32)
    depth[:, 15:], depth[:5, :5] = 2.0, np.nan
    larger = fit_depth(depth, 48, 32, "x")
    assert set(np.unique(larger).tolist()) == {0.0, 2.0, 8.0}
    assert fit_depth(depth, 30, 20, "x") is depth
    inverse = 0.1 + 0.002 * (np.arange(30) + 0.5)
    plane = fit_depth(np.repeat(1 / inverse[None], 20, 0).astype(np.float32), 60, 40, "x")
    np.testing.assert_allclose(1 / plane[0, 1:-1], 0.1 + 0.001 * (np.arange(60) + 0.5)[1:-1], rtol=1e-4)
    with pytest.raises(TrajkitError, match="depth of 30x20 for pictures of 60x20"):
        fit_depth(depth, 60, 20, "x")


def test_what_megasam_crops_off_stays_unknown() -> None:
    height, width = 360, 640  # 332x591 of its pixels, 328x584 kept
    made = fit_depth(np.full((328, 584), 3.0, np.float32), width, height, "x")
    assert (made[:355, :632] == 3).all()
    assert (made[356:] == 0).all()
    assert (made[:, 633:] == 0).all()
