"""Bad input, as a table: one line that names the place and the remedy, exit code 1, nothing lost, nothing half written."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tinyclips
from PIL import Image
from test_cli import trajkit

from trajkit import files


class Bad(NamedTuple):
    """One mistake: the command made in a folder, and words that its one line must hold."""

    name: str
    make: Callable[[Path], list[object]]
    words: str
    code: int = 1


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def convert(name: str, content: str, form: str = "", to: str = "kitti") -> Callable[[Path], list[object]]:
    """`trajkit convert` of one text file."""
    given = [f"--from={form}"] if form else []
    return lambda at: ["convert", text(at / "in" / name, content), at / "out.txt", *given, f"--to={to}"]


def npy(form: str, **arrays: np.ndarray) -> Callable[[Path], list[object]]:
    """`trajkit convert` of a folder of npy files; a name with two underscores stands for a subfolder."""

    def make(at: Path) -> list[object]:
        for name, array in arrays.items():
            path = at / "in" / (name.replace("__", "/") + ".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array, allow_pickle=array.dtype == object)
        return ["convert", at / "in", at / "out.txt", f"--from={form}", "--to=kitti"]

    return make


EYE = np.eye(4).tolist()
FRAME = {"file_path": "images/0001.jpg", "transform_matrix": EYE}
LENS = {"fl_x": 50.0, "fl_y": 50.0, "cx": 32.0, "cy": 24.0, "w": 64, "h": 48}


def transforms(**change: object) -> str:
    return json.dumps({**LENS, "frames": [FRAME], **change})


def matrix(row: int, column: int, value: float) -> list[dict]:
    changed = np.eye(4)
    changed[row, column] = value
    return [FRAME, {"file_path": "images/0002.jpg", "transform_matrix": changed.tolist()}]


def cut(name: str, content: bytes, *, keep: int, form: str) -> Callable[[Path], list[object]]:
    def make(at: Path) -> list[object]:
        path = at / "in" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content[:keep])
        return [
            "convert",
            path.parent if form in ("lingbot", "vipe") else path,
            at / "out.txt",
            f"--from={form}",
            "--to=tum",
        ]

    return make


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


TUM = "0 0 0 0 0 0 0 1\n"
RE10K = (
    "https://x\n"
    + " ".join(["0", ".5", ".8", ".5", ".5", "0", "0", *["1", "0", "0", "0", "0", "1", "0", "0", "0", "0", "1", "0"]])
    + "\n"
)
POSES = np.eye(4)[None].repeat(5, 0)
CONVERT = [
    Bad("file missing", lambda at: ["convert", at / "no.txt", at / "o", "--from=tum", "--to=kitti"], "no such file"),
    Bad("file empty", convert("a.txt", "", "tum"), "empty"),
    Bad("binary noise", lambda at: [*cut("a.txt", bytes(range(256)), keep=256, form="tum")(at)], "not UTF-8"),
    Bad("unknown format", convert("a.txt", TUM, "tumm"), "did you mean 'tum'"),
    Bad("unknown target", convert("a.txt", TUM, "tum", to="kity"), "did you mean 'kitti'"),
    Bad("unknown option", convert("a.txt", TUM, "tum:widht=4"), "did you mean 'width'"),
    Bad("option without value", convert("a.txt", TUM, "tum:width"), "key=value"),
    Bad("tum with seven columns", convert("a.txt", TUM + "0 0 0 0 0 0 1\n", "tum"), "line 2: 7 columns"),
    Bad("tum with text", convert("a.txt", "0 0 0 zero 0 0 0 1\n", "tum"), "line 1"),
    Bad("tum with NaN", convert("a.txt", TUM + "1 nan 0 0 0 0 0 1\n", "tum"), "line 2"),
    Bad("tum with zero quaternion", convert("a.txt", "0 0 0 0 0 0 0 0\n", "tum"), "quaternion"),
    Bad("tum going back in time", convert("a.txt", "1" + TUM[1:] + TUM, "tum"), "backwards"),
    Bad("tum to a format that needs a lens", convert("a.txt", TUM, "tum", to="re10k"), "lens"),
    Bad("kitti with eleven columns", convert("a.txt", "1 0 0 0 0 1 0 0 0 0 1\n", "kitti", to="tum"), "11 columns"),
    Bad("kitti mirrored", convert("a.txt", "1 0 0 0 0 1 0 0 0 0 -1 0\n", "kitti", to="tum"), "not a rotation"),
    Bad("re10k with 18 columns", convert("a.txt", RE10K.rsplit(" ", 1)[0] + "\n", "re10k"), "18 columns"),
    Bad("re10k without poses", convert("a.txt", "https://x\n", "re10k"), "a.txt"),
    Bad("JSON cut short", convert("transforms.json", transforms()[:-9]), "not valid JSON"),
    Bad("JSON list for an object", convert("transforms.json", "[1, 2]", "nerfstudio"), "holds list"),
    Bad("no frames", convert("transforms.json", transforms(frames=[]), "nerfstudio"), "frames"),
    Bad("frames is a number", convert("transforms.json", transforms(frames=3), "nerfstudio"), "frames"),
    Bad("frame without a pose", convert("transforms.json", transforms(frames=[{"file_path": "a"}]), "nerfstudio"), "transform"),
    Bad("pose with NaN", convert("transforms.json", transforms(frames=matrix(0, 3, float("nan"))), "nerfstudio"), "0002"),
    Bad("pose not a rotation", convert("transforms.json", transforms(frames=matrix(0, 0, 1.2)), "nerfstudio"), "0002"),
    Bad("pose mirrored", convert("transforms.json", transforms(frames=matrix(1, 1, -1)), "nerfstudio"), "not a rotation"),
    Bad("focal length zero", convert("transforms.json", transforms(fl_x=0), "nerfstudio"), "fl_x"),
    Bad("width is text", convert("transforms.json", transforms(w="wide"), "nerfstudio"), "w"),
    Bad("fisheye lens", convert("transforms.json", transforms(camera_model="OPENCV_FISHEYE"), "nerfstudio"), "undistort"),
    Bad("worldplay without K", convert("p.json", json.dumps({"0": {"extrinsic": EYE}}), "worldplay"), "K"),
    Bad("minwm with an unknown key", convert("p.txt", "w*4,x*2", "minwm"), "column 5"),
    Bad("minwm with a bad count", convert("p.txt", "w*four", "minwm"), "column 1"),
    Bad("npy cut short", cut("poses.npy", npy_bytes(POSES), keep=200, form="lingbot"), "poses.npy"),
    Bad("npy with pickle", npy("lingbot", poses=np.array([{}]), intrinsics=np.ones((1, 4))), "poses.npy"),
    Bad("npy of two lengths", npy("lingbot", poses=POSES, intrinsics=np.ones((3, 4))), "intrinsics.npy"),
    Bad("npy of another shape", npy("lingbot", poses=np.ones((5, 3)), intrinsics=np.ones((5, 4))), "poses.npy"),
    Bad("spatialvid without intrinsics", npy("spatialvid", poses=np.tile([0.0, 0, 0, 0, 0, 0, 1], (5, 1))), "intrinsics.npy"),
    Bad("vipe folder without poses", npy("vipe", other=np.ones(3)), "pose"),
    Bad("COLMAP folder without a model", npy("colmap", other=np.ones(3)), "no COLMAP model"),
    Bad("output is the input", lambda at: ["convert", text(at / "a.txt", TUM), at / "a.txt", "--from=tum", "--to=tum"], "IN as well"),
]  # fmt: skip


def render(*flags: object, scene: str = "toy:") -> Callable[[Path], list[object]]:
    small = ("--frames=5", "--size=32x24", "--count=1")
    return lambda at: ["render", scene.replace("AT", str(at)), *small, *flags, f"--out={at / 'out'}"]


def capture(at: Path, **change: object) -> Path:
    """A capture of three photos, with changes to its transforms.json."""
    frames = []
    for number in range(3):
        pose = np.eye(4)
        pose[0, 3] = number
        frames.append({"file_path": f"images/{number + 1:04d}.png", "transform_matrix": pose.tolist()})
        path = at / f"scan/images/{number + 1:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (number * 80, 90, 40)).save(path)
    text(at / "scan/transforms.json", json.dumps({**LENS, "frames": frames, **change}))
    return at / "scan"


def ply(content: bytes) -> Callable[[Path], list[object]]:
    def make(at: Path) -> list[object]:
        (at / "a.ply").write_bytes(content)
        return render("--path=orbit", scene="splat:AT/a.ply")(at)

    return make


HEADER = b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nproperty float y\nend_header\n"
RENDER = [
    Bad("unknown scene source", render("--path=orbit", scene="toi:"), "did you mean 'toy'"),
    Bad("scene folder missing", render("--path=orbit", scene="dl3dv:AT/no"), "no such"),
    Bad("toy option", render("--path=orbit", scene="toy:sead=3"), "did you mean 'seed'"),
    Bad("unknown path", render("--path=orbitt"), "did you mean 'orbit'"),
    Bad("path option", render("--path=orbit:radios=3"), "--path orbit"),
    Bad("path value", render("--path=keys:w*1;step=far"), "not a number"),
    Bad("unknown key", render("--path=keys:w*1,x*2"), "column 5"),
    Bad("key without a count", render("--path=keys:w*"), "column"),
    Bad("frames that are not 4n+1", render("--path=orbit", "--frames=6"), "4n+1"),
    Bad("odd size", render("--path=orbit", "--size=33x24"), "even"),
    Bad("size that is none", render("--path=orbit", "--size=33"), "WIDTHxHEIGHT", code=2),
    Bad("unknown renderer", render("--path=orbit", "--renderer=gsplatt"), "did you mean 'gsplat'"),
    Bad("renderer option", render("--path=orbit", "--renderer=splats:dept=median"), "did you mean 'depth'"),
    Bad("toy renderer for a capture", lambda at: render("--path=orbit", "--renderer=toy", scene=f"dl3dv:{capture(at)};min_frames=3")(at), "not from toy", code=3),
    Bad("empty PLY", ply(b""), "a.ply", code=3),
    Bad("PLY that is text", ply(b"hello\nworld\n"), "a.ply", code=3),
    Bad("PLY cut short", ply(HEADER + b"123"), "a.ply", code=3),
    Bad("PLY that announces too much", ply(HEADER.replace(b" 9\n", b" 99999999999\n")), "a.ply", code=3),
    Bad("config missing", render("--path=orbit", "--config=no.toml"), "no such file"),
    Bad("--set without a value", render("--path=orbit", "--set=count"), "key=value"),
    Bad("--set of an unknown key", render("--path=orbit", "--set=cuont=3"), "did you mean 'count'"),
    Bad("capture with NaN", lambda at: render("--path=orbit", scene=f"dl3dv:{capture(at, fl_x=float('nan'))}")(at), "transforms.json", code=3),
    Bad("capture without lens", lambda at: render("--path=orbit", scene=f"dl3dv:{capture(at, fl_x=None)}")(at), "transforms.json", code=3),
]  # fmt: skip


def spoiled(spoil: Callable[[Path, str], object], *command: str, count: int = 2) -> Callable[[Path], list[object]]:
    """Clips in `clips`, one of them spoiled, then a command on the folder."""

    def make(at: Path) -> list[object]:
        keys = tinyclips.real(at / "clips", count)
        spoil(at / "clips", keys[1])
        return [part.replace("AT", str(at)) for part in command]

    return make


PACK = ("pack", "AT/clips", "--out", "AT/out")
CHECK = ("check", "AT/clips")


def rewrite(suffix: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path, str], object]:
    def spoil(folder: Path, key: str) -> None:
        path = folder / f"{key}.{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))

    return spoil


def remove(suffix: str) -> Callable[[Path, str], object]:
    return lambda folder, key: (folder / f"{key}.{suffix}").unlink()


def field(name: str, value: object) -> Callable[[Path, str], object]:
    return rewrite("json", lambda old: files.json_bytes({**json.loads(old), name: value}))


def poses(change: Callable[[dict], object]) -> Callable[[Path, str], object]:
    def spoil(folder: Path, key: str) -> None:
        path = folder / f"{key}.camera.npz"
        arrays = dict(np.load(path, allow_pickle=False))
        arrays = {name: array.copy() for name, array in arrays.items()}
        change(arrays)
        np.savez(path, **arrays)

    return spoil


def shard(spoil: Callable[[Path], object]) -> Callable[[Path], list[object]]:
    """A shard, spoiled, then checked."""

    def make(at: Path) -> list[object]:
        tinyclips.real(at / "clips", 2)
        assert trajkit("pack", at / "clips", "--out", at / "shards")[0] == 0
        spoil(next((at / "shards").glob("*.tar")))
        return ["check", at / "shards"]

    return make


def climbing(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("../../evil.json")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"{}"))


def linked(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)


def index_of(path: Path) -> Path:
    return path.with_suffix(".json") if path.with_suffix(".json").exists() else path.with_name(path.name + ".json")


STORE = [
    Bad("pack of a missing folder", lambda at: ["pack", at / "no", "--out", at / "out"], "no such folder"),
    Bad("pack of an empty folder", lambda at: ["pack", os.fspath(_made(at / "e")), "--out", at / "out"], "no finished clips"),
    Bad("pack: json is a list", spoiled(rewrite("json", b"[]"), *PACK), "clip-0001"),
    Bad("pack: json cut short", spoiled(rewrite("json", lambda old: old[:40]), *PACK), "clip-0001"),
    Bad("pack: unknown json field", spoiled(field("colour", "red"), *PACK), "colour"),
    Bad("pack: another schema", spoiled(field("schema", "trajkit.clip/9"), *PACK), "clip-0001"),
    Bad("pack: mp4 missing", spoiled(remove("mp4"), *PACK), "clip-0001"),
    Bad("pack: poses missing", spoiled(remove("camera.npz"), *PACK), "clip-0001"),
    Bad("pack: same clips twice", spoiled(lambda at, key: shutil.copytree(at, at.parent / "more"), *PACK, "AT/more"), "clip-0000"),
    Bad("pack: out is the clip folder", spoiled(lambda at, key: None, "pack", "AT/clips", "--out", "AT/clips"), "clip folder"),
    Bad("check of a missing path", lambda at: ["check", at / "no"], "no such file"),
    Bad("check: mp4 cut short", spoiled(rewrite("mp4", lambda old: old[: len(old) // 2]), *CHECK), "clip-0001.mp4"),
    Bad("check: mp4 is text", spoiled(rewrite("mp4", b"no video" * 99), *CHECK), "clip-0001.mp4"),
    Bad("check: npz cut short", spoiled(rewrite("camera.npz", lambda old: old[:300]), *CHECK), "clip-0001.camera.npz"),
    Bad("check: caption not UTF-8", spoiled(rewrite("txt", b"\xff\xfe"), *CHECK), "clip-0001.txt"),
    Bad("check: NaN pose", spoiled(poses(lambda a: a["camera_to_world"].__setitem__((2, 0, 3), np.nan)), *CHECK), "not finite"),
    Bad("check: not a rotation", spoiled(poses(lambda a: a["camera_to_world"].__setitem__((2, 0, 0), 2)), *CHECK), "not a rotation"),
    Bad("check: one pose too few", spoiled(poses(lambda a: a.update({k: v[:-1] for k, v in a.items() if k != "size"})), *CHECK), "poses"),
    Bad("check: another size", spoiled(poses(lambda a: a["size"].__setitem__(0, 64)), *CHECK), "width"),
    Bad("check: pickle in the npz", spoiled(poses(lambda a: a.update(x=np.array([{}], dtype=object))), *CHECK), "camera.npz"),
    Bad("check: tar that climbs out", shard(climbing), "evil"),
    Bad("check: tar with a link", shard(linked), "a.json"),
    Bad("check: tar cut short", shard(lambda path: path.write_bytes(path.read_bytes()[:3000])), ".tar"),
    Bad("check: one byte changed", shard(lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")), "shard-000000"),
    Bad("check: index is a list", shard(lambda path: index_of(path).write_text("[]")), ".json"),
    Bad("check: index missing", shard(lambda path: index_of(path).unlink()), "shard-000000"),
    Bad("show of a missing path", lambda at: ["show", at / "no", "--out", at / "out"], "no such"),
    Bad("show of an empty folder", lambda at: ["show", _made(at / "e"), "--out", at / "out"], "e"),
    Bad("reconstruct without photos", lambda at: ["reconstruct", "toy:", "--out", at / "out"], "no photo", code=3),
    Bad("reconstruct one photo", lambda at: ["reconstruct", f"dl3dv:{_single(at)}", "--out", at / "out"], "1 usable of 1", code=3),
    Bad("reconstruct from no photos", lambda at: ["reconstruct", f"photos:{_made(at / 'e')}", "--out", at / "out"], "0 usable photos, not 3", code=3),
    Bad("reconstruct from a file as photos", lambda at: ["reconstruct", f"photos:{text(at / 'a.jpg', 'x')}", "--out", at / "out"], "no folder"),
    Bad("reconstruct from photos of nothing", lambda at: ["reconstruct", f"photos:{_blank(at / 'b')}", "--engine=cpu", "--out", at / "out"], "none of its 3 photos fit", code=3),
    Bad("reconstruct with an unknown mapper", lambda at: ["reconstruct", f"photos:{_made(at / 'e')};mapper=globl", "--out", at / "out"], "use one of both, incremental, global"),
    Bad("reconstruct without .camera files", lambda at: ["reconstruct", f"strecha:{_made(at / 'e')}", "--out", at / "out"], "holds no PHOTO.camera", code=3),
    Bad("reconstruct with a .camera cut short", lambda at: ["reconstruct", f"strecha:{text(at / 's/1.jpg.camera', '9 0 1').parent}", "--out", at / "out"], "1 lines, not 9", code=3),
    Bad("convert a .camera cut short", lambda at: ["convert", text(at / "s/1.jpg.camera", "9 0 1\n0 9 1\n").parent, at / "out.txt", "--to=kitti"], "2 lines, not 9"),
    Bad("reconstruct by programs that are not there", lambda at: ["reconstruct", f"photos:{_blank(at / 'b')}", f"--engine=nerfstudio:programs={at}", "--out", at / "out"], "needs the program ns-train", code=3),
    Bad("plugins of an unknown kind", lambda at: ["plugins", "scene"], "did you mean 'scenes'"),
    Bad("plugins of an unknown name", lambda at: ["plugins", "paths", "orbits"], "did you mean 'orbit'"),
]  # fmt: skip


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _blank(folder: Path) -> Path:
    """Three grey photos."""
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (64, 48), (90, 90, 90)).save(folder / f"{index}.png")
    return folder


def _single(at: Path) -> Path:
    scan = capture(at)
    table = json.loads((scan / "transforms.json").read_text())
    text(scan / "transforms.json", json.dumps({**table, "frames": table["frames"][:1]}))
    return scan


TABLE = [*CONVERT, *RENDER, *STORE]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("bad", TABLE, ids=[bad.name for bad in TABLE])
def test_bad_input_is_one_line_and_changes_nothing(bad: Bad, tmp_path: Path) -> None:
    command = bad.make(tmp_path)
    before = snapshot(tmp_path)
    code, out, err = trajkit(*command)
    told = [line for line in (err + out).splitlines() if bad.words in line]
    assert code == bad.code, (code, err + out)
    assert told, err + out
    assert "Traceback" not in err
    if code == 1 and command[0] != "check":
        assert err.count("\n") == 1, err
        assert err.startswith("error: ")
    after = snapshot(tmp_path)
    assert before.items() <= after.items(), "an input was changed or lost"
    fresh = sorted(after.keys() - before.keys())
    assert not [name for name in fresh if name.endswith((".part", ".mp4", ".tar", ".html", ".png", ".ply"))], fresh
    if code != 3:  # a batch that goes on without the rejected item keeps its ledger and options
        assert not fresh


def test_the_table_is_as_long_as_was_asked() -> None:
    assert len(TABLE) >= 60
    assert len({bad.name for bad in TABLE}) == len(TABLE)
