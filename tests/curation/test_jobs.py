"""Jobs for external generators, with the stand-in as a real program, and with scripts that read as theirs do."""

import json
import os
import shutil
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path

import killing
import numpy as np
import pytest

from trajkit import files, motion, plugins, video
from trajkit.camera import Camera
from trajkit.clip import Clip, read_clip
from trajkit.curation import jobs
from trajkit.curation._jobs_minwm import collect_minwm, write_minwm
from trajkit.curation._jobs_record import read_job
from trajkit.curation.attach import lingbot, standin, worldplay
from trajkit.curation.jobs import Job, Made, collect, plan, run
from trajkit.errors import TrajkitError
from trajkit.poses import lingbot as lingbot_format
from trajkit.poses import minwm
from trajkit.scene import Rejected
from trajkit.trajectory import Scale, Trajectory

GOOD = standin.Options()
HOSTILE = [
    "; rm -rf ~ && $(touch pwned) `touch pwned` | cat > pwned\nquotes ' \" \\ and 雪\r\n\ttab",
    "--fault=fail",
    "",
]


def path(presses: str = "w*1,l*1", *, width: int = 64, height: int = 48, fps: float = 16.0) -> Trajectory:
    """A path of key presses, one press per latent, with poses for every frame."""
    steps = [motion.key_move(key) for key, count in minwm.key_presses(presses, "test") for _ in range(count)]
    poses = motion.integrate(np.repeat(np.array(steps) / 4, 4, axis=0))
    lens = Camera.from_fov(width, height, 50.0)
    return Trajectory.from_camera(poses, lens, fps=fps, scale=Scale(kind="unit"))


def job(key: str, caption: str = "a wall", trajectory: Trajectory | None = None, **fields: object) -> Job:
    """A job whose first picture is smooth and another one for each key."""
    trajectory = path() if trajectory is None else trajectory
    y, x = np.mgrid[: trajectory.height, : trajectory.width] / 8
    phase = sum(map(ord, key))
    layers = [np.sin(x + phase), np.sin(y + 2 * phase), np.sin(x + y + 3 * phase)]
    picture = (127 + 100 * np.stack(layers, axis=-1)).astype(np.uint8)
    given = {"seed": 7, "source": f"test:{key}", "licence": "CC0-1.0", **fields}
    return Job(key=key, picture=picture, caption=caption, trajectory=trajectory, **given)


def planned(folder: Path, *given: Job, backend: str = "standin", options: object = GOOD) -> list[Job | Rejected]:
    """What became of the jobs."""
    return list(plan(given, backend, options, folder))


def reason(results: list) -> str:
    """Why the only result is refused."""
    (one,) = results
    assert isinstance(one, Rejected), one
    assert "\n" not in one.reason
    return one.reason


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    """Jobs with hostile captions, planned and run to the end; and what the run said."""
    folder = tmp_path_factory.mktemp("made") / "jobs"
    planned(folder, *(job(f"clip-{number}", caption) for number, caption in enumerate(HOSTILE)))
    return folder, list(run(folder, "standin", GOOD, workers=2))


def test_every_job_becomes_a_clip_with_the_planned_path(made: tuple[Path, list], tmp_path: Path) -> None:
    folder, results = made
    assert [(one.key, one.kept) for one in results] == [(f"clip-{number}", False) for number in range(len(HOSTILE))]
    clips = list(collect(folder, "standin", GOOD, tmp_path / "clips"))
    assert [clip.caption for clip in clips] == HOSTILE
    for clip in clips:
        read = read_clip(tmp_path / "clips", clip.key)
        assert read.provenance.kind == "generated"
        assert (read.provenance.generator, read.provenance.seed) == ("stand-in", 7)
        assert read.provenance.source == f"test:{clip.key}"
        assert read.provenance.versions["fault"] == "none"
        assert read.licence == f"footage: CC0-1.0; stand-in: {standin.LICENCE}"
        assert (read.fps, read.frames, read.checks["planned_fps"]) == (24.0, 9, 16.0)
        assert np.array_equal(read.trajectory.camera_to_world, path().camera_to_world)
        assert read.trajectory.times_s == pytest.approx(np.arange(9) / 24)
        assert read.trajectory.scale == Scale(kind="unit")
        assert read.checks["first_frame_db"] > 30


