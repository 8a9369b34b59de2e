"""Whether the camera stands still: corners of one picture looked for in all others, and what most of them agree on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from .tracks import BORDER_PX, FLAT, LEVELS, PATCH_PX, QUALITY, STOP

Array = np.ndarray
WIDE = 832  # motions are in pixels of a picture this wide
CELL_PX = 16  # one corner per cell
BACK_PX = 0.5  # how far a point followed there and back may land from its start
NEAR_PX = 1.0  # of pictures as they are compared: what moves less may be standing still
AGREE_PX = 0.3  # of pictures as they are compared: a point agrees with a motion
LOOSE_PX = 1.0  # the same, for motions that are large
STEP_PX, FAR_PX = 0.3, 2.0  # of WIDE: less from one picture to the next is not added up; less in all shows nothing
SEEN, MOST = 0.2, 0.35  # share of points that have to stand, or to move as one, before a picture says anything
UNSEEN = (np.nan, 0.0, 0.0)
# P(still) = 1 / (1 + exp(-w . features)); fitted by tests/bench/bench_fitness.py practice
WEIGHTS = (-0.55, -1.40, -0.22)
EDGE_PX = 0.45  # of WIDE: between what counts as still and what as moving
SURE = 0.99  # nothing here is surer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stance:
    """How the background moved against the middle picture of a shot, per sampled picture."""

    moved_px: Float32[Array, "s"]  # of a picture WIDE pixels across, rms over the picture; NaN where unseen
    standing: Float32[Array, "s"]  # share of the middle picture's corners that stay within AGREE_PX of one small motion
    agreed: Float32[Array, "s"]  # share of the corners that moved as `moved_px` says

    @property
    def evidence(self) -> tuple[float, float, float] | None:
        """(pixels moved, share standing, share agreeing) of the shot; None where too little is seen."""
        seen = ~np.isnan(self.moved_px)
        if seen.sum() < max(0.3 * len(seen), 3):
            return None
        order = np.argsort(self.moved_px[seen])
        weight = np.cumsum(self.agreed[seen][order])
        moved = float(self.moved_px[seen][order][np.searchsorted(weight, 0.85 * weight[-1])])
        standing, agreed = (float(np.percentile(one, 30)) for one in (self.standing, self.agreed))
        if moved < EDGE_PX and standing < SEEN:  # little motion in the pictures that show any, but most show none
            return None
        return moved, standing, agreed

    @property
    def still(self) -> float | None:
        """Probability that the camera stands still; None where too little is seen."""
        if self.evidence is None:
            return None
        return float(1 / (1 + np.exp(-np.dot(WEIGHTS, features(*self.evidence)))))


def features(moved: float, _: float, agreed: float) -> tuple[float, float, float]:
    """What WEIGHTS weigh: the motion's logarithm, on its own and by how many agree on it."""
    octaves = float(np.clip(np.log2(max(moved, 1e-6) / EDGE_PX), -2.5, 3.0))
    return 1.0, octaves, octaves * agreed


def stance(small: UInt8[Array, "s h w"], inside: Bool[Array, "h w"], cv2: Any) -> Stance:
    """How the background stands in these pictures of one shot; corners outside `inside` are not looked at."""
    middle = len(small) // 2
    flat = [_even(grey, cv2) for grey in small]
    corners = _corners(small[middle], inside, cv2)
    rows: list[tuple[float, ...]] = [UNSEEN] * len(small)
    for way in (range(middle, len(small)), range(middle, -1, -1)):
        guess, last, gone = corners, middle, 0.0  # `gone`: the last motion that was seen
        for number in way:
            there, good = _found(flat[middle], flat[number], corners, guess, cv2)
            guess = np.where(good[:, None], there, guess)
            row = _judged(corners, there, good, small.shape[:0:-1], cv2)
            if np.isnan(row[0]):  # lost sight of the middle picture: on from the last one
                nearby = _corners(small[last], inside, cv2)
                there, good = _found(flat[last], flat[number], nearby, nearby, cv2)
                step, *_, agreed = _judged(nearby, there, good, small.shape[:0:-1], cv2)
                far = gone + step * (step > STEP_PX)
                row = (far if far > FAR_PX else np.nan, row[1], agreed)  # steps add up: they only show motion
            rows[number] = row
            last, gone = number, gone if np.isnan(row[0]) else row[0]
    table = np.array(rows, np.float32)
    return Stance(moved_px=table[:, 0], standing=table[:, 1], agreed=table[:, 2])


