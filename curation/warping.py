"""A picture with depth as another camera sees it: cells of the picture as a mesh, cut where depth jumps, z-buffered.

A source pixel is a cell between four corners of the pixel lattice. A corner's inverse depth is the mean of those of its
four pixels that hang together; where they fall into several surfaces, each has its own corner there, so that surfaces
are cut and each ends with its last pixel. Inverse depth is linear in the picture over planes, which keeps floors whole.

A corner at pixel p with inverse depth w goes to q ~ K2 (R K1^-1 p + w t), with inverse depth w / (R K1^-1 p + w t)_z.
Cells are drawn as two triangles into a buffer of 2x2 samples a pixel that keeps the nearest. Each sample is then traced
back into the source, where colours are interpolated among pixels of the same surface only.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from trajkit.camera import Camera

from ._mesh import Surface, compiled, surface

__all__ = ["Surface", "Warped", "surface", "unseen_share", "warp_picture"]

Array = np.ndarray
STRETCH = 5.0  # times the growth of an upright surface; a cell drawn longer was hardly seen
BEYOND = 0.5  # of the picture's size: how far surfaces at its border are taken to go on
NEAR = 1e-3  # of the distance that a point had: what comes nearer lies behind the camera as good as
TOGETHER = 0.5  # pixels of the source within which a pixel's samples are looked up as one
SLACK = 1e-9  # pixels that triangles are larger by: both of two take their common edge, so that no crack is left
SAME = 0.1  # share by which the inverse depths of a pixel's samples may differ to be one surface


class Warped(NamedTuple):
    """What another camera sees of it."""

    rgb: UInt8[Array, "h w 3"]  # black where nothing was seen, blended with black where half was
    inverse: Float32[Array, "h w"]  # 1/z; negative where nothing was seen
    seen: Float32[Array, "h w"]  # 0..1, share of the pixel


def unseen_share(mesh: Surface, source: Camera, target: Camera, target_from_source: Float64[Array, "4 4"]) -> float:
    """Share of the target's picture that nothing of the source covers, 0..1; black bars at its border included."""
    buffer = _drawn(mesh, source, target, target_from_source)
    return float((buffer < 0).mean())


def warp_picture(
    rgb: UInt8[Array, "h w 3"],
    mesh: Surface,
    source: Camera,
    target: Camera,
    target_from_source: Float64[Array, "4 4"],
) -> Warped:
    """The target's view of what the source saw, both pinholes."""
    buffer = _drawn(mesh, source, target, target_from_source)
    size = (target.height, target.width)
    made = Warped(np.empty((*size, 3), np.uint8), np.empty(size, np.float32), np.empty(size, np.float32))
    back = np.linalg.inv(target_from_source)
    plane = source.matrix @ back[:3, :3] @ np.linalg.inv(target.matrix)
    _resolve(np.ascontiguousarray(rgb), mesh.inverse, mesh.labels, buffer, plane, source.matrix @ back[:3, 3], *made)
    return made


def _drawn(
    mesh: Surface, source: Camera, target: Camera, target_from_source: Float64[Array, "4 4"]
) -> Float32[Array, "h2 w2"]:
    """Inverse depth of the nearest surface at each sample, 2x2 a pixel; negative where there is none."""
    double = target.resized(2 * target.width, 2 * target.height)
    plane = double.matrix @ target_from_source[:3, :3] @ np.linalg.inv(source.matrix)
    shift = double.matrix @ target_from_source[:3, 3]
    buffer = np.full((double.height, double.width), -1, np.float32)
    placed = np.empty((*mesh.corners.shape, 3), np.float64)
    _place(mesh.corners, plane, shift, placed)
    growth = max(double.fx / source.fx, double.fy / source.fy)
    _draw(mesh.inverse, mesh.corners, mesh.labels, placed, plane, shift, growth, buffer)
    _draw_beyond(mesh.inverse, plane, shift, buffer)
    return buffer


