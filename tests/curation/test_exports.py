"""Exports are read by readers written from the formats' notes alone, and known points land where they should."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import killing
import numpy as np
import pytest
import tinyclips
from exported import CAPTION, CENTRED, FPS, FRAMES, OFF, Seen, film, latents, read_minwm_lmdb, safetensors, walk
from scipy.spatial.transform import Rotation

from trajkit import video
from trajkit.camera import Camera
from trajkit.curation.commands import export as command
from trajkit.curation.exporting import export, make_plan
from trajkit.curation.exports import Exported
from trajkit.depth import read_depth
from trajkit.latents import latent_frames
from trajkit.pack import pack
from trajkit.poses.minwm import LENS, poses_from_string
from trajkit.shard_plan import make_plan as plan_shards
from trajkit.shard_plan import survey
from trajkit.trajectory import Trajectory

POINTS = np.random.default_rng(5).uniform((-1.5, -1, 4), (1.5, 1, 9), (20, 3))  # seen by all cameras of `walk`


def run(folder: Path, spec: str, out: Path) -> Exported:
    """The export of a whole folder, of which nothing is rejected."""
    exported, rejected = export(make_plan([folder], spec), out)
    assert not rejected, rejected[0].reason
    return exported


def read_cameractrl(out: Path, key: str) -> Seen:
    (row,) = (one for one in json.loads((out / "dataset.json").read_text()) if one["clip_name"] == key)
    assert row["caption"] == CAPTION
    assert len(video.read(out / row["clip_path"])) == FRAMES
    entries = [
        [float(x) for x in line.strip().split(" ")] for line in (out / row["pose_file"]).read_text().splitlines()[1:]
    ]
    assert [entry[0] for entry in entries] == [round(1e6 * n / FPS) for n in range(FRAMES)]
    return {n: (np.vstack([np.reshape(e[7:], (3, 4)), [0, 0, 0, 1]]), np.array(e[1:5])) for n, e in enumerate(entries)}


def read_worldplay(out: Path, key: str) -> Seen:
    (row,) = (one for one in json.loads((out / "train.json").read_text()) if key in one["pose_path"])
    assert row["caption"] == CAPTION
    poses = json.loads((out / row["pose_path"]).read_text())
    keys = list(poses.keys())  # in the order of the file
    assert len(keys) == len(video.read(out / row["video_path"]))
    seen = {}
    for latent in range((len(keys) - 1) // 4 + 1):
        entry = poses[keys[0] if latent == 0 else keys[4 * (latent - 1) + 4]]
        lens = np.array(entry["intrinsic"])
        shares = [lens[0, 0] / (2 * lens[0, 2]), lens[1, 1] / (2 * lens[1, 2]), 0.5, 0.5]
        seen[4 * latent] = np.array(entry["w2c"]), np.array(shares)
    return seen


def read_vipe(out: Path, key: str) -> Seen:
    pose, lens = (np.load(out / kind / f"{key}.npz", allow_pickle=False) for kind in ("pose", "intrinsics"))
    types = (out / "intrinsics" / f"{key}_camera.txt").read_text().splitlines()
    assert {line.split(":")[1].strip() for line in types} == {"PINHOLE"}
    size = video.probe(out / "rgb" / f"{key}.mp4")
    lenses = dict(zip(lens["inds"], lens["data"] / ([size.width, size.height] * 2), strict=True))
    return {
        int(n): (np.linalg.inv(m.astype(float)), lenses[n]) for n, m in zip(pose["inds"], pose["data"], strict=True)
    }


def read_lingbot(out: Path, key: str) -> Seen:
    assert (out / key / "prompt.txt").read_bytes().decode() == CAPTION
    poses, lenses = (np.load(out / key / f"{name}.npy", allow_pickle=False) for name in ("poses", "intrinsics"))
    return {
        n: (np.linalg.inv(pose.astype(float)), lens / ([832, 480] * 2))
        for n, (pose, lens) in enumerate(zip(poses, lenses, strict=True))
    }


def read_nerfstudio(out: Path, key: str) -> Seen:
    table = json.loads((out / key / "transforms.json").read_text())
    lens = np.array(
        [table["fl_x"] / table["w"], table["fl_y"] / table["h"], table["cx"] / table["w"], table["cy"] / table["h"]]
    )
    seen = {}
    for frame in table["frames"]:
        opengl = np.array(frame["transform_matrix"])
        assert (out / key / frame["file_path"]).is_file()
        number = int(Path(frame["file_path"]).stem.split("_")[1])
        seen[number] = np.linalg.inv(opengl * [1, -1, -1, 1]), lens
    return seen


def read_minwm_json(out: Path, key: str) -> Seen:
    (row,) = (one for one in json.loads((out / "preencode_input.json").read_text()) if key in one["pose_json_path"])
    assert row["caption"] == CAPTION
    table = json.loads((out / row["pose_json_path"]).read_text())
    assert list(table) == [str(n) for n in range(len(table))]
    lens = [np.array(entry["K"]) for entry in table.values()]
    shares = [np.array([k[0, 0] / (2 * k[0, 2]), k[1, 1] / (2 * k[1, 2]), 0.5, 0.5]) for k in lens]
    return {4 * n: (np.linalg.inv(e["extrinsic"]), shares[n]) for n, e in enumerate(table.values())}


def landing(world_to_camera: np.ndarray, lens: np.ndarray, points: np.ndarray = POINTS) -> np.ndarray:
    """Where points appear, as shares of the picture's width and height."""
    inside = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    return lens[:2] * inside[:, :2] / inside[:, 2:] + lens[2:]