def test_clips_have_a_folder_of_their_own(made: tuple[Path, list]) -> None:
    with pytest.raises(TrajkitError, match="holds the jobs"):
        collect(made[0], "standin", GOOD, made[0])


def test_captions_reach_the_program_as_they_are(made: tuple[Path, list]) -> None:
    folder, _ = made
    for number, caption in enumerate(HOSTILE):
        assert (folder / f"clip-{number}/log.txt").read_text() == f"seed 7, prompt {caption!r}\n"
    assert not list(folder.rglob("pwned"))


def test_the_stand_in_shows_the_wall_as_the_path_sees_it() -> None:
    """Each pixel's ray is met with the wall, which is painted by a formula."""
    track = path("w*2,l*1,i*1,d*2")
    camera = track.camera(0)

    def paint(pixels: np.ndarray) -> np.ndarray:
        wave = np.sin(pixels[..., 0] / 9) + np.cos(pixels[..., 1] / 7)
        return np.stack([127 + 50 * wave, 127 - 30 * wave, 90 + 40 * wave], axis=-1)

    y, x = np.mgrid[:48, :64] + 0.5
    pixels = np.stack([x, y], axis=-1)
    first = np.rint(paint(pixels)).astype(np.uint8)
    for pose, seen in zip(track.camera_to_world, standin.pictures(first, track), strict=True):
        rays = camera.rays(pixels) @ pose[:3, :3].T
        wall = pose[:3, 3] + rays * ((1 - pose[2, 3]) / rays[..., 2])[..., None]
        source = camera.project(wall)
        inside = np.all((source > 3) & (source < (61, 45)), axis=-1)
        assert inside.mean() > 0.4
        assert np.abs(seen - paint(source))[inside].max() < 3


@pytest.fixture
def cheap(made: tuple[Path, list], monkeypatch: pytest.MonkeyPatch):
    """Sets what runs instead of the stand-in: a few lines of Python that know `out` and `good`, a video."""

    def runs(lines: str) -> None:
        start = "import shutil, sys, time, os; good, out = sys.argv[1:];"

        def command(folder: Path, options: object) -> list[str]:
            arguments = [str(made[0] / "clip-0/gen.mp4"), str(standin.output(folder))]
            return [sys.executable, "-I", "-S", "-c", start + lines, *arguments]

        monkeypatch.setattr(standin, "command", command)

    return runs


COPY = "shutil.copy(good, out)"


def test_a_second_run_and_collect_keep_what_is_there(made: tuple[Path, list], cheap, tmp_path: Path) -> None:
    folder, _ = made
    before = killing.tree(folder)
    planned(folder, *(job(f"clip-{number}", caption) for number, caption in enumerate(HOSTILE)))
    cheap("sys.exit(9)")
    assert all(one.kept for one in run(folder, "standin", GOOD))
    assert killing.tree(folder) == before
    list(collect(folder, "standin", GOOD, tmp_path))
    first = {name: (tmp_path / name).stat().st_mtime_ns for name in killing.tree(tmp_path)}
    assert all(isinstance(one, Clip) for one in collect(folder, "standin", GOOD, tmp_path))
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in killing.tree(tmp_path)} == first


def test_another_plan_of_the_same_key_is_made_again(cheap, tmp_path: Path) -> None:
    cheap(COPY)
    planned(tmp_path / "jobs", job("a"))
    list(run(tmp_path / "jobs", "standin", GOOD))
    planned(tmp_path / "jobs", job("a", trajectory=path("d*2")))
    assert "was not made" in reason(list(collect(tmp_path / "jobs", "standin", GOOD, tmp_path / "clips")))
    assert [one.kept for one in run(tmp_path / "jobs", "standin", GOOD)] == [False]