def _even(grey: UInt8[Array, "h w"], cv2: Any) -> UInt8[Array, "h w"]:
    """The picture at even brightness and contrast, so that light may change."""
    full = grey.astype(np.float32)
    full -= cv2.GaussianBlur(full, (0, 0), 8)
    contrast = np.sqrt(cv2.GaussianBlur(full * full, (0, 0), 8))
    return np.clip(128 + 40 * full / (contrast + 6), 0, 255).astype(np.uint8)


def _corners(grey: UInt8[Array, "h w"], inside: Bool[Array, "h w"], cv2: Any) -> Float32[Array, "n 2"]:
    """The best corner of each cell, where it is one."""
    strength = cv2.cornerMinEigenVal(grey, 3)
    edge = int(BORDER_PX) + 2
    allowed = np.zeros(inside.shape, bool)
    allowed[edge:-edge, edge:-edge] = inside[edge:-edge, edge:-edge]
    strength = np.where(allowed, strength, 0)
    rows, columns = strength.shape[0] // CELL_PX, strength.shape[1] // CELL_PX
    blocks = strength[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX)
    cells = blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    best, number = cells.argmax(1), np.arange(len(cells))
    good = cells[number, best] > max(FLAT, QUALITY * float(np.percentile(cells.max(1), 95)) if len(cells) else 0)
    row, column = (
        number // max(columns, 1) * CELL_PX + best // CELL_PX,
        number % max(columns, 1) * CELL_PX + best % CELL_PX,
    )
    return np.stack([column, row], axis=-1).astype(np.float32)[good]


def _found(one: Array, other: Array, corners: Array, guess: Array, cv2: Any) -> tuple[Array, Array]:
    """Where the corners are in the other picture, and whether they were found there and back."""
    if not len(corners):
        return corners, np.zeros(0, bool)
    lk = {"winSize": (PATCH_PX, PATCH_PX), "maxLevel": LEVELS, "criteria": STOP, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, other, corners, guess.copy(), **lk)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(other, one, there, corners.copy(), **lk)
    good = (found[:, 0] == 1) & (returned[:, 0] == 1) & (np.linalg.norm(back - corners, axis=1) < BACK_PX)
    return there, good


def _judged(corners: Array, there: Array, good: Array, size: tuple[int, int], cv2: Any) -> tuple[float, ...]:
    """(pixels moved, share standing, share agreeing) of one picture: the small motion that many points agree
    on, if there is one, else the motion of most."""
    if good.sum() < 8:
        return UNSEEN
    one, other = corners[good], there[good]
    near = np.linalg.norm(other - one, axis=1) < NEAR_PX
    small, agree = _fitted(one, other, near, size)
    standing = agree.sum() / len(corners)
    if standing >= 0.5 * good.sum() / len(corners) and standing >= SEEN:  # no other motion can have more
        return _length(small, size), standing, standing
    cv2.setRNGSeed(0)
    large, inliers = cv2.estimateAffine2D(one, other, ransacReprojThreshold=LOOSE_PX, maxIters=200)
    moving = 0.0 if large is None else inliers.sum() / len(corners)
    if standing >= max(SEEN, 0.5 * moving):
        return _length(small, size), standing, standing
    return (_length(large, size) if moving >= MOST else np.nan), standing, moving


def _fitted(one: Array, other: Array, start: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """(2x3 similarity from one to other, which points agree with it), fitted again and again to those that agree."""
    centre = np.array(size, np.float32) / 2
    agree, motion = start, np.eye(2, 3)
    for _ in range(6):
        if agree.sum() < 8:
            return np.eye(2, 3), np.zeros(len(one), bool)
        x, y = (one[agree] - centre).T
        zero, unit = np.zeros(len(x)), np.ones(len(x))
        system = np.concatenate([np.stack([x, -y, unit, zero], 1), np.stack([y, x, zero, unit], 1)])
        target = (other[agree] - one[agree]).T.reshape(-1)
        a, b, u, v = np.linalg.lstsq(system, target, rcond=None)[0]
        turn = np.array([[1 + a, -b], [b, 1 + a]])
        motion = np.column_stack([turn, centre + np.array([u, v]) - turn @ centre])
        agree = np.linalg.norm(one @ motion[:, :2].T + motion[:, 2] - other, axis=1) < AGREE_PX
    return motion, agree


def _length(motion: Array, size: tuple[int, int]) -> float:
    """Root mean square of how far the motion takes the points of a grid, pixels of a picture WIDE across."""
    grid = np.stack(np.meshgrid([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]), axis=-1).reshape(-1, 2) * size
    moved = grid @ motion[:, :2].T + motion[:, 2] - grid
    return float(np.sqrt((moved**2).sum(1).mean()) * WIDE / size[0])
