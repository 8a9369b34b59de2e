"""Metrics that need no pictures see what is put into the cameras, and nothing in exact ones."""

from dataclasses import replace

import numpy as np
import pytest
import tracked

from trajkit import se3
from trajkit.curation.metrics import coverage, intrinsics, motion, regularity
from trajkit.trajectory import Trajectory


def posed(trajectory: Trajectory, poses: np.ndarray) -> Trajectory:
    """The same clip with other poses."""
    return replace(trajectory, camera_to_world=poses)


def regular(trajectory: Trajectory) -> dict[str, float]:
    """All numbers of the metric."""
    score = regularity.score(tracked.evidence(trajectory))
    assert score.value is not None
    return {"value": score.value, **score.values}


def test_an_exact_walk_is_regular() -> None:
    found = regular(tracked.walk())
    assert found["value"] < 1
    assert (found["key_period"], found["frozen_longest"], found["repeated"], found["returns_exactly"]) == (0, 0, 0, 0)


def test_a_jump_is_seen_where_it_is() -> None:
    walk = tracked.walk()
    poses = walk.camera_to_world.copy()
    poses[25:] = poses[25:] @ se3.pose(se3.axis_rotation("y", 2.0), np.zeros(3))
    score = regularity.score(tracked.evidence(posed(walk, poses)))
    assert score.values["jump_frame"] == 25
    assert score.values["jump_turn"] > 3 * score.values["jump"]
    assert score.values["jump_turn_px"] == pytest.approx(np.radians(2) * walk.intrinsics[0, 0], rel=0.2)
    assert int(np.nanargmax([value or 0 for value in score.per_frame])) == 25
    assert score.per_frame[0] is None


def test_a_lost_centre_is_seen_where_it_is() -> None:
    walk = tracked.walk()
    poses = walk.camera_to_world.copy()
    poses[17, :3, 3] += 0.4
    score = regularity.score(tracked.evidence(posed(walk, poses)))
    assert score.values["jump"] > 5
    assert score.values["jump_frame"] in (17, 18)
    assert score.values["jump_turn"] < 1


def test_even_acceleration_is_no_jump() -> None:
    poses = np.tile(np.eye(4), (21, 1, 1))
    poses[:, 2, 3] = 0.1 * np.arange(21) + 0.02 * np.arange(21) ** 2
    jumps = regularity.score(tracked.evidence(posed(tracked.walk(21), poses))).per_frame
    assert max(value for value in jumps[2:-1] if value is not None) < 1e-9


def test_shaking_raises_jerk_and_smoothing_lowers_it_below_that_of_exact_poses() -> None:
    walk, rng = tracked.walk(), np.random.default_rng(0)
    shaken = walk.camera_to_world @ se3.pose(se3.axis_rotation("x", rng.normal(size=len(walk))), np.zeros(3))
    keys = np.arange(0, len(walk), 4)
    filled = se3.interpolate(walk.camera_to_world[keys], keys.astype(float), np.arange(float(len(walk))))
    exact, bad, smooth = (regular(posed(walk, poses)) for poses in (walk.camera_to_world, shaken, filled))
    assert bad["jerk_turn"] > 3 * exact["jerk_turn"]
    assert smooth["jerk_turn"] < exact["jerk_turn"]
    assert regularity.BETTER == "neither"


@pytest.mark.parametrize("period", [3, 4, 8])
def test_interpolated_key_frames_show_their_period(period: int) -> None:
    walk = tracked.walk(65)
    keys = np.arange(0, len(walk), period)
    filled = se3.interpolate(walk.camera_to_world[keys], keys.astype(float), np.arange(float(len(walk))))
    assert regular(posed(walk, filled))["key_period"] == pytest.approx(period, abs=0.1)


def test_key_frames_between_the_frames_show_their_mean_period() -> None:
    walk = tracked.walk(65)
    keys = np.arange(0, 65, 4.8)
    filled = se3.interpolate(
        se3.interpolate(walk.camera_to_world, np.arange(65.0), keys), keys, np.arange(np.floor(keys[-1]))
    )
    assert regular(walk[: len(filled)].__class__.from_camera(filled, walk.camera(0), fps=16.0))[
        "key_period"
    ] == pytest.approx(4.8, abs=0.3)


def test_a_freeze_is_as_long_as_it_is_and_catches_up() -> None:
    walk = tracked.walk()
    held = np.arange(len(walk))
    held[12:20] = 12
    found = regular(posed(walk, walk.camera_to_world[held]))
    assert found["frozen_longest"] == 7
    assert found["frozen_share"] == pytest.approx(7 / 40)
    assert found["frozen_catch_up"] > 4
    assert found["repeated"] == pytest.approx(7 / 40)


def test_a_camera_that_stands_at_the_start_is_not_frozen() -> None:
    walk = tracked.walk()
    held = np.maximum(np.arange(len(walk)) - 6, 0)
    assert regular(posed(walk, walk.camera_to_world[held]))["frozen_longest"] == 0


def test_a_path_that_is_walked_back_returns_exactly() -> None:
    walk = tracked.walk()
    again = np.r_[0:20, 20:-1:-1]
    assert regular(posed(walk, walk.camera_to_world[again]))["returns_exactly"] > 0.9


