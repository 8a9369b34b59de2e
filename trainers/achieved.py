"""The cameras that a video really has, estimated from its pixels and its lens alone.

Corners are followed through the video, enlarged where it is small. Then cameras and points are adjusted together twice:
as turns on the spot, and as free motions from several starts. Turns are believed where they explain the video.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from trajkit import se3

from .adjustment import Sightings, adjusted, cost, far_points, misses, unit_rows
from .growing import quality, starts

Array = np.ndarray
LONG_SIDE, LARGEST = 416, 4.0  # pixels that pictures are brought to, by a factor of LARGEST at most
CORNERS, CELL_PX, PATCH_PX, LEVELS, BACK_PX = 300, 12, 21, 3, 1.0  # in enlarged pixels, as is INLIER_PX
QUALITY = 0.01  # of the strongest corner's smaller eigenvalue
INLIER_PX = 3.0
LEAST_POINTS, LEAST_SHARE = 12, 0.5  # of a frame's points that must agree with its camera, and be seen before it
SHORTEST = 3  # observations of a point that is used
# Turns on the spot are believed unless a free motion leaves residuals so many times smaller, at their upper quartile.
# On toy rooms they are 1.1 to 1.7 times smaller where there are turns alone, 3.5 and more where the camera moves.
GAIN, QUARTILE = 2.3, 75


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Achieved:
    """Estimated cameras in the frame of the first one; one unit is the median depth of the points that are seen.

    `camera_to_world` is the identity where a frame is not registered: its camera is not known.
    """

    camera_to_world: Float64[Array, "n 4 4"]
    registered: Bool[Array, " n"]
    turns_only: bool = False  # turns on the spot explain the video; translations are exactly 0
    residual_px: float | None = None  # median, in pixels of the video


def estimate(pictures: UInt8[Array, "n h w 3"], intrinsics: Float64[Array, "n 4"]) -> Achieved:
    """Cameras of a video by points followed through it. `intrinsics` are fx fy cx cy in its pixels, per frame.

    It is never told where the cameras should be. The same pictures give the same cameras.
    Raises TrajkitError without OpenCV and PoseLib.
    """
    factor = min(LARGEST, LONG_SIDE / max(pictures.shape[1:3]))
    seen = _followed(pictures, intrinsics, factor)
    n, focal = len(pictures), float(intrinsics[:, :2].mean()) * factor
    if not len(seen.frame):
        return Achieved(camera_to_world=np.tile(np.eye(4), (n, 1, 1)), registered=np.arange(n) == 0)
    start = se3.pose(_chained(seen, n), np.zeros(3))
    turned = adjusted(start, far_points(start, seen), seen, focal, free=slice(3, 6))
    free = [adjusted(*one, seen, focal, free=slice(0, 6)) for one in starts(*turned, seen, focal)]
    moved = min(free, key=lambda one: cost(one[0], one[1], seen, 1 / focal))  # some starts end in a local minimum
    turned_px, moved_px = (misses(*one, seen) * focal for one in (turned, moved))
    turns_only = bool(np.percentile(turned_px, QUARTILE) < GAIN * np.percentile(moved_px, QUARTILE))
    (poses, points), miss_px = (turned, turned_px) if turns_only else (moved, moved_px)
    registered = _registered(seen, miss_px < INLIER_PX, n)
    found = se3.inverse(poses @ se3.inverse(poses[0]))
    found[:, :3, 3] *= 0 if turns_only else _median_closeness(poses, points, seen)
    found[~registered] = np.eye(4)
    residual_px = float(np.median(np.minimum(miss_px, focal))) / factor
    return Achieved(camera_to_world=found, registered=registered, turns_only=turns_only, residual_px=residual_px)


def _followed(pictures: UInt8[Array, "n h w 3"], intrinsics: Float64[Array, "n 4"], factor: float) -> Sightings:
    """Corners followed from frame to frame (pyramidal Lucas-Kanade), replaced as they are lost."""
    cv2 = quality("cv2")
    alive, number, born = np.empty((0, 2), np.float32), np.empty(0, np.int64), 0
    rows: list[tuple[Array, Array, Array]] = []
    before = None
    for frame, picture in enumerate(pictures):
        how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
        grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None, fx=factor, fy=factor, interpolation=how)
        if before is not None and len(alive):
            alive, good = _stepped(cv2, before, grey, alive)
            alive, number = alive[good], number[good]
        new = _corners(cv2, grey, alive)
        alive = np.concatenate([alive, new])
        number = np.concatenate([number, born + np.arange(len(new))])
        born += len(new)
        pixel = (alive.astype(np.float64) + 0.5) / factor
        rows.append((np.full(len(alive), frame), number, (pixel - intrinsics[frame, 2:]) / intrinsics[frame, :2]))
        before = grey
    times, point, ray = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.lexsort((times, point))
    seen = Sightings(times[order], point[order], ray[order])
    return seen.only(np.bincount(point, minlength=born)[seen.point] >= SHORTEST)


def _corners(cv2: Any, grey: UInt8[Array, "h w"], alive: Float32[Array, "m 2"]) -> Float32[Array, "k 2"]:
    """Corners away from the points that are alive, as many as are wanting."""
    mask = np.full(grey.shape, 255, np.uint8)
    for x, y in alive:
        cv2.circle(mask, (round(float(x)), round(float(y))), CELL_PX, 0, -1)
    found = None
    if len(alive) < CORNERS:
        found = cv2.goodFeaturesToTrack(grey, CORNERS - len(alive), QUALITY, CELL_PX, mask=mask, blockSize=7)
    return np.empty((0, 2), np.float32) if found is None else found.reshape(-1, 2)


def _stepped(cv2: Any, before: Array, after: Array, alive: Array) -> tuple[Array, Bool[Array, " m"]]:
    """Where the points went, and which of them lead back to where they came from."""
    window = {"winSize": (PATCH_PX, PATCH_PX), "maxLevel": LEVELS}
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, alive, None, **window)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **window)
    edge = np.array(after.shape[::-1], np.float32) - 3
    good = (found[:, 0] == 1) & (returned[:, 0] == 1) & (there >= 2).all(1) & (there <= edge).all(1)
    return there, good & (np.linalg.norm(back - alive, axis=1) < BACK_PX)


def _chained(seen: Sightings, frames: int) -> Float64[Array, "n 3 3"]:
    """World-to-camera rotations, each the one before it times the turn that carries most rays on.

    Kabsch's rotation with Cauchy weights that narrow to half a degree.
    """
    rotations = np.tile(np.eye(3), (frames, 1, 1))
    rays = unit_rows(np.column_stack([seen.ray, np.ones(len(seen.ray))]))
    follows = np.flatnonzero((np.diff(seen.point) == 0) & (np.diff(seen.frame) == 1))
    for frame in range(1, frames):
        pairs = follows[seen.frame[follows] == frame - 1]
        here, there, turn, weights = rays[pairs], rays[pairs + 1], np.eye(3), np.ones(len(pairs))
        for limit in np.radians((8.0, 4.0, 2.0, 1.0, 0.5, 0.5)) if len(pairs) > 1 else ():
            turn = se3.nearest_rotation((there * weights[:, None]).T @ here)
            weights = 1 / (1 + ((there - here @ turn.T) ** 2).sum(1) / limit**2)
        rotations[frame] = turn @ rotations[frame - 1]
    return rotations


def _registered(seen: Sightings, inlier: Bool[Array, " m"], frames: int) -> Bool[Array, " n"]:
    """Frames in an unbroken row from the first, each held by enough points that the one before it also sees."""
    count = np.bincount(seen.frame, minlength=frames)
    agreeing = np.bincount(seen.frame[inlier], minlength=frames)
    pair = np.flatnonzero((np.diff(seen.point) == 0) & inlier[:-1] & inlier[1:])
    shared = np.bincount(seen.frame[pair + 1], minlength=frames)
    held = (shared >= LEAST_POINTS) & (agreeing >= LEAST_SHARE * count)
    held[0] = True
    return np.logical_and.accumulate(held)


def _median_closeness(poses: Array, points: Array, seen: Sightings) -> float:
    """Median of 1 / z over all observations: robust where some points lie at infinity."""
    z = np.einsum("mj,mj->m", poses[seen.frame, 2], points[seen.point])
    return float(np.median(np.abs(points[seen.point, 3]) / np.maximum(z, 1e-9)))