@compiled
def _moved(plane: Array, shift: Array, x: float, y: float, inverse: float) -> tuple:
    """(x, y, inverse depth) where a point of the source's picture lands; inverse depth -1 where that is behind."""
    z = plane[2, 0] * x + plane[2, 1] * y + plane[2, 2] + inverse * shift[2]
    if z < NEAR:
        return 0.0, 0.0, -1.0
    u = (plane[0, 0] * x + plane[0, 1] * y + plane[0, 2] + inverse * shift[0]) / z
    v = (plane[1, 0] * x + plane[1, 1] * y + plane[1, 2] + inverse * shift[1]) / z
    return u, v, inverse / z


@compiled
def _own_corner(inverse: Array, labels: Array, plane: Array, shift: Array, y: int, x: int, place: int) -> tuple:
    """Where corner (y, x) of the surface that its pixel number `place` (0..3, from top left) belongs to lands."""
    height, width = inverse.shape
    mine = (labels[y, x] >> (2 * place)) & 3
    total, count = 0.0, 0
    for k in range(4):
        row, column = y - 1 + (k >> 1), x - 1 + (k & 1)
        if ((labels[y, x] >> (2 * k)) & 3) == mine and 0 <= row < height and 0 <= column < width:
            total += inverse[row, column]
            count += 1
    return _moved(plane, shift, float(x), float(y), total / count)


@compiled
def _place(corners: Array, plane: Array, shift: Array, placed: Array) -> None:
    for y in range(corners.shape[0]):
        for x in range(corners.shape[1]):
            if corners[y, x] >= 0:
                u, v, w = _moved(plane, shift, float(x), float(y), corners[y, x])
                placed[y, x, 0], placed[y, x, 1], placed[y, x, 2] = u, v, w


@compiled
def _draw(
    inverse: Array,
    corners: Array,
    labels: Array,
    placed: Array,
    plane: Array,
    shift: Array,
    growth: float,
    buffer: Array,
) -> None:
    """Draws every cell into the buffer of nearest inverse depths."""
    height, width = inverse.shape
    rows, columns = buffer.shape
    for y in range(height):
        for x in range(width):
            if inverse[y, x] < 0:
                continue
            if min(corners[y, x], corners[y, x + 1], corners[y + 1, x], corners[y + 1, x + 1]) >= 0:
                ax, ay, aw = placed[y, x, 0], placed[y, x, 1], placed[y, x, 2]
                bx, by, bw = placed[y, x + 1, 0], placed[y, x + 1, 1], placed[y, x + 1, 2]
                cx, cy, cw = placed[y + 1, x, 0], placed[y + 1, x, 1], placed[y + 1, x, 2]
                dx, dy, dw = placed[y + 1, x + 1, 0], placed[y + 1, x + 1, 1], placed[y + 1, x + 1, 2]
            else:
                ax, ay, aw = _own_corner(inverse, labels, plane, shift, y, x, 3)
                bx, by, bw = _own_corner(inverse, labels, plane, shift, y, x + 1, 2)
                cx, cy, cw = _own_corner(inverse, labels, plane, shift, y + 1, x, 1)
                dx, dy, dw = _own_corner(inverse, labels, plane, shift, y + 1, x + 1, 0)
            if min(aw, bw, cw, dw) < 0:
                continue
            left, right, top, bottom = (
                min(ax, bx, cx, dx),
                max(ax, bx, cx, dx),
                min(ay, by, cy, dy),
                max(ay, by, cy, dy),
            )
            if right < 0.5 or bottom < 0.5 or left > columns - 0.5 or top > rows - 0.5:
                continue
            longest = max(right - left, bottom - top)
            if longest > 2 * growth and inverse[y, x] * longest > STRETCH * growth * 0.25 * (aw + bw + cw + dw):
                continue
            _triangle(ax, ay, aw, bx, by, bw, cx, cy, cw, False, buffer)
            _triangle(dx, dy, dw, cx, cy, cw, bx, by, bw, False, buffer)


