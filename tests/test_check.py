"""Every defect that `trajkit check` knows, in a clip folder and in a shard, and that it goes on after each."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tinyclips
from test_cli import trajkit

from trajkit import files, se3
from trajkit.check import check, summary
from trajkit.clip import member
from trajkit.errors import TrajkitError
from trajkit.members import camera_bytes
from trajkit.pack import pack
from trajkit.shard_plan import make_plan, survey
from trajkit.shards import Source, index_path, write_shard

KEY = "clip-0001"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    tinyclips.real(folder, 4, depth=True)
    return folder


@pytest.fixture
def clips(pristine, tmp_path) -> Path:
    return shutil.copytree(pristine, tmp_path / "clips")


def packed(clips: Path, out: Path) -> Path:
    list(pack(make_plan(survey([clips])[0], shard_clips=2), out))
    return out


@pytest.fixture(scope="module")
def pristine_shards(pristine, tmp_path_factory) -> Path:
    return packed(pristine, tmp_path_factory.mktemp("shards") / "out")


@pytest.fixture
def shards(pristine_shards, tmp_path) -> Path:
    return shutil.copytree(pristine_shards, tmp_path / "shards")


def codes(*paths: Path, **options) -> list[str]:
    """Codes of all findings, sorted."""
    whole = summary(check(paths, **options))
    for finding in whole.findings:
        assert finding.message
        assert "\n" not in finding.message + finding.where
    return sorted(finding.code for finding in whole.findings)


def test_sound_clips_and_shards_have_no_findings(pristine, pristine_shards):
    for path in (pristine, pristine_shards, pristine_shards / "shard-000000.tar"):
        whole = summary(check([path]))
        assert whole.findings == ()
    assert summary(check([pristine_shards])).frames == 20
    assert sorted(summary(check([pristine_shards])).keys) == [f"clip-{number:04d}" for number in range(4)]
    code, text, _ = trajkit("check", pristine, "--workers", 2)
    assert (code, text) == (0, "4 clips, 20 frames, 0 errors, 0 warnings\n")


def rewrite(clips: Path, **changes) -> None:
    """Changes fields of a clip's json; its checksums go, so that only the change is wrong."""
    path = member(clips, KEY, "json")
    path.write_bytes(files.json_bytes(json.loads(path.read_bytes()) | {"sha256": {}} | changes))


def retrack(clips: Path, change) -> None:
    """Replaces a clip's trajectory by change(trajectory)."""
    rewrite(clips)
    member(clips, KEY, "camera.npz").write_bytes(camera_bytes(change(tinyclips.trajectory(KEY))))


def restore_poses(clips: Path, change) -> None:
    """Replaces a clip's stored poses by change(poses), past the checks of Trajectory."""
    rewrite(clips)
    path = member(clips, KEY, "camera.npz")
    arrays = dict(np.load(path))
    arrays["camera_to_world"] = change(arrays["camera_to_world"].copy())
    np.savez(path, **arrays)


def spoil(suffix: str, content: bytes):
    return lambda clips: member(clips, KEY, suffix).write_bytes(content)


def cut(suffix: str, keep: float):
    def change(clips: Path) -> None:
        path = member(clips, KEY, suffix)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        rewrite(clips)

    return change


def nan(poses):
    poses[2, 0, 3] = np.nan
    return poses


def mirror(poses):
    poses[2, :3, 0] *= -1
    return poses


def longer(clips: Path) -> None:
    """The mp4 has eight frames, everything else five."""
    other = clips.parent / "longer"
    tinyclips.real(other, 2, frames=8)
    shutil.copy(member(other, KEY, "mp4"), clips)
    rewrite(clips)


