"""Families of pose errors: valid, repeatable, graded, and what each says it is."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trajkit import se3, seeding
from trajkit.camera import Camera
from trajkit.curation.corrupt import FAMILIES, HARMLESS, corrupt
from trajkit.curation.induced import Sights, errors_px
from trajkit.errors import TrajkitError
from trajkit.paths.handheld import noise
from trajkit.trajectory import Trajectory

CAMERA = Camera.from_fov(832, 480, 50.0)
DEPTH = 3.0
EVERY = [(name, severity) for name, family in {**FAMILIES, **HARMLESS}.items() for severity in family.severities]
GRADED = [name for name, family in FAMILIES.items() if len(family.severities) > 1]


def walk(frames: int = 60, seed: int = 0, *, still: bool = False) -> Trajectory:
    """A shaken walk along a bend, 1.2 units long."""
    times_s = np.arange(frames) / 16
    shake = noise(times_s, 0.4, 5.0, seeding.generator(seed, "walk"))
    part = times_s / times_s[-1] if frames > 1 else times_s
    centres = np.stack([0.4 * np.sin(2 * part), 0.05 * part, 1.0 * part], axis=-1) + 0.005 * shake[:, 3:]
    turn = np.stack([0.1 * part, 0.4 * part, 0.05 * part], axis=-1) + np.radians(0.4) * shake[:, :3]
    poses = se3.pose(Rotation.from_rotvec(turn + 0.3).as_matrix(), np.zeros_like(centres) if still else centres)
    return Trajectory.from_camera(poses, CAMERA, fps=16)


def sights(frames: int, stride: int = 8) -> Sights:
    rng = seeding.generator(1, "sights")
    first = np.repeat(np.arange(frames - stride), 8)
    xy = rng.uniform((0, 0), (CAMERA.width, CAMERA.height), (len(first), 2))
    return Sights(xy, rng.uniform(2, 5, len(first)), first, first + stride)


def made(trajectory: Trajectory, name: str, severity: float, seed: int = 0) -> Trajectory:
    return corrupt(trajectory, name, severity, seeding.generator(seed, name), depth=DEPTH)


def error_px(wrong: Trajectory, right: Trajectory) -> float:
    return float(np.nanmean(errors_px(wrong, right, sights(len(right)))))


def relative(trajectory: Trajectory) -> np.ndarray:
    return se3.inverse(trajectory.camera_to_world[:-1]) @ trajectory.camera_to_world[1:]


@pytest.mark.parametrize(("name", "severity"), EVERY)
def test_every_error_gives_a_valid_trajectory_on_the_same_frames_and_the_same_one_again(name, severity):
    right = walk()
    wrong = made(right, name, severity)
    assert np.array_equal(wrong.frame_index, right.frame_index)
    assert np.array_equal(wrong.times_s, right.times_s)
    assert (wrong.width, wrong.height) == (right.width, right.height)
    assert se3.rotation_defect(wrong.camera_to_world[:, :3, :3]).max() < 1e-9
    assert np.array_equal(made(right, name, severity).camera_to_world, wrong.camera_to_world)


@pytest.mark.parametrize("name", [*FAMILIES, *HARMLESS])
def test_no_severity_is_no_change(name):
    right = walk()
    assert made(right, name, 0.0) is right


@pytest.mark.parametrize("name", FAMILIES)
def test_moderate_errors_move_points(name):
    right = walk()
    family = FAMILIES[name]
    errors = [
        errors_px(made(right, name, family.severities[family.moderate], seed), right, sights(60)) for seed in range(5)
    ]
    assert np.median([np.nanmax(error) for error in errors]) > 4
    assert family.severities == tuple(sorted(family.severities))


@pytest.mark.parametrize("name", GRADED)
def test_errors_grow_with_severity(name):
    right = walk()
    errors = [
        np.median([error_px(made(right, name, severity, seed), right) for seed in range(9)])
        for severity in FAMILIES[name].severities
    ]
    assert all(more > less for less, more in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("name", ["slight-jitter", "rounded"])
def test_harmless_errors_stay_below_a_fifth_of_a_pixel(name):
    for seed in range(5):
        right = walk(seed=seed)
        errors = errors_px(made(right, name, 1.0, seed), right, sights(60))
        assert np.nanmedian(errors) < 0.1
        assert np.nanmax(errors) < 0.4


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 1000), name=st.sampled_from(["other-world", "other-scale"]), severity=st.floats(0.01, 10))
def test_another_world_or_scale_leaves_relative_poses_but_for_one_factor(seed, name, severity):
    right = walk(frames=10, seed=seed)
    wrong = made(right, name, severity, seed)
    factor = wrong.path_length / right.path_length
    expected = relative(right)
    expected[:, :3, 3] *= factor
    assert np.allclose(relative(wrong), expected, atol=1e-9 * max(1.0, factor))
    assert np.isclose(wrong.scale.factor * factor, right.scale.factor)


@pytest.mark.parametrize("name", [*FAMILIES, *HARMLESS])
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_short_and_still_clips_can_be_corrupted_too(name, frames):
    family = FAMILIES.get(name) or HARMLESS[name]
    for still in (False, True):
        right = walk(frames, still=still)
        wrong = corrupt(right, name, family.severities[-1], seeding.generator(0, name))
        assert len(wrong) == frames


def test_an_offset_gives_the_poses_of_other_frames_and_goes_on_beyond_the_ends():
    right = walk()
    for seed in range(6):
        wrong = made(right, "time-offset", 2.0, seed)
        late = np.allclose(wrong.camera_to_world[:-2], right.camera_to_world[2:], atol=1e-9)
        early = np.allclose(wrong.camera_to_world[2:], right.camera_to_world[:-2], atol=1e-9)
        assert late != early
        assert np.linalg.norm(np.diff(wrong.centres, axis=0), axis=1).min() > 1e-4


def test_key_frames_are_kept_and_a_line_leads_from_one_to_the_next():
    right = walk(61)
    wrong = made(right, "keyframes", 5.0)
    assert np.allclose(wrong.camera_to_world[::5], right.camera_to_world[::5], atol=1e-12)
    assert np.allclose(wrong.centres[7], 0.6 * right.centres[5] + 0.4 * right.centres[10])


def test_a_jump_turns_one_step_and_a_freeze_stops_some():
    right = walk()
    jumped, frozen, back = (
        made(right, name, severity) for name, severity in (("jump", 2.0), ("frozen", 0.2), ("frozen-then-back", 0.2))
    )
    turned = se3.angle_deg(np.swapaxes(relative(right)[:, :3, :3], 1, 2) @ relative(jumped)[:, :3, :3])
    assert sorted(np.round(turned, 6))[-2:] == [0.0, 2.0]
    same = lambda trajectory: int(np.isclose(relative(trajectory), np.eye(4), atol=1e-12).all(axis=(1, 2)).sum())  # noqa: E731
    assert same(frozen) == 12
    assert same(back) == 11
    moved = ~np.isclose(relative(frozen), np.eye(4), atol=1e-12).all(axis=(1, 2))
    assert np.allclose(relative(frozen)[moved], relative(right)[moved])
    assert np.allclose(back.camera_to_world[-1], right.camera_to_world[-1]) or np.allclose(
        back.camera_to_world[0], right.camera_to_world[0]
    )


def test_conventions_are_what_their_names_say():
    right = walk()
    poses = right.camera_to_world
    assert np.allclose(made(right, "inverted", 1.0).camera_to_world @ poses, np.eye(4), atol=1e-12)
    half = made(right, "half-inverted", 1.0).camera_to_world
    assert np.allclose(half[:, :3, :3], poses[:, :3, :3])
    assert np.allclose(half[:, :3, 3], right.world_to_camera[:, :3, 3])
    opengl = made(right, "opengl", 1.0).camera_to_world
    assert np.allclose(opengl[:, :3, 1:3], -poses[:, :3, 1:3])
    assert np.allclose(made(right, "transposed", 1.0).camera_to_world[:, :3, :3], np.swapaxes(poses[:, :3, :3], 1, 2))
    assert np.allclose(made(right, "reversed", 1.0).camera_to_world, poses[::-1])
    assert np.allclose(made(right, "mirrored", 1.0).centres * (-1, 1, 1), right.centres)
    wxyz = Rotation.from_matrix(poses[:, :3, :3]).as_quat(scalar_first=True, canonical=True)
    read = Rotation.from_quat(wxyz).as_matrix()
    assert np.allclose(made(right, "quaternion-order", 1.0).camera_to_world[:, :3, :3], read)
    assert np.allclose(made(right, "translation-zeroed", 1.0).centres, right.centres[0])


def test_directions_turn_by_the_angle_and_keep_their_length():
    right = walk()
    before, after = relative(right)[:, :3, 3], relative(made(right, "translation-direction", 20.0))[:, :3, 3]
    assert np.allclose(np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1))
    total = lambda steps: steps.sum(axis=0) / np.linalg.norm(steps.sum(axis=0))  # noqa: E731
    assert 15 < np.degrees(np.arccos(total(before) @ total(after))) < 20.01


def test_severities_are_shares_of_depth_and_path():
    right = walk(600)
    for factor in (1.0, 50.0):
        scaled = replace(right.scaled(factor), scale=right.scale)
        rng = seeding.generator(0, "unit")
        wrong = corrupt(scaled, "translation-jitter", 0.01, rng, depth=DEPTH * factor)
        assert np.isclose((wrong.centres - scaled.centres).std(), 0.01 * DEPTH * factor, rtol=0.1)
        drifted = corrupt(scaled, "translation-drift", 0.1, rng, depth=DEPTH * factor)
        assert np.isclose(np.linalg.norm(drifted.centres - scaled.centres, axis=1).max(), 0.1 * scaled.path_length)
    turned = made(right, "rotation-drift", 2.0)
    angle = se3.angle_deg(np.swapaxes(right.camera_to_world[:, :3, :3], 1, 2) @ turned.camera_to_world[:, :3, :3])
    assert np.isclose(angle.max(), 2.0)
    assert angle[0] == 0
    focal = made(right, "focal-error", 0.2).intrinsics[:, 0] / right.intrinsics[:, 0]
    assert np.isclose(focal, 1.2).all() or np.isclose(focal, 1 / 1.2).all()


def test_an_unknown_family_is_named_with_what_is_near():
    with pytest.raises(TrajkitError, match=r"rotation-jiter.*rotation-jitter"):
        corrupt(walk(3), "rotation-jiter", 1.0, seeding.generator(0))
