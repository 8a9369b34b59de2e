"""The probe names what a pose file holds where the motion shows it, and says "cannot tell" where it does not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tracked
from click.testing import CliRunner

from trajkit import plugins, se3, video
from trajkit.camera import Camera
from trajkit.curation import _explain, _hypotheses, _rawposes
from trajkit.curation._hypotheses import OPENCV, OPENGL, Convention
from trajkit.curation._rawposes import WXYZ, XYZW, RawPoses
from trajkit.curation.probe import Finding, probe
from trajkit.curation.residuals import pair_errors, pairs
from trajkit.errors import TrajkitError
from trajkit.options import parse
from trajkit.trajectory import Trajectory

WALK = tracked.walk(33)
SEEN = tracked.tracks(WALK, noise_px=0.2)
ROS = "forward left up"
WORLD = se3.exp(np.array([0.3, -1.0, 2.0, 0.5, -0.4, 0.8]))


def written(
    trajectory: Trajectory,
    convention: Convention,
    *,
    offset: int = 0,
    numbers: np.ndarray | None = None,
    world: np.ndarray = WORLD,
) -> RawPoses:
    """The numbers of a file that holds the trajectory in this convention, poses `offset` frames early."""
    turn = np.eye(4)
    turn[:3, :3] = _hypotheses.opencv_from(convention.axes)
    motions = world @ trajectory.camera_to_world[np.clip(np.arange(len(trajectory)) + offset, 0, len(trajectory) - 1)]
    motions = motions @ turn
    if convention.direction == "world_to_camera":
        motions = se3.inverse(motions)
    if convention.transposed:
        motions = se3.pose(np.swapaxes(motions[:, :3, :3], 1, 2), motions[:, :3, 3])
    readings = {"": motions}
    if convention.reading:
        xyzw = se3.to_quaternion_xyzw(motions[:, :3, :3])
        other, roll = (WXYZ, -1) if convention.reading == XYZW else (XYZW, 1)
        turned = se3.pose(se3.from_quaternion_xyzw(np.roll(xyzw, roll, axis=1)), motions[:, :3, 3])
        readings = {convention.reading: motions, other: turned}
    return RawPoses(source="test", format="test", readings=readings, numbers=numbers)


def asked(trajectory: Trajectory, convention: Convention, tracks=SEEN, **how: object) -> Finding:
    """What the probe says of a file in this convention; its lens is in pixels unless given otherwise."""
    how.setdefault("numbers", trajectory.intrinsics)
    return probe(written(trajectory, convention, **how), tracks, tracked.FPS)


@pytest.mark.parametrize(
    "convention",
    [
        Convention("", "camera_to_world", False, OPENCV),
        Convention("", "world_to_camera", False, OPENGL),
        Convention("", "camera_to_world", False, ROS),
        Convention("", "world_to_camera", True, OPENCV),
        Convention("", "camera_to_world", False, "right up forward"),
        Convention(WXYZ, "world_to_camera", False, OPENCV),
    ],
)
def test_conventions_are_named(convention):
    finding = asked(WALK, convention)
    assert finding.sure, finding.why
    assert finding.best.convention == convention
    assert finding.convention.ratio > 3
    assert finding.timing.chosen.offset == 0
    assert finding.rows[0].ratio == 1
    assert finding.rows[0].group == 0
    assert all(row.ratio >= 0.9 for row in finding.rows)


@pytest.mark.parametrize("offset", [-3, 2])
def test_late_and_early_poses_are_named(offset):
    finding = asked(WALK, Convention("", "world_to_camera", False, OPENCV), offset=offset)
    assert finding.sure
    assert finding.best.timing.offset == offset
    assert finding.timing.sure


@pytest.mark.parametrize("form", ["fractions", "half", "order"])
def test_the_lens_is_understood(form):
    pixels = replace(WALK, intrinsics=WALK.intrinsics * [1, 1, 1.02, 1.03]).intrinsics
    numbers = {
        "fractions": pixels / (tracked.SIZE * 2),
        "half": pixels / 2,
        "order": pixels[:, [0, 2, 1, 3]],
    }[form]
    camera = replace(WALK, intrinsics=pixels)
    finding = asked(camera, Convention("", "camera_to_world", False, OPENGL), tracked.tracks(camera), numbers=numbers)
    assert finding.sure
    assert not finding.lens.chosen.tried
    assert finding.focal_px == pytest.approx(pixels[0, 0], rel=1e-6)


def test_a_field_of_view_is_found_where_none_is_stated():
    convention = Convention("", "camera_to_world", False, OPENCV)
    finding = asked(WALK, convention, numbers=None)
    assert finding.best.convention == convention
    assert finding.lens.chosen.tried
    assert finding.focal_px == pytest.approx(WALK.intrinsics[0, 0], rel=0.03)
    given = probe(written(WALK, convention), SEEN, tracked.FPS, fov_deg=50.0)
    assert given.lens.chosen.text == "--fov 50"
    with pytest.raises(TrajkitError, match="field of view"):
        probe(written(WALK, convention), SEEN, tracked.FPS, fov_deg=float("nan"))


def test_a_wrong_focal_length_is_noticed():
    wrong = WALK.intrinsics * [1.3, 1.3, 1, 1]
    finding = asked(WALK, Convention("", "camera_to_world", False, OPENCV), numbers=wrong)
    assert finding.focal_px * finding.focal_factor == pytest.approx(WALK.intrinsics[0, 0], rel=0.05)


def test_sparse_poses_find_their_frames():
    path = tracked.walk(77)
    convention = Convention("", "world_to_camera", False, OPENCV)
    finding = asked(path[::4], convention, tracked.tracks(path, noise_px=0.2))
    assert finding.sure, finding.why
    assert finding.best.convention == convention
    assert finding.best.timing.rate == "a pose every 4 frames"


def straight(frames: int) -> Trajectory:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 2, 3] = 0.06 * np.arange(frames)
    return replace(tracked.walk(frames), camera_to_world=poses)


def panning(frames: int) -> Trajectory:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = se3.axis_rotation("y", 0.8 * np.arange(frames))
    return replace(tracked.walk(frames), camera_to_world=poses)


@pytest.mark.parametrize(
    ("camera", "why"),
    [
        (tracked.still(41), "the camera is still"),
        (panning(41), "turns about one axis alone"),
        (straight(41), "hardly turns"),
    ],
    ids=["still", "pan", "straight"],
)
def test_what_the_motion_does_not_show_is_not_claimed(camera, why):
    """From the identity, both read the same camera to world in OpenCV's axes as world to camera in OpenGL's."""
    convention = Convention(XYZW, "camera_to_world", False, OPENCV)
    finding = asked(camera, convention, tracked.tracks(camera), world=np.eye(4))
    assert not finding.sure
    assert why in finding.why


def test_poses_of_another_video_explain_nothing():
    other = tracked.walk(len(WALK), turn_deg=-1.5, step=0.1)
    finding = asked(other, Convention("", "camera_to_world", False, OPENCV))
    assert "no reading explains the pixels" in finding.why


@pytest.mark.parametrize("poses", [1, 2, 3])
def test_few_poses(poses):
    finding = asked(WALK[:poses], Convention("", "camera_to_world", False, OPENCV))
    assert not finding.sure
    assert "too few poses" in finding.why


def test_nothing_to_follow():
    finding = asked(WALK, Convention("", "camera_to_world", False, OPENCV), tracked.nothing(len(WALK)))
    assert finding.why == "too little can be followed"


def test_things_that_move_decide_nothing():
    moving = tracked.tracks(WALK, noise_px=0.2, movers=0.35)
    convention = Convention("", "world_to_camera", False, OPENGL)
    finding = asked(WALK, convention, moving)
    assert finding.sure
    assert finding.best.convention == convention


def test_medians_are_those_of_the_half_line_residual():
    """Slow twin: `residuals.pair_errors` of the trajectory, pair by pair."""
    batch = _explain.sample(SEEN, np.arange(4, 29))
    lens = WALK.intrinsics
    got = _explain.medians(
        _explain.relative(WALK.camera_to_world, batch, 1e-9), lens[batch.first], lens[batch.second], batch
    )[0]
    for number in (0, 7, len(got) - 1):
        first, second = int(batch.first[number]), int(batch.second[number])
        same = pairs(WALK, SEEN, second - first)
        rows = [
            int(np.flatnonzero((same.first == first) & (np.abs(same.xy_first - xy).max(1) < 1e-9))[0])
            for xy in batch.xy_first[number]
        ]
        errors = pair_errors(WALK, same)
        assert got[number] == pytest.approx(np.median(errors[rows]), rel=1e-6)


def written_wrong(format: str, trajectory: Trajectory, folder: Path, text: str = "") -> Path:
    path = folder / {"tum": "a.txt", "kitti": "a.txt", "re10k": "a.txt"}.get(format, "poses")
    module = plugins.load("poses", format)
    module.write(trajectory, path, *((parse(module.Options, text, where=format),) if text else ()))
    return path


@pytest.mark.parametrize(
    ("format", "change", "said"),
    [
        ("lingbot", "", "camera to world, OpenCV axes"),
        ("lingbot", "opengl", "camera to world, OpenGL axes"),
        ("kitti", "inverted", "world to camera, OpenCV axes"),
        ("re10k", "inverted", "camera to world, OpenCV axes"),
        ("vipe", "opengl", "camera to world, OpenGL axes"),
        ("tum", "rolled", f"camera to world, OpenCV axes, {WXYZ}"),
    ],
)
def test_files_in_another_convention_than_they_declare(tmp_path, format, change, said):
    poses = WALK.camera_to_world
    if change == "opengl":
        poses = poses @ np.diag([1, -1, -1, 1])
    elif change == "inverted":
        poses = se3.inverse(poses)
    elif change == "rolled":
        xyzw = se3.to_quaternion_xyzw(poses[:, :3, :3])
        poses = se3.pose(se3.from_quaternion_xyzw(np.roll(xyzw, 1, axis=1)), poses[:, :3, 3])
    path = written_wrong(format, replace(WALK, camera_to_world=poses), tmp_path)
    raw = _rawposes.read(path, format)
    finding = probe(raw, SEEN, tracked.FPS)
    assert finding.sure, finding.why
    assert finding.best.convention.text in (said, f"{said}, {XYZW}")
    assert (finding.best.convention == raw.declared) == (change == "")


def pictures_of_7_scenes(shared: Path, count: int, folder: Path) -> tuple[Path, np.ndarray]:
    """A video of the sequence, and its poses camera to world in OpenCV's axes."""
    from PIL import Image

    scene = shared / "data/sevenscenes"
    pictures = (np.asarray(Image.open(path)) for path in sorted(scene.glob("*.color.jpg"))[:count])
    video.encode(pictures, folder / "scene.mp4", 16)
    return folder / "scene.mp4", np.stack([np.loadtxt(path) for path in sorted(scene.glob("*.pose.txt"))[:count]])


