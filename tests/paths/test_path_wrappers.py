"""revisit and handheld, the samplers that take another path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.paths import handheld

many = settings(deadline=None, max_examples=30, derandomize=True)
seeds = st.integers(0, 10**6)


@many
@given(
    seed=seeds,
    frames=st.integers(1, 120),
    pause=st.integers(0, 30),
    inner=st.sampled_from(["orbit", "spline", "blocks", "handheld:spiral"]),
)
def test_revisit_reads_the_same_backwards(walk, ring_scene, seed, frames, pause, inner) -> None:
    pause = min(pause, frames - 1)
    path = walk(ring_scene, f"revisit:{inner};pause={pause}", frames=frames, seed=seed).camera_to_world
    assert path.tobytes() == path[::-1].tobytes()
    still = (path == path[frames // 2]).all(axis=(1, 2)).sum()
    assert still in (pause + 1, pause + 2)
    assert still == pause + 1 + (frames + pause + 1) % 2


def test_revisit_goes_out_along_the_inner_path(walk, identity_scene) -> None:
    path = walk(identity_scene, "revisit:keys:w*9.5")
    out = walk(identity_scene, "keys:w*9.5", frames=39)
    assert np.array_equal(path.camera_to_world[:39], out.camera_to_world)
    assert path.centres[38, 2] == pytest.approx(0.76)


def test_brackets_keep_the_inner_options_apart(walk, identity_scene) -> None:
    path = walk(identity_scene, "revisit:(keys:w*5;step=0.2,fit=hold);pause=36")
    assert path.centres[20, 2] == pytest.approx(1.0)
    assert np.array_equal(path.camera_to_world[20:57], np.tile(path.camera_to_world[20], (37, 1, 1)))
    nested = walk(identity_scene, "handheld:(revisit:(keys:w*5;step=0.2,fit=hold);pause=36);shake=0,shake_deg=0")
    assert np.allclose(nested.camera_to_world, path.camera_to_world)


@many
@given(seed=seeds, frames=st.integers(1, 200))
def test_handheld_starts_where_its_path_does(walk, ring_scene, seed, frames) -> None:
    plain = walk(ring_scene, "spline", frames=frames, seed=seed)
    shaken = walk(ring_scene, "handheld:spline", frames=frames, seed=seed)
    assert np.array_equal(shaken.camera_to_world[0], plain.camera_to_world[0])
    apart = np.linalg.norm(shaken.centres - plain.centres, axis=1) / ring_scene.unit
    assert apart.max() < 0.1  # ten times the default amplitude


def test_handheld_without_amplitude_is_its_path(walk, ring_scene) -> None:
    plain, still = walk(ring_scene, "blocks"), walk(ring_scene, "handheld:blocks;shake=0,shake_deg=0")
    assert np.array_equal(plain.camera_to_world, still.camera_to_world)


def test_handheld_has_its_amplitude_in_degrees_and_path_units(walk, scene_of) -> None:
    scene = scene_of(np.eye(4)[None], unit=4.0)
    path = walk(scene, "handheld:(keys:hold*1;fit=hold);shake=0.02,shake_deg=0.5", frames=16 * 400 + 1)
    assert path.centres.std(axis=0) == pytest.approx([0.08] * 3, rel=0.05)
    turns = np.array([se3.log(se3.pose(turn, np.zeros(3)))[3:] for turn in path.camera_to_world[::5, :3, :3]])
    assert np.degrees(turns.std(axis=0)) == pytest.approx([0.5] * 3, rel=0.05)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(0.3, 3.0), (1.0, 7.0), (0.05, 0.5)])
def test_shake_is_band_limited_and_falls_with_frequency(low_hz, high_hz) -> None:
    fps, count = 16.0, 16 * 600
    signal = handheld.noise(np.arange(count) / fps, low_hz, high_hz, np.random.default_rng(1))
    assert (signal[0] == 0).all()
    assert signal.std(axis=0) == pytest.approx([1.0] * 6, rel=0.1)
    window = np.blackman(count)[:, None]
    signal -= (signal * window).sum(axis=0) / window.sum()  # the shift
    power = np.abs(np.fft.rfft(signal * window, axis=0)) ** 2
    hz = np.fft.rfftfreq(count, 1 / fps)
    share = lambda low, high: power[(hz >= low) & (hz < high)].sum(axis=0) / power.sum(axis=0)  # noqa: E731
    assert (share(low_hz - 0.02, high_hz + 0.02) > 0.9999).all()
    middle = np.sqrt(low_hz * high_hz)
    expected = (1 / low_hz - 1 / middle) / (1 / low_hz - 1 / high_hz)
    assert share(low_hz - 0.02, middle) == pytest.approx([expected] * 6, abs=0.05)


def test_shake_does_not_repeat_with_the_clip_and_differs_by_axis() -> None:
    signal = handheld.noise(np.arange(154) / 16, 0.3, 3.0, np.random.default_rng(2))
    assert np.abs(signal[77:] - signal[:77]).max() > 0.5
    assert np.abs(np.corrcoef(handheld.noise(np.arange(9600) / 16, 0.3, 3.0, np.random.default_rng(3)).T)
                  - np.eye(6)).max() < 0.2  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("revisit:obrit", "paths 'obrit': no such plugin; did you mean 'orbit'?"),
        ("revisit:orbit:turn=1", "path orbit: unknown option 'turn'; did you mean 'turns'?"),
        ("revisit:orbit;turns=1", "path revisit: unknown option 'turns'; keys are program, pause"),
        ("revisit:keys:w*12,x*3", "keys: 'w*12,x*3' column 6: unknown key 'x'"),
        ("revisit:keys:w*12,l*7", "lasts 19 latents, but a clip of 39 frames lasts 9.5"),
        ("revisit:orbit;pause=77", "revisit: pause=77: the clip has 77 frames; pause for fewer frames"),
        ("revisit:(keys:w*4;fit=hold", "path revisit: the bracket of '(keys:w*4;fit=hold' is never closed; add a )"),
        ("revisit:(orbit)pause", "path revisit: 'pause' is not of the form key=value"),
        ("revisit:" * 6 + "orbit", "more than 4 paths inside each other; use fewer"),
        ("handheld:spline;low_hz=5", "handheld: low_hz=5: not below high_hz=3; lower it or raise high_hz"),
        ("handheld:spline;high_hz=8", "handheld: high_hz=8: 16 frames per second cannot show it; stay below 8"),
        ("handheld:spline;shake=99", "path handheld: shake: 99.0 is out of range; stay within 0.0 .. 1.0"),
    ],
)
def test_errors_say_what_to_do(walk, ring_scene, spec, says) -> None:
    with pytest.raises(TrajkitError) as caught:
        walk(ring_scene, spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