@compiled
def _draw_beyond(inverse: Array, plane: Array, shift: Array, buffer: Array) -> None:
    """Hides what lies behind where the surfaces at the picture's border go on beyond it, upright: nobody saw that."""
    height, width = inverse.shape
    for k in range(2 * (height + width)):
        if k < 2 * width:
            x, y = k % width, 0 if k < width else height - 1
            left, right = float(x), x + 1.0
            top, bottom = (-BEYOND * height, 0.0) if y == 0 else (float(height), (1 + BEYOND) * height)
        else:
            x, y = 0 if k < 2 * width + height else width - 1, (k - 2 * width) % height
            left, right = (-BEYOND * width, 0.0) if x == 0 else (float(width), (1 + BEYOND) * width)
            top, bottom = float(y), y + 1.0
        here = inverse[y, x]
        if here < 0:
            continue
        ax, ay, aw = _moved(plane, shift, left, top, here)
        bx, by, bw = _moved(plane, shift, right, top, here)
        cx, cy, cw = _moved(plane, shift, left, bottom, here)
        dx, dy, dw = _moved(plane, shift, right, bottom, here)
        if min(aw, bw, cw, dw) >= 0:
            _triangle(ax, ay, aw, bx, by, bw, cx, cy, cw, True, buffer)
            _triangle(dx, dy, dw, cx, cy, cw, bx, by, bw, True, buffer)


@compiled
def _triangle(
    ax: float,
    ay: float,
    aw: float,
    bx: float,
    by: float,
    bw: float,
    cx: float,
    cy: float,
    cw: float,
    hides: bool,
    buffer: Array,
) -> None:
    """Keeps the nearer of what the buffer has and a triangle, corners clockwise on the screen; others face away.

    One that `hides` leaves -1 where it is the nearer.
    """
    bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
    area = bx * cy - by * cx
    if area <= 1e-12:
        return
    rows, columns = buffer.shape
    first_row = max(int(np.ceil(ay + min(0.0, by, cy) - 0.5 - SLACK)), 0)
    last_row = min(int(np.floor(ay + max(0.0, by, cy) - 0.5 + SLACK)), rows - 1)
    first = max(int(np.ceil(ax + min(0.0, bx, cx) - 0.5 - SLACK)), 0)
    last = min(int(np.floor(ax + max(0.0, bx, cx) - 0.5 + SLACK)), columns - 1)
    if first > last or first_row > last_row:
        return
    slack = SLACK * (1 + area)
    along_b, along_c = (bw - aw) / area, (cw - aw) / area
    for row in range(first_row, last_row + 1):
        py = row + 0.5 - ay
        for column in range(first, last + 1):
            px = column + 0.5 - ax
            second, third = px * cy - py * cx, bx * py - by * px
            if second >= -slack and third >= -slack and second + third <= area + slack:
                value = aw + second * along_b + third * along_c
                if value > buffer[row, column]:
                    buffer[row, column] = -1 if hides else value


@compiled
def _cubic(part: float) -> tuple:
    """Weights of four neighbours in Catmull and Rom's interpolation, `part` of the way between the middle two."""
    first = part * (part * (2 - part) - 1) / 2
    last = part * part * (part - 1) / 2
    third = part * (part * (4 - 3 * part) + 1) / 2
    return first, 1 - first - third - last, third, last


@compiled
def _cut_near(labels: Array, row: int, column: int) -> bool:
    """Whether more than one surface meets among the 4x4 pixels around a corner."""
    for y in range(row - 1, row + 2):
        for x in range(column - 1, column + 2):
            if labels[y, x] != 0:
                return True
    return False


