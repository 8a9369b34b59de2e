"""A clip under other cameras or words, in another folder: the same pictures, whole or absent, checksums and all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tinyclips
from test_cli import trajkit

from trajkit import files
from trajkit.clip import Clip, clip_keys, copy_clip, read_clip, sweep
from trajkit.errors import TrajkitError
from trajkit.shards import open_shard


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (key,) = tinyclips.real(tmp_path / "from", 1, depth=True)
    return read_clip(tmp_path / "from", key)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_as_it_is_it_is_the_same_files(clip: Clip, tmp_path: Path) -> None:
    done = copy_clip(tmp_path / "to", clip)
    assert tree(tmp_path / "to") == tree(tmp_path / "from")
    assert done.video == tmp_path / "to" / f"{clip.key}.mp4"
    assert done.depth == tmp_path / "to" / f"{clip.key}.depth.npz"


def test_cameras_words_and_key_are_those_it_has_now(clip: Clip, tmp_path: Path) -> None:
    moved = replace(clip.trajectory, camera_to_world=clip.trajectory.camera_to_world[::-1].copy())
    copy_clip(
        tmp_path / "to", replace(clip, key="other", trajectory=moved, caption="ein anderes", checks={"moved": 1.5})
    )
    found = read_clip(tmp_path / "to", "other")
    assert np.array_equal(found.trajectory.camera_to_world, moved.camera_to_world)
    assert (found.caption, dict(found.checks)) == ("ein anderes", {"moved": 1.5})
    assert (tmp_path / "to/other.mp4").read_bytes() == (tmp_path / "from" / f"{clip.key}.mp4").read_bytes()
    told = json.loads((tmp_path / "to/other.json").read_text())["sha256"]
    assert told == {
        suffix: files.sha256(tmp_path / f"to/other.{suffix}") for suffix in ("mp4", "camera.npz", "txt", "depth.npz")
    }
    assert trajkit("check", tmp_path / "to")[0] == 0


def test_out_of_a_shard_it_is_the_same_files(clip: Clip, tmp_path: Path) -> None:
    assert trajkit("pack", tmp_path / "from", "--out", tmp_path / "shards")[0] == 0
    (shard,) = (tmp_path / "shards").glob("*.tar")
    copy_clip(tmp_path / "to", open_shard(shard).clip(clip.key))
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_depth_that_the_clip_does_not_have_goes(clip: Clip, tmp_path: Path) -> None:
    copy_clip(tmp_path / "to", clip)
    copy_clip(tmp_path / "to", replace(clip, depth=None, depth_kind=None))
    assert not (tmp_path / f"to/{clip.key}.depth.npz").exists()
    assert read_clip(tmp_path / "to", clip.key).depth is None
    assert trajkit("check", tmp_path / "to")[0] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"video": None}, "has no video"),
        ({"frames": 0}, "has no video"),
        ({"checks": {"share": float("nan")}}, "does not fit JSON"),
        ({"caption": "\udc00"}, "not valid Unicode"),
    ],
)
def test_what_will_not_fit_is_said_before_anything_is_written(
    clip: Clip, tmp_path: Path, change: dict, words: str
) -> None:
    copy_clip(tmp_path / "to", clip)
    before = tree(tmp_path / "to")
    with pytest.raises(TrajkitError, match=words):
        copy_clip(tmp_path / "to", replace(clip, **change))
    assert tree(tmp_path / "to") == before


@pytest.mark.parametrize("way", ["itself", "linked"])
def test_it_does_not_write_over_what_it_reads(clip: Clip, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "from"
    if way == "linked":
        (tmp_path / "same").symlink_to(folder)
        folder = tmp_path / "same"
    before = tree(tmp_path / "from")
    with pytest.raises(TrajkitError, match="a folder of its own"):
        copy_clip(folder, clip)
    assert tree(tmp_path / "from") == before


@pytest.mark.parametrize("fails", ["mp4", "depth.npz", "camera.npz", "txt", "json"])
def test_a_copy_that_breaks_off_is_no_clip_and_a_second_one_mends_it(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    copy_clip(tmp_path / "to", clip)
    write = files.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.name.endswith(f".{fails}"):
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        copy_clip(tmp_path / "to", clip)
    monkeypatch.undo()
    assert clip_keys(tmp_path / "to") == []
    assert not list((tmp_path / "to").glob("*.part"))
    sweep(tmp_path / "to", [clip.key])
    assert not list((tmp_path / "to").iterdir())
    copy_clip(tmp_path / "to", clip)
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_video_that_is_gone_is_named(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / f"from/{clip.key}.mp4").unlink()
    with pytest.raises(TrajkitError, match=rf"{clip.key}.mp4: no such file"):
        copy_clip(tmp_path / "to", clip)
    assert not list(tmp_path.glob("to/*"))
