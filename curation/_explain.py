"""How well relative poses explain points seen in pairs of frames: many readings of a pose file at once.

The half-line residual of `residuals`, as a median over the points of each pair of frames, so that things that move
decide nothing while they hold fewer than half of the points.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from trajkit.trajectory import Trajectory

from .residuals import half_line, infinite, pairs
from .tracks import Tracks

Array = np.ndarray
POINTS = 24  # of a pair of frames
FEWEST = 10  # points of a pair that counts
PAIRS = 60  # of frames, at each stride
STRIDES = (4, 12)  # frames
SLOW_STRIDES = (8, 24)  # where little moves
SLOW_PX = 6.0  # of 832: image motion over STRIDES[1] that is little
# Noise of the same size leaves this much less from a half line (one free direction) than from a point: the ratio of
# the medians of |N(0, 1)| and of a Rayleigh distribution. Without it any false translation beats a true rotation.
ONE_OF_TWO = 0.6745 / 1.1774


class Sample(NamedTuple):
    """Points seen in pairs of frames, the same number in each."""

    first: Int64[Array, "k"]  # frame
    second: Int64[Array, "k"]
    xy_first: Float64[Array, "k l 2"]  # pixels
    xy_second: Float64[Array, "k l 2"]

    def thinned(self, pairs_kept: int, points_kept: int) -> "Sample":
        """Fewer pairs, spread over all, with fewer points each."""
        kept = np.unique(np.linspace(0, len(self.first) - 1, min(pairs_kept, len(self.first))).astype(np.int64))
        xy = (np.ascontiguousarray(side[kept, :points_kept]) for side in (self.xy_first, self.xy_second))
        return Sample(self.first[kept], self.second[kept], *xy)

    @property
    def motion_px(self) -> float:
        """Median distance that a point moves between the frames of a pair; 0 without pairs."""
        moved = np.linalg.norm(self.xy_second - self.xy_first, axis=-1)
        return float(np.median(moved)) if moved.size else 0.0


class Relative(NamedTuple):
    """Second camera from first one for each pair of frames, under b readings of a pose file."""

    rotation: Float64[Array, "b k 3 3"]
    translation: Float64[Array, "b k 3"]  # of length 1, or 0 where the camera stays


def sample(tracks: Tracks, frames: Int64[Array, "n"]) -> Sample:
    """Points between pairs of these frames (those that have a pose), at two strides that suit the motion."""
    found = _at(tracks, frames, STRIDES)
    if found.motion_px < SLOW_PX * tracks.size[0] / 832:
        slow = _at(tracks, frames, SLOW_STRIDES)
        found = slow if len(slow.first) >= len(found.first) / 2 else found
    return found


def _at(tracks: Tracks, frames: Int64[Array, "n"], strides: tuple[int, ...]) -> Sample:
    n = len(frames)
    posed = Trajectory(
        camera_to_world=np.tile(np.eye(4), (n, 1, 1)),
        intrinsics=np.tile([1.0, 1.0, 0.5, 0.5], (n, 1)),
        width=tracks.size[0],
        height=tracks.size[1],
        times_s=np.arange(n, dtype=np.float64),
        frame_index=frames,
    )
    first, second, here, there = [], [], [], []
    rng = np.random.default_rng(0)
    taken: set[tuple[int, int]] = set()
    for stride in strides:
        batch = pairs(posed, tracks, stride)
        starts, begin, count = np.unique(batch.first, return_index=True, return_counts=True)
        for number in np.unique(np.linspace(0, len(starts) - 1, min(PAIRS, len(starts))).astype(np.int64)):
            pair = int(batch.first[begin[number]]), int(batch.second[begin[number]])
            if count[number] < FEWEST or pair in taken:
                continue
            taken.add(pair)
            order = begin[number] + rng.permutation(count[number])
            rows = np.resize(order, POINTS)  # some twice, where there are fewer
            first.append(frames[pair[0]])
            second.append(frames[pair[1]])
            here.append(batch.xy_first[rows])
            there.append(batch.xy_second[rows])
    empty = np.empty((0, POINTS, 2))
    return Sample(
        np.array(first, np.int64),
        np.array(second, np.int64),
        np.array(here) if here else empty,
        np.array(there) if there else empty,
    )


def relative(poses: Float64[Array, "f 4 4"], batch: Sample, still: float) -> Relative:
    """Relative poses of camera_to_world poses, one for each frame; shorter ways than `still` count as none."""
    first, second = poses[batch.first], poses[batch.second]
    back = np.swapaxes(second[:, :3, :3], 1, 2)
    rotation = back @ first[:, :3, :3]
    way = np.einsum("kij,kj->ki", back, first[:, :3, 3] - second[:, :3, 3])
    length = np.linalg.norm(way, axis=1, keepdims=True)
    return Relative(rotation[None], np.where(length > still, way / np.maximum(length, 1e-300), 0.0)[None])


def turned(motion: Relative, axes: Float64[Array, "b 3 3"]) -> Relative:
    """One reading's relative poses with the camera's axes changed by each of b signed permutations."""
    rotation = np.einsum("bij,kjl,bml->bkim", axes, motion.rotation[0], axes)
    return Relative(rotation, np.einsum("bij,kj->bki", axes, motion.translation[0]))


def medians(
    motion: Relative, lens_first: Float64[Array, "k 4"], lens_second: Float64[Array, "k 4"], batch: Sample
) -> Float64[Array, "b k"]:
    """Median half-line residual of each pair of frames under each reading, in pixels."""
    out = np.empty(motion.translation.shape[:2])
    _medians(
        np.ascontiguousarray(motion.rotation),
        np.ascontiguousarray(motion.translation),
        np.ascontiguousarray(lens_first),
        np.ascontiguousarray(lens_second),
        batch.xy_first,
        batch.xy_second,
        out,
    )
    return out


def fitted(
    motion: Relative, lens_first: Float64[Array, "k 4"], lens_second: Float64[Array, "k 4"], batch: Sample
) -> Sample:
    """The same points without noise, as one reading (b = 1) has them: each where its best depth puts it.

    With the ray x of the first camera and y of the second, y ~ R x + r t has r = -(y * t).(y * R x) / |y * t|^2 (cross
    products), and r >= 0. Points that would fall behind the second camera stay where they are.
    """
    ray_first, ray_second = _rays(batch.xy_first, lens_first), _rays(batch.xy_second, lens_second)
    far = np.einsum("kij,klj->kli", motion.rotation[0], ray_first)
    across = np.cross(ray_second, motion.translation[0][:, None])
    size = np.maximum((across**2).sum(-1), 1e-12)
    inverse_depth = np.maximum(-(across * np.cross(ray_second, far)).sum(-1) / size, 0.0)
    point = far + inverse_depth[..., None] * motion.translation[0][:, None]
    ahead = point[..., 2:] > 1e-6
    flat = point[..., :2] / np.where(ahead, point[..., 2:], 1.0)
    xy = flat * lens_second[:, None, :2] + lens_second[:, None, 2:]
    return batch._replace(xy_second=np.ascontiguousarray(np.where(ahead, xy, batch.xy_second)))


def _rays(xy: Float64[Array, "k l 2"], lens: Float64[Array, "k 4"]) -> Float64[Array, "k l 3"]:
    flat = (xy - lens[:, None, 2:]) / lens[:, None, :2]
    return np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=-1)


@njit(cache=True)
def _medians(rotation, translation, lens_a, lens_b, xy_a, xy_b, out):  # type: ignore[no-untyped-def]
    points = xy_a.shape[1]
    errors = np.empty(points)
    for reading in range(rotation.shape[0]):
        for k in range(rotation.shape[1]):
            there, t_there = rotation[reading, k], translation[reading, k]
            back = np.ascontiguousarray(there.T)
            t_back = -(back @ t_there)
            moved = (t_there * t_there).sum() > 0.5
            for m in range(points):
                ax, ay, bx, by = xy_a[k, m, 0], xy_a[k, m, 1], xy_b[k, m, 0], xy_b[k, m, 1]
                if moved:
                    error = half_line(there, t_there, lens_a[k], lens_b[k], ax, ay, bx, by)
                    error += half_line(back, t_back, lens_b[k], lens_a[k], bx, by, ax, ay)
                else:
                    error = ONE_OF_TWO * infinite(there, lens_a[k], lens_b[k], ax, ay, bx, by)
                    error += ONE_OF_TWO * infinite(back, lens_b[k], lens_a[k], bx, by, ax, ay)
                errors[m] = error / 2
            out[reading, k] = np.median(errors)
