"""Orbit, spiral and spline: the shapes of their curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import se3

many = settings(deadline=None, max_examples=30, derandomize=True)
seeds = st.integers(0, 10**6)


def steps_of(path) -> np.ndarray:
    return np.linalg.norm(np.diff(path.centres, axis=0), axis=1)


def distance_to_polyline(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest of the straight lines between successive corners."""
    start, along = corners[:-1], np.diff(corners, axis=0)
    offset = points[:, None] - start
    part = np.clip((offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-300), 0, 1)
    return np.linalg.norm(offset - part[..., None] * along, axis=-1).min(axis=1)


# --- orbit


@many
@given(seed=seeds, depth=st.floats(0.1, 10), turns=st.floats(0, 2), axis=st.sampled_from(["up", "camera"]))
def test_orbit_keeps_its_target_in_the_middle_and_at_its_distance(walk, ring_scene, seed, depth, turns, axis) -> None:
    path = walk(ring_scene, f"orbit:depth={depth},turns={turns},axis={axis}", seed=seed)
    target = se3.transform(path.camera_to_world[0], np.array([0, 0, depth * ring_scene.unit]))
    seen = se3.transform(path.world_to_camera, target)
    assert np.allclose(seen, [0, 0, depth * ring_scene.unit], atol=1e-9)
    assert np.allclose(path.camera(0).project(seen), [416, 240], atol=1e-4)


def test_orbit_about_the_camera_axis_is_worldplay_third_yaw(walk, identity_scene, shared) -> None:
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as arrays:
        expected = arrays["hytraj_third_yaw_c2w"]
    path = walk(identity_scene, f"orbit:turns={12 / 360},depth=1,direction=right,axis=camera", frames=17)
    assert np.abs(path.camera_to_world[::4] - expected).max() < 1e-12


@pytest.mark.parametrize("axis", ["up", "camera"])
@pytest.mark.parametrize(("direction", "sign"), [("right", 1), ("left", -1)])
def test_orbit_direction_is_the_way_the_camera_moves(walk, ring_scene, axis, direction, sign) -> None:
    path = walk(ring_scene, f"orbit:axis={axis},direction={direction},turns=0.05")
    moved = se3.transform(path.world_to_camera[0], path.centres[-1])
    assert np.sign(moved[0]) == sign


def test_orbit_about_up_keeps_height_and_horizon(walk, ring_scene) -> None:
    path = walk(ring_scene, "orbit:turns=1", seed=4)
    assert np.allclose(path.centres @ ring_scene.up, path.centres[0] @ ring_scene.up)
    pitch = path.camera_to_world[:, :3, :3].transpose(0, 2, 1) @ ring_scene.up
    assert np.allclose(pitch, pitch[0])
    assert np.allclose(path.camera_to_world[-1], path.camera_to_world[0])


def test_orbit_about_the_camera_axis_stays_level_for_the_camera(walk, ring_scene) -> None:
    path = walk(ring_scene, "orbit:turns=0.2,axis=camera", seed=4)
    centres = se3.transform(path.world_to_camera[0], path.centres)
    assert np.allclose(centres[:, 1], 0, atol=1e-9)
    assert np.abs(np.ptp(path.centres @ ring_scene.up)) > 0.1  # the ring's cameras look down or up a little


def test_both_directions_are_drawn(walk, identity_scene) -> None:
    sides = {float(np.sign(walk(identity_scene, "orbit", seed=seed).centres[-1, 0])) for seed in range(20)}
    assert sides == {-1.0, 1.0}


# --- spiral


