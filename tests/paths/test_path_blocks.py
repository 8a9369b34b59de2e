"""The random blocks follow minWM's rules; checked on its own strings too, so that the rules are its rules."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import motion, seeding
from trajkit.paths import _program, blocks

many = settings(deadline=None, max_examples=50, derandomize=True)
LONG, SHORT = set("adjl"), set("wsik")


def letters(program) -> str:
    """One letter per frame step, the way minWM writes such a path."""
    return "".join(segment.presses[0][0] * round(segment.latents * 4) for segment in program)


def breaks_a_rule(path: str) -> str:
    """The first rule that a string of letters breaks, or ""."""
    runs = [(key, len(list(group))) for key, group in itertools.groupby(path)]
    if not set(path) <= LONG | SHORT:
        return "unknown key"
    for (key, frames), (following, _) in itertools.pairwise(runs):
        if frames != (32 if key in LONG else 16):
            return f"a block of {frames} {key}"
        if {key, following} == {"w", "s"}:
            return "w next to s"
    key, frames = runs[-1]
    block = 32 if key in LONG else 16
    if not min(16, len(path)) <= frames < block + 16:
        return f"a last block of {frames} {key}"
    return ""


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("w" * 16 + "s" * 60, "w next to s"),
        ("w" * 15 + "a" * 61, "a block of 15 w"),
        ("a" * 32 + "d" * 32 + "w" * 12, "a last block of 12 w"),
        ("a" * 32 + "w" * 44, "a last block of 44 w"),
        ("q" * 76, "unknown key"),
    ],
)
def test_the_checker_sees_what_is_wrong(path, rule) -> None:
    assert breaks_a_rule(path) == rule


def test_minwm_follows_the_rules(shared) -> None:
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as arrays:
        for path in arrays["hyct_rand_strings"]:
            assert breaks_a_rule(str(path).lower()) == ""


@pytest.fixture(scope="session")
def draw(scene_of):
    lens = scene_of(np.eye(4)[None]).seen.camera(0)

    def drawn(seed: int, frames: int = 77, **given) -> str:
        options = blocks.Options(camera=lens, frames=frames, **given)
        return letters(blocks.draw(options, seeding.generator(seed, "blocks")))

    return drawn


@many
@given(seed=st.integers(0, 10**6), frames=st.integers(2, 400))
def test_drawn_blocks_follow_the_rules(draw, seed, frames) -> None:
    path = draw(seed, frames)
    assert len(path) == frames - 1
    assert breaks_a_rule(path) == ""


def test_weights_say_how_often(draw) -> None:
    firsts = "".join(draw(seed)[0] for seed in range(3000))
    share = {kind: sum(map(firsts.count, keys)) / 3000 for kind, keys in {"t": "wsad", "y": "jl", "p": "ik"}.items()}
    total = 4 * 1.2 + 2 * 1.0 + 2 * 0.8
    assert share == pytest.approx({"t": 4.8 / total, "y": 2.0 / total, "p": 1.6 / total}, abs=0.03)
    assert set(firsts) == LONG | SHORT
    assert not set("".join(draw(seed, translate_weight=0.01) for seed in range(30))) <= set("wsad")


@many
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([0.0, 20.0, 60.0]))
def test_long_clips_never_look_too_far_up_or_down(draw, seed, limit) -> None:
    path = draw(seed, 801, pitch_weight=100.0, pitch_limit_deg=limit)
    pitch_deg = np.cumsum([{"i": 0.75, "k": -0.75}.get(key, 0.0) for key in path])
    assert np.abs(pitch_deg).max() <= limit + 1e-9


def test_pitch_limit_does_not_touch_minwm_lengths(draw) -> None:
    for seed in range(300):
        assert draw(seed, 77) == draw(seed, 77, pitch_limit_deg=89.0)


def test_poses_are_minwm_poses_with_the_pitch_put_right(shared) -> None:
    """Its generator integrates I as looking down and K as up; its strings, and trajkit, mean the opposite."""
    swapped = str.maketrans("ik", "ki")
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as arrays:
        for path, expected in zip(arrays["hyct_rand_strings"], arrays["hyct_latent_w2c_noframe0"], strict=False):
            runs = itertools.groupby(str(path).lower().translate(swapped))
            program = _program.parse(",".join(f"{key}*{len(list(group)) / 4}" for key, group in runs))
            poses = _program.poses(program, np.arange(77) / 4, step=motion.LATENT_STEP, turn_deg=motion.LATENT_STEP_DEG)
            assert np.abs(np.linalg.inv(poses[4::4]) - expected).max() < 1e-9


def test_i_looks_up(walk, identity_scene, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "draw", lambda options, rng: _program.parse("i*19"))
    ahead = walk(identity_scene, "blocks").camera_to_world[-1, :3, 2]
    assert ahead[1] == pytest.approx(-np.sin(np.radians(57)))  # y points down
