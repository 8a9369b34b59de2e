"""Residuals against slow twins, and what must not change them."""

from dataclasses import replace

import numpy as np
import pytest
import tracked
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation import residuals
from trajkit.curation.residuals import CAP_PX, KINDS, infinite, pair_errors, pairs, partners, triangulate
from trajkit.seeding import generator

QUICK = settings(deadline=None, max_examples=40, derandomize=True)


def sampled_half_line(rotation, translation, a, b, here, there) -> float:
    """The half line's points one by one, near and far, and the least distance."""
    ray = np.array([(here[0] - a.cx) / a.fx, (here[1] - a.cy) / a.fy, 1.0])
    angle = np.linspace(0, np.pi / 2, 100_001)  # inverse depth 0 .. infinity
    points = np.cos(angle)[:, None] * (rotation @ ray) + np.sin(angle)[:, None] * translation
    return float(np.nanmin(np.linalg.norm(b.project(points) - there, axis=1), initial=CAP_PX))


def drawn(seed: int) -> tuple:
    rng = generator(seed, "pair")
    camera = Camera.from_fov(832, 480, 50.0)
    turn = rng.normal(size=3) * rng.choice([0.02, 0.3, 2.0])
    rotation = se3.exp(np.r_[0, 0, 0, turn])[:3, :3]
    translation = rng.normal(size=3)
    here, there = rng.uniform((0, 0), (832, 480)), rng.uniform((0, 0), (832, 480))
    return rotation, translation / np.linalg.norm(translation), camera, here, there


@QUICK
@given(st.integers(0, 10_000))
def test_half_line_is_the_nearest_of_its_points(seed):
    rotation, translation, camera, here, there = drawn(seed)
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    quick = residuals.half_line(rotation, translation, lens, lens, *here, *there)
    assert quick == pytest.approx(sampled_half_line(rotation, translation, camera, camera, here, there), abs=0.3)


@QUICK
@given(st.integers(0, 10_000))
def test_sampson_is_the_textbook_formula(seed):
    rotation, translation, camera, here, there = drawn(seed)
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    x, y, z = translation
    inverse = np.linalg.inv(camera.matrix)
    fundamental = inverse.T @ np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation @ inverse
    one, other = np.append(here, 1), np.append(there, 1)
    lines = np.concatenate([(fundamental @ one)[:2], (fundamental.T @ other)[:2]])
    slow = abs(other @ fundamental @ one) / np.linalg.norm(lines)
    assert residuals.sampson(rotation, translation, lens, lens, *here, *there) == pytest.approx(min(slow, CAP_PX))


def test_half_line_knows_what_sampson_does_not():
    """A point that went the wrong way, and one behind the camera."""
    lens, still = np.array([500.0, 500, 416, 240]), np.eye(3)
    right = np.array([-1.0, 0, 0])  # the camera moved right: points move left
    assert residuals.half_line(still, right, lens, lens, 400.0, 200.0, 380.0, 200.0) == 0
    assert residuals.half_line(still, right, lens, lens, 400.0, 200.0, 420.0, 200.0) == pytest.approx(20)
    assert residuals.sampson(still, right, lens, lens, 400.0, 200.0, 420.0, 200.0) == pytest.approx(0, abs=1e-9)
    behind = se3.axis_rotation("y", 180.0)
    assert residuals.half_line(behind, np.array([0, 0, -1.0]), lens, lens, 400.0, 200.0, 400.0, 200.0) == CAP_PX
    assert infinite(behind, lens, lens, 400.0, 200.0, 400.0, 200.0) == CAP_PX


@pytest.mark.parametrize("kind", KINDS)
def test_exact_cameras_leave_nothing_and_wrong_ones_do(kind):
    exact = tracked.turning() if kind == "rotation" else tracked.walk()
    batch = pairs(exact, tracked.tracks(exact, noise_px=0.0), 8)
    assert pair_errors(exact, batch, kind).max() < 2e-3  # tracks are float32
    turned = replace(exact, camera_to_world=exact.camera_to_world @ turns(len(exact), 0.01))
    assert np.median(pair_errors(turned, batch, kind)) > 1