def run(*arguments: object):
    from trajkit.curation.commands.probe import command

    return CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=False)


def test_real_video(shared, tmp_path):
    """7-Scenes: camera to world in OpenCV's axes; and the same turned into OpenGL's, world to camera."""
    pytest.importorskip("cv2")
    film, poses = pictures_of_7_scenes(shared, 61, tmp_path)
    for name, array, text in (
        ("cv.npy", poses, "camera to world, OpenCV axes"),
        ("gl.npy", np.linalg.inv(poses @ np.diag([1, -1, -1, 1])), "world to camera, OpenGL axes"),
    ):
        np.save(tmp_path / name, array)
        outcome = run(film, tmp_path / name, "--json")
        found = json.loads(outcome.output)
        assert found["convention"]["text"] == text
        assert found["sure"]
        assert outcome.return_value == 0
        assert found["timing"]["offset"] == 0
        assert 480 < found["focal_px"] < 580  # of the RGB camera, about 525


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """One small clip of the toy world."""
    pytest.importorskip("cv2")
    from trajkit.cli import group

    folder = tmp_path_factory.mktemp("probe") / "clips"
    flags = ["--count", "1", "--frames", "33", "--size", "416x240", "--out", str(folder)]
    outcome = CliRunner().invoke(group, ["render", "toy:", "--path", "handheld", *flags])
    assert outcome.exit_code == 0, outcome.output
    return folder