def wrong_video(folder: Path, size: tuple[int, int], fps: float) -> str:
    """Lines that make a video of nine grey frames the output."""
    video.encode([np.full((size[1], size[0], 3), 127, np.uint8)] * 9, folder / "wrong.mp4", fps)
    return f"shutil.copy({str(folder / 'wrong.mp4')!r}, out)"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("print('CUDA out of memory'); sys.exit(3)", "ended with code 3 (CUDA out of memory)"),
        ("print('\\x1b[2J' + 'x' * 10**6); sys.exit(3)", "ended with code 3 (xxx"),
        ("os.kill(os.getpid(), 11)", "ended with code 139"),
        ("open(out, 'wb').write(bytes(range(256)) * 64)", "damaged, or no video"),
        ("open(out, 'wb').write(open(good, 'rb').read()[:-300])", "truncated"),
        ("pass", "was not written"),
        ("os.symlink(good, out)", "was not written"),
        ("time.sleep(60)", "was ended after 0.5 s"),
        ("small", "32x24, not 64x48"),
    ],
)
def test_a_fault_costs_its_job_alone_and_is_mended_by_the_next_run(
    lines: str, said: str, cheap, tmp_path: Path
) -> None:
    folder = tmp_path / "jobs"
    planned(folder, job("a"))
    cheap(wrong_video(tmp_path, (32, 24), 24) if lines == "small" else lines)
    assert said in reason(list(run(folder, "standin", GOOD, timeout_s=0.5 if "sleep" in lines else 60)))
    assert sorted(one.name for one in (folder / "a").iterdir()) == [
        "camera.npz", "first.png", "job.json", "log.txt", "prompt.txt"
    ]  # fmt: skip
    assert "was not made" in reason(list(collect(folder, "standin", GOOD, tmp_path / "clips")))
    cheap(COPY)
    assert [type(one) for one in run(folder, "standin", GOOD)] == [Made]


def test_the_stand_in_misbehaves_on_demand(tmp_path: Path) -> None:
    planned(tmp_path, job("a"))
    said = reason(list(run(tmp_path, "standin", standin.Options(fault="short"))))
    assert "8 frames, which is not 4n+1; 9 were planned" in said


def test_limit_counts_what_is_begun(cheap, tmp_path: Path) -> None:
    cheap(COPY)
    planned(tmp_path, *(job(key) for key in "abc"))
    assert list(run(tmp_path, "standin", GOOD, limit=0)) == []
    assert [(one.key, one.kept) for one in run(tmp_path, "standin", GOOD, limit=1)] == [("a", False)]
    assert [(one.key, one.kept) for one in run(tmp_path, "standin", GOOD, limit=1)] == [("a", True), ("b", False)]


def test_a_video_that_was_changed_is_noticed_and_made_again(cheap, tmp_path: Path) -> None:
    cheap(COPY)
    planned(tmp_path / "jobs", job("a"))
    list(run(tmp_path / "jobs", "standin", GOOD))
    whole = files.sha256(tmp_path / "jobs/a/gen.mp4")
    with open(tmp_path / "jobs/a/gen.mp4", "ab") as stream:
        stream.write(b"x")
    said = reason(list(collect(tmp_path / "jobs", "standin", GOOD, tmp_path / "clips")))
    assert "is not the video that was made" in said
    assert [one.kept for one in run(tmp_path / "jobs", "standin", GOOD)] == [False]
    assert files.sha256(tmp_path / "jobs/a/gen.mp4") == whole


RUNNER = '''
import sys
from pathlib import Path
from trajkit.curation import jobs
from trajkit.curation.attach import standin
child = """
import subprocess, sys
open(sys.argv[1] + "/making/started", "w").close()
subprocess.run([sys.executable, "-c", "import time; time.sleep(99)", sys.argv[1]], start_new_session=True)
"""
standin.command = lambda folder, options: [sys.executable, "-c", child, str(folder)]
list(jobs.run(Path(sys.argv[1]), "standin", standin.Options()))
'''


