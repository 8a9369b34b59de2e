"""Strecha's multi-view benchmark: a `PHOTO.camera` beside each photo, camera to world, OpenCV axes, metres.

A file has nine lines: K (3x3, in pixels of the size below, which the photos may be a scaled copy of), the radial
distortion (three zeros), the rotation camera to world (3x3), the camera's centre, and width and height.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import located, pixels
from trajkit.poses._photos import capture, numbered
from trajkit.poses._text import lines
from trajkit.trajectory import Scale, ScaleKind, Trajectory

Array = np.ndarray
KEEPS = frozenset({"lens", "size", "frames", "names"})
SUFFIX = ".camera"
COLUMNS = (3, 3, 3, 3, 3, 3, 3, 3, 2)  # numbers in each line
MEANING = "K, distortion, rotation, centre and size: lines of 3 3 3, 3, 3 3 3, 3 and 2 numbers"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the files do not say."""

    scale: ScaleKind = option("metric", "what the centres are in: metric, sfm, unit, unknown (laser scans: metric)")
    fps: float = option(1.0, "rate of the numbers in the photos' names, for times", unit="per second", low=1e-3)


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The folder's cameras, ordered by the integers in the photos' names, at the size that the files state.

    Raises TrajkitError naming the file, and the line, where one is damaged, distorted or of another size.
    """
    found = sorted(file for file in path.glob(f"*{SUFFIX}") if file.is_file())
    if not found:
        raise TrajkitError(path, f"holds no PHOTO{SUFFIX}", "name the folder of the photos and their .camera files")
    order, number = numbered([file.name.removesuffix(SUFFIX) for file in found])
    files = [found[position] for position in order]
    cameras = [_camera(file) for file in files]
    poses = np.stack([pose for _, pose in cameras])
    names = [file.name.removesuffix(SUFFIX) for file in files]
    with located(path, lambda pose: files[pose].name):
        seen = capture(poses, [lens for lens, _ in cameras], names, number, fps=options.fps, path=path)
    return replace(seen, scale=Scale(kind=options.scale))


def matches(path: Path) -> bool:
    """Whether it is a folder with .camera files in it."""
    return path.is_dir() and any(path.glob(f"*{SUFFIX}"))


def _camera(path: Path) -> tuple[Camera, Float64[Array, "4 4"]]:
    """The lens and camera_to_world of one file."""
    rows = _rows(path)
    if np.any(rows[3]):
        raise TrajkitError(path, f"lens distortion {rows[3].tolist()}", "undistort the photos, or write 0 0 0 there")
    matrix = np.stack(rows[:3])
    (fx, _, cx), (_, fy, cy), _ = map(tuple, matrix.tolist())
    width, height = (pixels(side, path, name) for side, name in zip(rows[8], ("width", "height"), strict=True))
    with located(path):
        lens = Camera(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)
    if not np.array_equal(matrix, lens.matrix):
        raise TrajkitError(path, "K has skew or a last row other than 0 0 1", "check that lines 1 to 3 are K")
    return lens, se3.pose(np.stack(rows[4:7]), rows[7])


def _rows(path: Path) -> list[Float64[Array, " k"]]:
    """The numbers of the nine lines. Raises TrajkitError naming the line where they are not there."""
    found = lines(path)
    if len(found) != len(COLUMNS):
        raise TrajkitError(path, f"{len(found)} lines, not {len(COLUMNS)}", f"restore the file: {MEANING}")
    rows = []
    for (number, line), columns in zip(found, COLUMNS, strict=True):
        cells = line.split()
        where = f"{path}, line {number}"
        if len(cells) != columns:
            raise TrajkitError(where, f"{len(cells)} columns, not {columns}", f"restore the file: {MEANING}")
        try:
            rows.append(np.array([float(cell) for cell in cells]))
        except ValueError as error:
            raise TrajkitError(where, str(error), f"restore the file: {MEANING}") from None
    return rows
