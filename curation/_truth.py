"""How wrong claimed poses are where the right ones and the depth are known: what scores are measured against."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from trajkit import se3
from trajkit.trajectory import Trajectory

from .induced import STRIDES, WIDTH, Sights, best_scale, errors_px

Array = np.ndarray
EVERY = 8  # pixels between the places where the depth is kept; the first is the pixel number EVERY // 2
POINTS = 60  # per pair of frames
LEAST_POINTS = 12  # still places of a frame below which it says nothing
TRIED = 240  # sights that the scale is found on
BAD = {"px_8": 1.5, "px_32": 4.0, "worst_px": 6.0, "rotation_deg": 0.6}  # beyond one of these poses teach errors
CLEAN = {"px_8": 0.5, "worst_px": 1.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """Induced flow error of claimed poses, in pixels of the clip: means over pairs of the median over still points.

    A stride that the clip is too short for counts as 0.
    """

    px_1: float
    px_8: float
    px_32: float
    worst_px: float  # of the 8-frame pairs
    worst_frame: int  # first frame of that pair
    rotation_deg: float  # largest error of the rotation from one pose to the next
    scale: float  # factor of the claimed translations that suits them best
    bad: bool
    clean: bool  # rows that are neither lie in between


def places(width: int, height: int) -> tuple[Int64[Array, " h"], Int64[Array, " w"]]:
    """Rows and columns of the pixels whose depth is kept."""
    return np.arange(EVERY // 2, height, EVERY), np.arange(EVERY // 2, width, EVERY)


def truth(claimed: Trajectory, exact: Trajectory, depth: Float[Array, "n h w"], moving: Bool[Array, "n h w"]) -> Truth:
    """The error of claimed poses against the exact ones.

    `depth` (z, 0 = nothing there) and `moving` (True where something moves) belong to the frames of `exact`, at
    `places` of its pictures. The claim may have poses for some of those frames only; its pairs then span at least
    the stride.
    """
    at = np.searchsorted(exact.frame_index, claimed.frame_index)
    reference = exact[at]
    sights, stride = _sights(reference, depth[at], moving[at])
    scale = best_scale(claimed, reference, sights, limit=TRIED)
    errors = errors_px(claimed, reference, sights, scale).reshape(-1, POINTS)
    first, known = sights.first[::POINTS], np.isfinite(errors).sum(axis=1) >= LEAST_POINTS
    mean, worst, worst_frame = {}, 0.0, 0
    for step in STRIDES:
        medians = _medians(errors[(stride == step) & known])
        mean[step] = float(medians.mean()) if len(medians) else 0.0
        if step == 8 and len(medians):
            worst = float(medians.max())
            worst_frame = int(
                claimed.frame_index[first[stride == step][known[stride == step]][int(np.argmax(medians))]]
            )
    found = {"px_8": mean[8], "px_32": mean[32], "worst_px": worst, "rotation_deg": _rotation_deg(claimed, reference)}
    limit = {name: value if name == "rotation_deg" else value * exact.width / WIDTH for name, value in BAD.items()}
    bad = any(found[name] > limit[name] for name in limit)
    clean = not bad and all(found[name] < value * exact.width / WIDTH for name, value in CLEAN.items())
    return Truth(px_1=mean[1], worst_frame=worst_frame, scale=scale, bad=bad, clean=clean, **found)


def _medians(errors: Float64[Array, "p k"]) -> Float64[Array, " p"]:
    """Of each row, points that the reference camera does not see left out."""
    finite = np.isfinite(errors)
    ordered = np.sort(np.where(finite, errors, np.inf), axis=1)
    return np.take_along_axis(ordered, (finite.sum(axis=1) - 1)[:, None] // 2, axis=1)[:, 0]


def _sights(
    reference: Trajectory, depth: Float[Array, "n h w"], moving: Bool[Array, "n h w"]
) -> tuple[Sights, Int64[Array, " p"]]:
    """POINTS still places for each pair of frames, spread over the picture, and the stride of each pair."""
    rows, columns = places(reference.width, reference.height)
    n = len(reference)
    pixel, z, known = np.zeros((n, POINTS), np.int64), np.zeros((n, POINTS)), np.zeros(n, bool)
    flat, still = depth.reshape(n, -1), ~moving.reshape(n, -1)
    for number in range(n):
        usable = np.flatnonzero((flat[number] > 0) & still[number])
        known[number] = len(usable) >= LEAST_POINTS
        if known[number]:
            shift = (number * 0.618) % 1
            pixel[number] = usable[((np.arange(POINTS) + shift) * len(usable) / POINTS).astype(np.int64)]
            z[number] = flat[number, pixel[number]]
    firsts, seconds, strides = [], [], []
    for step in STRIDES:
        second = np.searchsorted(reference.frame_index, reference.frame_index + step)
        first = np.flatnonzero((second < n) & known)
        firsts.append(first)
        seconds.append(second[first])
        strides.append(np.full(len(first), step))
    first = np.concatenate(firsts)
    chosen = pixel[first]
    xy = np.stack([columns[chosen % len(columns)], rows[chosen // len(columns)]], axis=-1) + 0.5
    repeat = lambda values: np.repeat(values, POINTS)  # noqa: E731
    sights = Sights(xy.reshape(-1, 2), z[first].reshape(-1), repeat(first), repeat(np.concatenate(seconds)))
    return sights, np.concatenate(strides)


def _rotation_deg(claimed: Trajectory, reference: Trajectory) -> float:
    def steps(trajectory: Trajectory) -> Float64[Array, "m 3 3"]:
        rotations = trajectory.camera_to_world[:, :3, :3]
        return np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]

    if len(claimed) < 2:
        return 0.0
    return float(se3.angle_deg(np.swapaxes(steps(reference), 1, 2) @ steps(claimed)).max())
