"""Clips of scenes: units of work, refused paths and their records, and what the options change."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import walled
from click.testing import CliRunner

from trajkit.clip import Clip, read_clip
from trajkit.commands.render import command
from trajkit.ledger import Ledger
from trajkit.members import trajectory_from_bytes
from trajkit.render import render, units
from trajkit.render_scene import RenderOptions, developed
from trajkit.safety import Accept
from trajkit.scene import Frame, Rejected, Scene
from trajkit.scenes import list_scenes
from trajkit.video import read

SMALL = RenderOptions(paths=("keys:w*1",), frames=5, width=64, height=48)


@pytest.fixture(scope="module")
def toy() -> Scene:
    (scene,) = list_scenes(["toy:"])
    assert isinstance(scene, Scene)
    return scene


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return walled.scene(tmp_path_factory.mktemp("walled"))


def one(scene: Scene, out: Path, **changes: object) -> Clip | Rejected:
    (result,) = render([scene], replace(SMALL, **changes), out)  # type: ignore[arg-type]
    return result


def test_a_refused_path_is_kept_with_its_reasons_and_not_tried_again(
    place: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = {"paths": ("keys:w@10*1;anchor=25",), "accept": Accept(repair=False)}
    result = one(place, tmp_path, **fast)
    assert isinstance(result, Rejected)
    assert result.reason == "speed: frame 1: 3.2, limit 2"
    record = json.loads((tmp_path / "refused" / f"{result.key}.json").read_text())
    assert record["reasons"]["speed"] == {"value": pytest.approx(3.2), "threshold": 2.0, "frame": 1}
    assert (record["scene"], record["path"], record["key"]) == ("walled", "keys:w@10*1;anchor=25", result.key)
    cameras = tmp_path / "refused" / f"{result.key}.camera.npz"
    assert trajectory_from_bytes(cameras.read_bytes(), cameras).speeds.max() / place.unit == pytest.approx(3.2)
    rows = Ledger(tmp_path).scan().collect().to_dicts()
    assert [(row["state"], row["metric"], row["threshold"]) for row in rows] == [("rejected", "speed", 2.0)]
    assert not list(tmp_path.glob("*.mp4"))
    monkeypatch.setattr("trajkit.render_scene.safe_path", None)  # a second run has nothing to judge
    again = one(place, tmp_path, **fast)
    assert isinstance(again, Rejected)
    assert again == result
    assert len(Ledger(tmp_path).scan().collect()) == 1


def test_a_repaired_path_says_so(place: Scene, tmp_path: Path) -> None:
    result = one(place, tmp_path, paths=("keys:w@10*1;anchor=25",))
    assert isinstance(result, Clip)
    assert result.checks["repair"] == "slowed to 0.6"
    assert result.checks["speed"] == pytest.approx(1.9, abs=0.1)
    assert result.trajectory.speeds.max() / place.unit <= 2
    assert {"clearance", "distance", "near", "coverage", "seen", "turn_deg", "draw"} <= set(result.checks)
    row = Ledger(tmp_path).scan().collect().to_dicts()[0]
    assert json.loads(row["values"])["repair"] == "slowed to 0.6"


def test_a_clip_says_that_its_scenes_cameras_were_estimated(place: Scene, tmp_path: Path) -> None:
    (tmp_path / "place.sfm").mkdir()
    record = {"mapper": "global", "versions": {"pycolmap": "4.2.1"}}
    (tmp_path / "place.sfm" / "sfm.json").write_text(json.dumps(record))
    estimated = replace(place, assets={**place.assets, "sfm": tmp_path / "place.sfm"})
    for scene, told in ((estimated, "pycolmap 4.2.1, global mapper"), (place, None)):
        clip = one(scene, tmp_path / str(told is None), paths=("keys:w*1;anchor=25",))
        assert isinstance(clip, Clip)
        assert clip.provenance.versions.get("captured_poses") == told


def test_a_scene_is_not_surveyed_where_nothing_asks_for_it(
    place: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trajkit.render_scene.survey", None)
    assert isinstance(one(place, tmp_path, accept=None), Clip)
    with pytest.raises(TypeError, match="not callable"):
        one(place, tmp_path)


def test_limits_and_clips_have_names_of_their_own(place: Scene, tmp_path: Path) -> None:
    """Another limit is another request: its clip stands beside the first one."""
    first = one(place, tmp_path, paths=("keys:w*1;anchor=25",))
    second = one(place, tmp_path, paths=("keys:w*1;anchor=25",), accept=Accept(clearance=0.3))
    unchecked = one(place, tmp_path, paths=("keys:w*1;anchor=25",), accept=None)
    assert len({result.key for result in (first, second, unchecked)}) == 3
    assert isinstance(unchecked, Clip)
    assert unchecked.checks == {}


def test_the_command_counts_what_was_refused_for_which_reason(place: Scene, tmp_path: Path) -> None:
    spec = f"splat:{place.assets['splat']}"
    flags = ["--path=keys:w@10*1", "--count=3", "--frames=5", "--size=64x48", "--accept=repair=false"]
    arguments = [spec, *flags, "--out", str(tmp_path / "a"), "--json"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
    report = json.loads(result.stdout)
    assert result.return_value == 3
    assert report["refused_by"]["speed"] == len(report["rejected"]) == 3
    assert (report["clips"], report["repaired"]) == ([], 0)
    told = CliRunner().invoke(command, arguments[:-1], standalone_mode=False, catch_exceptions=False).stdout
    assert "speed 3 (100%)" in told


def test_fields_of_view_and_exposures_are_drawn_for_each_clip(toy: Scene, tmp_path: Path) -> None:
    options = replace(SMALL, count=4, fov_deg=(40.0, 70.0), exposure=(-1.0, 1.0), paths=("keys:w*1;anchor=3",))
    clips = [clip for clip in render([toy], options, tmp_path) if isinstance(clip, Clip)]
    focals = [clip.trajectory.camera(0).fy for clip in clips]
    stops = [float(clip.checks["exposure_stops"]) for clip in clips]
    assert len(set(focals)) == len(set(stops)) == 4
    assert all(24 / np.tan(np.radians(35)) <= focal <= 24 / np.tan(np.radians(20)) for focal in focals)
    assert all(-1 <= value <= 1 for value in stops)
    means = [float(read(clip.video, [0]).mean()) for clip in clips]  # type: ignore[arg-type]
    assert np.argmax(means) == np.argmax(stops)
    assert np.argmin(means) == np.argmin(stops)


def test_one_stop_doubles_linear_light() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    (bright,) = developed([Frame(rgb=ramp)], 1.0, (0, 0, 0))
    (same,) = developed([Frame(rgb=ramp)], 0.0, (0, 0, 0))
    assert np.array_equal(same.rgb, ramp)
    linear = lambda value: ((value / 255 + 0.055) / 1.055) ** 2.4  # noqa: E731
    for value in (60, 100, 140, 180):
        assert linear(float(bright.rgb[0, value, 0])) == pytest.approx(2 * linear(value), rel=0.02)
    assert bright.rgb[0, 255, 0] == 255


def test_a_background_shows_where_nothing_is() -> None:
    rgb = np.full((1, 3, 3), 100, np.uint8)
    alpha = np.array([[1.0, 0.5, 0.0]], np.float32)
    premultiplied = (rgb * alpha[..., None]).astype(np.uint8)
    (frame,) = developed([Frame(rgb=premultiplied, alpha=alpha)], 0.0, (255, 0, 0))
    assert frame.rgb[0].tolist() == [[100, 100, 100], [178, 50, 50], [255, 0, 0]]


def test_a_principal_point_can_be_moved_to_the_middle(toy: Scene, tmp_path: Path) -> None:
    assert toy.seen is not None
    tilted = replace(toy, seen=replace(toy.seen, intrinsics=toy.seen.intrinsics + np.array([0, 0, 20.0, -12.0])))
    captured, centred = (one(tilted, tmp_path, principal=name) for name in ("captured", "centre"))
    assert isinstance(captured, Clip)
    assert isinstance(centred, Clip)
    scale = 48 / 360  # the captured picture, 640x360, is scaled to cover 64x48, then cropped in the middle
    assert captured.trajectory.camera(0).cx == pytest.approx(32 + 20 * scale)
    assert captured.trajectory.camera(0).cy == pytest.approx(24 - 12 * scale)
    assert (centred.trajectory.camera(0).cx, centred.trajectory.camera(0).cy) == (32, 24)
    assert centred.trajectory.camera(0).fx == captured.trajectory.camera(0).fx


@pytest.mark.parametrize(
    ("scenes", "count", "workers", "expected"),
    [
        (1, 12, 1, [(k, k + 1) for k in range(12)]),
        (1, 12, 2, [(0, 3), (3, 6), (6, 9), (9, 12)]),
        (1, 2, 8, [(0, 1), (1, 2)]),
        (4, 3, 2, [(0, 3)] * 4),
        (2, 3, 2, [(0, 2), (2, 3)] * 2),
        (0, 3, 2, []),
    ],
)
def test_scenes_are_shared_out_only_where_they_are_few(
    toy: Scene, scenes: int, count: int, workers: int, expected: list[tuple[int, int]]
) -> None:
    made = units([toy] * scenes, count, workers)
    assert [(unit.first, unit.last) for unit in made] == expected


def test_any_number_of_workers_gives_the_same_files_and_a_line_for_a_scene_that_cannot_be_prepared(
    place: Scene, tmp_path: Path
) -> None:
    bare = replace(place, id="bare", assets={})  # a capture without photos
    scenes = [bare, replace(place, id="one"), replace(place, id="two")]
    options = replace(SMALL, count=3, paths=("keys:w*1", "orbit:turns=0.01"))
    found = {}
    for workers in (1, 2):
        out = tmp_path / str(workers)
        results = list(render(scenes, options, out, workers=workers))
        assert [result.key.split("-")[0] for result in results] == ["bare", *["one"] * 3, *["two"] * 3]
        assert [isinstance(one, Rejected) for one in results] == [True, *[False] * 6], [str(one) for one in results]
        assert len(Ledger(out).scan().collect().filter(key="bare")) >= 1
        found[workers] = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found[1] == found[2]


def test_depth_comes_with_its_error(toy: Scene, place: Scene, tmp_path: Path) -> None:
    exact = one(toy, tmp_path, depth=True)
    assert isinstance(exact, Clip)
    assert (exact.checks["depth_error"], exact.checks["depth_trusted"]) == (0.0, True)
    splats = one(place, tmp_path, depth=True, paths=("keys:w*1;anchor=25",))
    assert isinstance(splats, Clip)
    assert 0 < float(splats.checks["depth_error"]) < 0.01
    assert splats.checks["depth_trusted"] is True
    alone = one(replace(place, seen=None, id="alone"), tmp_path, depth=True, accept=None)
    assert isinstance(alone, Clip)
    assert alone.checks == {"depth_trusted": False}
    assert read_clip(tmp_path, splats.key).checks == splats.checks
