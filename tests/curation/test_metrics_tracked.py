"""Metrics on tracks see what is put into the claim, stay low on exact poses, and are silent where nothing shows."""

from dataclasses import replace

import numpy as np
import pytest
import tracked

from trajkit import plugins, se3
from trajkit.curation.metrics import convention, focal, lag, motion, ray, relative, sampson, texture, triangulation
from trajkit.curation.tracks import Tracks
from trajkit.score import Score
from trajkit.trajectory import Trajectory

WALK = tracked.walk(61)
SEEN = tracked.tracks(WALK)


def scored(name: str, claim: Trajectory = WALK, seen: Tracks = SEEN) -> Score:
    """The score of a claim about the tracks."""
    score: Score = plugins.load("metrics", name).score(tracked.evidence(claim, seen))
    return score


def posed(poses: np.ndarray) -> Trajectory:
    """Other poses for the same tracks."""
    return replace(WALK, camera_to_world=poses)


def turned(degrees: np.ndarray) -> Trajectory:
    """The walk with each pose turned to the right by so much more."""
    return posed(WALK.camera_to_world @ se3.pose(se3.axis_rotation("y", degrees), np.zeros(3)))


JITTER = turned(np.random.default_rng(0).normal(size=61) * 0.5)
DRIFT = turned(np.linspace(0, 8, 61))
NEGATED = posed(se3.pose(WALK.camera_to_world[:, :3, :3], -WALK.centres))
ZEROED = posed(se3.pose(WALK.camera_to_world[:, :3, :3], np.zeros((61, 3))))
LOST = turned(np.where((np.arange(61) >= 30) & (np.arange(61) < 33), 6.0, 0.0))
ZOOMED = replace(WALK, intrinsics=WALK.intrinsics * (1.2, 1.2, 1, 1))


@pytest.mark.parametrize("name", ["sampson", "ray", "triangulation"])
def test_residuals_of_exact_poses_are_the_noise_of_tracks(name: str) -> None:
    for walk, seen in ((WALK, SEEN), (tracked.turning(61), tracked.tracks(tracked.turning(61)))):
        score = scored(name, walk, seen)
        assert score.value is not None
        assert score.value < 0.25
        assert max(value for value in score.per_frame if value is not None) < 0.4


@pytest.mark.parametrize("name", ["sampson", "ray", "triangulation"])
@pytest.mark.parametrize("claim", [JITTER, DRIFT, ZOOMED], ids=["jitter", "drift", "focal"])
def test_residuals_see_wrong_rotations_and_lenses(name: str, claim: Trajectory) -> None:
    worse, exact = scored(name, claim).value, scored(name).value
    assert worse is not None
    assert exact is not None
    assert worse > 5 * exact


def test_the_sign_of_the_translation_is_seen_by_the_half_line_alone() -> None:
    exact = sampson.score(tracked.evidence(WALK, SEEN)).value
    assert scored("sampson", NEGATED).value == pytest.approx(exact, rel=1e-6)
    assert (scored("ray", NEGATED).value or 0) > 5
    assert scored("triangulation", NEGATED).values["behind"] > 0.9
    assert scored("triangulation").values["behind"] < 0.02


def test_translation_that_is_missing_is_seen() -> None:
    assert (ray.score(tracked.evidence(ZEROED, SEEN)).value or 0) > 3


def test_three_lost_poses_show_in_the_worst_window_not_in_the_median() -> None:
    score, exact = scored("ray", LOST), scored("ray")
    assert score.value == pytest.approx(exact.value, rel=0.7)
    assert score.values["worst_1"] > 20
    assert score.values["worst_8"] > 10
    blamed = [value or 0 for value in score.per_frame]
    assert 26 <= int(np.argmax(blamed)) <= 36
    assert blamed[5] < 0.3
    assert triangulation.score(tracked.evidence(LOST, SEEN)).values["worst"] > 10


def test_sparse_poses_are_measured_at_their_own_frames() -> None:
    for name in ("sampson", "ray", "triangulation"):
        score = scored(name, WALK[::4])
        assert score.value is not None
        assert score.value < 0.25
        assert len(score.per_frame) == len(WALK[::4])
    assert "median_1" not in scored("ray", WALK[::4]).values


@pytest.mark.parametrize("shift", [-4, -1, 0, 2, 5])
def test_a_shift_in_time_is_found(shift: int) -> None:
    late = posed(WALK.camera_to_world[np.clip(np.arange(61) - shift, 0, 60)])
    score = lag.score(tracked.evidence(late, SEEN))
    assert score.value is not None
    assert score.values["shift"] == shift
    assert (score.value > 2) == (shift != 0)