def check(seen: Seen, trajectory: Trajectory, frames: list[int], *, first_is_world: bool = False) -> None:
    """That points land within a thousandth of a pixel of where the clip's cameras see them."""
    assert list(seen) == frames
    for frame, (matrix, lens) in seen.items():
        rotation, centre = trajectory.camera_to_world[frame, :3, :3], trajectory.centres[frame]
        fx, fy, cx, cy = trajectory.intrinsics[frame]
        inside = (POINTS - centre) @ rotation
        wanted = np.stack([fx * inside[:, 0] / inside[:, 2] + cx, fy * inside[:, 1] / inside[:, 2] + cy], axis=-1)
        start = trajectory.camera_to_world[0]
        points = (POINTS - start[:3, 3]) @ start[:3, :3] if first_is_world else POINTS
        found = landing(matrix, lens, points) * [trajectory.width, trajectory.height]
        assert np.abs(found - wanted).max() < 1e-3, f"frame {frame}"


ALL, LATENTS = list(range(FRAMES)), [0, 4, 8, 12]


@pytest.mark.parametrize(
    ("spec", "read", "lens", "frames", "first_is_world"),
    [
        ("cameractrl", read_cameractrl, OFF, ALL, False),
        ("worldplay", read_worldplay, CENTRED, LATENTS, False),
        ("vipe", read_vipe, OFF, ALL, False),
        ("lingbot", read_lingbot, OFF, ALL, False),
        ("nerfstudio", read_nerfstudio, OFF, ALL, False),
        ("nerfstudio:every_nth=4", read_nerfstudio, OFF, LATENTS, False),
        (f"minwm:frames={FRAMES}", read_minwm_json, CENTRED, LATENTS, True),
    ],
)
def test_known_points_land_where_the_clip_sees_them(
    spec: str, read: Callable, lens: Camera, frames: list[int], first_is_world: bool, tmp_path: Path
) -> None:
    film(tmp_path / "clips", "one", walk(lens))
    film(tmp_path / "clips", "other", tinyclips.trajectory("other", FRAMES))
    exported = run(tmp_path / "clips", spec, tmp_path / "out")
    assert exported.clips == 2
    assert (tmp_path / "out" / exported.index).is_file()
    check(read(tmp_path / "out", "one"), walk(lens), frames, first_is_world=first_is_world)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_pycolmap_reads_colmap(form: str, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    film(tmp_path / "clips", "one", walk(OFF))
    run(tmp_path / "clips", f"colmap:form={form},every_nth=3", tmp_path / "out")
    model = pycolmap.Reconstruction(tmp_path / "out/one/sparse/0")
    trajectory = walk(OFF)
    assert sorted(image.name for image in model.images.values()) == [f"frame_{n:05d}.png" for n in range(0, FRAMES, 3)]
    for image in model.images.values():
        frame = int(image.name[6:11])
        inside = (POINTS - trajectory.centres[frame]) @ trajectory.camera_to_world[frame, :3, :3]
        wanted = inside[:, :2] / inside[:, 2:] * [60, 55] + [30.5, 25]
        np.testing.assert_allclose([image.project_point(point) for point in POINTS], wanted, atol=1e-6)


def test_minwm_lmdb_holds_a_pose_for_each_latent(tmp_path: Path) -> None:
    for number, key in enumerate(("one", "two")):
        film(tmp_path / "clips", key, walk(OFF if number else CENTRED))
        (tmp_path / "clips" / f"{key}.latent.safetensors").write_bytes(safetensors(latents(4, number)))
    exported = run(tmp_path / "clips", f"minwm:frames={FRAMES},lmdb=true,lossy=true", tmp_path / "out")
    check(read_minwm_lmdb(tmp_path / "out", 1), walk(OFF), LATENTS, first_is_world=True)
    assert "the principal point (moved by 1.5 px)" in exported.lost["two"]
    assert "principal" not in exported.lost["one"]
    import lmdb

    with lmdb.open(str(tmp_path / "out/lmdb"), readonly=True, lock=False) as base, base.begin() as read:
        assert read.get(b"latents_1_data") == latents(4, 1).tobytes()
        shapes = {name: read.get(f"{name}_shape".encode()) for name in ("latents", "prompts", "intrinsics", "poses")}
        assert shapes == {"latents": b"2 4 16 6 8", "prompts": b"2", "intrinsics": b"2 4", "poses": b"2 4 7"}
        assert base.stat()["entries"] == 2 * 4 + 4


def test_minwm_strings_are_those_of_its_own_data(shared: Path, tmp_path: Path) -> None:
    vectors = np.load(shared / "vectors/minwm_vectors.npz")
    camera = Camera.from_fov(32, 32, 60)
    fx, fy = np.array(LENS[:2]) * 32
    for number, text in enumerate(vectors["pose_strings"]):
        sparse = Trajectory.from_camera(poses_from_string(str(text)), replace(camera, fx=fx, fy=fy), fps=FPS / 4)
        sparse = replace(sparse[:20], frame_index=latent_frames(77))
        film(tmp_path / "clips", f"clip-{number}", sparse, frames=77)
        (tmp_path / f"clips/clip-{number}.latent.safetensors").write_bytes(safetensors(latents(20)))
    run(tmp_path / "clips", "minwm:lmdb=true", tmp_path / "out")
    rows = json.loads((tmp_path / "out/preencode_input.json").read_text())
    for number, row in enumerate(rows):
        assert row["pose_str"] == vectors["pose_strings"][number]
        slug = vectors["pose_dir_suffix_wan"][number]
        assert (tmp_path / f"out/videos/{number:06d}_{slug}/gen.mp4").is_file()
        assert (tmp_path / "out" / row["image_path"]).is_file()
        seen = read_minwm_lmdb(tmp_path / "out", number)
        np.testing.assert_allclose([matrix for matrix, _ in seen.values()], vectors["pose_viewmats"][number], atol=1e-5)
        np.testing.assert_allclose(seen[0][1], vectors["pose_intrinsics"][number], atol=1e-5)


def sparse_walk() -> Trajectory:
    """Poses at frames 0, 3, 6, 9 of 13, as a 5 Hz estimator gives them."""
    return walk(OFF)[np.arange(0, 10, 3)]


def test_sparse_poses_are_joined_by_straight_lines_between_centres(tmp_path: Path) -> None:
    film(tmp_path / "clips", "one", sparse_walk(), frames=FRAMES)
    exported = run(tmp_path / "clips", "cameractrl", tmp_path / "out")
    assert "(4 of 13 frames: the others are interpolated and 3 held at the ends)" in exported.lost["one"]
    seen, given = read_cameractrl(tmp_path / "out", "one"), walk(OFF)
    centres = np.array([np.linalg.inv(matrix)[:3, 3] for matrix, _ in seen.values()])
    np.testing.assert_allclose(centres[[0, 3, 6, 9]], given.centres[[0, 3, 6, 9]], atol=1e-9)
    np.testing.assert_allclose(centres[4], (2 * given.centres[3] + given.centres[6]) / 3, atol=1e-9)
    np.testing.assert_allclose(centres[10:], given.centres[[9, 9, 9]], atol=1e-9)
    turn = Rotation.from_matrix(given.camera_to_world[3, :3, :3].T @ given.camera_to_world[6, :3, :3]).magnitude()
    part = Rotation.from_matrix(seen[3][0][:3, :3] @ seen[4][0][:3, :3].T).magnitude()
    assert part == pytest.approx(turn / 3, abs=1e-9)


def test_vipe_and_photos_keep_sparse_poses_as_they_are(tmp_path: Path) -> None:
    film(tmp_path / "clips", "one", sparse_walk(), frames=FRAMES)
    run(tmp_path / "clips", "vipe", tmp_path / "vipe")
    check(read_vipe(tmp_path / "vipe", "one"), walk(OFF), [0, 3, 6, 9])
    exported = run(tmp_path / "clips", "nerfstudio", tmp_path / "photos")
    check(read_nerfstudio(tmp_path / "photos", "one"), walk(OFF), [0, 3, 6, 9])
    assert exported.lost["one"] == "times, caption, scale (metric), 9 of 13 frames"


def test_photos_are_the_frames_that_their_cameras_belong_to(tmp_path: Path) -> None:
    from PIL import Image

    clip = film(tmp_path / "clips", "one", walk(OFF))
    run(tmp_path / "clips", "colmap:every_nth=5", tmp_path / "out")
    frames = video.read(clip.video)
    photos = sorted((tmp_path / "out/one/images").iterdir())
    assert [photo.name for photo in photos] == ["frame_00000.png", "frame_00005.png", "frame_00010.png"]
    for photo, number in zip(photos, (0, 5, 10), strict=True):
        np.testing.assert_array_equal(np.array(Image.open(photo)), frames[number])
    run(tmp_path / "clips", "lingbot", tmp_path / "lingbot")
    first = np.array(Image.open(tmp_path / "lingbot/one/image.jpg")).astype(int)
    assert np.abs(first - frames[0]).mean() < 6  # jpg, of a picture that wraps from white to black


def test_vipe_depth_is_read_by_openexr(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    clip = film(tmp_path / "clips", "one", walk(OFF), depth=True)
    exported = run(tmp_path / "clips", "vipe", tmp_path / "out")
    assert "depth" not in exported.lost["one"]
    with zipfile.ZipFile(tmp_path / "out/depth/one.zip") as archive:
        assert archive.namelist() == [f"{n:05d}.exr" for n in range(FRAMES)]
        archive.extract("00007.exr", tmp_path)
    with exr.File(str(tmp_path / "00007.exr")) as picture:
        depth = picture.channels()["Z"].pixels
    assert depth.dtype == np.float16
    np.testing.assert_array_equal(depth, read_depth(clip)[7])
    run(tmp_path / "clips", "vipe:depth=false", tmp_path / "without")
    assert not (tmp_path / "without/depth").exists()


def test_terms_and_losses_stand_beside_the_index(tmp_path: Path) -> None:
    terms = "CC-BY-NC-4.0: non-commercial"
    film(tmp_path / "clips", "b", walk(OFF), licence=terms, depth=True)
    film(tmp_path / "clips", "a", walk(OFF))
    film(tmp_path / "clips", "c", walk(OFF), licence=terms)
    exported = run(tmp_path / "clips", "cameractrl", tmp_path / "out")
    assert f"\n2 clips:\n{terms}\n" in (tmp_path / "out/LICENCES.txt").read_text()
    rows = [json.loads(line) for line in (tmp_path / "out/clips.jsonl").read_text().splitlines()]
    assert [(row["key"], row["licence"]) for row in rows] == [("a", "CC0-1.0"), ("b", terms), ("c", terms)]
    assert rows[1]["lost"] == ["depth", "scale (metric)"]
    assert rows[1]["scale"] == {"kind": "metric", "factor": 1.0}
    assert exported.lost == {"a": "scale (metric)", "b": "depth, scale (metric)", "c": "scale (metric)"}


SPECS = ["cameractrl", "worldplay", "vipe", "lingbot", "nerfstudio", "colmap", "minwm:frames=5,lmdb=true"]


@pytest.mark.parametrize("spec", SPECS)
def test_shards_and_folders_give_the_same_bytes_twice(spec: str, tmp_path: Path) -> None:
    tinyclips.real(tmp_path / "clips", 2, depth=True)
    if "lmdb" in spec:
        for key in ("clip-0000", "clip-0001"):
            (tmp_path / f"clips/{key}.latent.safetensors").write_bytes(safetensors(latents(2)))
    run(tmp_path / "clips", spec, tmp_path / "out")
    once = killing.tree(tmp_path / "out")
    run(tmp_path / "clips", spec, tmp_path / "out")
    assert killing.tree(tmp_path / "out") == once
    if "lmdb" in spec:  # a clip of a shard has no latents yet
        return
    list(pack(plan_shards(survey([tmp_path / "clips"])[0]), tmp_path / "shards"))
    run(tmp_path / "shards", spec, tmp_path / "packed")
    ours, theirs = once, killing.tree(tmp_path / "packed")
    assert {name for name in ours if ours[name] != theirs.get(name)} == {"export.json"}
    assert not any(
        str(tmp_path).encode() in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


def test_the_command_takes_keys_and_says_what_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tinyclips.real(tmp_path / "clips", 3)
    (tmp_path / "accepted.txt").write_text("clip-0002\nclip-0000\n")
    arguments = [
        str(tmp_path / "clips"),
        "--to",
        "vipe",
        "--out",
        str(tmp_path / "out"),
        "--keys",
        str(tmp_path / "accepted.txt"),
    ]
    assert command.command.main([*arguments, "--dry-run"], standalone_mode=False) == 0
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    assert command.command.main([*arguments, "--json"], standalone_mode=False) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clips"], told["lost"]["clip-0002"]) == (2, "caption")
    assert told["licences"] == {"CC0-1.0": 2}
    assert sorted(path.name for path in (tmp_path / "out/rgb").iterdir()) == ["clip-0000.mp4", "clip-0002.mp4"]
    (tmp_path / "clips/clip-0002.txt").unlink()
    assert command.command.main([*arguments[:-4], "--out", str(tmp_path / "again")], standalone_mode=False) == 3
    said = capsys.readouterr().out
    assert "left out clip-0002: unreadable: " in said
    assert "2 clips: under CC0-1.0" in said
    assert "2 clips: the layout has no place for caption" in said


def test_a_killed_export_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(killing.CHECKOUT), str(Path(killing.__file__).parent)])
    environment = killing.environment() | {"PYTHONPATH": paths}
    program = [sys.executable, __file__, tmp_path]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


def die(clips: Path, out: Path, spec: str, **kill: object) -> bool:
    """Whether a child that exports, and kills itself at that point, died there."""
    child = os.fork()
    if child == 0:
        killing.arm(kill)
        try:
            run(clips, spec, out)
        except OSError as error:  # LMDB takes a file that must not grow for a full disk, and says so
            os._exit(0 if "lmdb" in str(error) else 1)
        os._exit(0)
    return killing.was_killed(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main(root: Path) -> None:
    """Kills exports at every eleventh write step and at bytes of every file; each is then finished and compared."""
    tinyclips.real(root / "clips", 2, depth=True)
    for key in ("clip-0000", "clip-0001"):
        (root / f"clips/{key}.latent.safetensors").write_bytes(safetensors(latents(2)))
    os.fsync = lambda descriptor: None  # kill -9 loses no page that was written
    deaths = 0
    for spec in ("cameractrl", "colmap:every_nth=4", "minwm:frames=5,lmdb=true"):
        whole = root / spec.partition(":")[0]
        index = run(root / "clips", spec, whole).index
        wanted = killing.tree(whole)
        points: list[dict[str, object]] = [{"byte": number} for number in (0, 400, 1500)]
        points += [{"step": number} for number in range(1, 400, 11)]
        for number, point in enumerate(points):
            out = root / f"{whole.name}-{number}"
            died = die(
                root / "clips",
                out,
                spec,
                **{name: [str(out), at] if name == "step" else at for name, at in point.items()},
            )
            if (out / index).is_file() and died and killing.tree(out) != wanted:
                raise SystemExit(f"{spec}, {point}: the index is there before the rest")
            run(root / "clips", spec, out)
            if killing.tree(out) != wanted:
                raise SystemExit(f"{spec}, {point}: the rerun gave other files")
            shutil.rmtree(out)
            deaths += died
            if "step" in point and not died:
                break
    sys.stdout.write(str(deaths))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
