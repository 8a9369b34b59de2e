"""SpatialVID's columns: a slow twin, what rotations do to them, and the published ones beside them."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation import spatialvid
from trajkit.errors import TrajkitError
from trajkit.poses import spatialvid as poses_format
from trajkit.poses import tq_from_poses
from trajkit.trajectory import Trajectory

LENS = Camera.from_fov(64, 48, 60.0)


def seen(rotations, centres):
    return Trajectory.from_camera(se3.pose(rotations, centres), LENS, fps=5)


def wander(seed, poses, step):
    rng = np.random.default_rng(seed)
    turns = np.cumsum(0.2 * rng.normal(size=(poses, 3)), axis=0)
    rotations = se3.exp(np.hstack([np.zeros((poses, 3)), turns]))[:, :3, :3]
    velocity = np.cumsum(rng.normal(size=(poses, 3)), axis=0) * step
    return seen(rotations, np.cumsum(velocity, axis=0))


def slow(positions, quaternions_xyzw):
    """The published definitions, one pose after the other."""
    count, distance, angle = len(positions), 0.0, 0.0
    for one, two in pairwise(positions):
        distance += np.linalg.norm(two - one)
    for one, two in pairwise(quaternions_xyzw):
        w = two[3] * one[3] + two[:3] @ one[:3]
        angle += 2 * np.arccos(np.clip(w, -1, 1))
    run, anomaly = 0, count < 4
    for t in range(count - 3):
        last, before = positions[t + 2] - positions[t + 1], positions[t + 1] - positions[t]
        expected = positions[t + 2] + last + 0.5 * (last - before)
        run = run + 1 if np.linalg.norm(expected - positions[t + 3]) > 0.03 else 0
        anomaly |= run >= 2
    level = sum(distance >= limit for limit in (0.08, 0.28, 0.92, 2.41))
    return distance, level, angle, anomaly


@given(st.integers(0, 999), st.integers(1, 40), st.sampled_from([0.0, 0.001, 0.01, 0.1]))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_columns_are_those_of_the_published_definitions(seed, poses, step):
    clip = wander(seed, poses, step)
    rows = tq_from_poses(clip.world_to_camera)
    rows[1::3, 3:] *= -1  # signs as they come
    found = spatialvid.recompute(clip, rows)
    distance, level, angle, anomaly = slow(rows[:, :3], rows[:, 3:])
    assert found.translations.moveDist == pytest.approx(distance)
    assert found.translations.distLevel == level
    assert found.translations.rotAngle == pytest.approx(angle)
    assert found.translations.anomaly == anomaly
    distance, level, _, anomaly = slow(clip.centres, rows[:, 3:])
    assert found.centres.moveDist == pytest.approx(distance)
    assert (found.centres.distLevel, found.centres.anomaly) == (level, anomaly)
    angles = se3.angle_deg(np.swapaxes(clip.camera_to_world[:-1, :3, :3], 1, 2) @ clip.camera_to_world[1:, :3, :3])
    assert found.centres.rotAngle == pytest.approx(np.radians(angles).sum())


def test_a_pan_on_the_spot_after_a_walk_misleads_them():
    """Forward by 1, then 90 degrees in place: the path is 1 long; theirs is longer by the quarter circle of -R c."""
    centres = np.zeros((40, 3))
    centres[:20, 2] = np.linspace(0, 1, 20)
    centres[20:, 2] = 1
    angles = np.concatenate([np.zeros(20), np.linspace(0, 90, 20)])
    found = spatialvid.recompute(seen(se3.axis_rotation("y", angles), centres))
    assert found.centres.moveDist == pytest.approx(1)
    assert found.translations.moveDist == pytest.approx(1 + np.pi / 2, rel=2e-3)
    assert (found.centres.distLevel, found.translations.distLevel) == (3, 4)
    assert (found.centres.anomaly, found.translations.anomaly) == (False, True)
    assert found.centres.rotAngle == pytest.approx(np.pi / 2)
    assert {"moveDist", "distLevel", "anomaly"} <= set(found.misled)
    assert "rotAngle" not in found.misled


def test_a_sign_that_flips_adds_a_full_turn_to_theirs():
    clip = seen(se3.axis_rotation("y", np.linspace(0, 30, 10)), np.zeros((10, 3)))
    rows = tq_from_poses(clip.world_to_camera)
    assert spatialvid.recompute(clip, rows).misled == ()
    rows[5:, 3:] *= -1
    found = spatialvid.recompute(clip, rows)
    step = np.radians(30 / 9)
    assert found.translations.rotAngle == pytest.approx(found.centres.rotAngle - step + (2 * np.pi - step))
    assert found.misled == ("rotAngle",)


def test_turns_of_a_straight_way_of_a_bend_and_of_a_way_back():
    straight = np.linspace(0, 1, 40)[:, None] * [1.0, 0, 0]
    bend = np.concatenate([straight, straight[-1] + np.linspace(0, 1, 40)[1:, None] * [0, 0, 1.0]])
    back = np.concatenate([straight, straight[::-1][1:-1]])
    turns = [spatialvid.columns(way, np.zeros(len(way) - 1)).trajTurns for way in (straight, bend, back)]
    assert turns == [0, 1, 1]
    assert spatialvid.columns(np.zeros((30, 3)), np.zeros(29)).trajTurns == 0


def test_turns_by_a_slow_search():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        positions = np.cumsum(rng.normal(size=(200, 3)), axis=0)
        angles = []
        for t in range(1, 199):
            one, two = positions[t] - positions[0], positions[-1] - positions[t]
            angles.append(np.arccos(np.clip(one @ two / np.linalg.norm(one) / np.linalg.norm(two), -1, 1)))
        reach = np.arange(-20, 21)
        kernel = np.exp(-(reach**2) / 50)
        padded = np.pad(angles, 20, mode="symmetric")
        smooth = np.convolve(padded, kernel / kernel.sum(), mode="valid")
        higher = [i for i in range(1, 197) if smooth[i - 1] < smooth[i] > smooth[i + 1] and smooth[i] >= 0.45]
        peaks: list[int] = []
        for i in sorted(higher, key=lambda i: -smooth[i]):
            if all(abs(i - other) >= 5 for other in peaks):
                peaks.append(i)
        edge = smooth.max() > 0.45 and int(smooth.argmax()) not in peaks
        assert spatialvid.columns(positions, np.zeros(199)).trajTurns == len(peaks) + edge


def test_the_thresholds_are_the_published_ones():
    """A position off by m is missed by m, the next by 2.5 m, the next by 2 m; moveDist may equal a level."""
    for miss, anomaly in ((0.0149, False), (0.0151, True)):
        positions = np.arange(12)[:, None] * [0.1, 0, 0]
        positions[5] += (0, miss, 0)
        assert spatialvid.columns(positions, np.zeros(11)).anomaly == anomaly
    for level, limit in enumerate(spatialvid.LEVELS, 1):
        for length, reached in ((limit, level), (limit * 0.999, level - 1)):
            assert spatialvid.columns(np.array([[0.0, 0, 0], [length, 0, 0]]), np.zeros(1)).distLevel == reached


def test_a_moved_world_changes_theirs_and_not_ours():
    clip = wander(3, 30, 0.01)
    moved = clip.moved(se3.Similarity(1.0, se3.axis_rotation("x", 40.0), np.array([3.0, -2, 5])))
    one, two = spatialvid.recompute(clip), spatialvid.recompute(moved)
    assert two.centres == pytest.approx(one.centres)
    assert two.translations.moveDist > one.translations.moveDist + 1


@pytest.mark.parametrize("poses", [1, 2, 3])
def test_few_poses(poses):
    found = spatialvid.recompute(wander(1, poses, 0.1))
    assert found.centres.anomaly
    assert found.centres.trajTurns == 0 or poses == 3


def test_files_of_spatialvid_give_the_same(tmp_path):
    clip = wander(4, 30, 0.02)
    poses_format.write(clip, tmp_path / "clip")
    rows = np.load(tmp_path / "clip/poses.npy").astype(np.float64)
    found = spatialvid.recompute(poses_format.read(tmp_path / "clip"), rows)
    assert found.centres == pytest.approx(spatialvid.recompute(clip).centres, rel=1e-4)


CSV = """id,group id,moveDist,distLevel,rotAngle,trajTurns,anomaly
a,group_0001,2.5,4,1.5,1,True
b,group_0001,,2,0.1,0,False
z,group_0002,9,4,9,9,True
a,group_0003,7,4,1.5,1,True
"""


def test_published_columns_stand_beside_and_differences_are_told(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text(CSV)
    clips = {key: spatialvid.recompute(wander(n, 30, 0.01)) for n, key in enumerate("abc")}
    table = spatialvid.compare(path, clips)
    assert table.columns == ["id", "column", "published", "translations", "centres", "difference", "error"]
    assert len(table) == 3 * len(spatialvid.PUBLISHED)
    told = {(row["id"], row["column"]): row for row in table.to_dicts()}
    one = told["a", "moveDist"]
    assert one["published"] == 2.5
    assert one["difference"] == pytest.approx(2.5 - clips["a"].translations.moveDist)
    assert one["error"] == pytest.approx(2.5 - clips["a"].centres.moveDist)
    assert told["a", "anomaly"]["published"] == 1.0
    assert told["b", "moveDist"]["published"] is None
    assert told["c", "moveDist"]["published"] is told["c", "moveDist"]["error"] is None


def test_a_release_without_anomalies(tmp_path):
    path = tmp_path / "metadata.csv"
    pl.read_csv(CSV.encode()).drop("anomaly").write_csv(path)
    assert spatialvid.published(path).collect()["anomaly"].to_list() == [None] * 4


REFUSED = {
    "no file": (None, "no CSV table"),
    "empty": (b"", "no CSV table"),
    "another table": (b"a,b\n1,2\n", "has no column 'id'"),
    "a column by another name": (CSV.replace("rotAngle", "rot angle").encode(), "did you mean 'rot angle'"),
    "not text": (CSV.encode() + b"\xff\xfe,1,2,3,4,5,6\n", "no CSV table"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_metadata_is_told_in_one_line(name, tmp_path):
    content, words = REFUSED[name]
    if content is not None:
        (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(TrajkitError) as caught:
        spatialvid.compare(tmp_path / "metadata.csv", {"a": spatialvid.recompute(wander(1, 9, 0.1))})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_another_clip_are_refused():
    clip = wander(1, 9, 0.1)
    rows = tq_from_poses(clip.world_to_camera)
    for wrong in (rows[:-1], rows + 1, rows * np.nan):
        with pytest.raises(TrajkitError, match="not the trajectory's poses"):
            spatialvid.recompute(clip, wrong)