def test_rendered_clip(clips, tmp_path):
    from trajkit.clip import clip_keys, read_clip

    (key,) = clip_keys(clips)
    outcome = run(clips)
    assert outcome.return_value == 0, outcome.output
    assert "camera to world, OpenCV axes" in outcome.output
    assert "to do: nothing" in outcome.output
    camera = read_clip(clips, key).trajectory
    rows = np.hstack([camera.world_to_camera[:, :3, 3], se3.to_quaternion_xyzw(camera.world_to_camera[:, :3, :3])])
    np.save(tmp_path / "poses.npy", rows)
    np.save(tmp_path / "intrinsics.npy", camera.intrinsics / ((camera.width, camera.height) * 2))
    outcome = run(clips / f"{key}.mp4", tmp_path / "poses.npy", "--format", "array")
    assert outcome.return_value == 0, outcome.output
    assert "world to camera, OpenCV axes, quaternions xyzw" in outcome.output
    assert "--from minwm" in outcome.output
    assert "intrinsics divided by width and height" in outcome.output


def test_a_still_video_has_exit_code_3(tmp_path):
    pytest.importorskip("cv2")
    picture = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    video.encode([picture] * 24, tmp_path / "still.mp4", 16)
    np.save(tmp_path / "poses.npy", WALK.camera_to_world[:24])
    outcome = run(tmp_path / "still.mp4", tmp_path / "poses.npy", "--fov", 50)
    assert outcome.return_value == 3
    assert "cannot tell: the camera is still" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["absent.mp4", "poses.npy"], "absent.mp4"),
        (["poses.npy", "poses.npy"], "poses.npy"),
        (["poses.npy"], "a video without poses"),
        (["absent"], "no such folder"),
        ([".", "--fov", "50"], "are for VIDEO POSES"),
        ([".", "--key", "none"], "no such clip"),
        (["poses.npy", "poses.npy", "--key", "one"], "is for a clip folder"),
        (["poses.npy", "absent.npy"], "no such file"),
        (["poses.npy", "poses.npy", "--format", "nothing"], "no such plugin"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    np.save("poses.npy", WALK.camera_to_world)
    outcome = run(*arguments)
    assert isinstance(outcome.exception, TrajkitError), outcome.output
    assert problem in str(outcome.exception)


def test_a_lens_of_other_sizes_keeps_its_angle():
    camera = Camera.from_fov(1280, 720, 50.0)
    raw = _rawposes.of_trajectory(WALK.with_camera(camera), "test", "lingbot")
    stated = next(iter(raw.lenses((640, 360), None).values()))
    np.testing.assert_allclose(stated, np.tile([camera.fx / 2, camera.fy / 2, 320, 180], (len(WALK), 1)))
