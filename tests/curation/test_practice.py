"""Practice clips: what is said of them is true of their pictures, and errors of poses are measured as they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splatting import relief, splat_scene, walk

from trajkit import files, seeding, video
from trajkit.camera import Camera
from trajkit.clip import Clip, read_clip
from trajkit.curation import practice as practice_
from trajkit.curation._motions import Motion, draw
from trajkit.curation._movers import Mover, Troupe
from trajkit.curation._stage import LINEAR, Stage, band_count, flattened
from trajkit.curation.corrupt import corrupt
from trajkit.curation.induced import Sights, errors_px
from trajkit.curation.practice import CONDITIONS, Practice, known, make, places, plan, truth
from trajkit.errors import TrajkitError
from trajkit.scenes import toy
from trajkit.toy_world.solids import Skin, box
from trajkit.trajectory import Trajectory

ROOM = "toy:seed=3"
FRAMES, SIZE = 13, (208, 120)
LENS = Camera.from_fov(*SIZE, 50.0)


def room():
    return next(toy.scenes(None, toy.Options(seed=3)))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Path, dict[str, tuple[Practice, Clip]]]:
    """One clip of each condition, all in the same room, which is painted once."""
    out = tmp_path_factory.mktemp("practice")
    planned = {one.condition: replace(one, scene=ROOM) for one in plan(len(CONDITIONS), 1, frames=FRAMES, size=SIZE)}
    return out, {condition: (one, make(one, out)) for condition, one in planned.items()}


def way(seconds: float = 0.75, **changes) -> Motion:
    """A truck to the right, 1.2 m/s, from a captured camera of the room."""
    motion = draw(room(), "static", seconds, False, seeding.generator(0, "way"))
    still = replace(motion, start=room().seen.camera_to_world[5], line=np.array([0.9, 0, 0]), ease=0.0)
    return replace(still, **changes)


def box_at(place: np.ndarray, *, size: float = 0.6, velocity=(0.0, 0.0, 0.0)) -> Troupe:
    skin = Skin(material="blocks")
    mover = Mover(
        solids=(box((0, 0, 0), (size, size, size), skin),), upright=np.eye(3), place=place, middle_s=0.0,
        velocity=np.array(velocity), sway=np.zeros(3), sway_hz=0.2, phase=0.0, spin_deg=0.0,
    )  # fmt: skip
    return Troupe([mover])


def test_a_plan_is_balanced_repeatable_and_never_twice_the_same():
    planned = plan(48, 7)
    assert planned == plan(48, 7)
    assert planned[:5] == plan(5, 7)
    counts = {condition: sum(one.condition == condition for one in planned) for condition in CONDITIONS}
    assert set(counts.values()) == {4, 8}
    assert counts["plain"] == 8
    assert len({one.key for one in planned}) == len({one.scene for one in planned}) == 48
    assert not {one.scene for one in planned} & {one.scene for one in plan(48, 8)}
    assert 0.3 < np.mean([one.shaken for one in planned]) < 0.7
    mixed = plan(48, 7, scenes=["splat:a.ply", "splat:b.ply"])
    for condition in set(CONDITIONS) - {"low_texture"}:
        kinds = [one.scene.startswith("toy:") for one in mixed if one.condition == condition]
        assert sum(kinds) == len(kinds) / 2
    assert all(one.scene.startswith("toy:") for one in mixed if one.condition == "low_texture")
    assert {one.scene for one in mixed} >= {"splat:a.ply", "splat:b.ply"}


@pytest.mark.parametrize("condition", sorted(set(CONDITIONS)))
def test_every_condition_gives_a_whole_clip_with_its_truth(clips, condition):
    out, made = clips
    one, clip = made[condition]
    again = read_clip(out, one.key)
    assert again.frames == clip.frames == FRAMES
    assert again.provenance.kind == "rendered"
    assert clip.checks["condition"] == condition
    pictures = video.read(again.video)
    assert pictures.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    assert pictures.std() > 10
    found = known(out, one.key)
    rows, columns = places(*SIZE)
    assert found.depth.shape == found.moving.shape == (FRAMES, len(rows), len(columns))
    assert (found.depth > 0.1).all()
    assert (found.depth < 15).all()
    assert room().extent[0, 2] < clip.trajectory.centres[:, 2].min()
    assert toy.world(room()).distance(clip.trajectory.centres).min() > 0.15
    share = practice_.MOVING.get(condition)
    if share:
        assert share[0] - 0.05 < found.moving.mean() < share[1] + 0.05
    elif condition != "static":
        assert not found.moving.any()


def test_poses_and_lenses_are_those_of_the_condition(clips):
    _, made = clips
    poses = {condition: clip.trajectory for condition, (_, clip) in made.items()}
    depth = 4 * room().unit
    reach = {name: np.linalg.norm(path.centres - path.centres[0], axis=1).max() / depth for name, path in poses.items()}
    assert reach["rotation"] == reach["static"] == 0
    assert 0 < reach["tiny_baseline"] < 0.01
    assert min(reach[name] for name in ("plain", "blur", "moving")) > 0.01
    assert poses["static"].turn_rates_deg.max() == 0
    assert poses["rotation"].turn_rates_deg.max() > 3
    assert np.median(poses["blur"].turn_rates_deg) > np.median(poses["plain"].turn_rates_deg)
    focal = {name: path.intrinsics[:, 0] for name, path in poses.items()}
    steps = np.diff(focal["zoom"])
    assert (steps > 0).all() or (steps < 0).all()
    assert all(np.ptp(values) == 0 for name, values in focal.items() if name != "zoom")


def test_the_same_practice_gives_the_same_bytes_and_a_done_clip_is_kept(clips, tmp_path):
    out, made = clips
    one, clip = made["moving"]
    make(one, tmp_path)
    for name in (f"{one.key}.mp4", f"{one.key}.camera.npz", f"{one.key}.json", f"truth/{one.key}.npz"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
    before = (out / f"{one.key}.mp4").stat().st_mtime_ns
    make(one, out)
    assert (out / f"{one.key}.mp4").stat().st_mtime_ns == before
    other = make(replace(one, seed=2, key="other"), tmp_path)
    assert not np.allclose(other.trajectory.camera_to_world, clip.trajectory.camera_to_world)


def test_pictures_agree_with_poses_and_depth_and_not_with_wrong_poses(clips):
    out, made = clips
    one, clip = made["plain"]
    pictures, depth = video.read(clip.video).astype(float), known(out, one.key).depth
    rows, columns = places(*SIZE)
    first, second = 1, 9
    xy = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2) + 0.5

    def disagreement(trajectory: Trajectory) -> float:
        camera = trajectory.camera(first)
        points = camera.rays(xy) * depth[first].reshape(-1, 1)
        world = points @ trajectory.camera_to_world[first, :3, :3].T + trajectory.centres[first]
        local = (world - trajectory.centres[second]) @ trajectory.camera_to_world[second, :3, :3]
        there = np.floor(trajectory.camera(second).project(local)).astype(int)
        inside = ((there >= 0) & (there < SIZE)).all(axis=1)
        ours = pictures[first][tuple(np.floor(xy[inside]).astype(int).T[::-1])]
        theirs = pictures[second][tuple(there[inside].T[::-1])]
        return float(np.median(np.abs(ours - theirs).sum(axis=1)))

    right = disagreement(clip.trajectory)
    for name in ("identity", "reversed", "inverted"):
        assert disagreement(corrupt(clip.trajectory, name, 1.0, seeding.generator(0))) > 1.5 * right, name


def test_light_is_gathered_over_the_shutter_as_by_many_pictures():
    motion, stage = way(), Stage(room(), box_at(np.array([0.2, 0.1, 1.0]), velocity=(2.0, 0, 0)), 3)
    shutter_s = 0.06
    light, middle = stage.exposed(motion.poses, LENS, 0.3, shutter_s, 3)
    moments = 0.3 + shutter_s * ((np.arange(41) + 0.5) / 41 - 0.5)
    shots = [stage.shot(pose, LENS, float(at)) for pose, at in zip(motion.poses(moments), moments, strict=True)]
    twin = np.mean([LINEAR[shot.rgb] for shot in shots], axis=0)
    sharp = LINEAR[middle.rgb]
    assert np.abs(light - twin).mean() < 0.35 * np.abs(sharp - twin).mean()
    assert np.array_equal(middle.depth, stage.shot(motion.poses(np.array([0.3]))[0], LENS, 0.3, 1).depth)
    short, sharp = stage.exposed(motion.poses, LENS, 0.3, 1e-6, 1)
    assert np.array_equal(short, LINEAR[sharp.rgb])


def test_a_rolling_shutter_sees_each_band_from_its_own_pose():
    motion, stage = way(), Stage(room(), Troupe(()), 3)
    bands = band_count(SIZE[1])
    still = stage.rolled(np.repeat(motion.poses(np.array([0.2])), bands, axis=0), LENS, np.full(bands, 0.2))
    plain = stage.shot(motion.poses(np.array([0.2]))[0], LENS, 0.2)
    assert np.array_equal(still.depth, plain.depth)
    assert np.abs(still.rgb.astype(int) - plain.rgb).mean() < 1
    moments = np.linspace(0.0, 0.4, bands)
    rolled = stage.rolled(motion.poses(moments), LENS, moments)
    last = stage.shot(motion.poses(moments[-1:])[0], LENS, 0.4)
    assert np.array_equal(rolled.depth[-8:], last.depth[-8:])
    assert not np.array_equal(rolled.depth[:16], last.depth[:16])


def test_flattened_paint_leaves_edges_but_hardly_any_texture():
    place = toy.world(room())
    flat = flattened(place.painted, seeding.generator(0))
    assert flat.texels.shape == place.painted.texels.shape
    detail = [np.abs(np.diff(paint.texels.astype(float), axis=0)).mean() for paint in (place.painted, flat)]
    assert detail[1] < 0.4 * detail[0]
    assert np.abs(flat.texels.astype(float).mean() - place.painted.texels.mean()) < 5
    pose = room().seen.camera_to_world[5]
    rich = Stage(room(), Troupe(()), 3).shot(pose, LENS, 0.0)
    plain = Stage(room(), Troupe(()), 3, seeding.generator(0)).shot(pose, LENS, 0.0)
    assert np.array_equal(rich.depth, plain.depth)
    texture = [np.median(np.abs(np.diff(shot.rgb.astype(float), axis=1))) for shot in (rich, plain)]
    assert texture[1] < texture[0]


def test_a_mover_hides_what_is_behind_it_and_is_hidden_by_what_is_before_it():
    scene, path = room(), way()
    pose = path.poses(np.array([0.0]))[0]
    bare = Stage(scene, Troupe(()), 3).shot(pose, LENS, 0.0)
    at = (SIZE[1] // 2, SIZE[0] // 2)
    far = float(bare.depth[at])
    near = Stage(scene, box_at(pose[:3, 3] + pose[:3, 2] * far / 2), 3).shot(pose, LENS, 0.0)
    assert near.thing[at] == 1
    assert near.depth[at] < far
    assert np.array_equal(near.depth[near.thing == 0], bare.depth[near.thing == 0])
    hidden = Stage(scene, box_at(pose[:3, 3] + pose[:3, 2] * (far + 30), size=0.4), 3).shot(pose, LENS, 0.0)
    assert hidden.thing[at] == 0
    assert np.array_equal(hidden.depth, bare.depth)


def test_movers_are_laid_over_splats_by_depth(tmp_path):
    scene = splat_scene(relief(), tmp_path)
    pose, lens = walk(3, *SIZE).camera_to_world[1], walk(3, *SIZE).camera(1)
    bare = Stage(scene, Troupe(()), 0).shot(pose, lens, 0.0)
    front = Stage(scene, box_at(pose[:3, 3] + 1.5 * pose[:3, 2]), 0).shot(pose, lens, 0.0)
    behind = Stage(scene, box_at(pose[:3, 3] + 6 * pose[:3, 2]), 0).shot(pose, lens, 0.0)
    shown = front.thing == 1
    assert 0.05 < shown.mean() < 0.5
    assert ((front.depth < bare.depth) | (bare.depth == 0))[shown].all()
    away = np.abs(front.rgb.astype(int) - bare.rgb).sum(axis=-1) > 0
    assert (away & ~shown).mean() < 0.02
    assert np.array_equal(behind.depth, bare.depth)
    assert np.array_equal(behind.rgb, bare.rgb)


def test_exact_poses_are_clean_and_the_error_of_others_is_the_induced_one(clips):
    out, made = clips
    one, clip = made["plain"]
    exact, found = clip.trajectory, known(out, one.key)
    none = truth(exact, exact, *found)
    assert none.clean
    assert not none.bad
    assert max(none.px_1, none.px_8, none.worst_px, none.rotation_deg) < 0.01
    wrong = corrupt(exact, "rotation-drift", 3.0, seeding.generator(0, "drift"))
    rows, columns = places(*SIZE)
    xy = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2) + 0.5
    medians = []
    for first in range(FRAMES - 8):
        ends = [np.full(len(xy), frame) for frame in (first, first + 8)]
        medians.append(np.median(errors_px(wrong, exact, Sights(xy, found.depth[first].ravel().astype(float), *ends))))
    measured = truth(wrong, exact, *found)
    assert np.isclose(measured.px_8, np.mean(medians), rtol=0.25)
    assert np.isclose(measured.worst_px, np.max(medians), rtol=0.25)
    assert measured.bad
    assert truth(wrong, exact, found.depth, np.ones_like(found.moving)).px_8 == 0


def test_truth_names_the_worst_frame_scales_with_the_width_and_takes_sparse_claims(clips):
    out, made = clips
    one, clip = made["plain"]
    exact, found = clip.trajectory, known(out, one.key)
    spiked = exact.camera_to_world.copy()
    spiked[4] = spiked[4] @ Trajectory.from_camera(spiked[:1], LENS, fps=1).camera_to_world[0]
    wrong = truth(replace(exact, camera_to_world=spiked), exact, *found)
    assert wrong.bad
    assert wrong.worst_frame == 4
    assert wrong.rotation_deg > 1
    slight = corrupt(exact, "focal-error", 0.1, seeding.generator(0))
    small = truth(slight, exact, *found)
    large = truth(
        slight.resized(832, 480),
        exact.resized(832, 480),
        found.depth.repeat(4, 1).repeat(4, 2),
        found.moving.repeat(4, 1).repeat(4, 2),
    )
    assert np.isclose(large.px_8, 4 * small.px_8, rtol=0.1)
    assert (large.bad, large.clean) == (small.bad, small.clean)
    assert truth(exact[::3], exact, *found).clean
    assert truth(wrong_way := corrupt(exact[::3], "reversed", 1.0, seeding.generator(0)), exact, *found).bad, wrong_way


def test_translation_that_moves_no_pixel_is_no_error(clips):
    out, made = clips
    for condition in ("rotation", "static"):
        one, clip = made[condition]
        wrong = corrupt(clip.trajectory, "translation-drift", 0.4, seeding.generator(0), depth=3.0)
        assert not truth(wrong, clip.trajectory, *known(out, one.key)).bad


def test_a_run_makes_clips_and_says_what_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(practice_, "_scene", lambda spec: room())
    arguments = ["--out", str(tmp_path), "--count", "2", "--frames", "5", "--size", "104x60", "--seed", "4"]
    assert practice_.main(arguments) == 0
    listed = json.loads((tmp_path / "truth" / "practice.json").read_text())
    assert sorted(listed) == ["moving-4-001", "plain-4-000"]
    assert listed["moving-4-001"]["condition"] == "moving"
    assert listed["moving-4-001"]["moving_share"] > 0
    assert capsys.readouterr().out.split() == ["plain-4-000", "moving-4-001"]
    with pytest.raises(SystemExit):
        practice_.main(["--out", str(tmp_path), "--size", "wide"])
    assert "no size" in capsys.readouterr().err


def test_what_cannot_be_shown_or_read_is_an_error_of_one_line(tmp_path):
    one = plan(1, 0, frames=5, size=(104, 60))[0]
    with pytest.raises(TrajkitError):
        make(replace(one, scene=f"splat:{tmp_path / 'absent.ply'}"), tmp_path)
    (tmp_path / "truth").mkdir()
    files.write_bytes(tmp_path / "truth" / "a.npz", b"PK no archive")
    with pytest.raises(TrajkitError, match="make the practice clips again"):
        known(tmp_path, "a")