def test_even_motion_does_not_tell_a_shift() -> None:
    steps = se3.pose(np.tile(np.eye(3), (61, 1, 1)), np.arange(61)[:, None] * (0.0, 0.0, 0.05))
    score = lag.score(tracked.evidence(posed(steps), tracked.tracks(posed(steps))))
    assert score.value is None
    assert "even" in score.why


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.3])
def test_a_wrong_focal_length_is_found(factor: float) -> None:
    claim = replace(WALK, intrinsics=WALK.intrinsics * (factor, factor, 1, 1))
    score = focal.score(tracked.evidence(claim, SEEN))
    assert score.value is not None
    assert score.values["factor"] == pytest.approx(1 / factor, rel=0.03)
    assert (score.value > 2) == (factor != 1.0)


def test_a_still_camera_does_not_tell_the_focal_length_nor_a_shift() -> None:
    still = tracked.still(61)
    for name in ("focal", "lag"):
        score = scored(name, still, tracked.tracks(still))
        assert score.value is None
        assert score.why


@pytest.mark.parametrize("name", convention.NAMES)
def test_every_convention_is_undone(name: str) -> None:
    if name.startswith("opengl world"):
        wrong = se3.inverse(WALK.camera_to_world @ convention.OPENGL)
    elif name == "world_to_camera translation":
        wrong = se3.pose(WALK.camera_to_world[:, :3, :3], WALK.world_to_camera[:, :3, 3])
    else:
        wrong = convention.readings(WALK.camera_to_world)[name]
    score = convention.score(tracked.evidence(posed(wrong), SEEN))
    assert score.value is not None
    assert score.value > 2
    read = convention.readings(wrong)[convention.NAMES[int(score.values["best"])]]
    assert (ray.score(tracked.evidence(posed(read), SEEN)).value or 9) < 0.2


def test_no_other_convention_fits_exact_poses() -> None:
    for walk in (WALK, tracked.turning(61), tracked.still(61)):
        value = convention.score(tracked.evidence(walk, tracked.tracks(walk))).value
        assert value is not None
        assert value < 1.3


def test_two_views_agree_with_exact_poses_and_name_the_rotation_that_is_wrong() -> None:
    pytest.importorskip("cv2")
    exact, wrong = scored("relative"), scored("relative", DRIFT)
    assert exact.value is not None
    assert wrong.value is not None
    assert exact.value < 0.1
    assert exact.values["direction_deg"] < 0.5
    assert wrong.value == pytest.approx(8 / 60 * 8, rel=0.6)
    assert scored("relative", NEGATED).values["direction_deg"] > 170
    assert relative.UNIT == "deg"


def test_two_views_without_parallax_name_no_direction() -> None:
    pytest.importorskip("cv2")
    walk = tracked.turning(61)
    score = scored("relative", walk, tracked.tracks(walk))
    assert score.values["direction_known"] == 0
    assert "direction_deg" not in score.values
    assert score.value is not None
    assert score.value < 0.1


def test_what_moves_is_named_from_the_picture() -> None:
    for walk, kind in ((WALK, "parallax"), (tracked.turning(61), "rotation"), (tracked.still(61), "static")):
        evidence = tracked.evidence(walk, tracked.tracks(walk))
        assert motion.about(evidence)["motion"] == kind
        assert motion.score(evidence).value == 0


def test_a_little_parallax_in_a_fast_turn_is_parallax() -> None:
    walk = tracked.walk(61, step=0.02, turn_deg=1.5)
    assert motion.about(tracked.evidence(walk, tracked.tracks(walk)))["motion"] == "parallax"


def test_a_claim_and_a_picture_that_disagree_are_told_apart() -> None:
    still = tracked.still(61)
    lost, adrift = scored("motion", still, SEEN), scored("motion", WALK, tracked.tracks(still))
    assert (lost.value, lost.values["claims_still"], lost.values["claims_motion"]) == (1, 1, 0)
    assert (adrift.value, adrift.values["claims_still"], adrift.values["claims_motion"]) == (1, 0, 1)
    held = np.arange(61)
    held[20:45] = 20
    frozen = scored("motion", posed(WALK.camera_to_world[held]))
    assert frozen.value == pytest.approx(0.3, abs=0.1)
    assert (frozen.per_frame[32], frozen.per_frame[5]) == (1, 0)


