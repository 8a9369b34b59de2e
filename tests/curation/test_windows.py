"""Windows: which frames become a clip, and where its cameras stand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance
from trajkit.curation.windows import Cut, Window, nearest, own_rate, windows
from trajkit.errors import TrajkitError
from trajkit.trajectory import Trajectory

LENS = Camera.from_fov(320, 180, 50.0)
RUNS = settings(deadline=None, max_examples=50, derandomize=True)


def posed(index: np.ndarray, seed: int = 0) -> Trajectory:
    """Random cameras for those frames; their own times are nonsense, as some sets' are."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(size=(len(index), 6)) * 0.1, axis=0)
    track = Trajectory.from_camera(se3.exp(steps), LENS, fps=1.0)
    return replace(track, frame_index=index, intrinsics=track.intrinsics + np.arange(len(index))[:, None] * 0.1)


@st.composite
def videos(draw: st.DrawFn) -> tuple[Trajectory, np.ndarray, Cut]:
    """Poses every so many frames with gaps, a video with missing frames, and a cut."""
    count = draw(st.integers(30, 200))
    fps = draw(st.sampled_from([23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0]))
    times_s = np.arange(count) / fps
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        times_s = np.delete(times_s, rng.choice(count - 2, draw(st.integers(1, 4)), replace=False) + 1)
    every = draw(st.integers(1, 8))
    index = np.arange(draw(st.integers(0, 5)), len(times_s) - draw(st.integers(0, 5)), every)
    gap = draw(st.integers(0, len(index) - 2))
    index = np.delete(index, np.s_[gap + 1 : gap + 1 + draw(st.integers(0, 3))])
    cut = Cut(
        frames=4 * draw(st.integers(1, 6)) + 1,
        fps=draw(st.sampled_from([0.0, 8.0, 12.0, 15.0, 16.0, 23.0])),
        max_gap_s=draw(st.sampled_from([0.04, 0.1, 0.25, 0.5, 2.0])),
        stride=draw(st.sampled_from([0, 5, 40])),
        sparse=draw(st.booleans()),
    )
    return posed(index), times_s, cut


def slow_pose(track: Trajectory, times_s: np.ndarray, at_s: float) -> np.ndarray:
    """The camera at a time by the book: between the two poses around it, one rotation vector, one straight line."""
    own_s = times_s[track.frame_index]
    after = int(np.clip(np.searchsorted(own_s, at_s), 1, len(own_s) - 1))
    part = (at_s - own_s[after - 1]) / (own_s[after] - own_s[after - 1])
    first, second = track.camera_to_world[after - 1], track.camera_to_world[after]
    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).as_rotvec()
    pose = np.eye(4)
    pose[:3, :3] = first[:3, :3] @ Rotation.from_rotvec(turn * part).as_matrix()
    pose[:3, 3] = first[:3, 3] * (1 - part) + second[:3, 3] * part
    return pose


def found(case: tuple[Trajectory, np.ndarray, Cut]) -> list[Window]:
    try:
        return windows(*case)
    except TrajkitError:
        return []


@RUNS
@given(videos())
def test_frames_exist_once_near_their_place_and_within_a_stretch_of_poses(case):
    track, times_s, cut = case
    own_s = times_s[track.frame_index]
    for window in found(case):
        taken = window.frames
        assert len(taken) == cut.frames
        assert np.all(np.diff(taken) > 0)
        assert track.frame_index[0] <= taken[0]
        assert taken[-1] <= track.frame_index[-1]
        places_s = times_s[taken[0]] + np.arange(cut.frames) / window.fps
        assert np.abs(times_s[taken] - places_s).max() * window.fps <= 0.5
        assert window.late_s == pytest.approx(np.abs(times_s[taken] - times_s[taken[0]] - places_s + places_s[0]).max())
        near = own_s[(own_s >= times_s[taken[0]]) & (own_s <= times_s[taken[-1]])]
        assert np.diff(near, prepend=own_s[own_s <= near[0]].max() if len(near) else 0).max(initial=0) <= cut.max_gap_s
        assert window.gap_s <= cut.max_gap_s


@RUNS
@given(videos())
def test_a_pose_stands_at_the_time_of_its_frame(case):
    track, times_s, cut = case
    for window in found(case)[:2]:
        seen = window.frames[window.trajectory.frame_index]
        assert np.allclose(window.trajectory.times_s, times_s[seen] - times_s[window.frames[0]], atol=1e-9)
        wanted = np.array([slow_pose(track, times_s, at_s) for at_s in times_s[seen]])
        assert np.allclose(window.trajectory.camera_to_world, wanted, atol=1e-9)
        if cut.sparse:
            assert set(seen) <= set(track.frame_index)
        else:
            assert np.array_equal(window.trajectory.frame_index, np.arange(cut.frames))


