"""Windows of a posed video: which frames become a clip, and the camera at the time of each of them.

A pose belongs to the frame that `frame_index` names, and thereby to that frame's time. Between poses rotations are
slerped and centres run straight. A frame is never made up: a clip takes existing ones, each the nearest to its place
k / fps, and a pose stands at the time of the frame that was taken, not at k / fps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from trajkit.errors import TrajkitError
from trajkit.latents import latent_count
from trajkit.trajectory import Trajectory

Array = np.ndarray
TIE_S = 1e-6  # of two frames that are as near as this the earlier one is taken
OFF_PLACE = 0.499  # frames of the clip: furthest that a frame may be from its place
OFF_POSE = 0.249  # the same for a pose that is kept as published, since Clip counts from the first one's time


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How windows are cut; `trajkit import --help` says what each field means.

    Raises TrajkitError for a number of frames that is not 4n+1, and for what is not positive.
    """

    frames: int = 77
    fps: float = 16.0  # 0 = the video's own
    max_gap_s: float = 0.5  # longest time between two poses that is bridged
    stride: int = 0  # frames from one window's start to the next one's; 0 = no overlap
    sparse: bool = False  # only published poses, where they fall on frames of the clip

    def __post_init__(self) -> None:
        latent_count(self.frames)
        for name in ("fps", "max_gap_s", "stride"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise TrajkitError(f"{name}={getattr(self, name)}", "negative or not finite", "give a positive number")


class Window(NamedTuple):
    """One clip to be. Times of its trajectory are those of the frames, from 0."""

    frames: Int64[Array, " n"]  # of the video, ascending
    trajectory: Trajectory  # frame_index counts `frames`
    fps: float  # of the clip
    pose_rate: float  # published poses per second
    gap_s: float  # longest between two published poses
    late_s: float  # furthest that a frame's time is off its place k / fps


def windows(trajectory: Trajectory, frame_times_s: Float64[Array, " f"], cut: Cut) -> list[Window]:
    """All windows of a video whose frames are shown at these times, in order; none crosses a gap or leaves the poses.

    Raises TrajkitError for poses that do not fit the frames, for a video slower than the clips (its frames would
    repeat), and where no window fits.
    """
    index = trajectory.frame_index
    _check(index, frame_times_s)
    own = own_rate(frame_times_s)
    if cut.fps > own * 1.01:
        problem = f"{own:.4g} frames per second, but clips of {cut.fps:g} are asked for: frames would repeat"
        raise TrajkitError("video", problem, "give --fps 0 for its own rate, or a lower one")
    fps = cut.fps or own
    posed = replace(trajectory, times_s=frame_times_s[index], names=())
    found: list[Window] = []
    longest_s = 0.0
    breaks = np.flatnonzero(np.diff(posed.times_s) > cut.max_gap_s) + 1
    for stretch in np.split(np.arange(len(posed)), breaks):
        first, last = int(index[stretch[0]]), int(index[stretch[-1]])
        longest_s = max(longest_s, float(frame_times_s[last] - frame_times_s[first]))
        for frames in _cuts(frame_times_s, first, last, fps, cut):
            window = _window(posed[stretch[0] : stretch[-1] + 1], frame_times_s, frames, fps, sparse=cut.sparse)
            found += [window] if window else []
    if not found:
        needed_s = (cut.frames - 1) / fps
        problem = f"{cut.frames} frames at {fps:.4g} per second take {needed_s:.3g} s, the poses without a gap "
        problem += f"of over {cut.max_gap_s:g} s last {longest_s:.3g} s"
        raise TrajkitError("video", problem, "give fewer --frames, another --fps or a larger --max-gap")
    return found


def own_rate(frame_times_s: Float64[Array, " f"]) -> float:
    """Frames per second: the mean rate, or what most steps have where the mean differs (frames are missing)."""
    if len(frame_times_s) < 2:
        raise TrajkitError("video", f"holds {len(frame_times_s)} frames", "a clip needs more; check the file")
    mean = (len(frame_times_s) - 1) / float(frame_times_s[-1] - frame_times_s[0])
    median = 1 / float(np.median(np.diff(frame_times_s)))
    return mean if abs(mean / median - 1) < 0.02 else median


def _check(index: Int64[Array, " n"], frame_times_s: Float64[Array, " f"]) -> None:
    if np.any(np.diff(frame_times_s) <= 0):
        raise TrajkitError("video", "two frames share a time", "re-encode it at a constant rate")
    if index[0] < 0 or index[-1] >= len(frame_times_s):
        problem = f"has {len(frame_times_s)} frames, the poses are for frames {index.min()} to {index.max()}"
        raise TrajkitError("video", problem, "check that poses and video belong together")
    if np.any(np.diff(index) <= 0):
        back = int(np.argmax(np.diff(index) <= 0)) + 1
        raise TrajkitError(
            "poses", f"pose {back} is for frame {index[back]}, as an earlier one is", "give each its own"
        )


def _cuts(times_s: Float64[Array, " f"], first: int, last: int, fps: float, cut: Cut) -> Iterator[Int64[Array, " n"]]:
    """Frames of each window from frame `first` to `last`; where the video lacks frames the next one starts after."""
    start = first
    while start <= last:
        places_s = times_s[start] + np.arange(cut.frames) / fps
        frames = nearest(times_s, places_s)
        off = np.abs(times_s[frames] - places_s) * fps > OFF_PLACE
        off[1:] |= np.diff(frames) <= 0
        off |= frames > last
        if not off.any():
            yield frames
            following = nearest(times_s, times_s[start] + np.array([cut.stride or cut.frames]) / fps)
            start = max(start + 1, int(following[0]))
        elif places_s[np.argmax(off)] > times_s[last]:
            return
        else:
            start = int(np.searchsorted(times_s, places_s[np.argmax(off)], "right"))


def nearest(times_s: Float64[Array, " f"], wanted_s: Float64[Array, " n"]) -> Int64[Array, " n"]:
    """Positions of the ascending times that are nearest to the wanted ones; the earlier of two that are as near."""
    after = np.searchsorted(times_s, wanted_s).clip(max=len(times_s) - 1)
    before = (after - 1).clip(min=0)
    earlier = wanted_s - times_s[before] <= times_s[after] - wanted_s + TIE_S
    return np.where(earlier, before, after).astype(np.int64)


def _window(
    posed: Trajectory, times_s: Float64[Array, " f"], frames: Int64[Array, " n"], fps: float, *, sparse: bool
) -> Window | None:
    """The window with its cameras; None where fewer than two published poses fall on frames of a sparse one."""
    begin_s = times_s[frames[0]]
    first = int(np.searchsorted(posed.times_s, begin_s, "right")) - 1
    near = posed[first : int(np.searchsorted(posed.times_s, times_s[frames[-1]])) + 1]
    if sparse:
        places = (near.times_s - begin_s) * fps
        slots = np.rint(places).astype(np.int64)
        on = (np.abs(places - slots) <= OFF_POSE) & (slots >= 0) & (slots < len(frames))
        on[1:] &= np.diff(slots) > 0
        if np.count_nonzero(on) < 2:
            return None
        kept, slots, frames = near[np.flatnonzero(on)], slots[on], frames.copy()
        frames[slots] = kept.frame_index
        cameras = replace(kept, times_s=kept.times_s - begin_s, frame_index=slots)
    else:
        seen_s = times_s[frames]
        cameras = replace(near.resampled(seen_s), times_s=seen_s - begin_s, frame_index=np.arange(len(frames)))
    gaps_s = np.diff(near.times_s) if len(near) > 1 else np.zeros(1)
    rate = 1 / float(gaps_s.mean()) if len(near) > 1 else 0.0
    late_s = np.abs(times_s[frames] - begin_s - np.arange(len(frames)) / fps).max()
    return Window(frames, cameras, fps, rate, float(gaps_s.max()), float(late_s))