def test_texture_counts_and_says_when_nothing_can_be_known() -> None:
    rich, poor = scored("texture"), scored("texture", WALK, tracked.tracks(WALK, points=60))
    assert rich.value is not None
    assert rich.value > 100
    assert rich.values["covered"] > 0.8
    assert poor.value is None
    assert "followed" in poor.why
    assert poor.values["scarce"] > 1 > rich.values["scarce"]
    assert texture.BETTER == "higher"


def test_points_that_are_soon_lost_are_no_texture() -> None:
    first = np.searchsorted(SEEN.track, np.arange(SEEN.count))
    rows = np.arange(len(SEEN.track)) - first[SEEN.track] < 10
    short = replace(SEEN, track=SEEN.track[rows], frame=SEEN.frame[rows], xy=SEEN.xy[rows])
    score = scored("texture", WALK, short)
    assert score.value is None
    assert score.values["alive"] > 50


def scaled_up() -> Trajectory:
    """The walk with steps that grow to twice their length."""
    growth = np.exp(np.linspace(0, np.log(2), 61))[1:, None]
    centres = np.concatenate([WALK.centres[:1], WALK.centres[0] + np.cumsum(np.diff(WALK.centres, axis=0) * growth, 0)])
    return posed(se3.pose(WALK.camera_to_world[:, :3, :3], centres))


def held() -> Trajectory:
    """The walk frozen for ten poses, then caught up."""
    which = np.arange(61)
    which[25:35] = 25
    return posed(WALK.camera_to_world[which])


def test_exact_cameras_drift_in_no_scale_and_move_nothing_off() -> None:
    drift, off = scored("scale_drift"), scored("induced")
    assert drift.value is not None
    assert off.value is not None
    assert drift.value < 0.02
    assert off.value < 0.3
    assert off.values["worst_px"] < 0.6
    assert off.values["focal_factor"] == pytest.approx(1, abs=0.01)


def test_growing_steps_are_seen_where_pairs_of_frames_see_nothing() -> None:
    claim = scaled_up()
    drift = scored("scale_drift", claim)
    assert drift.value == pytest.approx(np.log(2) * 0.8, rel=0.25)
    assert drift.values["drift"] == pytest.approx(np.log(2) * 0.66, rel=0.3)
    assert (scored("ray", claim).value or 9) < 0.25
    assert (scored("induced", claim).value or 0) > 0.7


def test_a_freeze_is_blamed_where_it_is() -> None:
    for name in ("scale_drift", "induced"):
        score = scored(name, held())
        blamed = [value or 0.0 for value in score.per_frame]
        assert 22 <= int(np.argmax(blamed)) <= 38, name
        assert max(blamed) > 5 * blamed[5], name
    assert scored("induced", held()).values["worst_px"] > 5


def test_three_lost_poses_are_blamed_over_eight_frames() -> None:
    score = scored("induced", LOST)
    assert (score.per_frame[26] or 0) > 1.5
    assert (score.per_frame[20] or 0) < 0.5
    assert score.values["worst_1_px"] > 20


@pytest.mark.parametrize("claim", [JITTER, DRIFT, NEGATED, ZOOMED], ids=["jitter", "drift", "negated", "focal"])
def test_wrong_cameras_move_points_off(claim: Trajectory) -> None:
    score = scored("induced", claim)
    assert score.value is not None
    assert score.value > 1.5
    assert score.values["worst_px"] >= score.value


def test_a_wrong_focal_length_is_named_by_the_adjusted_cameras() -> None:
    assert scored("induced", ZOOMED).values["focal_factor"] == pytest.approx(1 / 1.2, rel=0.02)


def test_scale_of_a_turning_camera_is_not_known() -> None:
    walk = tracked.turning(61)
    score = scored("scale_drift", walk, tracked.tracks(walk))
    assert score.value is None
    assert "parallax" in score.why


def test_moving_things_are_a_share_and_a_region() -> None:
    still, moving = scored("dynamic"), scored("dynamic", WALK, tracked.tracks(WALK, movers=0.2))
    assert still.value == 0
    assert moving.value == pytest.approx(0.2, abs=0.05)
    assert moving.values["tracks"] == pytest.approx(0.2, abs=0.05)
    assert np.nanmean([value for value in moving.per_frame if value is not None]) == pytest.approx(0.2, abs=0.05)
    assert moving.values["clustered"] < 0.35
