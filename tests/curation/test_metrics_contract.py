"""What holds for every metric, whatever the clip: a valid score, no exception or warning, whatever the world."""

import ast
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest
import tracked

from trajkit import plugins, se3
from trajkit.curation import metrics
from trajkit.curation.evidence import Evidence
from trajkit.score import Better, Score
from trajkit.trajectory import Trajectory

NAMES = plugins.names("metrics")
LIMIT = 120  # lines of a file
IN_WORLD_UNITS = {"spatialvid"}  # another project's columns, told as they are
TOLERANCES = {"triangulation": 1e-4, "induced": 1e-3, "scale_drift": 1e-3}  # iterations stop before the last digits


def moved(trajectory: Trajectory, scale: float) -> Trajectory:
    """The same cameras in another world."""
    turn = se3.axis_rotation("x", 33.0) @ se3.axis_rotation("z", -71.0)
    return trajectory.moved(se3.Similarity(scale, turn, scale * np.array([3.0, -2.0, 5.0])))


def odd_clips() -> dict[str, Callable[[], Evidence]]:
    """Clips that a metric may meet, by what is odd about them."""
    walk, seen = tracked.walk(), tracked.tracks(tracked.walk())
    far = replace(walk, camera_to_world=se3.pose(walk.camera_to_world[:, :3, :3], walk.centres * 1e-9))
    unit = np.tile(np.eye(4), (len(walk), 1, 1))
    again = np.r_[0:20, 20:-1:-1]
    return {
        "walk": lambda: tracked.evidence(walk, seen),
        "one pose": lambda: tracked.evidence(walk[:1], tracked.tracks(walk[:1])),
        "one pose of many frames": lambda: tracked.evidence(walk[:1], seen),
        "two poses": lambda: tracked.evidence(walk[:2], tracked.tracks(walk[:2])),
        "three poses": lambda: tracked.evidence(walk[:3], tracked.tracks(walk[:3])),
        "still camera": lambda: tracked.evidence(tracked.still(), tracked.tracks(tracked.still())),
        "still camera that claims to walk": lambda: tracked.evidence(walk, tracked.tracks(tracked.still())),
        "turning camera": lambda: tracked.evidence(tracked.turning(), tracked.tracks(tracked.turning())),
        "no tracks": lambda: tracked.evidence(walk, tracked.nothing(len(walk))),
        "no video": lambda: tracked.evidence(walk),
        "tracks of fewer frames": lambda: tracked.evidence(walk, tracked.tracks(walk[:20])),
        "sparse poses": lambda: tracked.evidence(walk[::4], seen),
        "very sparse poses": lambda: tracked.evidence(walk[::20], seen),
        "poses of the middle": lambda: tracked.evidence(walk[15:30], seen),
        "identity": lambda: tracked.evidence(replace(walk, camera_to_world=unit), seen),
        "huge": lambda: tracked.evidence(moved(walk, 1e7), seen),
        "tiny": lambda: tracked.evidence(moved(walk, 1e-7), seen),
        "points at infinity": lambda: tracked.evidence(walk, tracked.tracks(far)),
        "there and back": lambda: tracked.evidence(replace(walk, camera_to_world=walk.camera_to_world[again]), seen),
        "mirrored lens": lambda: tracked.evidence(replace(walk, intrinsics=walk.intrinsics * (9, 0.1, 0, 3)), seen),
    }


CLIPS = odd_clips()


@functools.cache
def odd_clip(odd: str) -> Evidence:
    """One evidence for all metrics, as in scoring: what is adjusted is adjusted once."""
    return CLIPS[odd]()


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_has_its_constants_and_says_what_it_is(name: str) -> None:
    module = plugins.load("metrics", name)
    assert set(module.NEEDS) <= {"tracks", "adjusted", "depth", "video"}
    assert module.BETTER in get_args(Better)
    assert isinstance(module.UNIT, str)
    assert module.VERSION.isdecimal()
    for part in ("Formula:", "Unit:", "Source:", "Sees:", "Cannot see:"):
        assert part in (module.__doc__ or ""), part


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_stands_alone(name: str) -> None:
    module = plugins.load("metrics", name)
    source = Path(str(module.__file__)).read_text()
    assert len(source.splitlines()) <= LIMIT
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            assert str(node.module).startswith("_"), f"{name} rests on another metric"


def test_the_page_tells_of_every_metric() -> None:
    page = (Path(str(metrics.__file__)).parents[2] / "docs" / "metrics.md").read_text()
    assert [name for name in NAMES if f"### {name}\n" not in page] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", CLIPS)
def test_an_odd_clip_gets_a_valid_score(name: str, odd: str) -> None:
    module, evidence = plugins.load("metrics", name), odd_clip(odd)
    check(module, name, module.score(evidence), len(evidence.trajectory))


def check(module: ModuleType, name: str, score: Score, poses: int) -> None:
    """The score is one that a record and a ledger can hold."""
    assert (score.metric, score.unit, score.better) == (name, module.UNIT, module.BETTER)
    assert score.version == module.VERSION
    assert (score.value is None) == bool(score.why)
    assert score.value is None or math.isfinite(score.value)
    assert len(score.per_frame) in (0, poses)
    for number in (*score.values.values(), *(value for value in score.per_frame if value is not None)):
        assert type(number) is float
        assert math.isfinite(number)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_WORLD_UNITS])
def test_a_score_does_not_depend_on_the_world(name: str) -> None:
    module, walk = plugins.load("metrics", name), tracked.walk()
    seen = tracked.tracks(walk)
    claims = tracked.walk(shake_deg=0.3)
    here, there = (module.score(tracked.evidence(claim, seen)) for claim in (claims, moved(claims, 0.37)))
    tolerance = TOLERANCES.get(name, 1e-6)
    known = [{"": score.value, **score.values} for score in (here, there)]
    assert known[1] == {
        key: value if value is None else pytest.approx(value, rel=tolerance, abs=tolerance)
        for key, value in known[0].items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_same_clip_gets_the_same_score(name: str) -> None:
    module = plugins.load("metrics", name)
    assert module.score(CLIPS["walk"]()) == module.score(CLIPS["walk"]())
