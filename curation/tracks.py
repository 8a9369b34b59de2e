"""Points followed through a video: the pose-independent part of scoring, worked out once for all metrics."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from trajkit import video
from trajkit.clip import Clip
from trajkit.errors import TrajkitError

Array = np.ndarray
LONG_SIDE = 416  # pixels of the pictures that are followed; twice as many cost three times as much and score no better
POINTS = 300  # wanted alive at a time
EVERY = 4  # frames between searches for new corners
BACK_PX = 0.35  # at LONG_SIDE: farthest that a point followed there and back may land from its start
PATCH_PX, LEVELS = 15, 3  # 21 drifts more (0.3 against 0.25 px after 32 frames), 11 loses its way in noise
STOP = (3, 15, 0.03)  # after 15 steps, or when one is shorter than 0.03 pixels
DIFFERENCE = 22.0  # grey levels between a patch and where it went, on the mean: more is another thing
BORDER_PX = 3.0
QUALITY = 0.01  # of the strongest corners' smaller eigenvalue
FLAT = 2e-5  # smaller eigenvalue (of grey in 0..1) below which a patch holds noise alone
SURVIVE, CHANGE = 0.35, 12.0  # a cut: fewer than this share of points go on, and grey levels change more than this
GROW_PX = 5  # of the mask of moving things, at LONG_SIDE: what a patch beside them would also see


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tracks:
    """Observations of followed points, sorted by track, then by frame. Pixels are those of the clip's cameras.

    Pixel convention as everywhere: the corner is (0, 0), the first pixel's centre (0.5, 0.5). A track has two
    observations or more, in consecutive frames.
    """

    track: Int32[Array, "m"]  # 0 .. count - 1
    frame: Int32[Array, "m"]  # of the video
    xy: Float32[Array, "m 2"]
    count: int  # of tracks
    frames: int  # of the video
    size: tuple[int, int]  # width, height of the picture

    def pair(self, first: int, second: int) -> tuple[Array, Array, Array]:
        """Points seen in both frames: xy in the first (m, 2), xy in the second (m, 2), their track (m,)."""
        here, there = np.flatnonzero(self.frame == first), np.flatnonzero(self.frame == second)
        track, one, other = np.intersect1d(self.track[here], self.track[there], True, return_indices=True)
        return self.xy[here[one]], self.xy[there[other]], track

    def only(self, keep: Bool[Array, "count"]) -> "Tracks":
        """The tracks for which `keep` is True, numbered anew."""
        number = np.cumsum(keep, dtype=np.int32) - 1
        rows = keep[self.track]
        return Tracks(
            track=number[self.track[rows]].astype(np.int32),
            frame=self.frame[rows],
            xy=self.xy[rows],
            count=int(np.count_nonzero(keep)),
            frames=self.frames,
            size=self.size,
        )


def follow(clip: Clip, *, mask: Bool[Array, "f h w"] | None = None) -> Tracks:
    """Corners followed forwards through all frames (pyramidal Lucas-Kanade), each checked by following it back.

    Corners are spread over a grid and replaced as they are lost; a cut ends all tracks. `mask` is True where something
    moves, one picture per frame at any size: no point there. The same video gives the same tracks.
    Raises TrajkitError for a video that does not decode, or without OpenCV.
    """
    cv2 = _cv2()
    if clip.video is None:
        raise TrajkitError(f"clip {clip.key}", "has no video", "render it, or load it with its video")
    width, height = clip.trajectory.width, clip.trajectory.height
    factor = min(1.0, LONG_SIDE / max(width, height))
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        follower = _Follower(cv2, size, None if mask is None else _moving(cv2, mask, size))
        for grey in video.luma(clip.video, size):
            follower.step(grey)
    finally:
        cv2.setNumThreads(threads)
    return _sorted(follower, (width, height), size)


class _Follower:
    """Points alive in the latest frame, and all observations so far."""

    def __init__(self, cv2: Any, size: tuple[int, int], moving: "_Moving | None") -> None:
        self.cv2, self.size, self.moving = cv2, size, moving
        self.cell = max(int(np.sqrt(size[0] * size[1] / POINTS)), 8)  # pixels
        self.xy = np.empty((0, 2), np.float32)
        self.number = np.empty(0, np.int32)
        self.previous: Array | None = None
        self.born = 0  # tracks so far
        self.seen: list[tuple[Array, Array]] = []  # per frame: numbers, xy

    def step(self, grey: UInt8[Array, "h w"]) -> None:
        """Follows the points into the next frame."""
        frame = len(self.seen)
        if self.previous is not None and len(self.xy):
            self._advance(self.previous, grey)
        if self.moving is not None:
            self._keep(~self.moving.at(frame, self.xy))
        if frame % EVERY == 0 or len(self.xy) < POINTS // 3:
            self._search(grey, frame)
        self.seen.append((self.number, self.xy))
        self.previous = grey

    def _advance(self, before: Array, after: Array) -> None:
        lk = {"winSize": (PATCH_PX, PATCH_PX), "maxLevel": LEVELS, "criteria": STOP}
        there, found, difference = self.cv2.calcOpticalFlowPyrLK(before, after, self.xy, None, **lk)
        back, returned, _ = self.cv2.calcOpticalFlowPyrLK(after, before, there, None, **lk)
        limit = np.array(self.size, np.float32) - 1 - BORDER_PX
        good = (found[:, 0] == 1) & (returned[:, 0] == 1) & (difference[:, 0] < DIFFERENCE)
        good &= np.linalg.norm(back - self.xy, axis=1) < BACK_PX
        good &= (there >= BORDER_PX).all(1) & (there <= limit).all(1)
        alive = len(good)
        self.xy = there
        self._keep(good)
        if alive >= 20 and len(self.xy) < SURVIVE * alive:
            change = after.astype(np.float32) - before
            if np.abs(change - change.mean()).mean() > CHANGE:
                self._keep(np.zeros(len(self.xy), bool))

    def _keep(self, good: Bool[Array, "n"]) -> None:
        self.xy, self.number = self.xy[good], self.number[good]

    def _search(self, grey: Array, frame: int) -> None:
        """Adds the best corner of each cell of a grid that holds no point yet."""
        eigenvalue = self.cv2.cornerMinEigenVal(grey, 3)
        border, cell = int(BORDER_PX) + 2, self.cell
        rows, columns = (np.array(eigenvalue.shape) - 2 * border) // cell
        if rows < 1 or columns < 1:
            return
        inner = eigenvalue[border : border + rows * cell, border : border + columns * cell]
        cells = inner.reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3).reshape(rows * columns, cell * cell)
        best = cells.argmax(1)
        strength = cells[np.arange(len(cells)), best]
        row, column = np.divmod(np.arange(len(cells)), columns)
        xy = np.stack([column * cell + best % cell, row * cell + best // cell], axis=-1).astype(np.float32) + border
        new = strength > max(FLAT, QUALITY * float(np.percentile(strength, 95)))
        if len(self.xy):
            column, row = ((self.xy - border) // cell).astype(np.int64).T
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            new[(row * columns + column)[inside]] = False
            near = np.abs(xy[:, None] - self.xy[None]).max(-1).min(1) < cell / 2
            new &= ~near
        if self.moving is not None:
            new &= ~self.moving.at(frame, xy)
        count = int(np.count_nonzero(new))
        self.xy = np.concatenate([self.xy, xy[new]])
        self.number = np.concatenate([self.number, np.arange(self.born, self.born + count, dtype=np.int32)])
        self.born += count


class _Moving:
    """The mask of moving things, at the size of the pictures that are followed."""

    def __init__(self, cv2: Any, mask: Bool[Array, "f h w"], size: tuple[int, int]) -> None:
        self.cv2, self.mask, self.size = cv2, mask, size
        self.kernel = np.ones((2 * GROW_PX + 1, 2 * GROW_PX + 1), np.uint8)

    def at(self, frame: int, xy: Float32[Array, "n 2"]) -> Bool[Array, "n"]:
        """Whether a point lies on something moving, or within GROW_PX of it. Nothing moves past the mask's end."""
        if frame >= len(self.mask) or not len(xy):
            return np.zeros(len(xy), bool)
        grey = self.cv2.resize(self.mask[frame].astype(np.uint8), self.size, interpolation=self.cv2.INTER_NEAREST)
        grown = self.cv2.dilate(grey, self.kernel)
        column, row = np.rint(xy).astype(np.int64).T
        return grown[np.clip(row, 0, self.size[1] - 1), np.clip(column, 0, self.size[0] - 1)] > 0


