"""What every sampler must do, whatever its shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import plugins, se3, seeding
from trajkit.errors import TrajkitError
from trajkit.paths._start import anchor

SPECS = {
    "keys": "keys:w*12,l*7;fit=stretch",
    "blocks": "blocks",
    "orbit": "orbit",
    "spiral": "spiral",
    "spline": "spline",
    "revisit": "revisit:spline",
    "handheld": "handheld:spiral",
    "turn": "turn",
}
ANYWHERE = sorted(set(SPECS) - {"spline", "revisit"})
many = settings(deadline=None, max_examples=25, derandomize=True)


def test_every_sampler_is_listed_here() -> None:
    assert plugins.names("paths") == sorted(SPECS)


@pytest.mark.parametrize("name", SPECS)
@many
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 160), fps=st.sampled_from([8.0, 16.0, 24.0]))
def test_poses_are_as_many_as_asked_and_rigid(walk, ring_scene, name, seed, frames, fps) -> None:
    path = walk(ring_scene, SPECS[name], frames=frames, fps=fps, seed=seed)
    assert len(path) == frames
    assert se3.rotation_defect(path.camera_to_world[:, :3, :3]).max() < 1e-9
    assert np.array_equal(path.camera_to_world[:, 3], np.tile([0.0, 0, 0, 1], (frames, 1)))
    assert np.allclose(path.times_s, np.arange(frames) / fps)
    assert path.scale.kind == "sfm"
    assert (path.width, path.height) == (832, 480)


@pytest.mark.parametrize("name", SPECS)
@many
@given(seed=st.integers(0, 10**6))
def test_frame_0_is_a_captured_camera(walk, ring_scene, name, seed) -> None:
    path = walk(ring_scene, SPECS[name], seed=seed)
    difference = np.abs(ring_scene.seen.camera_to_world - path.camera_to_world[0]).max(axis=(1, 2))
    assert difference.min() < 1e-12


@pytest.mark.parametrize("name", SPECS)
@many
@given(seed=st.integers(0, 10**6))
def test_no_step_jumps(walk, ring_scene, name, seed) -> None:
    path = walk(ring_scene, SPECS[name], seed=seed)
    steps = np.linalg.norm(np.diff(path.centres, axis=0), axis=1) / ring_scene.unit
    turns = path.turn_rates_deg / path.fps
    limit = {"handheld": 4.0, "spline": 2.0, "revisit": 2.0}.get(name, 1.05)  # a capture turns unevenly, a hand shakes
    assert steps.max() <= limit * max(np.median(steps), 0.02)
    assert turns.max() <= limit * max(np.median(turns), 0.75)
    assert steps.max() < 0.1
    assert turns.max() < 3.0


@pytest.mark.parametrize("name", SPECS)
def test_same_seed_same_bytes_and_another_seed_another_path(walk, ring_scene, name) -> None:
    first, again = (walk(ring_scene, SPECS[name], seed=3).camera_to_world.tobytes() for _ in range(2))
    assert first == again
    assert len({walk(ring_scene, SPECS[name], seed=seed).camera_to_world.tobytes() for seed in range(6)}) >= 4


@pytest.mark.parametrize("name", SPECS)
def test_paths_scale_with_the_scene(walk, scene_of, ring_scene, name) -> None:
    big = ring_scene.seen.camera_to_world.copy()
    big[:, :3, 3] *= 10
    small_path = walk(ring_scene, SPECS[name], seed=5)
    big_path = walk(scene_of(big, unit=30.0, up=(0.0, 0.0, 1.0)), SPECS[name], seed=5)
    assert np.allclose(big_path.centres, 10 * small_path.centres, atol=1e-6)
    assert np.allclose(big_path.camera_to_world[:, :3, :3], small_path.camera_to_world[:, :3, :3], atol=1e-6)


@pytest.mark.parametrize("name", ANYWHERE)
@many
@given(seed=st.integers(0, 10**6))
def test_without_captured_cameras_it_starts_level_in_the_middle(walk, bare_scene, name, seed) -> None:
    start = walk(bare_scene, SPECS[name], seed=seed).camera_to_world[0]
    assert np.allclose(start[:3, 3], bare_scene.extent.mean(axis=0))
    assert abs(start[:3, 2] @ bare_scene.up) < 1e-12
    assert np.allclose(-start[:3, 1], bare_scene.up)


def test_headings_without_captured_cameras_cover_the_circle(bare_scene) -> None:
    ahead = np.array([anchor(bare_scene, seeding.generator(seed))[:3, 2] for seed in range(1000)])
    assert np.linalg.norm(ahead.mean(axis=0)) < 0.1


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"revisit", "handheld"}))
def test_the_anchor_option_chooses_the_camera(walk, ring_scene, name) -> None:
    spec = SPECS[name] + (";" if name == "keys" else ":") + "anchor=17"
    for seed in range(3):
        start = walk(ring_scene, spec, seed=seed).camera_to_world[0]
        assert np.allclose(start, ring_scene.seen.camera_to_world[17], atol=1e-12)


@pytest.mark.parametrize(
    ("scene", "spec", "says"),
    [
        ("ring_scene", "orbit:anchor=40", "anchor=40: the capture has 40 cameras; use 0 to 39, or leave anchor out"),
        ("ring_scene", "spline:anchor=99", "anchor=99: the capture has 40 cameras"),
        ("bare_scene", "keys:w*19;anchor=0", "anchor=0: the scene has no captured cameras; leave anchor out"),
        ("bare_scene", "spline", "scene test: spline needs captured cameras; use orbit, keys or blocks instead"),
        ("identity_scene", "spline", "no captured camera within 2 path units and 45 degrees of the next one"),
        ("ring_scene", "orbit:anchor=-1", "path orbit: anchor: -1 is out of range"),
        ("ring_scene", "orbit:turn=0.5", "path orbit: unknown option 'turn'; did you mean 'turns'?"),
        ("ring_scene", "orbit:direction=up", "'up' is not a choice; use one of either, right, left"),
        ("ring_scene", "orbit:depth=nan", "path orbit: depth: nan is out of range"),
        ("ring_scene", "blocks:step=inf", "path blocks: step: inf is out of range"),
        ("ring_scene", "spiral:advance=4", "the camera would pass the point it looks at, 4.0 ahead; use an advance"),
    ],
)
def test_errors_say_what_to_do(walk, request, scene, spec, says) -> None:
    with pytest.raises(TrajkitError) as caught:
        walk(request.getfixturevalue(scene), spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
