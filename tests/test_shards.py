"""Shards: bytes that depend on the clips alone, random access, and nothing trusted."""

import gc
import json
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tinyclips

from trajkit import files, shards
from trajkit.clip import member, read_clip
from trajkit.errors import TrajkitError
from trajkit.shard_plan import survey
from trajkit.shards import dataset, index_path, open_shard, write_shard

PLAN = "0" * 64


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    tinyclips.real(folder, 3, depth=True)
    return folder


def written(clips: Path, path: Path) -> Path:
    sources, _ = survey([clips])
    write_shard(path, sources, plan=PLAN, shard=0, shards=1)
    return path


@pytest.fixture
def shard(clips, tmp_path) -> Path:
    return written(clips, tmp_path / "shard-000000.tar")


def test_a_shard_is_a_packed_clip_folder(clips, shard, tmp_path):
    with tarfile.open(shard) as stream:
        names = stream.getnames()
        stream.extractall(tmp_path / "unpacked", filter="data")
        infos = stream.getmembers()
    assert names == sorted(names) == sorted(path.name for path in clips.iterdir() if path.is_file())
    for name in names:
        assert (tmp_path / "unpacked" / name).read_bytes() == (clips / name).read_bytes()
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in infos} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_the_tar_is_what_tarfile_writes(clips, shard, tmp_path):
    with tarfile.open(tmp_path / "twin.tar", "w", format=tarfile.USTAR_FORMAT) as stream:
        for path in sorted(path for path in clips.iterdir() if path.is_file()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            with open(path, "rb") as content:
                stream.addfile(info, content)
    assert (tmp_path / "twin.tar").read_bytes() == shard.read_bytes()


def test_the_json_tells_size_checksum_counts_and_places(clips, shard):
    index = open_shard(shard).index
    assert (index.bytes, index.sha256) == (shard.stat().st_size, files.sha256(shard))
    assert (index.clips, index.frames, index.shard, index.shards, index.plan) == (3, 15, 0, 1, PLAN)
    with tarfile.open(shard) as stream:
        found = {info.name: (info.offset_data, info.size) for info in stream}
    said = {f"{key}.{suffix}": place for key, places in index.members.items() for suffix, place in places.items()}
    assert said == found


def test_same_clips_give_the_same_bytes_wherever_they_lie(clips, shard, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(clips, moved)
    again = written(moved, tmp_path / "again" / "shard-000000.tar")
    assert again.read_bytes() == shard.read_bytes()
    assert index_path(again).read_bytes() == index_path(shard).read_bytes()


def test_clips_are_read_at_random(clips, shard):
    opened = pickle.loads(pickle.dumps(open_shard(shard)))  # noqa: S301 - as a DataLoader sends it to its workers
    assert len(opened) == 3
    for key in reversed(opened.keys):
        clip, wanted = opened.clip(key), read_clip(clips, key)
        assert np.array_equal(clip.trajectory.camera_to_world, wanted.trajectory.camera_to_world)
        assert (clip.key, clip.caption, clip.fps, clip.frames) == (key, wanted.caption, wanted.fps, wanted.frames)
        assert clip.provenance == wanted.provenance
        assert clip.video == member(clips, key, "mp4").read_bytes()
        assert clip.depth == member(clips, key, "depth.npz").read_bytes()
    assert [clip.key for clip in opened] == opened.keys


def test_a_long_key_is_read_back(tmp_path):
    folder = tmp_path / "clips"
    (key,) = tinyclips.hollow(folder, 1, 10, prefix="k" * 150)
    opened = open_shard(written(folder, tmp_path / "shard.tar"))
    assert opened.members(key)["txt"] == key.encode()
    (source,) = survey([folder])[0]
    places = opened.index.members[key].values()
    assert source.packed_bytes == max(offset + size + -size % 512 for offset, size in places)


def test_empty_and_block_sized_members_are_padded_right(tmp_path):
    folder = tmp_path / "clips"
    for size in (0, 511, 512, 513):
        tinyclips.hollow(folder, 1, size, prefix=f"size{size}")
    path = written(folder, tmp_path / "shard.tar")
    opened = open_shard(path)
    assert {key: len(opened.members(key)["mp4"]) for key in opened.keys} == {
        f"size{size}-00000": size for size in (0, 511, 512, 513)
    }
    with tarfile.open(path) as stream:
        assert len(stream.getnames()) == 16


def test_nothing_is_published_when_a_clip_changes_underway(clips, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    sources, _ = survey([folder])
    out = tmp_path / "out"
    for change in (b"shorter", (folder / "clip-0001.mp4").read_bytes() + b"longer", None):
        if change is None:
            (folder / "clip-0001.mp4").unlink()
        else:
            (folder / "clip-0001.mp4").write_bytes(change)
        with pytest.raises(TrajkitError, match=r"clip-0001\.mp4: changed while it was packed"):
            write_shard(out / "shard.tar", sources, plan=PLAN, shard=0, shards=1)
        assert list(out.iterdir()) == []


def test_members_are_copied_through_a_small_buffer(monkeypatch, clips, shard, tmp_path):
    monkeypatch.setattr(shards, "CHUNK_BYTES", 7)
    assert written(clips, tmp_path / "small.tar").read_bytes() == shard.read_bytes()


def test_a_shard_without_its_json_is_not_done(shard):
    index_path(shard).unlink()
    with pytest.raises(TrajkitError, match=r"is not done: shard-000000\.json is missing"):
        open_shard(shard)


def edited(shard: Path, change) -> None:
    index = json.loads(index_path(shard).read_bytes())
    change(index)
    index_path(shard).write_text(json.dumps(index))


BAD_JSON = {
    "no-object": (lambda index: index.clear(), "schema: Field required"),
    "schema": (lambda index: index.update(schema="trajkit.shard/2"), "schema"),
    "extra": (lambda index: index.update(extra=1), "extra"),
    "text-for-number": (lambda index: index.update(clips="3"), "clips"),
    "negative": (lambda index: index["members"]["clip-0000"].update(mp4=[-1, 5]), "members"),
    "three": (lambda index: index["members"]["clip-0000"].update(mp4=[1, 2, 3]), "members"),
    "key": (lambda index: index["members"].update({"../x": {}}), "members"),
    "suffix": (lambda index: index["members"]["clip-0000"].update({"../../x": [512, 1]}), "climbs out"),
    "pickle": (lambda index: index["members"]["clip-0000"].update(pkl=[512, 1]), "suffix"),
    "count": (lambda index: index.update(clips=4), "says 4 clips but lists 3"),
    "size": (lambda index: index.update(bytes=5), "its json says 5"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_a_json_that_does_not_fit_is_refused(shard, case):
    change, problem = BAD_JSON[case]
    edited(shard, change)
    with pytest.raises(TrajkitError, match=problem) as caught:
        open_shard(shard)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [(0, 10), (513, 10), (10**9, 10), (512, 10**9)])
def test_places_that_hold_no_such_member_are_refused(shard, place):
    edited(shard, lambda index: index["members"]["clip-0000"].update(mp4=list(place)))
    with pytest.raises(TrajkitError, match=r"outside the tar|does not hold clip-0000\.mp4"):
        open_shard(shard).members("clip-0000")


def test_two_swapped_members_are_noticed(shard):
    def swap(index):
        first, second = index["members"]["clip-0000"], index["members"]["clip-0001"]
        first["camera.npz"], second["camera.npz"] = second["camera.npz"], first["camera.npz"]

    edited(shard, swap)
    with pytest.raises(TrajkitError, match=r"does not hold clip-0000\.camera\.npz"):
        open_shard(shard).clip("clip-0000")


def test_an_unknown_key_and_a_lost_tar_are_named(shard):
    opened = open_shard(shard)
    with pytest.raises(TrajkitError, match="has no clip 'nobody'"):
        opened.clip("nobody")
    shard.unlink()
    with pytest.raises(TrajkitError, match="No such file"):
        opened.clip("clip-0000")
    with pytest.raises(TrajkitError, match="no such file"):
        open_shard(shard)


def test_damaged_members_are_named_with_their_shard(clips, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    (folder / "clip-0001.camera.npz").write_bytes(b"PK nonsense")
    opened = open_shard(written(folder, tmp_path / "shard.tar"))
    with pytest.raises(TrajkitError, match=r"shard\.tar: clip-0001\.camera\.npz: damaged npz"):
        opened.clip("clip-0001")
    assert opened.clip("clip-0002").key == "clip-0002"


# webdataset leaves the tars that it has read to the garbage collector
leaky = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@leaky
def test_dataset_is_a_webdataset_pipeline_of_clips(clips, tmp_path):
    sources, _ = survey([clips])
    for number, source in enumerate(sources):
        write_shard(tmp_path / f"shard-{number:06d}.tar", [source], plan=PLAN, shard=number, shards=3)
    found = list(dataset(f"{tmp_path}/shard-{{000000..000002}}.tar"))
    assert [clip.key for clip in found] == ["clip-0000", "clip-0001", "clip-0002"]
    assert found[0].video == member(clips, "clip-0000", "mp4").read_bytes()
    assert found[0].trajectory.camera_to_world.shape == (5, 4, 4)
    paths = [tmp_path / f"shard-{number:06d}.tar" for number in range(3)]
    orders = [[clip.key for clip in dataset(paths, shuffle_shards=10, seed=seed)] for seed in (0, 0, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert any(order != orders[0] for order in orders)
    assert all(sorted(order) == [clip.key for clip in found] for order in orders)
    gc.collect()


@leaky
def test_dataset_refuses_members_that_are_none(tmp_path):
    bomb = tmp_path / "bomb.tar"
    with tarfile.open(bomb, "w") as stream:
        for name in ("a.mp4", "a.pyd"):
            stream.addfile(tarfile.TarInfo(name))
    with pytest.raises(TrajkitError, match="suffix"):
        list(dataset(bomb))
    gc.collect()