# case -> (what is done to a clip, codes that check finds)
CLIP_CASES = {
    "bit-flip": (
        lambda clips: flip(member(clips, KEY, "txt"), 3),
        ["checksum"],
    ),
    "json-no-json": (spoil("json", b"{"), ["bad-json"]),
    "json-list": (spoil("json", b"[1]"), ["bad-json"]),
    "json-other-schema": (lambda clips: rewrite(clips, schema="trajkit.clip/9"), ["bad-json"]),
    "json-unknown-field": (lambda clips: rewrite(clips, colour="red"), ["bad-json"]),
    "json-text-for-number": (lambda clips: rewrite(clips, fps="16"), ["bad-json"]),
    "other-key": (lambda clips: rewrite(clips, key="clip-0002"), ["mismatch"]),
    "pose-count": (lambda clips: rewrite(clips, poses=6), ["mismatch"]),
    "frame-count": (lambda clips: rewrite(clips, frames=6), ["mismatch", "video-mismatch"]),
    "longer-video": (longer, ["video-mismatch"]),
    "size": (lambda clips: rewrite(clips, width=34), ["mismatch", "video-mismatch"]),
    "rate": (lambda clips: rewrite(clips, fps=15.0), ["odd-times", "video-mismatch"]),
    "other-rate": (lambda clips: rewrite(clips, fps=30.0), ["mismatch", "odd-times", "video-mismatch"]),
    "pose-rate": (lambda clips: rewrite(clips, pose_rate=5.0), ["mismatch"]),
    "no-depth-said": (lambda clips: rewrite(clips, depth=None), ["mismatch"]),
    "caption-latin1": (
        lambda clips: (spoil("txt", b"gr\xf6\xdfer")(clips), rewrite(clips)),
        ["bad-caption", "mismatch"],
    ),
    "npz-noise": (spoil("camera.npz", b"PK noise"), ["bad-camera", "checksum"]),
    "npz-truncated": (cut("camera.npz", 0.7), ["bad-camera"]),
    "nan-pose": (lambda clips: restore_poses(clips, nan), ["bad-camera"]),
    "mirrored-pose": (lambda clips: restore_poses(clips, mirror), ["bad-camera"]),
    "transposed-poses": (lambda clips: restore_poses(clips, lambda p: np.swapaxes(p, 1, 2)), ["bad-camera"]),
    "wrong-shape": (lambda clips: restore_poses(clips, lambda p: p[:, :3]), ["bad-camera"]),
    "float32-poses": (
        lambda clips: restore_poses(clips, lambda p: np.round(p, 5)),
        ["rough-rotation"],
    ),
    "pickled-poses": (lambda clips: restore_poses(clips, lambda p: p.astype(object)), ["bad-camera"]),
    "same-times": (
        lambda clips: retrack(clips, lambda t: replace(t, times_s=t.times_s.clip(0, 0.18))),
        ["bad-times", "mismatch"],
    ),
    "drifting-times": (
        lambda clips: retrack(clips, lambda t: replace(t, times_s=t.times_s * 1.02)),
        ["mismatch", "odd-times"],
    ),
    "index-gap": (
        lambda clips: retrack(clips, lambda t: replace(t, frame_index=t.frame_index * 2)),
        ["mismatch", "odd-times"],
    ),
    "normalised-lens": (
        lambda clips: retrack(clips, lambda t: replace(t, intrinsics=t.intrinsics / (32, 24, 32, 24))),
        ["bad-lens", "bad-lens"],
    ),
    "lens-of-another-size": (
        lambda clips: retrack(clips, lambda t: replace(t, intrinsics=t.intrinsics * 20)),
        ["odd-lens", "odd-lens"],
    ),
    "swapped-lens": (
        lambda clips: retrack(clips, lambda t: replace(t, intrinsics=t.intrinsics * (1, 3, 1, 1))),
        ["odd-lens"],
    ),
    "video-noise": (lambda clips: (spoil("mp4", b"noise" * 99)(clips), rewrite(clips)), ["bad-video"]),
    "video-empty": (lambda clips: (spoil("mp4", b"")(clips), rewrite(clips)), ["bad-video"]),
    "video-truncated": (cut("mp4", 0.6), ["bad-video"]),
    "depth-truncated": (cut("depth.npz", 0.5), ["bad-depth"]),
}


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("case", CLIP_CASES)
def test_defects_of_a_clip_are_named_in_a_folder_and_in_a_shard(pristine, tmp_path, case):
    change, wanted = CLIP_CASES[case]
    clips = tmp_path / "clips"
    clips.mkdir()
    for path in [*pristine.glob(f"{KEY}.*"), *pristine.glob("clip-0002.*")]:
        shutil.copy(path, clips)
    sources, _ = survey([clips])
    change(clips)
    whole = summary(check([clips]))
    assert sorted(finding.code for finding in whole.findings) == wanted
    assert all(KEY in finding.where for finding in whole.findings)
    assert len(whole.keys) == 2
    extra = ["counts"] if case == "frame-count" or "bad-json" in wanted else []
    assert codes(packed_anyway(sources, tmp_path / "shard-000000.tar")) == sorted([*wanted, *extra])