def lens(**changes: float) -> dict[str, float]:
    """Numbers of a clip whose lens is changed: fx, fy, cx, cy times a factor."""
    walk = tracked.walk()
    factors = [changes.get(name, 1.0) for name in ("fx", "fy", "cx", "cy")]
    score = intrinsics.score(tracked.evidence(replace(walk, intrinsics=walk.intrinsics * factors)))
    assert score.value is not None
    return {"value": score.value, **score.values}


def test_a_real_lens_is_plausible() -> None:
    found = lens()
    assert found["value"] < 1
    assert found["fov_vertical_deg"] == pytest.approx(50)
    assert (found["focal_range"], found["focal_step"], found["focal_drift"], found["centre_range"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "changes", [{"fx": 1.03}, {"cx": 1.12}, {"cy": 0.85}, {"fx": 7, "fy": 7}, {"fx": 0.3, "fy": 0.3}]
)
def test_an_impossible_lens_is_not(changes: dict[str, float]) -> None:
    assert lens(**changes)["value"] > 1


def test_a_zoom_is_a_range_without_steps_and_a_step_is_both() -> None:
    walk = tracked.walk()
    zoom = np.exp(np.linspace(0, 0.3, len(walk)))[:, None]
    step = np.where(np.arange(len(walk)) < 20, 1.0, np.exp(0.3))[:, None]
    slow, sudden = (
        intrinsics.score(tracked.evidence(replace(walk, intrinsics=walk.intrinsics * np.hstack([f, f, f**0, f**0]))))
        for f in (zoom, step)
    )
    assert slow.values["focal_range"] == pytest.approx(0.3)
    assert slow.values["focal_step"] < 0.01
    assert slow.values["focal_drift"] == pytest.approx(0.2, abs=0.02)
    assert sudden.values["focal_step"] == pytest.approx(0.3)


def test_coverage_counts_what_is_missing() -> None:
    walk = tracked.walk(61)
    kept = np.r_[5:20, 31:50:2]
    clip = tracked.clip(walk[kept], frames=61)
    score = coverage.score(tracked.Evidence(clip))
    assert score.value == pytest.approx(len(kept) / 61)
    assert score.values["gap_longest"] == 11
    assert score.values["gap_longest_s"] == pytest.approx(11 / 16)
    assert (score.values["missing_start"], score.values["missing_end"]) == (5, 11)
    full = coverage.score(tracked.evidence(walk))
    assert (full.value, full.values["gap_longest"], full.values["cadence"]) == (1.0, 0.0, 1.0)


def moving(
    *, forward: float = 0.0, right: float = 0.0, down: float = 0.0, turn: str = "", rate: float = 1.0
) -> Trajectory:
    """Even motion in the camera's own axes; `turn` is the axis it turns about, `rate` in degrees per frame."""
    step = se3.pose(se3.axis_rotation(turn, rate) if turn else np.eye(3), np.array([right, down, forward]))
    poses = [np.eye(4)]
    for _ in range(40):
        poses.append(poses[-1] @ step)
    return Trajectory.from_camera(np.array(poses), tracked.walk(1).camera(0), fps=16.0)


@pytest.mark.parametrize(
    ("given", "direction", "turn"),
    [
        ({"forward": 0.1}, "forward", "none"),
        ({"forward": -0.1}, "backward", "none"),
        ({"right": 0.1}, "right", "none"),
        ({"right": -0.1, "forward": 0.02}, "left", "none"),
        ({"down": 0.1}, "down", "none"),
        ({"down": -0.1}, "up", "none"),
        ({"forward": 0.1, "turn": "y"}, "forward", "right"),
        ({"turn": "y", "rate": -1.0}, "still", "left"),
        ({"turn": "x"}, "still", "up"),
        ({"turn": "x", "rate": -1.0}, "still", "down"),
        ({"turn": "z"}, "still", "roll"),
        ({}, "still", "none"),
    ],
)
def test_directions_have_their_names(given: dict[str, object], direction: str, turn: str) -> None:
    facts = motion.about(tracked.evidence(moving(**given)))  # type: ignore[arg-type]
    assert (facts["direction"], facts["turn"]) == (direction, turn)


def test_there_and_back_is_mixed_and_revisits() -> None:
    walk = moving(forward=0.1)
    again = replace(walk, camera_to_world=walk.camera_to_world[np.r_[0:20, 20:-1:-1]])
    assert motion.about(tracked.evidence(again))["direction"] == "mixed"
    assert motion.score(tracked.evidence(again)).values["revisits"] > 0.3
    assert motion.score(tracked.evidence(walk)).values["revisits"] == 0


def test_about_holds_what_a_report_groups_by() -> None:
    walk = tracked.walk()
    facts = motion.about(tracked.evidence(walk))
    wanted = {"kind", "source", "scene", "licence", "fps", "frames", "poses", "width", "height", "seconds", "fov_deg"}
    wanted |= {
        "caption_length",
        "scale",
        "path_length",
        "speed",
        "turn_rate_deg",
        "motion",
        "direction",
        "turn",
        "clip",
    }
    assert wanted <= facts.keys()
    assert {type(value) for value in facts.values()} <= {str, int, float, bool}
    assert facts["path_length"] == pytest.approx(walk.path_length)
    assert facts["fov_deg"] == pytest.approx(50)
    other = motion.about(tracked.evidence(tracked.walk(step=0.06)))
    assert len(str(facts["clip"])) == 64
    assert facts["clip"] != other["clip"]
