"""The key grammar, its errors by column, and agreement with minWM's poses."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import motion, se3
from trajkit.errors import TrajkitError
from trajkit.paths import _program, keys
from trajkit.paths._program import Segment

many = settings(deadline=None, max_examples=50, derandomize=True)
LETTERS = ["w", "s", "a", "d", "u", "dn", "j", "l", "i", "k"]
OPPOSITES = [{"w", "s"}, {"a", "d"}, {"u", "dn"}, {"j", "l"}, {"i", "k"}]


@pytest.fixture(scope="module")
def vectors(shared):
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as arrays:
        yield arrays


# --- minWM's numbers


def test_latents_agree_with_minwm_trajectories(walk, identity_scene, vectors) -> None:
    for program, expected in zip(vectors["traj_strings"], vectors["traj_viewmats"], strict=True):
        path = walk(identity_scene, f"keys:{program}", frames=77)
        assert np.abs(path.world_to_camera[::4] - expected).max() < 1e-6, program


@pytest.mark.parametrize("number", range(4))
def test_latents_agree_with_vertical_and_short_programs(walk, identity_scene, vectors, number) -> None:
    expected = vectors[f"traj_extra_{number}"]
    path = walk(identity_scene, f"keys:{vectors['traj_extra_strings'][number]}", frames=4 * (len(expected) - 1) + 1)
    assert np.abs(path.world_to_camera[::4] - expected).max() < 1e-6


def test_latents_agree_with_worldplay_pose_strings(walk, identity_scene, vectors) -> None:
    for program, expected in zip(vectors["pose_strings"], vectors["pose_viewmats"], strict=True):
        path = walk(identity_scene, f"keys:{program}", frames=77)
        assert np.abs(path.world_to_camera[::4] - expected).max() < 1e-6, program


# --- what the keys do, by where a known point lands in the picture


@pytest.mark.parametrize(
    ("program", "moves_right", "moves_down"),
    [
        ("d*4", -1, 0),
        ("a*4", 1, 0),
        ("u*4", 0, 1),
        ("dn*4", 0, -1),
        ("l*4", -1, 0),
        ("right-4", -1, 0),
        ("j*4", 1, 0),
        ("LEFT-4", 1, 0),
        ("i*4", 0, 1),
        ("up*4", 0, 1),
        ("k*4", 0, -1),
        ("down*4", 0, -1),
        ("d+u*4", -1, 1),
    ],
)
def test_a_point_ahead_moves_the_other_way_in_the_picture(
    walk, identity_scene, program, moves_right, moves_down
) -> None:
    path = walk(identity_scene, f"keys:{program}", frames=17)
    point = se3.transform(path.world_to_camera[-1], np.array([0.0, 0.0, 2.0]))
    right, down = path.camera(0).project(point) - (416, 240)
    assert (np.sign(np.round([right, down], 6)) == [moves_right, moves_down]).all()


@pytest.mark.parametrize(("program", "depth"), [("w*5", 1.6), ("s*5", 2.4), ("w@0.5*5", 1.8), ("hold*5", 2.0)])
def test_moving_forward_brings_a_point_nearer(walk, identity_scene, program, depth) -> None:
    last = walk(identity_scene, f"keys:{program}", frames=21).world_to_camera[-1]
    assert np.allclose(se3.transform(last, np.array([0.0, 0.0, 2.0])), [0, 0, depth])


def test_keys_pressed_together_follow_the_arc_that_latents_cut_short(walk, identity_scene) -> None:
    path = walk(identity_scene, "keys:w+l*19").camera_to_world[::4]
    per_latent = motion.integrate(np.tile(motion.key_move("w") + motion.key_move("l"), (19, 1)))
    angle = np.radians(57.0)
    arc = 1.52 / angle * np.array([1 - np.cos(angle), 0.0, np.sin(angle)])
    assert np.allclose(path[:, :3, :3], per_latent[:, :3, :3])
    assert np.abs(path[-1, :3, 3] - per_latent[-1, :3, 3]).max() < 0.02 * 1.52
    assert np.linalg.norm(path[-1, :3, 3] - arc) < 0.3 * np.linalg.norm(per_latent[-1, :3, 3] - arc)


def test_options_set_the_step_and_the_turn(walk, scene_of) -> None:
    scene = scene_of(np.eye(4)[None], unit=5.0)
    path = walk(scene, "keys:d*2,l@2*2;step=0.1,turn_deg=4", frames=17)
    assert np.allclose(path.centres[-1], [0.1 * 2 * 5, 0, 0])
    assert np.allclose(path.turn_rates_deg[-8:] / path.fps, 2.0)
    assert np.allclose(path.turn_rates_deg[:8], 0.0)


# --- speed profiles and length


@pytest.mark.parametrize(
    ("spec", "first", "middle", "last"),
    [
        ("keys:w*10", 1.0, 1.0, 1.0),
        ("keys:w*10;ease=in-out", 0.08, 1.5, 0.08),
        ("keys:w*10~in-out", 0.08, 1.5, 0.08),
        ("keys:w*10~in", 0.03, 1.0, 1.98),
        ("keys:w*10~out", 1.98, 1.0, 0.03),
        ("keys:w*10~none;ease=in", 1.0, 1.0, 1.0),
    ],
)
def test_easing_changes_the_speed_and_not_the_way(walk, identity_scene, spec, first, middle, last) -> None:
    path = walk(identity_scene, spec, frames=41)
    steps = np.diff(path.centres[:, 2]) / 0.02
    assert np.allclose(path.centres[-1], [0, 0, 0.8])
    assert np.allclose([steps[0], steps[20], steps[-1]], [first, middle, last], atol=0.05)


def test_easing_one_segment_leaves_the_others_alone(walk, identity_scene) -> None:
    steps = np.diff(walk(identity_scene, "keys:w*5~in-out,d*5", frames=41).centres, axis=0)
    assert np.allclose(steps[20:], [0.02, 0, 0])
    assert np.allclose(steps[:20].sum(axis=0), [0, 0, 0.4])


def test_hold_keeps_the_last_pose(walk, identity_scene) -> None:
    path = walk(identity_scene, "keys:w*4,l*2.25;fit=hold", frames=77)
    assert np.array_equal(path.camera_to_world[25:], np.tile(path.camera_to_world[25], (52, 1, 1)))
    assert np.allclose(path.centres[-1], [0, 0, 0.32])


@pytest.mark.parametrize("frames", [2, 20, 77, 78, 200])
def test_stretch_walks_the_same_way_in_any_time(walk, identity_scene, frames) -> None:
    path = walk(identity_scene, "keys:w*12,l*7;fit=stretch", frames=frames)
    assert np.allclose(path.centres[-1], [0, 0, 0.96])
    assert np.allclose(se3.angle_deg(path.camera_to_world[-1, :3, :3]), 21.0)


@pytest.mark.parametrize(
    ("spec", "frames", "says"),
    [
        ("keys:w*12,l*7", 81, "lasts 19 latents, but a clip of 81 frames lasts 20; make the counts add up to 20"),
        ("keys:w*12,l*7", 73, "use --frames 77, or add ;fit=stretch"),
        ("keys:w*12,l*7", 81, "use --frames 77, or add ;fit=stretch or ;fit=hold"),
        ("keys:w*12,l*7;fit=hold", 73, "lasts 19 latents, but a clip of 73 frames lasts 18"),
        ("keys:w*1", 7, "lasts 1 latents, but a clip of 7 frames lasts 1.5"),
        ("keys:w*1;fit=cut", 5, "use one of error, hold, stretch"),
    ],
)
def test_a_program_of_another_length_is_an_error(walk, identity_scene, spec, frames, says) -> None:
    with pytest.raises(TrajkitError) as caught:
        walk(identity_scene, spec, frames=frames)
    assert says in str(caught.value)


# --- grammar


@pytest.mark.parametrize(
    ("program", "canonical"),
    [
        ("w*12,l*7", "w*12,l*7"),
        ("w-3, right-1, d-4", "w*3,l*1,d*4"),
        (" W * 3 ,, Right-1.0 , ", "w*3,l*1"),
        ("l+w*4", "w+l*4"),
        ("w@0.50 + l@2*4~IN-OUT", "w@0.5+l@2*4~in-out"),
        ("u*1,dn*1,up*1,down*1,left*1", "u*1,dn*1,i*1,k*1,j*1"),
        ("hold*.25", "hold*0.25"),
        ("w@1*2.5~none", "w*2.5~none"),
    ],
)
def test_canonical_text(program, canonical) -> None:
    assert _program.text(_program.parse(program)) == canonical


def test_options_hold_the_canonical_text(identity_scene) -> None:
    options = keys.Options(camera=identity_scene.seen.camera(0), frames=13, program="W-2.0, Left + w@1.0 - 1")
    assert options.program == "w*2,w+j*1"


@st.composite
def segments(draw):
    keys = draw(st.lists(st.sampled_from(LETTERS), unique=True, max_size=4))
    keys = [key for key in keys if not any({key, other} in OPPOSITES for other in keys if other < key)]
    numbers = st.floats(0.01, 10.0)
    presses = tuple((key, draw(st.just(1.0) | numbers)) for key in LETTERS if key in keys)
    return Segment(
        presses=presses,
        latents=draw(st.integers(1, 400)) / 4,
        ease=draw(st.sampled_from([None, "none", "in", "out", "in-out"])),
    )


programs = st.lists(segments(), min_size=1, max_size=8).map(tuple)


@many
@given(program=programs)
def test_program_survives_its_canonical_text(program) -> None:
    canonical = _program.text(program)
    assert _program.parse(canonical) == program
    assert _program.text(_program.parse(canonical)) == canonical


@many
@given(program=programs, rng=st.randoms(use_true_random=False))
def test_case_blanks_and_aliases_do_not_matter(program, rng) -> None:
    aliases = {key: alias for alias, key in motion.ALIASES.items()}
    tokens = re.findall(r"[a-z]+(?:-[a-z]+)?|[\d.]+(?:e-?\d+)?|.", _program.text(program))
    tokens = [aliases.get(token, token) if rng.random() < 0.5 else token.upper() for token in tokens]
    spaced = "".join(token + " " * rng.randrange(3) for token in tokens)
    assert _program.parse(spaced) == program


@many
@given(program=programs, step=st.floats(0, 1), turn_deg=st.floats(0, 10))
def test_poses_equal_the_obvious_loop(program, step, turn_deg) -> None:
    plain = [Segment(presses=segment.presses, latents=segment.latents) for segment in program]
    rows = []
    for segment in plain:
        row = sum((factor * motion.key_move(key, step, turn_deg) for key, factor in segment.presses), np.zeros(6))
        rows += [row / 4] * round(segment.latents * 4)
    times = np.arange(len(rows) + 1) / 4
    assert np.allclose(_program.poses(plain, times, step=step, turn_deg=turn_deg), motion.integrate(rows), atol=1e-9)


@pytest.mark.parametrize(
    ("program", "column", "says"),
    [
        ("w*12,x*3", 6, "unknown key 'x'; use one of w, s, a, d, u, dn, j, l, i, k, up (= i)"),
        ("w*12,rigth*3", 6, "unknown key 'rigth'; did you mean 'right'?"),
        ("WWWWJJJJ", 1, "unknown key 'WWWWJJJJ'"),
        ("", 1, "the program is empty; write keys and latents, such as w*12,l*7"),
        (" , ,", 1, "the program is empty"),
        ("w", 2, "'end of program' where a count is due; write *4 after the keys"),
        ("w*", 3, "'end of program' where a number of latents is due"),
        ("w*l", 3, "'l' where a number of latents is due"),
        ("w**3", 3, "'*' where a number of latents is due"),
        ("w*-3", 3, "'-' where a number of latents is due"),
        ("a*4,w*0", 7, "0 latents; use more than 0"),
        ("w*1.3", 3, "1.3 latents is no whole number of frames; use a multiple of 0.25"),
        ("w*99999", 3, "99999 latents; use more than 0 and at most 10000"),
        ("w*9000,s*9000", 1, "the program lasts 18000 latents; stay within 10000"),
        ("w*1e3", 4, "unexpected 'e3'; put a comma between segments"),
        ("w*4 l*3", 5, "unexpected 'l'; put a comma between segments"),
        ("w*4)", 4, "unexpected ')'"),
        ("w-1-2", 4, "unexpected '-'"),
        ("4*w", 1, "'4' where a key is due"),
        ("w+*3", 3, "'*' where a key is due"),
        ("w+4*3", 3, "'4' where a key is due"),
        ("w@*3", 3, "'*' where a speed factor is due; write w@0.5 for half speed"),
        ("w@0*3", 3, "speed factor 0 is out of range; stay within 0.01 to 10"),
        ("w@11*3", 3, "speed factor 11 is out of range"),
        ("l*1, w + s*4", 10, "'s' undoes 'w' in the same segment; keep one of them"),
        ("left+right*4", 6, "'right' undoes 'j' in the same segment"),
        ("i+up*4", 3, "key 'up' is pressed twice; keep one; i@2 is twice as fast"),
        ("hold+w*4", 6, "hold stands still and cannot be combined"),
        ("w+hold*4", 3, "hold stands still and cannot be combined"),
        ("hold@2*4", 6, "hold has no speed; drop the factor"),
        ("w*4~bounce", 5, "unknown ease 'bounce'; use none, in, out, in-out"),
        ("w*4~", 5, "the ease is missing; use none, in, out, in-out"),
        ("w*4~in~out", 7, "unexpected '~'"),
        ("ｗ*4", 1, "'ｗ' where a key is due"),
        ("w*4,\x00", 5, "where a key is due"),
        ("w*4\n,q*1", 6, "unknown key 'q'"),
    ],
)
def test_errors_point_at_the_column(walk, identity_scene, program, column, says) -> None:
    with pytest.raises(TrajkitError) as caught:
        _program.parse(program)
    assert f" column {column}: " in str(caught.value)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"keys: {program!r}")
    assert "\n" not in str(caught.value)


@many
@given(program=st.text(alphabet="wsadlik+*-@~,.019 (h", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_program_or_a_one_line_error(program) -> None:
    message = ""
    try:
        parsed = _program.parse(program)
    except TrajkitError as error:
        message = str(error)
    if message:
        assert 1 <= int(re.findall(r" column (\d+): ", message)[-1]) <= len(program) + 1
        assert "\n" not in message
    else:
        assert _program.parse(_program.text(parsed)) == parsed


def test_a_long_program_is_shortened_in_its_error() -> None:
    with pytest.raises(TrajkitError, match=r"\.\.\.' column 401: unknown key 'x'"):
        _program.parse("w*1," * 100 + "x*1")