def packed_anyway(sources: list[Source], path: Path) -> Path:
    """A shard of the clips as they are now, also of what pack refuses: as another program would write it."""
    now = [
        source._replace(
            sizes=tuple(
                (suffix, member(source.folder, source.key, suffix).stat().st_size) for suffix, _ in source.sizes
            )
        )
        for source in sources
    ]
    write_shard(path, now, plan="0" * 64, shard=0, shards=1)
    return path


def test_without_decoding_a_damaged_picture_is_not_seen_but_a_truncated_file_is(clips):
    path = member(clips, KEY, "mp4")
    content = bytearray(path.read_bytes())
    content[-100:-40] = bytes(60)  # in the last pictures; the encoder's name comes first
    path.write_bytes(content)
    rewrite(clips)
    assert codes(clips) == ["bad-video"]
    assert codes(clips, decode=False) == []
    cut("mp4", 0.6)(clips)
    assert codes(clips, decode=False) == ["bad-video"]


# case -> (what is done to a clip folder, codes, codes that are warnings)
FOLDER_CASES = {
    "part": (lambda clips: (clips / "clip-0009.mp4.part").touch(), ["part-file"]),
    "unfinished": (lambda clips: member(clips, KEY, "json").unlink(), ["unfinished-clip"]),
    "orphan-npz": (lambda clips: (clips / "x.camera.npz").touch(), ["unfinished-clip"]),
    "no-mp4": (lambda clips: member(clips, KEY, "mp4").unlink(), ["missing-member"]),
    "no-npz": (lambda clips: member(clips, KEY, "camera.npz").unlink(), ["missing-member"]),
    "no-txt": (lambda clips: member(clips, KEY, "txt").unlink(), ["mismatch", "missing-member"]),
    "no-depth": (lambda clips: member(clips, KEY, "depth.npz").unlink(), ["mismatch", "missing-member"]),
    "stray": (lambda clips: (clips / "notes.doc").touch(), ["stray-file"]),
    "stray-folder": (lambda clips: (clips / "old").mkdir(), ["stray-file"]),
    "dotted-key": (lambda clips: (clips / "a.b.mp4").touch(), ["stray-file"]),
    "ledger": (lambda clips: (clips / "ledger").mkdir(), []),
    "card": (lambda clips: (clips / "README.md").touch(), []),
}


@pytest.mark.parametrize("case", FOLDER_CASES)
def test_defects_of_a_clip_folder_are_named(clips, case):
    change, wanted = FOLDER_CASES[case]
    change(clips)
    assert codes(clips) == wanted
    assert trajkit("check", clips)[0] == (0 if wanted in ([], ["stray-file"]) else 1)


def reindex(shards: Path, **changes) -> None:
    path = shards / "shard-000000.json"
    path.write_bytes(files.json_bytes(json.loads(path.read_bytes()) | changes))


def move_member(shards: Path) -> None:
    path = shards / "shard-000000.json"
    index = json.loads(path.read_bytes())
    key = sorted(index["members"])[0]
    index["members"][key]["txt"][0] += 512
    path.write_bytes(files.json_bytes(index))


SHARD_CASES = {
    "no-json": (lambda shards: index_path(shards / "shard-000000.tar").unlink(), ["unfinished-shard"]),
    "no-tar": (lambda shards: (shards / "shard-000001.tar").unlink(), ["missing-shard"]),
    "neither": (
        lambda shards: [(shards / f"shard-000001.{end}").unlink() for end in ("tar", "json")],
        ["missing-shard"],
    ),
    "no-plan": (lambda shards: (shards / "plan.json").unlink(), ["bad-plan"]),
    "bad-plan": (lambda shards: (shards / "plan.json").write_text("[]"), ["bad-plan"]),
    "part": (lambda shards: (shards / "shard-000001.tar.part").touch(), ["part-file"]),
    "stray": (lambda shards: (shards / "clip.mp4").touch(), ["stray-file"]),
    "twin": (
        lambda shards: [
            shutil.copy(shards / f"shard-000000.{end}", shards / f"shard-000007.{end}") for end in ("tar", "json")
        ],
        ["duplicate-key", "duplicate-key", "stray-shard"],
    ),
    "other-plan": (lambda shards: reindex(shards, plan="1" * 64), ["other-plan"]),
    "other-number": (lambda shards: reindex(shards, shard=1), ["other-plan"]),
    "json-of-wrong-shape": (lambda shards: reindex(shards, members=[]), ["bad-index", "bad-index"]),
    "checksum": (lambda shards: reindex(shards, sha256="0" * 64), ["checksum"]),
    "size": (lambda shards: reindex(shards, bytes=512), ["checksum"]),
    "frames": (lambda shards: reindex(shards, frames=99), ["counts"]),
    "moved": (move_member, ["offsets", "offsets"]),
    "caption-flip": (
        lambda shards: flip(shards / "shard-000000.tar", offset(shards, "txt")),
        ["checksum", "checksum"],
    ),
}


