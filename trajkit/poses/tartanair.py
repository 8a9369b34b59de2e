"""TartanAir: `pose_left.txt`, one line per picture, `tx ty tz qx qy qz qw`, camera to world in NED axes, metres.

NED is x forward, y right, z down for the camera as for the world (north, east, down); both become OpenCV's x right,
y down, z forward. The lens is always the same, 90 degrees wide: 320 px at 640x480, and at version 2's 640x640.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trajkit.files import write_bytes
from trajkit.options import option
from trajkit.poses import in_metres, located, poses_from_tq, tq_from_poses
from trajkit.poses._text import lines, number_count, peek, table, text
from trajkit.trajectory import Scale, Trajectory

KEEPS: frozenset[str] = frozenset()
COLUMNS = "tx ty tz qx qy qz qw"
OPENCV_FROM_NED = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the file does not say: the picture's size and rate."""

    width: int = option(640, "image width", unit="pixels", low=1)
    height: int = option(480, "image height (640 in version 2)", unit="pixels", low=1)
    fps: float = option(10.0, "pose rate", unit="per second", low=1e-3)


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The file's poses, one per picture. Raises TrajkitError naming the line at fault."""
    rows, line_numbers = table(path, lines(path), 7, COLUMNS)
    place = lambda pose: f"line {line_numbers[pose]}"  # noqa: E731
    poses = OPENCV_FROM_NED @ poses_from_tq(rows, path, place) @ OPENCV_FROM_NED.T
    focal = options.width / 2
    with located(path, place):
        return Trajectory(
            camera_to_world=poses,
            intrinsics=np.array([focal, focal, options.width / 2, options.height / 2]),
            width=options.width,
            height=options.height,
            times_s=np.arange(len(rows)) / options.fps,
            frame_index=np.arange(len(rows)),
            scale=Scale(kind="metric"),
        )


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes the poses alone; translations in metres where the scale is metric, else as they stand."""
    ned = OPENCV_FROM_NED.T @ in_metres(trajectory) @ OPENCV_FROM_NED
    write_bytes(path, text(tq_from_poses(ned)))


def matches(path: Path) -> bool:
    """Whether it is named like TartanAir's pose files and its first line has seven numbers."""
    return path.match("pose_*.txt") and number_count(next(iter(peek(path)), "")) == 7
