"""How to stand and move in a capture: up, unit and extent, from its cameras and, where there are any, its points."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from trajkit.errors import TrajkitError
from trajkit.files import read_bytes, read_text
from trajkit.poses._binary import Cursor
from trajkit.trajectory import Trajectory

Array = np.ndarray
MOST_POINTS, MOST_VIEWS = 20_000, 60  # enough for medians


def upward(seen: Trajectory) -> Float64[Array, "3"]:
    """Unit vector that the cameras' right axes are most perpendicular to, on the side of the images' top.

    People hold cameras level whichever way they tilt them, so right axes span the horizon. Where all cameras face the
    same way the right axes do not tell, and the mean of the images' up axes is taken.
    """
    poses = seen.camera_to_world
    mean = -poses[:, :3, 1].mean(axis=0)
    if np.linalg.norm(mean) < 1e-6:
        mean = -poses[0, :3, 1]
    mean /= np.linalg.norm(mean)
    weights, axes = np.linalg.eigh(np.einsum("ni,nj->ij", poses[:, :3, 0], poses[:, :3, 0]) / len(poses))
    level = axes[:, 0] * np.sign(axes[:, 0] @ mean)
    told = weights[1] > 0.02 and weights[0] < 0.2 * weights[1] and level @ mean > 0.5
    return level if told else mean


def unit_of(seen: Trajectory, points: Float[Array, "n 3"]) -> float:
    """A quarter of the median depth of what the captured cameras see, in world units.

    With points: the median over the cameras of the median depth of the points in view. Without: the median depth of
    the point that lies nearest to all optical axes, where it is in front of the cameras; else, for cameras that share
    no focus, half the radius within which half of them stand (1 for a single camera).
    """
    depths = [depth for depth in _depths(seen, points) if depth > 0]
    if depths:
        return float(np.median(depths)) / 4
    focus = _focus(seen)
    ahead = np.einsum("ni,ni->n", seen.camera_to_world[:, :3, 2], focus - seen.centres)
    if np.mean(ahead > 0) > 0.9:
        return float(np.median(ahead)) / 4
    radius = float(np.median(np.linalg.norm(seen.centres - np.median(seen.centres, axis=0), axis=1)))
    return radius / 2 or 1.0


def extent_of(seen: Trajectory, points: Float[Array, "n 3"], unit: float) -> Float64[Array, "2 3"]:
    """Corners of the box around the cameras and the points (without the outer percent), or, without points, around
    the cameras and what lies four units before each."""
    if len(points):
        reach = np.percentile(points, [1, 99], axis=0)
    else:
        reach = seen.centres + 4 * unit * seen.camera_to_world[:, :3, 2]
    every = np.concatenate([seen.centres, reach])
    return np.stack([every.min(axis=0), every.max(axis=0)])


def _depths(seen: Trajectory, points: Float[Array, "n 3"]) -> list[float]:
    """Median depth of the points in each of a sample of views; 0 where none is in view."""
    points = points[:: max(1, len(points) // MOST_POINTS)]
    result = []
    for index in range(0, len(seen) if len(points) else 0, max(1, len(seen) // MOST_VIEWS)):
        local = (points - seen.centres[index]) @ seen.camera_to_world[index, :3, :3]
        pixels = seen.camera(index).undistorted().project(local)
        inside = ((pixels > 0) & (pixels < (seen.width, seen.height))).all(axis=1)
        result.append(float(np.median(local[inside, 2])) if inside.any() else 0.0)
    return result


def _focus(seen: Trajectory) -> Float64[Array, "3"]:
    """Point with the least squared distance to all optical axes; far ahead or behind where they are parallel."""
    forward = seen.camera_to_world[:, :3, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    return np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, seen.centres), rcond=1e-9)[0]


def read_points(folder: Path) -> Float64[Array, "n 3"]:
    """Positions of a COLMAP model's 3D points (binary or text), none where it has no such file.

    Raises TrajkitError naming the file, and the line, where it is damaged.
    """
    if (folder / "points3D.bin").is_file():
        points = _binary_points(folder / "points3D.bin")
    elif (folder / "points3D.txt").is_file():
        points = _text_points(folder / "points3D.txt")
    else:
        points = []
    array = np.array(points, np.float64).reshape(-1, 3)
    return array[np.isfinite(array).all(axis=1)]


def _binary_points(path: Path) -> list[tuple[float, ...]]:
    points: list[tuple[float, ...]] = []
    cursor = Cursor(read_bytes(path), path)
    for _ in range(*cursor.take("Q")):
        _, x, y, z, *_, track = cursor.take("Q3d3BdQ")
        cursor.skip(8 * track)
        points.append((x, y, z))
    cursor.end()
    return points


def _text_points(path: Path) -> list[tuple[float, ...]]:
    points: list[tuple[float, ...]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            x, y, z = map(float, line.split()[1:4])
        except ValueError:
            raise TrajkitError(f"{path}, line {number}", "not POINT3D_ID X Y Z ...", "restore the model") from None
        points.append((x, y, z))
    return points
