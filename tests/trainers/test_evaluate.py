"""`trajkit evaluate`: the formulas, achieved cameras of toy rooms, failures counted, one-line errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip, write_clip
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.renderers import toy as toy_renderer
from trajkit.scene import Frame
from trajkit.scenes import toy
from trajkit.trainers import evaluate
from trajkit.trainers.achieved import Achieved, estimate
from trajkit.trainers.adjustment import Sightings, _normal, _tangents, adjusted, cost, far_points
from trajkit.trainers.commands.evaluate import command
from trajkit.trajectory import Trajectory

LENS = Camera.from_fov(64, 64, 55.0)


def poses(turns_deg: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return se3.pose(se3.axis_rotation("y", turns_deg), steps)


def straight(frames: int = 9, step: float = 0.1, turn_deg: float = 0.0, axis: int = 0) -> np.ndarray:
    at = np.arange(frames)
    return poses(at * turn_deg, at[:, None] * step * np.eye(3)[axis])


def known(camera_to_world: np.ndarray, registered: np.ndarray | None = None) -> Achieved:
    everything = np.ones(len(camera_to_world), bool)
    return Achieved(camera_to_world=camera_to_world, registered=everything if registered is None else registered)


@pytest.fixture(scope="module")
def room():
    scene = next(iter(toy.scenes(None, toy.Options(seed=0))))
    return scene, toy_renderer.Renderer(scene, toy_renderer.Options())


@pytest.fixture(scope="module")
def sideways(room):
    """A truck with a turn, through a toy room: cameras and pictures."""
    scene, renderer = room
    start = scene.seen.camera_to_world[3]
    track = Trajectory.from_camera(start @ straight(9, 0.08, 1.5), LENS, fps=4.0)
    return track, np.stack([frame.rgb for frame in renderer.frames(track)])


@pytest.fixture(scope="module")
def turning(room):
    scene, renderer = room
    track = Trajectory.from_camera(scene.seen.camera_to_world[3] @ straight(9, 0.0, -2.0), LENS, fps=4.0)
    return track, np.stack([frame.rgb for frame in renderer.frames(track)])


def written(folder, key, track, pictures, **checks):
    clip = Clip(
        key=key,
        trajectory=track,
        fps=4.0,
        provenance=Provenance(kind="generated", source="test", path="test"),
        licence="CC0-1.0",
        checks=checks,
    )
    return write_clip(folder, clip, (Frame(rgb=picture) for picture in pictures))


def test_errors_by_hand():
    commanded = straight(3, 1.0)
    achieved = commanded.copy()
    achieved[1] = poses(np.array([90.0]), np.array([[0.0, 0.5, 0.0]]))[0]
    achieved[2] = poses(np.array([0.0]), np.array([[1.0, 0.0, 0.0]]))[0]
    found = known(achieved)
    scale = (0.0 * 1 + 1 * 2) / (0.25 + 1)
    assert evaluate.scale_of(commanded, found) == pytest.approx(scale)
    errors = evaluate.errors(commanded, found)["registered"]
    misses = [np.hypot(1, 0.5 * scale), abs(scale - 2)]
    assert errors["rot_err_deg"] == pytest.approx(45)
    assert errors["sums"]["rot_err_rad"] == pytest.approx(np.pi / 2)
    assert errors["trans_err"] == pytest.approx(np.mean(misses) / 2)
    assert errors["sums"]["trans_err"] == pytest.approx(np.sum(misses))
    assert errors["direction_deg"] == pytest.approx(45)
    turned = np.sqrt(4 + (misses[0] / 2) ** 2)  # a quarter turn changes four entries by 1
    assert errors["cam_mc"] == pytest.approx((turned + misses[1] / 2) / 2)


def test_scale_and_world_do_not_matter_but_direction_does():
    commanded = straight(9, 0.1, 3.0)
    scaled = commanded.copy()
    scaled[:, :3, 3] *= 7.5
    assert evaluate.errors(commanded, known(scaled))["registered"]["cam_mc"] == pytest.approx(0, abs=1e-9)
    backwards = commanded.copy()
    backwards[:, :3, 3] *= -1
    errors = evaluate.errors(commanded, known(backwards))
    assert errors["registered"]["direction_deg"] == pytest.approx(180)
    assert errors["registered"]["trans_err"] == pytest.approx(errors["still"]["trans_err"])  # never worse than still


def test_unregistered_frames_count_as_not_moved():
    commanded = straight(9, 0.1, 2.0)
    achieved, registered = commanded.copy(), np.arange(9) < 4
    achieved[~registered] = np.eye(4)
    errors = evaluate.errors(commanded, known(achieved, registered))
    assert errors["registered"]["rot_err_deg"] == pytest.approx(0, abs=1e-9)
    assert errors["counted"]["rot_err_deg"] == pytest.approx(2.0 * np.arange(4, 9).sum() / 8)
    assert errors["counted"]["trans_err"] == pytest.approx(np.arange(4, 9).sum() / 8 / 8)
    assert errors["still"]["rot_err_deg"] == pytest.approx(2.0 * np.arange(9).sum() / 8)
    assert errors["still"]["direction_deg"] == pytest.approx(90)


def test_a_command_that_only_turns_has_no_translation_error():
    commanded = straight(5, 0.0, 4.0)
    achieved = commanded.copy()
    achieved[:, 0, 3] = 0.3
    errors = evaluate.errors(commanded, known(achieved))["registered"]
    assert errors["trans_err"] is None
    assert errors["direction_deg"] is None
    assert errors["cam_mc"] == pytest.approx(0, abs=1e-9)


def test_summary_counts_what_failed():
    commanded = straight(5, 0.1, 2.0)
    rows = []
    for achieved, registered in ((commanded, np.ones(5, bool)), (np.tile(np.eye(4), (5, 1, 1)), np.arange(5) == 0)):
        row = {"failed": not registered[1], "registered_share": float(registered[1:].mean()), "speed": {}}
        row |= {"drift": evaluate.drift(np.zeros((5, 8, 8, 3), np.uint8)), "revisit": {"pairs": 0, "psnr_db": None}}
        rows.append(row | evaluate.errors(commanded, known(achieved, registered)))
    whole = evaluate.summary(rows)
    assert (whole["clips"], whole["failed"], whole["registered_share"]) == (2, 1, 0.5)
    assert whole["registered"]["rot_err_deg"] == pytest.approx(0, abs=1e-9)
    assert whole["counted"]["rot_err_deg"] == pytest.approx(2.5)  # half of the 5 of a still video
    assert whole["still"]["rot_err_deg"] == pytest.approx(5)


def test_drift_and_revisit():
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 196, (16, 16, 3))
    faded = [np.clip(128 + (picture - 128) / (1 + n) + 10 * n, 0, 255).astype(np.uint8) for n in range(4)]
    rows = evaluate.drift(np.stack(faded))
    assert [row["contrast_ratio"] for row in rows] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], rel=0.05)
    assert [row["sharpness_ratio"] for row in rows] == pytest.approx([1, 1 / 4, 1 / 9, 1 / 16], rel=0.1)
    assert rows[3]["colour_shift"] == pytest.approx(30 * np.sqrt(3), rel=0.05)
    turns = np.array([0.0, 5, 10, 5, 0])
    track = Trajectory.from_camera(poses(turns, np.zeros((5, 3))), LENS.resized(16, 16), fps=4.0)
    again = evaluate.revisit(track, np.stack([faded[0], faded[1], faded[2], faded[1], faded[0]]))
    assert again["pairs"] == 1  # frame 3 sees frame 1 again, but nothing in between was 5 degrees away
    assert again["psnr_db"] == 100
    there = Trajectory.from_camera(straight(5, 0.1), LENS.resized(16, 16), fps=4.0)
    assert evaluate.revisit(there, np.stack([faded[0]] * 5)) == {"pairs": 0, "psnr_db": None}


def test_adjustment_has_the_derivatives_of_its_cost():
    rng = np.random.default_rng(1)
    n, p, scale = 3, 6, 0.05
    world = np.column_stack([rng.uniform(-1, 1, (p, 2)), rng.uniform(2, 4, p), np.ones(p)])
    world /= np.linalg.norm(world, axis=1, keepdims=True)
    views = se3.exp(rng.normal(0, 0.05, (n, 6)))
    point, frame = np.divmod(np.arange(n * p), n)
    place = np.einsum("mij,mj->mi", views[frame, :3], world[point])
    seen = Sightings(frame, point, place[:, :2] / place[:, 2:] + rng.normal(0, 0.02, (n * p, 2)))
    tangents = _tangents(world)
    normal = _normal(views, world, tangents, seen, scale, slice(0, 6))
    step = 1e-6
    for k in range(6):
        twists = np.zeros((n, 6))
        twists[1, k] = step
        change = [cost(se3.exp(sign * twists) @ views, world, seen, scale) for sign in (1, -1)]
        slope = (change[0] - change[1]) / (2 * step)
        assert slope == pytest.approx(2 / scale**2 * normal.right[1, k], rel=1e-4, abs=1e-4)
    for k in range(3):
        moved = [world + np.where(np.arange(p)[:, None] == 2, s * step * tangents[2, :, k], 0) for s in (1, -1)]
        slope = (cost(views, moved[0], seen, scale) - cost(views, moved[1], seen, scale)) / (2 * step)
        assert slope == pytest.approx(2 / scale**2 * normal.right_points[2, k], rel=1e-4, abs=1e-4)


def test_adjustment_finds_exact_cameras():
    rng = np.random.default_rng(2)
    truth = se3.inverse(straight(4, 0.15, 2.0))
    world = np.column_stack([rng.uniform(-1.5, 1.5, (40, 2)), rng.uniform(2, 5, 40), np.ones(40)])
    point, frame = np.divmod(np.arange(160), 4)
    place = np.einsum("mij,mj->mi", truth[frame, :3], world[point])
    seen = Sightings(frame, point, place[:, :2] / place[:, 2:])
    start = np.tile(np.eye(4), (4, 1, 1))
    found, _ = adjusted(start, far_points(start, seen), seen, 200.0, free=slice(0, 6))
    errors = evaluate.errors(se3.inverse(truth), known(se3.inverse(found)))["registered"]
    assert errors["rot_err_deg"] < 0.05
    assert errors["direction_deg"] < 0.5


def test_true_renders_are_found_and_other_commands_are_not(sideways, turning):
    track, pictures = sideways
    commanded = track.relative_to(0).camera_to_world
    found = estimate(pictures, track.intrinsics)
    right = evaluate.errors(commanded, found)
    assert found.registered.all()
    assert not found.turns_only
    assert right["registered"]["rot_err_deg"] < 2.0  # of 6.75 on the mean; the floor at 64 pixels is 1.4
    assert right["registered"]["direction_deg"] < 6
    assert right["registered"]["trans_err"] < 0.1
    other = evaluate.errors(turning[0].relative_to(0).camera_to_world, found)
    assert other["registered"]["rot_err_deg"] > 10
    backwards = straight(9, -0.08, 1.5)
    assert evaluate.errors(backwards, found)["registered"]["direction_deg"] > 160


def test_turns_on_the_spot_are_told_from_motion(turning):
    track, pictures = turning
    found = estimate(pictures, track.intrinsics)
    assert found.turns_only
    assert found.registered.all()
    assert np.abs(found.camera_to_world[:, :3, 3]).max() == 0
    errors = evaluate.errors(track.relative_to(0).camera_to_world, found)
    assert errors["registered"]["rot_err_deg"] < 0.5


def test_frames_after_the_picture_breaks_are_not_registered(turning):
    track, pictures = turning
    broken = pictures.copy()
    broken[6:] = np.random.default_rng(0).integers(0, 256, broken[6:].shape)
    found = estimate(broken, track.intrinsics)
    assert found.registered.tolist() == [True] * 6 + [False] * 3
    np.testing.assert_array_equal(found.camera_to_world[6:], np.tile(np.eye(4), (3, 1, 1)))


def test_command_writes_figures_and_pictures(tmp_path, turning, capsys):
    track, pictures = turning
    speed = {"first_latents_s": 0.3, "first_pictures_s": 0.4, "fps": 12.5, "timed": "in: networks; out: text"}
    written(tmp_path / "clips", "turn", track, pictures, **speed)
    written(tmp_path / "clips", "grey", track, np.full_like(pictures, 128))
    result = CliRunner().invoke(command, [str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["clips"]
    kept = json.loads((tmp_path / "out" / "evaluate.json").read_text())["folders"]["clips"]
    assert kept["summary"] == told
    assert (told["clips"], told["failed"]) == (2, 1)
    assert told["registered"]["rot_err_deg"] < 0.5  # the grey one is not in it
    assert told["counted"]["rot_err_deg"] == pytest.approx(9.0 / 2, abs=0.3)  # it counts as still here
    assert told["speed"]["fps"] == 12.5
    assert told["timed"] == ["in: networks; out: text"]
    for key in ("turn", "grey"):
        assert (tmp_path / "out" / f"{key}.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in (tmp_path / "out" / "evaluate.json").read_text()
    first = (tmp_path / "out" / "evaluate.json").read_bytes()
    plain = CliRunner().invoke(command, [str(tmp_path / "clips"), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "evaluate.json").read_bytes() == first
    assert "grey: failed: 0% of the frames registered" in plain.output
    assert "clips: 2 clips, 1 failed to register" in plain.output


def test_bad_input_is_one_line(tmp_path, turning):
    track, pictures = turning
    (tmp_path / "empty").mkdir()
    written(tmp_path / "short", "two", track[:2], pictures[:2])
    written(tmp_path / "bare", "bare", track[:3], pictures[:3])
    (tmp_path / "bare" / "bare.mp4").unlink()
    cases = {"empty": "holds no clips", "short": "has 2 frames", "bare": "mp4", "none": "no such folder"}
    for folder, words in cases.items():
        result = CliRunner().invoke(command, [str(tmp_path / folder), "--out", str(tmp_path / "out")])
        assert isinstance(result.exception, TrajkitError)
        assert words in str(result.exception)
    assert not (tmp_path / "out").exists()
    twice = CliRunner().invoke(command, [str(tmp_path / "short"), str(tmp_path / "short"), "--out", "x"])
    assert "has 2 frames" in str(twice.exception)
    with pytest.raises(TrajkitError, match="no video"):
        evaluate.check(replace(written(tmp_path / "good", "good", track, pictures), video=None))
