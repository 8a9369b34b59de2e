"""KITTI odometry: one line per frame, the 12 numbers of the 3x4 camera-to-world matrix by rows, no times.

The format is in metres, but estimates of unknown scale are written in it too; `scale` says which a file holds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trajkit.files import write_bytes
from trajkit.options import option
from trajkit.poses import BareOptions, in_metres, located
from trajkit.poses._text import lines, number_count, peek, table, text
from trajkit.trajectory import Scale, Trajectory

KEEPS: frozenset[str] = frozenset()
COLUMNS = "r11 r12 r13 tx r21 r22 r23 ty r31 r32 r33 tz"


@dataclass(frozen=True, kw_only=True)
class Options(BareOptions):
    """The rate, too, which the files do not hold."""

    fps: float = option(10.0, "pose rate", unit="per second", low=1e-3)


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The file's poses at a constant rate. Raises TrajkitError naming the line at fault."""
    rows, line_numbers = table(path, lines(path), 12, COLUMNS)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    lens, scale = options.lens(path), Scale(kind=options.scale)
    with located(path, lambda pose: f"line {line_numbers[pose]}"):
        return Trajectory.from_camera(poses, lens, fps=options.fps, scale=scale)


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes one line per pose; translations in metres where the scale is metric, else as they stand."""
    write_bytes(path, text(in_metres(trajectory)[:, :3].reshape(-1, 12)))


def matches(path: Path) -> bool:
    """Whether the first line has twelve numbers."""
    return number_count(next(iter(peek(path)), "")) == 12