@RUNS
@given(videos())
def test_every_window_makes_a_clip(case):
    source = Provenance(kind="estimated", source="test:")
    for window in found(case):
        frames = len(window.frames)
        Clip(key="a", trajectory=window.trajectory, fps=window.fps, provenance=source, licence="x", frames=frames)


@RUNS
@given(videos())
def test_windows_start_a_stride_apart_and_leave_no_room_for_another(case):
    track, times_s, cut = case
    made = found((track, times_s, replace(cut, sparse=False)))
    if np.diff(times_s).max() > 1.5 * np.diff(times_s).min():
        return  # frames are missing
    fps, stride = cut.fps or own_rate(times_s), cut.stride or cut.frames
    starts_s = np.array([times_s[window.frames[0]] for window in made])
    if len(made) > 1:
        assert np.diff(starts_s).min() >= (stride - 0.51) / fps
    if cut.fps <= own_rate(times_s) and np.diff(times_s[track.frame_index]).max() <= cut.max_gap_s:
        room = (times_s[track.frame_index[-1]] - times_s[track.frame_index[0]]) * fps - (cut.frames - 1)
        assert len(made) >= (room + 1e-6) // stride


@RUNS
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30, unique=True), st.floats(-10, 110))
def test_nearest_is_nearest(times, wanted):
    times_s = np.sort(times)
    best = np.abs(times_s - wanted).min()
    assert abs(times_s[nearest(times_s, np.array([wanted]))[0]] - wanted) <= best + 2e-6


def test_thirty_per_second_to_sixteen_and_at_its_own_rate():
    track, times_s = posed(np.arange(0, 121, 6)), np.arange(121) / 30
    first = windows(track, times_s, Cut(frames=33))[0]
    assert list(first.frames[:9]) == [0, 2, 4, 6, 7, 9, 11, 13, 15]
    own = windows(track, times_s, Cut(frames=33, fps=0))[0]
    assert own.fps == pytest.approx(30)
    assert list(own.frames) == list(range(33))
    kept = windows(track, times_s, Cut(frames=33, fps=0, sparse=True))[0]
    assert list(kept.trajectory.frame_index) == [0, 6, 12, 18, 24, 30]
    assert np.array_equal(kept.trajectory.camera_to_world, track.camera_to_world[:6])
    assert (kept.pose_rate, kept.gap_s) == (pytest.approx(5), pytest.approx(0.2))


def test_no_window_crosses_a_gap():
    index = np.array([*range(0, 61, 6), *range(90, 151, 6)])
    times_s = np.arange(151) / 30
    spans = [(int(one.frames[0]), int(one.frames[-1])) for one in windows(posed(index), times_s, Cut(frames=29))]
    assert spans == [(0, 52), (90, 142)]
    bridged = windows(posed(index), times_s, Cut(frames=29, max_gap_s=1.0))
    assert any(one.frames[0] < 60 < 90 < one.frames[-1] for one in bridged)


def test_a_hole_in_the_video_is_stepped_over():
    times_s = np.delete(np.arange(200) / 20, np.s_[80:90])
    for window in windows(posed(np.arange(190)), times_s, Cut(frames=33)):
        assert np.diff(times_s[window.frames]).max() < 2 / 16


def test_one_frame_of_shift_moves_every_camera():
    times_s = np.arange(130) / 30
    right = windows(posed(np.arange(0, 121, 6)), times_s, Cut(frames=33))[0]
    late = windows(posed(np.arange(0, 121, 6) + 1), times_s, Cut(frames=33))[0]
    assert late.frames[0] == right.frames[0] + 1
    assert np.allclose(late.trajectory.camera_to_world[0], right.trajectory.camera_to_world[0])


@pytest.mark.parametrize(
    ("index", "frames", "cut", "word"),
    [
        ([0, 6, 12], 12, Cut(frames=5), "frames 0 to 12"),
        ([-1, 6], 12, Cut(frames=5), "frames -1 to 6"),
        ([0, 6, 6], 12, Cut(frames=5), "as an earlier one"),
        ([0, 6, 4], 12, Cut(frames=5), "as an earlier one"),
        (range(0, 60, 6), 60, Cut(frames=5, fps=31), "would repeat"),
        (range(0, 60, 6), 60, Cut(frames=77), "poses without a gap"),
        (range(0, 60, 12), 60, Cut(frames=13, max_gap_s=0.1), "poses without a gap"),
        ([0], 1, Cut(frames=1), "holds 1 frames"),
    ],
)
def test_what_does_not_fit_is_named(index, frames, cut, word):
    track = posed(np.array(list(index)))
    with pytest.raises(TrajkitError, match=word):
        windows(track, np.arange(frames) / 30, cut)


@pytest.mark.parametrize("wrong", [{"frames": 76}, {"fps": -1.0}, {"fps": float("nan")}, {"max_gap_s": -0.1}])
def test_a_cut_that_is_none(wrong):
    with pytest.raises(TrajkitError):
        Cut(**wrong)