def test_kill_9_leaves_no_program_running_and_a_rerun_gives_the_same_bytes(
    made: tuple[Path, list], tmp_path: Path
) -> None:
    folder = tmp_path / "jobs"
    shutil.copytree(made[0], folder)
    for name in ("gen.mp4", "made.json", "log.txt"):
        (folder / "clip-1" / name).unlink()
    assert killing.run_and_kill([sys.executable, "-c", RUNNER, str(folder)], folder / "clip-1/making/started")
    end = time.monotonic() + 20
    while _running(str(folder / "clip-1")):
        assert time.monotonic() < end, "the generator outlived its driver"
        time.sleep(0.05)
    assert (folder / "clip-1/making").is_dir()
    assert [one.kept for one in run(folder, "standin", GOOD)] == [True, False, True]
    assert killing.tree(folder) == killing.tree(made[0])


def _running(argument: str) -> bool:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in place.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


def test_closing_the_run_ends_the_program(cheap, tmp_path: Path) -> None:
    planned(tmp_path, job("a"), job("b"))
    cheap("shutil.copy(good, out) if '/a/' in out else time.sleep(60)")
    results = run(tmp_path, "standin", GOOD)
    assert next(results).key == "a"
    results.close()
    assert not _running(str(tmp_path / "b/making/gen.mp4"))


def test_each_worker_sees_its_gpus(cheap, tmp_path: Path) -> None:
    planned(tmp_path, job("a"), job("b"), job("c"))
    cheap("print(os.environ['CUDA_VISIBLE_DEVICES']); sys.exit(1)")
    said = [one.reason for one in run(tmp_path, "standin", GOOD, gpus=("0,1", "2,3"))]
    assert {one.split("(")[1].split(")")[0] for one in said} <= {"0,1", "2,3"}
    assert len(said) == 3


def test_a_missing_program_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(tmp_path, job("a"))
    monkeypatch.setattr(standin, "command", lambda folder, options: ["no-such-program"])
    with pytest.raises(TrajkitError, match="no-such-program: no such program; install stand-in"):
        run(tmp_path, "standin", GOOD)


BAD_JOBS = [
    ({"trajectory": path()[:8]}, "4n\\+1"),
    ({"trajectory": replace(path(), frame_index=np.arange(9) * 4)}, "not those of frames 0, 1, 2"),
    ({"trajectory": path()[:1]}, "takes no time"),
    ({"trajectory": replace(path(), distortion=(0.1, 0, 0, 0))}, "distortion"),
    ({"caption": "a\0b"}, "NUL"),
    ({"caption": "x" * 70_000}, "64 KiB"),
    ({"caption": "\ud800"}, "not valid Unicode"),
    ({"seed": -1}, "draw their own below 0"),
]


@pytest.mark.parametrize(("fields", "said"), BAD_JOBS)
def test_what_cannot_be_a_job_is_refused_with_its_reason(fields: dict, said: str, tmp_path: Path) -> None:
    good, bad = job("good"), job("bad", **fields)
    results = planned(tmp_path, bad, good)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(results[0].reason)
    assert isinstance(results[1], Job)
    assert list(json.loads((tmp_path / "jobs.json").read_text())["jobs"]) == ["good"]


def test_pictures_of_another_size_and_second_keys_are_refused(tmp_path: Path) -> None:
    wrong = replace(job("b"), picture=job("b").picture[1:])
    results = planned(tmp_path, job("a"), job("a"), wrong)
    assert [type(one) for one in results] == [Job, Rejected, Rejected]
    assert "a second job of this key" in results[1].reason
    assert "47, 64, 3" in results[2].reason


