"""Body motions against a step-by-step twin and minWM's own numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import motion, se3
from trajkit.camera import Camera


def _slow(moves, orbit_yaw_deg, radius):
    """The same, one elementary motion after the other, as reference/minwm.md 1.3 words it."""
    poses, current = [np.eye(4)], np.eye(4)
    for (yaw, pitch, roll, right, down, forward), swing in zip(moves, orbit_yaw_deg, strict=True):
        current = current.copy()
        for axis, angle in (("y", yaw), ("x", pitch), ("z", roll)):
            current[:3, :3] = current[:3, :3] @ se3.axis_rotation(axis, angle)
        for axis, length in enumerate((right, down, forward)):
            current[:3, 3] += current[:3, axis] * length
        ahead, back = np.eye(4), np.eye(4)
        ahead[2, 3], back[2, 3] = radius, -radius
        current = current @ ahead @ se3.pose(se3.axis_rotation("y", -swing), np.zeros(3)) @ back
        poses.append(current)
    return np.array(poses)


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_integrate_equals_the_slow_twin(seed, count):
    rng = np.random.default_rng(seed)
    moves, swing, radius = rng.normal(size=(count, 6)) * 10, rng.normal(size=count) * 10, rng.uniform(0.1, 5)
    fast = motion.integrate(moves, orbit_yaw_deg=swing, orbit_radius=radius)
    np.testing.assert_allclose(fast, _slow(moves, swing, radius), atol=1e-11)


@pytest.mark.parametrize(
    ("key", "centre", "forward"),
    [
        ("w", (0, 0, 0.08), (0, 0, 1)),
        ("s", (0, 0, -0.08), (0, 0, 1)),
        ("a", (-0.08, 0, 0), (0, 0, 1)),
        ("d", (0.08, 0, 0), (0, 0, 1)),
        ("u", (0, -0.08, 0), (0, 0, 1)),
        ("dn", (0, 0.08, 0), (0, 0, 1)),
        ("j", (0, 0, 0), (-0.0523, 0, 0.9986)),
        ("l", (0, 0, 0), (0.0523, 0, 0.9986)),
        ("i", (0, 0, 0), (0, -0.0523, 0.9986)),
        ("k", (0, 0, 0), (0, 0.0523, 0.9986)),
    ],
)
def test_each_key_does_what_minwm_section_17_says(key, centre, forward):
    pose = motion.integrate(motion.key_move(key)[None])[1]
    np.testing.assert_allclose(pose[:3, 3], centre, atol=1e-12)
    np.testing.assert_allclose(pose[:3, 2], forward, atol=1e-4)


def test_translation_follows_the_heading():
    walk = lambda *keys: motion.integrate(np.array([motion.key_move(key) for key in keys]))[-1, :3, 3]  # noqa: E731
    np.testing.assert_allclose(walk(*"lllllwww"), (0.0621, 0, 0.2318), atol=1e-4)
    np.testing.assert_allclose(walk(*"wwwlllll"), (0, 0, 0.24), atol=1e-12)


def test_arrow_keys_turn():
    assert {alias: motion.KEYS[alias] for alias in motion.ALIASES} == {
        "up": motion.KEYS["i"],
        "down": motion.KEYS["k"],
        "left": motion.KEYS["j"],
        "right": motion.KEYS["l"],
    }


def test_an_orbit_keeps_its_centre_in_the_middle_of_the_picture():
    lens = Camera.from_fov(640, 480, 60)
    poses = motion.integrate(np.zeros((40, 6)), orbit_yaw_deg=np.full(40, 3.0), orbit_radius=2.0)
    pixels = lens.project(se3.transform(se3.inverse(poses), np.array([0, 0, 2.0])))
    np.testing.assert_allclose(pixels, np.tile((320, 240), (41, 1)), atol=1e-9)
    assert poses[5, 0, 3] > 0  # a positive angle moves the camera to the right


def test_minwm_orbit_and_compound_move(shared):
    vectors = np.load(shared / "vectors/minwm_vectors.npz")
    orbit = motion.integrate(np.zeros((4, 6)), orbit_yaw_deg=np.full(4, 3.0))
    np.testing.assert_allclose(orbit, vectors["hytraj_third_yaw_c2w"], atol=1e-12)
    combo = motion.integrate(np.tile([3, 2, 0, 0.05, 0, 0.08], (3, 1)))
    np.testing.assert_allclose(combo, vectors["hytraj_combo_c2w"], atol=1e-12)