@compiled
def _add_colour(rgb: Array, labels: Array, u: float, v: float, weight: float, total: Array) -> None:
    """Adds `weight` times the colour at (u, v) of the source, bilinear among the pixels of the surface there."""
    height, width = rgb.shape[:2]
    x, y = min(max(int(u), 0), width - 1), min(max(int(v), 0), height - 1)
    column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))  # the corner among the four pixels nearest
    column, row = min(max(column, x), x + 1), min(max(row, y), y + 1)
    label = labels[row, column]
    mine = (label >> (2 * ((y - row + 1) * 2 + x - column + 1))) & 3
    s, t = min(max(u - column + 0.5, 0.0), 1.0), min(max(v - row + 0.5, 0.0), 1.0)
    sums, red, green, blue = 0.0, 0.0, 0.0, 0.0
    if 1 < row < height - 1 and 1 < column < width - 1 and not _cut_near(labels, row, column):
        a, b, c, d = _cubic(s)
        weights = _cubic(t)
        for i in range(4):
            line = rgb[row - 2 + i, column - 2 : column + 2]
            for k in range(3):
                total[k] += weight * weights[i] * (a * line[0, k] + b * line[1, k] + c * line[2, k] + d * line[3, k])
        return
    for k in range(4):
        i, j = row - 1 + (k >> 1), column - 1 + (k & 1)
        if ((label >> (2 * k)) & 3) != mine or i < 0 or j < 0 or i >= height or j >= width:
            continue
        share = (s if k & 1 else 1 - s) * (t if k >> 1 else 1 - t)
        sums += share
        red += share * rgb[i, j, 0]
        green += share * rgb[i, j, 1]
        blue += share * rgb[i, j, 2]
    weight /= max(sums, 1e-12)
    total[0] += weight * red
    total[1] += weight * green
    total[2] += weight * blue


@compiled
def _second(four: Array) -> float:
    """The second largest of four numbers."""
    low, high = min(four[0], four[1]), max(four[0], four[1])
    other, top = min(four[2], four[3]), max(four[2], four[3])
    return max(min(high, top), low if high > top else other)


@compiled
def _agreed(four: Array, near: float) -> float:
    """Mean of those of four inverse depths that are one surface with `near`; -1 where that is -1."""
    total, count = 0.0, 0
    for k in range(4):
        if abs(four[k] - near) <= SAME * abs(near):
            total += four[k]
            count += 1
    return total / count


@compiled
def _resolve(
    rgb: Array,
    inverse: Array,
    labels: Array,
    buffer: Array,
    plane: Array,
    shift: Array,
    picture: Array,
    nearest: Array,
    seen: Array,
) -> None:
    """Pixels from their samples: one look into the source where all are one surface, else one for each."""
    total, four = np.empty(3, np.float64), np.empty(4, np.float64)
    parallax = abs(shift[0]) + abs(shift[1])  # about: pixels of the source per unit of inverse depth
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            count, low, high, mean = 0, np.inf, -1.0, 0.0
            for k in range(4):
                four[k] = buffer[2 * y + (k >> 1), 2 * x + (k & 1)]
                if four[k] >= 0:
                    count += 1
                    low, high, mean = min(low, four[k]), max(high, four[k]), mean + four[k]
            seen[y, x] = 0.25 * count
            total[:] = 0
            nearest[y, x] = _agreed(four, _second(four) if count > 1 else high)
            if count == 4 and (high - low) * parallax <= TOGETHER:
                u, v, _ = _moved(plane, shift, x + 0.5, y + 0.5, mean / 4)
                _add_colour(rgb, labels, u, v, 1.0, total)
            else:
                for k in range(4):
                    if four[k] >= 0:
                        u, v, _ = _moved(plane, shift, x + 0.25 + 0.5 * (k & 1), y + 0.25 + 0.5 * (k >> 1), four[k])
                        _add_colour(rgb, labels, u, v, 0.25, total)
            for k in range(3):
                picture[y, x, k] = int(min(max(total[k] + 0.5, 0.0), 255.0))
