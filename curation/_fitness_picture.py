"""What lies in the picture itself: black bars, burned-in overlays, and how much detail there is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

Array = np.ndarray
Box = tuple[int, int, int, int]  # left, top, right, bottom (exclusive)
BLACK = 32  # luma as stored (16 is black) that a bar stays under, but for specks
STEP, EDGE_PX, STRAIGHT = 10, 6, 0.5  # grey levels that a bar's edge jumps, within these pixels, along this share of it
STRONG, WEAK = 8.0, 3.0  # grey levels per pixel: the gradient of a letter's edge, and of any
STAYS, PARTS = 0.7, 4  # what a part of the time keeps of an edge, of its mean size, in the part that keeps least
BOTH, ONE_WAY = (
    0.4,
    0.5,
)  # of a letter's edges: the weaker direction by the stronger; length of their sum by sum of lengths
CELLS, ALONE = (24, 16), 0.15  # share of cells with edges where most stay: more, and the camera stands still
SIZE = (0.0004, 0.06)  # share of the picture that an overlay takes
OUTER = 0.34  # an overlay's centre lies this near an edge of the picture, as a share of its size
TILE, FINE, COARSE = 128, (0.3, 0.5), (0.075, 0.125)  # pixels; cycles per pixel


def picture(lightest: UInt8[Array, "h w"], darkest: UInt8[Array, "h w"]) -> Box:
    """What black bars leave of the picture: they are black and the same all the time, and their edges are straight.

    `lightest` and `darkest` are each pixel's extremes over time.
    """
    height, width = lightest.shape
    rows, columns = _lit(lightest, 1), _lit(lightest, 0)
    top, bottom = _bars(lightest[:, slice(*columns)], darkest[:, slice(*columns)], rows)
    left, right = _bars(lightest[slice(*rows)].T, darkest[slice(*rows)].T, columns)
    if right - left < 16 or bottom - top < 16:
        return 0, 0, width, height
    return left, top, right, bottom


def _lit(lightest: Array, axis: int) -> tuple[int, int]:
    """First and past-last row (axis 1) or column (axis 0) that is ever lit."""
    lit = np.flatnonzero(np.percentile(lightest, 98, axis=axis) > BLACK)
    return (int(lit[0]), int(lit[-1]) + 1) if len(lit) else (0, lightest.shape[1 - axis])


def _bars(lightest: Array, darkest: Array, lit: tuple[int, int]) -> tuple[int, int]:
    """First and past-last row of the picture; bars are cut a little wide, for their edges are blurred."""
    height = len(lightest)
    first = _bar(lightest, darkest, lit[0])
    last = height - _bar(lightest[::-1], darkest[::-1], height - lit[1])
    return first, last


def _bar(lightest: Array, darkest: Array, rows: int) -> int:
    if rows < 2:
        return 0
    bar, inner = lightest[: rows - 1], lightest[rows : rows + EDGE_PX].max(0)
    steady = np.percentile(bar.astype(np.int16) - darkest[: rows - 1], 95) <= STEP
    straight = np.mean(inner > np.percentile(bar, 98) + STEP) >= STRAIGHT
    return (rows + 2) // 2 * 2 if steady and straight else 0


def overlays(small: UInt8[Array, "s h w"], inside: Bool[Array, "h w"], cv2: Any) -> list[Box]:
    """Boxes of edges that stay where they are all the time, of both directions as letters have them, while nearly all
    others move; none for a camera that stands still, whose edges all stay."""
    chosen = small[:: max(len(small) // 32, 1)]
    parts = np.zeros((PARTS, *inside.shape, 2), np.float32)  # mean gradient of each part of the time
    size = np.zeros(inside.shape, np.float32)
    for number, grey in enumerate(chosen):
        gradient = np.stack([cv2.Sobel(grey, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1))], axis=-1)
        parts[number * PARTS // len(chosen)] += gradient * (PARTS / len(chosen))
        size += np.linalg.norm(gradient, axis=-1) / len(chosen)
    whole = parts.mean(0)
    edge = (size > WEAK) & inside
    least = np.einsum("phwc,hwc->phw", parts, whole).min(0) / np.maximum(np.linalg.norm(whole, axis=-1), 1e-6)
    stays = edge & (least > STAYS * size)
    held, full = (cv2.resize(part.astype(np.float32), CELLS, interpolation=cv2.INTER_AREA) for part in (stays, edge))
    stays &= size > STRONG
    if len(chosen) < 2 * PARTS or np.sum(held > 0.5 * full) > ALONE * np.sum(full > 0):
        return []
    return [box for box in _boxes(stays, cv2) if _lettered(box, stays, whole)]


def _boxes(stays: Bool[Array, "h w"], cv2: Any) -> Iterator[Box]:
    """Groups of pixels close to each other that are as large as an overlay, and near an edge of the picture."""
    height, width = stays.shape
    joined = cv2.dilate(stays.astype(np.uint8), np.ones((5, 9), np.uint8))
    count, _, boxes, centres = cv2.connectedComponentsWithStats(joined)
    for (left, top, wide, high, _), (x, y) in zip(boxes[1:count], centres[1:count], strict=True):
        outer = min(x / width, 1 - x / width, y / height, 1 - y / height) < OUTER
        if outer and SIZE[0] < wide * high / (width * height) < SIZE[1]:
            yield int(left), int(top), int(left + wide), int(top + high)


def _lettered(box: Box, stays: Array, gradient: Array) -> bool:
    """Whether there are many edges in the box, of both directions, and from dark to bright as often as back."""
    left, top, right, bottom = box
    held = stays[top:bottom, left:right]
    edges = gradient[top:bottom, left:right][held]
    across, down = np.abs(edges).sum(0)
    strokes = np.linalg.norm(edges.sum(0)) < ONE_WAY * np.linalg.norm(edges, axis=1).sum()
    return bool(held.sum() > 0.15 * held.size + 12 and min(across, down) > BOTH * max(across, down) and strokes)


def sharpness(grey: UInt8[Array, "h w"]) -> float:
    """0..1: amplitude of the finest detail (0.3 to 0.5 cycles per pixel) over that two octaves below.

    The power of natural pictures falls with frequency squared, so that each octave holds as much as the next (Field
    1987); a lens takes some of the finest, upsampling nearly all. Of the half of the tiles that hold most detail.
    """
    tile = min(TILE, *grey.shape)
    if tile < 32:
        return 0.0
    window = np.outer(np.hanning(tile), np.hanning(tile)).astype(np.float32)
    top, left = (np.linspace(0, side - tile, min(side // tile, 6)).astype(int) for side in grey.shape)
    tiles = np.array([grey[y : y + tile, x : x + tile] for y in top for x in left], np.float32)
    tiles -= tiles.mean((1, 2), keepdims=True)
    power = np.abs(np.fft.rfft2(tiles * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(tile)[:, None], np.fft.rfftfreq(tile))
    fine, coarse = (power[:, (low <= frequency) & (frequency < high)].sum(1) for low, high in (FINE, COARSE))
    most = coarse >= np.median(coarse)
    return float(min(np.sqrt(fine[most].sum() / max(coarse[most].sum(), 1e-9)), 1.0))