def test_a_plan_that_was_not_finished_cannot_be_run(tmp_path: Path) -> None:
    planned(tmp_path, job("a"))
    begun = plan([job("a"), job("b")], "standin", GOOD, tmp_path)
    next(begun)
    begun.close()
    with pytest.raises(TrajkitError, match="nothing is planned here, or not to its end; run --plan again"):
        run(tmp_path, "standin", GOOD)


def _index(folder: Path, **fields: object) -> None:
    index = json.loads((folder / "jobs.json").read_text())
    (folder / "jobs.json").write_text(json.dumps({**index, **fields}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "a/prompt.txt").write_text("x"), "prompt.txt: is not what was planned"),
        (lambda folder: (folder / "a/camera.npz").unlink(), "camera.npz: no such file"),
        (lambda folder: (folder / "a/job.json").write_text("{}"), "job.json: is not what was planned"),
        (lambda folder: shutil.rmtree(folder / "a"), "job.json: no such file"),
        (
            lambda folder: (folder / "a").rename(folder.parent / "b") and (folder / "a").symlink_to("../b"),
            "lies outside",
        ),
    ],
)
def test_a_damaged_job_costs_itself_alone(damage, said: str, cheap, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    planned(folder, job("a"), job("z"))
    damage(folder)
    cheap(COPY)
    first, second = run(folder, "standin", GOOD)
    assert (type(second), first.key) == (Made, "a")
    assert said in first.reason
    assert said in next(collect(folder, "standin", GOOD, tmp_path / "clips")).reason


def test_the_index_cannot_lead_outside_or_name_a_program(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    planned(folder, job("a"))
    with pytest.raises(TrajkitError, match="planned for standin, not worldplay"):
        jobs.read_index(folder, "worldplay")
    for bad in ({"command": ["sh"]}, {"jobs": {"../x": "0" * 64}}, {"jobs": {"a": 1}}, {"jobs": []}):
        planned(folder, job("a"))
        _index(folder, **bad)
        with pytest.raises(TrajkitError, match=r"jobs\.json"):
            run(folder, "standin", GOOD)


def test_links_left_in_a_job_are_not_followed(cheap, tmp_path: Path) -> None:
    folder, secret = tmp_path / "jobs", tmp_path / "secret"
    cheap(COPY)
    planned(folder, job("a"))
    secret.mkdir()
    (secret / "kept").write_text("kept")
    (folder / "a/making").symlink_to(secret)
    (folder / "a/log.txt").symlink_to(secret / "kept")
    assert [type(one) for one in run(folder, "standin", GOOD)] == [Made]
    assert (secret / "kept").read_text() == "kept"
    assert [one.name for one in secret.iterdir()] == ["kept"]


# --- HY-WorldPlay and LingBot-World ---------------------------------------------------------------------------------

ACCEPTED = worldplay.Options(accept_licence=True)
THEIRS = """
import argparse, json, shutil, sys
parser = argparse.ArgumentParser()
for name in {names!r}:
    parser.add_argument("--" + name, required=True)
given = parser.parse_args()
json.dump(vars(given), open({told!r}, "w"))
"""
WORLDPLAY_NAMES = [
    "prompt", "image_path", "pose", "output_path", "resolution", "aspect_ratio", "width", "height", "video_length",
    "seed", "rewrite", "sr", "model_path", "action_ckpt", "model_type", "few_step", "num_inference_steps",
]  # fmt: skip
LINGBOT_NAMES = ["task", "size", "ckpt_dir", "image", "action_path", "frame_num", "base_seed", "save_file", "prompt"]


def launcher(folder: Path) -> str:
    """A torchrun that starts its script in one process."""
    program = folder / "torchrun"
    program.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def checkout(folder: Path, script: str, names: list[str], width: int, height: int, out: str) -> Path:
    """A repository whose script takes their arguments, tells them to folder/told.json, and copies a grey video."""
    (folder / script).parent.mkdir(parents=True)
    grey = [np.full((height, width, 3), 127, np.uint8)] * 13
    video.encode(grey, folder / "grey.mp4", 24.0)
    body = THEIRS.format(names=names, told=str(folder / "told.json"))
    (folder / script).write_text(f"{body}shutil.copy({str(folder / 'grey.mp4')!r}, {out})\n")
    return folder


def theirs(file: Path, latents: int) -> tuple[np.ndarray, np.ndarray]:
    """(w2c, normalised K) as HY-WorldPlay's reader takes them: keys in the order of the file, length exact."""
    poses = json.loads(file.read_text())
    keys = list(poses)
    assert len(keys) == latents
    w2c = np.linalg.inv([poses[key]["extrinsic"] for key in keys])
    lens = np.array([poses[key]["K"] for key in keys])
    lens[:, 0, 0] /= lens[:, 0, 2] * 2
    lens[:, 1, 1] /= lens[:, 1, 2] * 2
    return w2c, lens


def test_worldplay_is_refused_until_its_terms_are_accepted(tmp_path: Path) -> None:
    wanted = (
        r"may not be used to improve any other AI model \(5\(b\)\); not valid in the European Union, the United King"
    )
    for call in (
        lambda: plan([job("a")], "worldplay", worldplay.Options(), tmp_path),
        lambda: run(tmp_path, "worldplay", worldplay.Options()),
        lambda: collect(tmp_path, "worldplay", worldplay.Options(), tmp_path / "clips"),
        lambda: collect_minwm(tmp_path, "worldplay", worldplay.Options(), tmp_path / "clips"),
    ):
        with pytest.raises(TrajkitError, match=wanted) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_worldplay_from_plan_to_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = checkout(
        tmp_path / "HY", "hyvideo/generate.py", WORLDPLAY_NAMES, 832, 480, "given.output_path + '/gen.mp4'"
    )
    (tmp_path / "weights").write_bytes(b"w" * 3_000_000)
    options = replace(
        ACCEPTED,
        repository=str(repository),
        model_path=str(tmp_path),
        action_ckpt=str(tmp_path / "weights"),
        launcher=launcher(tmp_path),
    )
    track = path("w*1,l*1,d*1", width=832, height=480)
    grey = replace(job("a", "--seed=3", track), picture=np.full((480, 832, 3), 127, np.uint8))
    turned = replace(
        grey, trajectory=replace(track, camera_to_world=path("i*3").camera_to_world[-1] @ track.camera_to_world)
    )
    assert planned(tmp_path / "jobs", turned, backend="worldplay", options=options)[0].key == "a"
    w2c, lens = theirs(tmp_path / "jobs/a/pose.json", 4)
    assert np.allclose(w2c[0], np.eye(4), atol=1e-9)
    assert np.allclose(w2c, track.world_to_camera[::4], atol=1e-9)
    assert np.allclose(lens[:, 0, 0], track.intrinsics[0, 0] / 832)
    assert np.allclose(lens[:, 1, 1], track.intrinsics[0, 1] / 480)
    monkeypatch.chdir(tmp_path)
    (result,) = run(Path("jobs"), "worldplay", replace(options, launcher="./torchrun", repository="HY"))
    assert isinstance(result, Made), result.reason
    told = json.loads((repository / "told.json").read_text())
    assert told["prompt"] == "--seed=3"
    assert (told["video_length"], told["seed"], told["width"], told["model_type"]) == ("13", "7", "832", "ar")
    (clip,) = collect(tmp_path / "jobs", "worldplay", options, tmp_path / "clips")
    assert isinstance(clip, Clip), clip.reason
    assert "may not be used to improve any other AI model" in read_clip(tmp_path / "clips", "a").licence
    assert clip.provenance.versions["checkpoint"].endswith("/weights, 3 MB")
    assert str(tmp_path) not in (tmp_path / "clips/a.json").read_text()
    assert np.allclose(clip.trajectory.camera_to_world, track.camera_to_world, atol=1e-9)


@pytest.mark.parametrize(
    ("track", "options", "said"),
    [
        (path("w*4", width=832, height=480), ACCEPTED, "17 frames are 5 latents, not a multiple of 4"),
        (path("w*3", width=832, height=480), replace(ACCEPTED, model_type="bi"), "not a multiple of 16"),
        (path("w*3"), ACCEPTED, "64x48; plan at --size 832x480"),
        (replace(path("w*3", width=832, height=480), scale=Scale(kind="metric")), ACCEPTED, "scale is metric"),
        (path("w*3", width=832, height=480).scaled(3.0), ACCEPTED, "3 times the model's own"),
        (
            path("w*3", width=832, height=480).with_camera(
                Camera(width=832, height=480, fx=500, fy=500, cx=400, cy=240)
            ),
            ACCEPTED,
            "principal point is 16 pixels off the middle",
        ),
    ],
)
def test_worldplay_refuses_what_the_model_cannot_take(track: Trajectory, options, said: str, tmp_path: Path) -> None:
    given = replace(job("a", trajectory=track))
    assert said in reason(planned(tmp_path, given, backend="worldplay", options=options))


def test_lingbot_from_plan_to_clip(tmp_path: Path) -> None:
    repository = checkout(tmp_path / "lb", "generate.py", LINGBOT_NAMES, 832, 464, "given.save_file")
    (tmp_path / "base-cam").mkdir()
    options = lingbot.Options(
        repository=str(repository), ckpt_dir=str(tmp_path / "base-cam"), launcher=launcher(tmp_path)
    )
    track = replace(path("w*2,l*1", width=832, height=480), scale=Scale(kind="metric"))
    grey = replace(job("a", "--base_seed=3", track), picture=np.full((480, 832, 3), 127, np.uint8))
    assert isinstance(planned(tmp_path / "jobs", grey, backend="lingbot", options=options)[0], Job)
    arrays = lingbot_format.read(tmp_path / "jobs/a/action")
    assert np.allclose(arrays.camera_to_world[4, :3, 3], (0, 0, 1))  # the largest move between latents is 1
    assert np.allclose(arrays.intrinsics, track.intrinsics)
    (result,) = run(tmp_path / "jobs", "lingbot", options)
    assert isinstance(result, Made), result.reason
    told = json.loads((repository / "told.json").read_text())
    assert (told["prompt"], told["base_seed"], told["frame_num"]) == ("--base_seed=3", "7", "13")
    (clip,) = collect(tmp_path / "jobs", "lingbot", options, tmp_path / "clips")
    assert isinstance(clip, Clip), clip.reason
    facts = video.probe(clip.video)
    assert (facts.width, facts.height, clip.trajectory.scale) == (832, 480, Scale(kind="unit"))
    assert "Apache-2.0" in clip.licence
    (repository / "wan").mkdir()
    (repository / "wan/image2video.py").write_text("def generate(self, vis_ui = True): pass")
    with pytest.raises(TrajkitError, match="paints keys into every video"):
        run(tmp_path / "jobs", "lingbot", options)


def test_lingbots_size_is_that_of_its_own_rule() -> None:
    assert lingbot.made_size(832, 480, lingbot.Options()) == (832, 464)
    assert lingbot.made_size(1280, 720, lingbot.Options(size="720*1280")) == (1280, 720)


def test_weights_and_code_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match=r"holds no hyvideo/generate\.py; give repository=FOLDER"):
        worldplay.check(replace(ACCEPTED, repository=str(tmp_path)))
    (tmp_path / "generate.py").write_text("")
    with pytest.raises(TrajkitError, match="give model_path=PATH"):
        worldplay.check(replace(ACCEPTED, repository=str(tmp_path), model_path=str(tmp_path / "none")))
    with pytest.raises(TrajkitError, match="no 'cam'"):
        lingbot.check(lingbot.Options(repository=str(tmp_path), ckpt_dir="/"))


# --- minWM's layout ---------------------------------------------------------------------------------------------------


def filled(folder: Path) -> list[Job]:
    """The layout with three jobs and the stand-in's videos in it."""
    given = [
        job(key, f"caption {key}", path(presses)) for key, presses in (("b", "w*2"), ("a", "l*1,d*1"), ("c", "i*2"))
    ]
    assert [one.key for one in write_minwm(given, folder)] == ["b", "a", "c"]
    for place, (one, slug) in enumerate(zip(given, ("w2", "right1d1", "up2"), strict=True)):
        frames = standin.pictures(one.picture, one.trajectory)
        video.encode(frames, folder / f"videos/{place:06d}_{slug}/gen.mp4", 24.0)
    return given


def test_minwms_layout_there_and_back(tmp_path: Path) -> None:
    given = filled(tmp_path / "minwm")
    entries = json.loads((tmp_path / "minwm/preencode_input.json").read_text())
    assert [one["pose_str"] for one in entries] == ["w-2", "right-1, d-1", "up-2"]
    assert entries[0]["image_path"] == "jobs/b/first.png"
    for entry, one in zip(entries, given, strict=True):
        poses = minwm.poses_from_string(entry["pose_str"])
        assert np.allclose(poses, one.trajectory.camera_to_world[::4], atol=1e-6)
        w2c, _ = theirs(tmp_path / "minwm" / entry["pose_json_path"], 3)
        assert np.allclose(np.linalg.inv(w2c), poses, atol=1e-6)
    clips = list(collect_minwm(tmp_path / "minwm", "standin", GOOD, tmp_path / "clips"))
    assert [(clip.key, clip.caption) for clip in clips] == [(key, f"caption {key}") for key in "bac"]
    for clip, one in zip(clips, given, strict=True):
        assert np.allclose(clip.trajectory.camera_to_world, one.trajectory.camera_to_world)


def test_a_list_that_was_renumbered_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    entries = json.loads((tmp_path / "preencode_input.json").read_text())
    for wrong in (entries[1:], [entries[1], entries[0], entries[2]], entries[:2], [*entries, entries[0]], [1, 2, 3]):
        (tmp_path / "preencode_input.json").write_text(json.dumps(wrong))
        with pytest.raises(TrajkitError, match="restore the list"):
            collect_minwm(tmp_path, "standin", GOOD, tmp_path / "clips")


def test_videos_of_other_rows_and_none_are_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    os.replace(tmp_path / "videos/000001_right1d1/gen.mp4", tmp_path / "videos/000000_w2/gen.mp4")
    first, second, third = collect_minwm(tmp_path, "standin", GOOD, tmp_path / "clips")
    assert "starts with another picture than it was given" in first.reason
    assert "no such file" in second.reason
    assert isinstance(third, Clip)


def test_minwm_takes_key_presses_alone(tmp_path: Path) -> None:
    results = list(write_minwm([job("a", trajectory=path("w*2").scaled(1.5))], tmp_path))
    assert "is not one step of one key" in reason(results)


def test_adapters_keep_the_contract() -> None:
    for name in ("standin", "worldplay", "lingbot"):
        module = plugins.load("attach", name)
        assert module.KIND == "generated"
        assert module.LICENCE
        assert "\n" not in module.LICENCE
        assert module.GENERATOR
        assert set(getattr(module, "UNRECORDED", ())) <= set(module.Options.__dataclass_fields__)


def test_a_job_reads_back_as_it_was_planned(tmp_path: Path) -> None:
    planned(tmp_path, job("a", licence="", path="keys:w*1,l*1", lens_known=True))
    digest = json.loads((tmp_path / "jobs.json").read_text())["jobs"]["a"]
    back = read_job(tmp_path, "a", digest)
    assert (back.record.licence, back.record.path, back.record.lens_known) == ("unknown", "keys:w*1,l*1", True)
    assert np.array_equal(back.trajectory.camera_to_world, path().camera_to_world)