def offset(shards: Path, suffix: str) -> int:
    index = json.loads((shards / "shard-000000.json").read_bytes())
    return index["members"][sorted(index["members"])[0]][suffix][0]


@pytest.mark.parametrize("case", SHARD_CASES)
def test_defects_of_shards_are_named(shards, case):
    change, wanted = SHARD_CASES[case]
    change(shards)
    assert codes(shards) == wanted


@pytest.mark.parametrize("where", [0, 0.3, 0.6, 0.9])
def test_a_truncated_shard_is_told_with_what_is_left_of_it(shards, where):
    path = shards / "shard-000000.tar"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * where)])
    found = codes(shards)
    assert {"bad-tar", "checksum", "offsets"} <= set(found) or where == 0.9


def test_unsafe_members_are_found_and_the_others_still_checked(shards, tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(shards / "shard-000000.tar") as source, tarfile.open(path, "w") as stream:
        for info in source:
            stream.addfile(info, source.extractfile(info))
        for name in ("../../etc/passwd", "a.pkl"):
            stream.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("b.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        stream.addfile(link)
    whole = summary(check([path]))
    assert [finding.code for finding in whole.findings] == ["unfinished-shard", *["unsafe-member"] * 3]
    assert len(whole.keys) == 2


def test_one_key_in_two_places_is_found(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "again")
    assert codes(pristine, tmp_path / "again") == ["duplicate-key"] * 4


def test_a_packed_copy_is_no_duplicate(pristine, pristine_shards):
    assert codes(pristine, pristine_shards) == []


def test_all_defects_are_told_at_once_with_any_number_of_workers(clips):
    member(clips, "clip-0000", "mp4").unlink()
    rewrite(clips, poses=6)
    spoil("txt", b"\xff")(clips)
    member(clips, "clip-0002", "json").write_bytes(b"")
    wanted = summary(check([clips]))
    assert sorted(finding.code for finding in wanted.findings) == [
        "bad-caption", "bad-json", "mismatch", "missing-member",
    ]  # fmt: skip
    assert summary(check([clips], workers=2)) == wanted


def test_the_table_and_the_json_say_the_same(clips):
    member(clips, KEY, "mp4").unlink()
    (clips / "notes.doc").touch()
    code, text, _ = trajkit("check", clips)
    assert code == 1
    assert text.splitlines() == [
        f"warning  stray-file      {clips}/notes.doc: belongs to no clip",
        f"error    missing-member  {clips}/{KEY}.mp4: is missing; make the clip again",
        "4 clips, 20 frames, 1 errors, 1 warnings",
    ]
    code, text, _ = trajkit("check", clips, "--json")
    assert code == 1
    said = json.loads(text)
    assert (said["clips"], said["frames"], said["errors"], said["warnings"]) == (4, 20, 1, 1)
    assert [finding["code"] for finding in said["findings"]] == ["stray-file", "missing-member"]


def test_nothing_to_check_is_an_error(tmp_path):
    with pytest.raises(TrajkitError, match="no such file or folder"):
        list(check([tmp_path / "none"]))
    with pytest.raises(TrajkitError, match="holds neither clips nor shards"):
        list(check([tmp_path]))
    (tmp_path / "a.txt").write_text("hello")
    assert codes(tmp_path / "a.txt") == ["bad-tar", "unfinished-shard"]


def test_sparse_estimated_poses_are_sound(clips):
    track = tinyclips.trajectory(KEY)[np.array([0, 2, 4])]
    member(clips, KEY, "camera.npz").write_bytes(camera_bytes(track))
    record = json.loads(member(clips, KEY, "json").read_bytes())
    provenance = record["provenance"] | {"kind": "estimated"}
    rewrite(clips, poses=3, pose_rate=8.0, provenance=provenance, depth=None)
    member(clips, KEY, "depth.npz").unlink()
    assert codes(clips) == []
    assert se3.rotation_defect(track.camera_to_world[:, :3, :3]).max() < 1e-9