@many
@given(seed=seeds, turns=st.floats(0.1, 6), radius=st.floats(0.01, 2), advance=st.floats(-2, 1.9))
def test_spiral_widens_at_constant_speed_and_looks_at_its_point(
    walk, identity_scene, seed, turns, radius, advance
) -> None:
    path = walk(identity_scene, f"spiral:turns={turns},radius={radius},advance={advance}", frames=201, seed=seed)
    seen = se3.transform(path.world_to_camera, np.array([0.0, 0.0, 4.0]))
    assert np.allclose(seen[:, :2], 0, atol=1e-9)
    assert (seen[:, 2] > 0).all()
    away = np.linalg.norm(path.centres[:, :2], axis=1)
    assert (np.diff(away) > 0).all()
    assert away[-1] == pytest.approx(radius)
    assert path.centres[-1, 2] == pytest.approx(advance)
    chords = steps_of(path) / np.median(steps_of(path))  # a chord is shorter than its arc where the curve bends
    assert chords.max() < 1.05
    assert chords[len(chords) // 2 :].min() > 0.95
    wound = np.abs(np.diff(np.unwrap(np.arctan2(path.centres[1:, 1], path.centres[1:, 0])))).sum() / (2 * np.pi)
    assert wound <= turns + 1e-9
    assert wound > 0.4 * turns


def test_spiral_does_not_roll(walk, identity_scene) -> None:
    rotation = walk(identity_scene, "spiral:radius=1").camera_to_world[:, :3, :3]
    axis_angle = [se3.log(se3.pose(turn, np.zeros(3)))[3:] for turn in rotation]
    assert np.abs(np.array(axis_angle)[:, 2]).max() < 1e-9


# --- spline


@st.composite
def captures(draw):
    """Centres of an uneven capture: step lengths over three decades, any direction, some cameras at the same place."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count = draw(st.integers(2, 40))
    steps = rng.normal(size=(count, 3))
    steps *= 0.99 * 10 ** rng.uniform(-3, 0, (count, 1)) / np.linalg.norm(steps, axis=1, keepdims=True)
    steps[rng.random(count) < 0.1] = 0.0
    steps[0] = 0.9 * draw(st.sampled_from([1e-3, 1.0])), 0, 0
    return np.cumsum(np.concatenate([np.zeros((1, 3)), steps]), axis=0)


@many
@given(seed=seeds, centres=captures(), speed=st.sampled_from([0.02, 0.08, 1.0]))
def test_spline_stays_near_the_captured_cameras(walk, scene_of, seed, centres, speed) -> None:
    scene = scene_of(se3.look_at(centres, np.array([0, 0, 60.0]), np.array([0, -1.0, 0])))
    path = walk(scene, f"spline:speed={speed}", seed=seed)
    assert distance_to_polyline(path.centres, centres).max() < 0.2  # of neighbours up to 1 apart
    assert steps_of(path).max() < 1.05 * speed * 1.5 / 4
    assert se3.rotation_defect(path.camera_to_world[:, :3, :3]).max() < 1e-9


@many
@given(seed=seeds)
def test_spline_has_constant_speed_and_passes_captured_cameras(walk, ring_scene, seed) -> None:
    path = walk(ring_scene, "spline:vary=0", seed=seed)
    assert np.allclose(steps_of(path), 0.02 * ring_scene.unit, rtol=1e-3)
    nearest = distance_to_polyline(ring_scene.seen.centres, path.centres)
    passed = nearest < 0.01 * ring_scene.unit
    assert passed.sum() >= 4  # 4.6 units of length along a ring with a camera per unit
    close = np.linalg.norm(path.centres[:, None] - ring_scene.seen.centres[passed], axis=-1).argmin(axis=0)
    between = ring_scene.seen.camera_to_world[passed, :3, :3].transpose(0, 2, 1) @ path.camera_to_world[close, :3, :3]
    assert se3.angle_deg(between).max() < 1.0


def test_spline_hugs_a_corner_between_a_long_and_a_short_step(walk, scene_of) -> None:
    """Parameters by chord length would bulge out by 0.16 here, centripetal ones by a third of that."""
    centres = np.array([[0, 0, 0], [0.95, 0, 0], [0.95, 0.15, 0], [0.95, 0.3, 0], [0, 0.3, 0]])
    path = walk(scene_of(se3.pose(np.eye(3), centres)), "spline:speed=0.3,anchor=0,direction=forward")
    assert distance_to_polyline(path.centres, centres).max() < 0.08


def test_spline_speeds_are_drawn_around_the_mean(walk, ring_scene) -> None:
    speeds = np.array([steps_of(walk(ring_scene, "spline", seed=seed)).max() for seed in range(60)])
    speeds /= 0.02 * ring_scene.unit
    assert 0.5 <= speeds.min() < 0.6
    assert 1.4 < speeds.max() <= 1.501
    assert speeds.mean() == pytest.approx(1.0, abs=0.1)


@many
@given(seed=seeds)
def test_spline_is_smooth(walk, ring_scene, seed) -> None:
    """Second differences are small and change little from frame to frame: neither position nor velocity jumps."""
    path = walk(ring_scene, "spline", seed=seed)
    velocity = np.diff(path.centres, axis=0)
    bend = np.linalg.norm(np.diff(velocity, axis=0), axis=1) / np.linalg.norm(velocity, axis=1).mean()
    assert bend.max() < 0.05
    assert np.abs(np.diff(path.turn_rates_deg)).max() < 0.1 * path.turn_rates_deg.mean()


def test_spline_slows_where_the_capture_turns_fast(walk, scene_of) -> None:
    turn = se3.axis_rotation("y", np.linspace(0, 170, 18))
    centres = np.linspace([0, 0, 0], [1.7, 0, 0], 18)
    path = walk(scene_of(se3.pose(turn, centres)), "spline:turn_deg=4,vary=0,direction=forward,anchor=0")
    assert np.allclose(path.turn_rates_deg / path.fps, 1.0, rtol=0.02)
    assert (steps_of(path) < 0.0125).all()


def test_spline_goes_slower_in_a_capture_shorter_than_the_clip(walk, scene_of) -> None:
    centres = np.linspace([0, 0, 0], [0.5, 0, 0], 6)
    path = walk(scene_of(se3.pose(np.eye(3), centres)), "spline:vary=0,direction=forward,anchor=0")
    assert np.allclose(path.centres[[0, -1]], centres[[0, -1]])
    assert np.allclose(steps_of(path), 0.5 / 76, rtol=1e-3)


@many
@given(seed=seeds)
def test_spline_never_crosses_a_gap(walk, scene_of, seed) -> None:
    """Two groups of cameras 1.5 units apart, and a camera in the first that looks away."""
    centres = np.concatenate([np.linspace([0, 0, 0], [1, 0, 0], 11), np.linspace([2.5, 0, 0], [4, 0, 0], 16)])
    rotation = np.tile(np.eye(3), (27, 1, 1))
    rotation[5] = se3.axis_rotation("y", 90.0)
    path = walk(scene_of(se3.pose(rotation, centres)), "spline:gap=1", seed=seed)
    inside = [(0, 0.4), (0.6, 1.0), (2.5, 4.0)]
    assert any((low - 1e-9 <= path.centres[:, 0]).all() and (path.centres[:, 0] <= high + 1e-9).all()
               for low, high in inside)  # fmt: skip
    assert np.allclose(path.camera_to_world[:, :3, :3], np.eye(3))


@pytest.mark.parametrize(("direction", "ahead"), [("forward", 1), ("backward", -1)])
def test_spline_direction_is_the_order_of_the_capture(walk, ring_scene, direction, ahead) -> None:
    for seed in range(8):
        path = walk(ring_scene, f"spline:direction={direction}", seed=seed)
        angle = np.unwrap(np.arctan2(path.centres[:, 1], path.centres[:, 0]))
        assert (ahead * np.diff(angle) > 0).all()


def test_spline_turns_in_place_where_the_capture_does(walk, scene_of) -> None:
    poses = se3.pose(se3.axis_rotation("y", np.linspace(0, 60, 13)), np.zeros(3))
    path = walk(scene_of(poses), "spline:direction=forward,anchor=0,turn_deg=2")
    assert np.allclose(path.centres, 0)
    assert np.allclose(path.turn_rates_deg / path.fps, 0.5, rtol=1e-3)