def turns(count: int, angle: float) -> np.ndarray:
    return se3.exp(np.concatenate([np.zeros((count, 3)), generator(0, "t").normal(size=(count, 3)) * angle], axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_world_frame_and_scale_do_not_matter(kind):
    walk = tracked.walk()
    wrong = replace(walk, camera_to_world=walk.camera_to_world @ turns(len(walk), 0.003))
    batch = pairs(walk, tracked.tracks(walk), 8)
    moved = wrong.moved(se3.Similarity(37.0, se3.axis_rotation("z", 70.0), np.array([5.0, -900, 3])))
    np.testing.assert_allclose(pair_errors(moved, batch, kind), pair_errors(wrong, batch, kind), atol=1e-6)
    one, other = triangulate(wrong, tracked.tracks(walk)), triangulate(moved, tracked.tracks(walk))
    np.testing.assert_allclose(one.residual_px, other.residual_px, atol=0.1)


def test_no_translation_falls_back_to_the_rotation():
    walk = tracked.walk()
    zeroed = replace(walk, camera_to_world=se3.pose(walk.camera_to_world[:, :3, :3], np.zeros(3)))
    batch = pairs(walk, tracked.tracks(walk), 8)
    for kind in ("half_line", "sampson"):
        np.testing.assert_array_equal(pair_errors(zeroed, batch, kind), pair_errors(zeroed, batch, "rotation"))
        assert np.median(pair_errors(zeroed, batch, kind)) > 3


@pytest.mark.parametrize("frames", [np.arange(41), np.arange(0, 41, 3), np.array([0, 1, 20])])
def test_pairs_are_all_there_are(frames):
    walk = tracked.walk()[frames]
    tracks = tracked.tracks(tracked.walk())
    batch = pairs(walk, tracks, 8)
    wanted = []
    for one, other in enumerate(partners(walk, 8)):
        if other >= 0:
            assert abs(int(frames[other] - frames[one]) - 8) <= 4
            here, there, track = tracks.pair(int(frames[one]), int(frames[other]))
            wanted += [(one, other, k, *a, *b) for k, a, b in zip(track, here, there, strict=True)]
    assert len(batch.first) == len(wanted)
    found = np.column_stack([batch.first, batch.second, batch.track, batch.xy_first, batch.xy_second])
    np.testing.assert_array_equal(found, np.array(wanted).reshape(-1, 7))
    few = pairs(walk, tracks, 8, limit=10)
    assert np.bincount(few.first, minlength=1).max(initial=0) <= 10
    assert set(zip(few.first, few.track, strict=True)) <= set(zip(batch.first, batch.track, strict=True))


def test_no_tracks_no_pairs():
    walk = tracked.walk(9)
    batch = pairs(walk, tracked.nothing(9), 8)
    assert len(batch.first) == len(pair_errors(walk, batch)) == 0
    points = triangulate(walk, tracked.nothing(9))
    assert len(points.residual_px) == 0
    assert points.share_in_front == 1.0


def test_triangulation_finds_the_points():
    walk = tracked.walk()
    tracks = tracked.tracks(walk, noise_px=0.0)
    points = triangulate(walk, tracks)
    seen = np.bincount(tracks.track, minlength=tracks.count)
    assert np.median(points.residual_px) < 1e-3
    assert np.percentile(points.residual_px, 99) < 0.02
    np.testing.assert_array_equal(np.abs(points.xyzw).any(1), seen >= 2)
    good = np.flatnonzero(seen >= 5)
    row = np.searchsorted(tracks.track, good)
    first = tracks.frame[row]
    there = se3.transform(walk.world_to_camera[first], points.xyzw[good, :3] / points.xyzw[good, 3:])
    np.testing.assert_allclose(np.median(there[:, 2]), 7, atol=1.5)  # depths of 2 to 12
    assert points.share_in_front > 0.99


def test_points_behind_are_flagged():
    """All translations reversed: every point fits as well, behind."""
    walk = tracked.walk()
    reversed_ = replace(walk, camera_to_world=se3.pose(walk.camera_to_world[:, :3, :3], -walk.centres))
    points = triangulate(reversed_, tracked.tracks(walk, noise_px=0.02))
    assert np.median(points.residual_px) < 0.1
    assert points.share_in_front < 0.2


def test_robust_to_a_jump_of_one_observation():
    walk = tracked.walk()
    tracks = tracked.tracks(walk, noise_px=0.0)
    xy = tracks.xy.copy()
    xy[::12] += 25
    points = triangulate(walk, replace(tracks, xy=xy))
    clean = np.ones(len(xy), bool)
    clean[::12] = False
    assert np.median(points.residual_px[clean]) < 0.5
    assert np.median(points.residual_px[~clean]) > 20