def _moving(cv2: Any, mask: Bool[Array, "f h w"], size: tuple[int, int]) -> _Moving:
    if mask.ndim != 3 or 0 in mask.shape[1:]:
        raise TrajkitError("mask", f"has shape {mask.shape}", "give one picture per frame: (frames, height, width)")
    return _Moving(cv2, mask, size)


def _sorted(follower: _Follower, size: tuple[int, int], small: tuple[int, int]) -> Tracks:
    """All observations by track, then frame, in pixels of the full picture; points seen once are left out."""
    track = np.concatenate([number for number, _ in follower.seen] or [np.empty(0, np.int32)])
    frame = np.repeat(np.arange(len(follower.seen), dtype=np.int32), [len(number) for number, _ in follower.seen])
    xy = np.concatenate([xy for _, xy in follower.seen] or [np.empty((0, 2), np.float32)])
    order = np.argsort(track, kind="stable")
    scale = np.array(size, np.float32) / np.array(small, np.float32)
    found = Tracks(
        track=track[order],
        frame=frame[order],
        xy=(xy[order] + np.float32(0.5)) * scale,
        count=follower.born,
        frames=len(follower.seen),
        size=size,
    )
    return found.only(np.bincount(track, minlength=follower.born) >= 2)


def _cv2() -> Any:
    try:
        import cv2
    except ImportError:
        raise TrajkitError("tracks", "need OpenCV, which is not installed", "pip install trajkit[quality]") from None
    return cv2
