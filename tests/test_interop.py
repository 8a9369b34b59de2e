"""Shards are read by others, in processes that cannot import trajkit: webdataset, datasets, ray, tar."""

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tinyclips

from trajkit.clip import read_clip
from trajkit.pack import pack
from trajkit.shard_plan import make_plan, survey

KEYS = [f"clip-{number:04d}" for number in range(6)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    assert tinyclips.real(folder, len(KEYS)) == KEYS
    return folder


@pytest.fixture(scope="module")
def shards(clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    list(pack(make_plan(survey([clips])[0], shard_clips=4), out))
    return out


def elsewhere(program: str, *arguments: object, home: Path, flags: str = "-IS") -> dict:
    """What the program prints as JSON on its last line, run with the packages installed here but without trajkit.

    Flag I leaves out PYTHONPATH and the current folder, S the editable install.
    """
    preamble = f"""
        import importlib.util, json, sys
        sys.path += {[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]!r}
        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "trajkit":
                    raise ImportError("trajkit is not installed")
        sys.meta_path.insert(0, Blocked())
    """
    source = textwrap.dedent(preamble) + textwrap.dedent(program)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **offline, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, flags, "-c", source, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(said, dict)
    return said


def expected(clips: Path) -> dict:
    """Per key: the caption, the frames, and the last pose's rows."""
    return {
        key: {
            "caption": clip.caption,
            "frames": clip.frames,
            "last_pose": clip.trajectory.camera_to_world[-1].tolist(),
            "fps": clip.fps,
        }
        for key in KEYS
        for clip in [read_clip(clips, key)]
    }


def test_trajkit_is_out_of_reach_there(tmp_path):
    program = """
        try:
            import trajkit
            print(json.dumps({"reached": True}))
        except ImportError:
            print(json.dumps({"reached": False}))
    """
    assert elsewhere(program, home=tmp_path) == {"reached": False}


def test_plain_webdataset_reads_them(shards, clips, tmp_path):
    program = """
        import io, av, numpy, webdataset
        found = {}
        for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):
            arrays = numpy.load(io.BytesIO(sample["camera.npz"]), allow_pickle=False)
            with av.open(io.BytesIO(sample["mp4"])) as container:
                frames = sum(1 for _ in container.decode(video=0))
            found[sample["__key__"]] = {
                "caption": sample["txt"].decode(),
                "frames": frames,
                "last_pose": arrays["camera_to_world"][-1].tolist(),
                "fps": json.loads(sample["json"])["fps"],
            }
        print(json.dumps(found))
    """
    assert elsewhere(program, f"{shards}/shard-{{000000..000001}}.tar", home=tmp_path) == expected(clips)


def test_hugging_face_datasets_reads_them(shards, clips, tmp_path):
    program = """
        import datasets, numpy
        said = {}
        for streaming in (True, False):
            table = datasets.load_dataset(
                "webdataset",
                data_files={"train": sys.argv[1].split(",")},
                split="train",
                streaming=streaming,
                cache_dir=sys.argv[2],
            )
            found = said["streaming" if streaming else "cached"] = {}
            for row in table.cast_column("mp4", datasets.Video(decode=False)):
                found[row["__key__"]] = {
                    "caption": row["txt"],
                    "frames": len(row["camera.npz"]["frame_index"]),
                    "last_pose": numpy.array(row["camera.npz"]["camera_to_world"])[-1].tolist(),
                    "fps": row["json"]["fps"],
                }
                assert row["mp4"]["bytes"][4:8] == b"ftyp"
        print(json.dumps(said))
    """
    paths = ",".join(map(str, sorted(shards.glob("*.tar"))))
    wanted = expected(clips)
    assert elsewhere(program, paths, tmp_path / "cache", home=tmp_path) == {"streaming": wanted, "cached": wanted}


def test_ray_reads_them(shards, clips, tmp_path):
    program = """
        import io, numpy, ray
        ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        found = {}
        for row in ray.data.read_webdataset(sys.argv[1], file_extensions=["tar"]).iter_rows():
            arrays = numpy.load(io.BytesIO(row["camera.npz"]), allow_pickle=False)
            found[row["__key__"]] = {
                "caption": row["txt"],
                "frames": row["json"]["frames"],
                "last_pose": arrays["camera_to_world"][-1].tolist(),
                "fps": row["json"]["fps"],
            }
        ray.shutdown()
        print(json.dumps(found))
    """
    # without S: ray starts helpers of its own, which need site-packages
    assert elsewhere(program, shards, home=tmp_path, flags="-I") == expected(clips)


def test_tar_lists_and_unpacks_them_into_the_clip_folder(shards, clips, tmp_path):
    names = []
    for path in sorted(shards.glob("*.tar")):
        listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
        assert listed.stderr == ""
        subprocess.run(["tar", "xf", path, "-C", tmp_path], check=True)
        names += listed.stdout.splitlines()
        assert listed.stdout.splitlines() == sorted(listed.stdout.splitlines())
    assert sorted(names) == sorted(path.name for path in clips.iterdir())
    for name in names:
        assert (tmp_path / name).read_bytes() == (clips / name).read_bytes()
    pose = read_clip(tmp_path, KEYS[0]).trajectory.camera_to_world
    assert np.array_equal(pose, read_clip(clips, KEYS[0]).trajectory.camera_to_world)
