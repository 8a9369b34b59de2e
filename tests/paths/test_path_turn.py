"""Turns on the spot: signs, totals, draws, zoom, and the pictures that a renderer makes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trajkit import plugins, se3, seeding
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.trajectory import Trajectory

many = settings(deadline=None, max_examples=25, derandomize=True)


def local(path: Trajectory) -> np.ndarray:
    """Rotations first camera <- camera."""
    return path.relative_to(0).camera_to_world[:, :3, :3]


@pytest.mark.parametrize(
    ("spec", "lands"),
    [  # where the first camera's view axis lies in the last picture, from its middle
        ("turn:pan_deg=10", (-1, 0)),  # turned right: what was ahead is now on the left
        ("turn:pan_deg=-10", (1, 0)),
        ("turn:tilt_deg=10", (0, 1)),  # turned up: what was ahead is now below
        ("turn:tilt_deg=-10", (0, -1)),
    ],
)
def test_signs_of_pan_and_tilt(walk, identity_scene, spec, lands) -> None:
    path = walk(identity_scene, spec)
    ahead = path.camera(76).project(se3.transform(path.world_to_camera[76], np.array([0.0, 0, 5])))
    shift = ahead - (416, 240)
    assert np.allclose(shift, np.array(lands) * path.camera(0).fx * np.tan(np.radians(10)), atol=1e-9)


def test_roll_is_clockwise_seen_from_behind(walk, identity_scene) -> None:
    path = walk(identity_scene, "turn:roll_deg=30")
    top = path.camera(76).project(se3.transform(path.world_to_camera[76], np.array([0.0, -1, 5])))
    assert top[0] < 416  # the camera turned clockwise, so the world turns anticlockwise: what was on top goes left
    assert top[1] < 240


@many
@given(
    pan=st.floats(-60, 60),
    tilt=st.floats(-60, 60),
    roll=st.floats(-60, 60),
    zoom=st.floats(0.25, 4),
    ease=st.sampled_from(["none", "in", "out", "in-out"]),
)
def test_totals_and_zoom_are_reached_without_a_step(walk, ring_scene, pan, tilt, roll, zoom, ease) -> None:
    spec = f"turn:pan_deg={pan!r},tilt_deg={tilt!r},roll_deg={roll!r},zoom={zoom!r},ease={ease}"
    path = walk(ring_scene, spec, frames=33)
    assert np.array_equal(path.centres, np.repeat(path.centres[:1], 33, axis=0))
    yaw, pitch, spin = Rotation.from_matrix(local(path)[-1]).as_euler("YXZ", degrees=True)
    assert np.allclose([yaw, pitch, spin], [pan, tilt, roll], atol=1e-9)
    growth = path.intrinsics / path.intrinsics[0]
    assert np.allclose(growth[-1], [zoom, zoom, 1, 1])
    assert np.allclose(growth[:, 0], growth[:, 1])
    if ease == "none":
        assert np.allclose(np.diff(np.log(growth[:, 0])), np.log(zoom) / 32)


@pytest.mark.parametrize(("kind", "axes"), [("pan", {1}), ("tilt", {0}), ("roll", {2}), ("mixed", {0, 1, 2})])
def test_drawn_turns_have_the_kind_and_range_and_both_signs(walk, ring_scene, kind, axes) -> None:
    totals = []
    for seed in range(40):
        last = local(walk(ring_scene, f"turn:kind={kind},least_deg=5,most_deg=8", frames=2, seed=seed))[-1]
        yaw, pitch, roll = Rotation.from_matrix(last).as_euler("YXZ", degrees=True)
        totals.append((pitch, yaw, roll))
    totals = np.array(totals)
    for axis in range(3):
        if axis in axes:
            assert np.all((np.abs(totals[:, axis]) >= 5 - 1e-9) & (np.abs(totals[:, axis]) <= 8 + 1e-9))
            assert 8 < (totals[:, axis] > 0).sum() < 32
        else:
            assert np.abs(totals[:, axis]).max() < 1e-9


def test_any_draws_every_kind(walk, identity_scene) -> None:
    found = set()
    for seed in range(40):
        last = local(walk(identity_scene, "turn", frames=2, seed=seed))[-1]
        found.add(tuple(np.abs(Rotation.from_matrix(last).as_euler("YXZ", degrees=True)) > 1e-6))
    assert found == {(True, False, False), (False, True, False), (False, False, True), (True, True, True)}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("turn:least_deg=9,most_deg=3", "least_deg=9.0 is above most_deg=3.0; give a range, smallest first"),
        ("turn:kind=roll,pan_deg=3", "kind=roll beside pan_deg; give the totals, or the kind that is drawn"),
        ("turn:pan_deg=nan", "pan_deg: nan is out of range"),
        ("turn:zoom=0", "zoom: 0.0 is out of range"),
        ("turn:kind=dolly", "'dolly' is not a choice"),
        ("turn:pan=10", "unknown option 'pan'; did you mean 'pan_deg'?"),
    ],
)
def test_errors_say_what_to_do(walk, identity_scene, spec, says) -> None:
    with pytest.raises(TrajkitError) as caught:
        walk(identity_scene, spec)
    assert says in str(caught.value)


def test_the_toy_renderer_takes_the_lens_of_each_frame() -> None:
    """At the end of a zoom the picture is the middle of the first one, enlarged."""
    scene = next(iter(plugins.load("scenes", "toy").scenes(None, plugins.load("scenes", "toy").Options())))
    module = plugins.load("renderers", "toy")
    turn = plugins.load("paths", "turn")
    lens = Camera.from_fov(96, 64, 60.0)
    path = turn.sample(scene, turn.Options(frames=2, camera=lens, zoom=2.0, pan_deg=0.0), seeding.generator(1))
    first, last = (frame.rgb.astype(float) for frame in module.Renderer(scene, module.Options()).frames(path))
    shrunk = last.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - first[16:48, 24:72]).mean() < 0.3 * np.abs(shrunk - first[16:48, 26:74]).mean()
