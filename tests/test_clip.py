"""Clip folders: round trips, order of writing, kills, and one line for what does not fit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import killing
import numpy as np
import pytest
import tinyclips

from trajkit import files, video
from trajkit.clip import Clip, Provenance, assemble, clip_keys, member, read_clip, sweep, write_clip
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.scene import Frame
from trajkit.trajectory import Scale

MEMBERS = ["camera.npz", "json", "mp4", "txt"]


def clip(key: str = "a", **changes: object) -> Clip:
    values = {
        "key": key,
        "trajectory": replace(tinyclips.trajectory(key), scale=Scale(kind="metric", factor=2.0)),
        "fps": tinyclips.FPS,
        "caption": "a walk, größer\nthan before",
        "provenance": Provenance(kind="rendered", source="toy:", path="keys:w*5", seed=3, versions={"numpy": "2"}),
        "licence": "CC0-1.0",
        "checks": {"visible": 0.5},
    }
    return Clip(**(values | changes))


def frames(key: str = "a", count: int = 5) -> list[Frame]:
    return list(tinyclips.pictures(key, count))


def test_a_clip_comes_back(tmp_path):
    made = write_clip(tmp_path, clip(), frames())
    again = read_clip(tmp_path, "a")
    for one in (made, again):
        assert (one.key, one.fps, one.frames, one.caption, one.licence) == ("a", 16, 5, clip().caption, "CC0-1.0")
        assert (one.video, one.depth, one.depth_kind) == (tmp_path / "a.mp4", None, None)
        assert one.checks == {"visible": 0.5}
        assert one.provenance == replace(
            clip().provenance, versions={"numpy": "2", **video.versions()}
        )  # the encoder's versions are added by who encodes
        assert one.trajectory.scale == Scale(kind="metric", factor=2.0)
        np.testing.assert_array_equal(one.trajectory.camera_to_world, clip().trajectory.camera_to_world)
    decoded = video.read(again.video)
    assert np.abs(decoded.astype(int) - [frame.rgb for frame in frames()]).mean() < 12
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}" for suffix in MEMBERS]


def test_a_clip_comes_back_from_bytes_alone(tmp_path):
    """As it does from a shard."""
    write_clip(tmp_path, clip(), frames(), depth="inverse")
    contents = {path.name.partition(".")[2]: path.read_bytes() for path in tmp_path.iterdir()}
    again = assemble("a", contents, "shard.tar: a")
    assert isinstance(again.video, bytes)
    assert video.probe(again.video).frames == 5
    assert again.depth_kind == "inverse"


def test_the_json_says_what_the_members_hold(tmp_path):
    write_clip(tmp_path, clip(), frames())
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["schema"] == "trajkit.clip/1"
    assert record["convention"] == "camera_to_world opencv float64"
    assert (record["poses"], record["pose_rate"], record["frames"], record["fps"]) == (5, 16.0, 5, 16.0)
    assert (record["width"], record["height"]) == (32, 24)
    for suffix, digest in record["sha256"].items():
        assert files.sha256(member(tmp_path, "a", suffix)) == digest
    assert sorted(record["sha256"]) == ["camera.npz", "mp4", "txt"]


def test_the_same_clip_gives_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        write_clip(tmp_path / folder, clip(), frames(), depth="z")
    write_clip(tmp_path / "two", clip(), frames(), depth="z")  # again over what is there
    assert killing.tree(tmp_path / "one") == killing.tree(tmp_path / "two")


def test_the_json_appears_last_and_goes_first(tmp_path, monkeypatch):
    renames = []
    replace_file = files.os.replace
    monkeypatch.setattr(files.os, "replace", lambda part, path: (renames.append(path.name), replace_file(part, path)))
    write_clip(tmp_path, clip(), frames(), depth="z")
    assert renames[-1] == "a.json"
    assert sorted(renames) == ["a.camera.npz", "a.depth.npz", "a.json", "a.mp4", "a.txt"]

    def dying():
        assert not (tmp_path / "a.json").exists()  # a done clip is no longer done once it is being replaced
        yield frames()[0]
        raise RuntimeError("renderer died")

    with pytest.raises(RuntimeError, match="renderer died"):
        write_clip(tmp_path, clip(), dying())
    assert clip_keys(tmp_path) == []
    assert not list(tmp_path.glob("*.part"))


def test_a_rerun_without_depth_leaves_no_stale_depth(tmp_path):
    write_clip(tmp_path, clip(), frames(), depth="z")
    write_clip(tmp_path, clip(), frames())
    assert not (tmp_path / "a.depth.npz").exists()
    assert read_clip(tmp_path, "a").depth is None


def test_killed_anywhere_a_rerun_gives_the_same_bytes(tmp_path):
    """At every write step of two clips, and at bytes of every member: see clip_killing.py."""
    command = [sys.executable, str(Path(__file__).with_name("clip_killing.py")), str(tmp_path)]
    done = subprocess.run(command, env=killing.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 40


def test_only_finished_clips_have_keys(tmp_path):
    tinyclips.real(tmp_path, 3)
    (tmp_path / "clip-0001.json").unlink()
    (tmp_path / "clip-0009.json.part").write_bytes(b"{")
    (tmp_path / "not.a.clip.json").write_bytes(b"{}")
    (tmp_path / "ledger").mkdir()
    assert clip_keys(tmp_path) == ["clip-0000", "clip-0002"]
    with pytest.raises(TrajkitError, match="missing: no such folder"):
        clip_keys(tmp_path / "missing")


def test_a_sweep_removes_what_is_torn_and_nothing_else(tmp_path):
    tinyclips.real(tmp_path, 2, depth=True)
    (tmp_path / "clip-0001.json").unlink()
    torn = sorted(path.name for path in tmp_path.glob("clip-0001.*"))
    for name in ("clip-0000.mp4.part", "clip-0002.depth.npz.part"):
        (tmp_path / name).write_bytes(b"half")
        torn.append(name)
    for name in ("notes.txt", "holiday.mp4", "film.mp4.part", "README", "plan.json", "a.tar.part"):
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "folder.mp4").mkdir()
    kept = {path.name for path in tmp_path.iterdir()} - set(torn)
    keys = ["clip-0000", "clip-0001", "clip-0002"]
    assert sweep(tmp_path, keys) == sorted(torn)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert sweep(tmp_path, keys) == []


def grey(count: int, shape: tuple[int, ...] = (24, 32, 3), dtype: type = np.uint8) -> list[Frame]:
    return [Frame(rgb=np.zeros(shape, dtype)) for _ in range(count)]


@pytest.mark.parametrize(
    ("pictures", "depth", "problem"),
    [
        (grey(4), None, "4 frames but a pose for frame 4; make one frame per pose"),
        (grey(6), None, "6 frames but 5 poses; a rendered clip has one pose per frame"),
        ([], None, "0 frames but a pose for frame 4"),
        (grey(5, (32, 24, 3)), None, r"frame 0 is uint8 \(32, 24, 3\), its camera 32x24"),
        (grey(5, (24, 32, 4)), None, "frame 0 is uint8"),
        (grey(5, dtype=np.float32), None, "frame 0 is float32"),
        (grey(5), "z", "frame 0: has no depth; use a renderer that gives depth"),
        (frames("a", 4), "z", "4 frames but a pose for frame 4"),
        (frames("a", 6), "z", "6 frames but 5 poses"),
    ],
)
def test_frames_that_do_not_fit_leave_nothing(tmp_path, pictures, depth, problem):
    with pytest.raises(TrajkitError, match=problem):
        write_clip(tmp_path, clip(), pictures, depth=depth)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"key": "a.b"}, "'a.b' is no clip key"),
        ({"key": "../a"}, "is no clip key"),
        ({"fps": 0.0}, "fps 0.0; give a positive frame rate"),
        ({"fps": float("nan")}, "fps nan"),
        ({"fps": 24.0}, "pose 2 is 1 frames off its time at 24 fps; correct fps, times_s or frame_index"),
        ({"trajectory": replace(tinyclips.trajectory("a"), distortion=(0.1, 0, 0, 0))}, "has lens distortion"),
        (
            {"trajectory": replace(tinyclips.trajectory("a"), frame_index=[0, 1, 2, 2, 4])},
            "frame_index does not count up",
        ),
        (
            {"trajectory": replace(tinyclips.trajectory("a"), frame_index=np.arange(-1, 4))},
            "frame_index does not count up",
        ),
        ({"trajectory": tinyclips.trajectory("a", 9)[4:]}, "frame_index of 5 poses goes up to 8; a rendered clip has"),
        ({"frames": 4}, "4 frames but a pose for frame 4"),
        ({"frames": 9}, "9 frames but 5 poses"),
    ],
)
def test_a_clip_that_contradicts_itself_is_refused(changes, problem):
    with pytest.raises(TrajkitError, match=problem):
        clip(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"licence": ""}, "licence: "),
        ({"provenance": Provenance(kind="filmed", source="toy:")}, "provenance.kind: "),
        ({"caption": "\ud800"}, "the caption is not valid Unicode"),
        ({"checks": {"a": float("nan")}}, "does not fit JSON"),
    ],
)
def test_what_cannot_be_written_is_found_before_anything_is_rendered(tmp_path, changes, problem):
    def rendered():
        raise AssertionError("rendered in vain")
        yield

    with pytest.raises(TrajkitError, match=f"clip a: {problem}"):
        write_clip(tmp_path, clip(**changes), rendered())
    assert list(tmp_path.iterdir()) == []


def test_estimated_poses_may_be_sparser_than_frames(tmp_path):
    sparse = tinyclips.trajectory("a", 17)[::4]
    estimated = clip(trajectory=sparse, provenance=Provenance(kind="estimated", source="web:a"))
    write_clip(tmp_path, estimated, tinyclips.pictures("a", 17))
    again = read_clip(tmp_path, "a")
    assert (len(again.trajectory), again.frames) == (5, 17)
    assert again.trajectory.frame_index.tolist() == [0, 4, 8, 12, 16]
    assert json.loads((tmp_path / "a.json").read_text())["pose_rate"] == 4.0


def test_frames_are_taken_one_by_one(tmp_path):
    """Each is encoded before the next one is asked for."""
    seen = []

    def asked():
        for number, frame in enumerate(frames("a", 5)):
            seen.append((number, (tmp_path / "a.mp4.part").exists(), (tmp_path / "a.depth.npz.part").exists()))
            yield frame

    write_clip(tmp_path, clip(), asked(), depth="z")
    assert seen == [(number, True, True) for number in range(5)]


def broken(folder: Path, case: str) -> str:
    """Breaks the clip in the folder; returns the file that the error must name."""
    record = json.loads((folder / "a.json").read_text())
    claims = {
        "key": {"key": "b"},
        "poses": {"poses": 6, "frames": 6},
        "frames": {"frames": 4},
        "more frames": {"frames": 6},
        "width": {"width": 34},
        "height": {"height": 22},
        "rate": {"pose_rate": 8.0},
        "fps": {"fps": 32.0},
        "depth": {"depth": "z"},
        "unknown": {"note": ""},
    }
    if case in claims:
        (folder / "a.json").write_text(json.dumps(record | claims[case]))
        return "a.json"
    kind, _, suffix = case.partition(" ")
    path = folder / f"a.{suffix}"
    match kind:
        case "lost":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "binary":
            path.write_bytes(b"\xff\xfe\xff")
        case "folder":
            path.unlink()
            path.mkdir()
        case "huge":
            with open(path, "wb") as stream:
                stream.truncate(1 << 29)  # a sparse file
    return path.name


@pytest.mark.parametrize(
    "case",
    [
        *("key", "poses", "frames", "more frames", "width", "height", "rate", "fps", "depth", "unknown"),
        *("lost json", "lost mp4", "lost txt", "lost camera.npz", "cut json", "cut camera.npz"),
        *(
            "binary json",
            "binary txt",
            "binary camera.npz",
            "folder json",
            "folder txt",
            "huge json",
            "huge camera.npz",
        ),
    ],
)
def test_a_broken_clip_is_one_line_naming_the_member(tmp_path, case):
    write_clip(tmp_path, clip(), frames())
    name = broken(tmp_path, case)
    with pytest.raises(TrajkitError, match=rf"^{tmp_path}/{name}: .*; ") as caught:
        read_clip(tmp_path, "a")
    assert "\n" not in str(caught.value)


def test_depth_of_sparse_poses_covers_every_frame(tmp_path):
    estimated = clip(
        trajectory=tinyclips.trajectory("a", 9)[::4], provenance=Provenance(kind="estimated", source="web:a"), frames=10
    )
    write_clip(tmp_path, estimated, tinyclips.pictures("a", 10), depth="z")
    assert read_depth(read_clip(tmp_path, "a")).shape == (10, 24, 32)
    with pytest.raises(TrajkitError, match="depth of 9 frames, not 10"):
        write_clip(tmp_path, estimated, tinyclips.pictures("a", 9), depth="z")


@pytest.mark.parametrize("key", ["../a", "a.b", ""])
def test_a_key_cannot_leave_the_folder(tmp_path, key):
    with pytest.raises(TrajkitError, match="is no clip key"):
        read_clip(tmp_path, key)
