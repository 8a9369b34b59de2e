"""TUM: one line per pose, `time_s tx ty tz qx qy qz qw`, camera to world.

In metres by definition, but SLAM estimates of unknown scale come as TUM files too: `scale` says which a file holds.
"""

from pathlib import Path

import numpy as np

from trajkit.files import write_bytes
from trajkit.poses import BareOptions, in_metres, located, poses_from_tq, tq_from_poses
from trajkit.poses._text import lines, number_count, peek, table, text
from trajkit.trajectory import Scale, Trajectory

KEEPS = frozenset({"times"})
COLUMNS = "time_s tx ty tz qx qy qz qw"


Options = BareOptions
DEFAULT = Options()


def read(path: Path, options: BareOptions = DEFAULT) -> Trajectory:
    """The file's poses, in file order; frame_index counts its lines. Raises TrajkitError naming the line at fault."""
    rows, line_numbers = table(path, lines(path), 8, COLUMNS)
    place = lambda pose: f"line {line_numbers[pose]}"  # noqa: E731
    poses = poses_from_tq(rows[:, 1:], path, place)
    lens = options.lens(path)
    with located(path, place):
        return Trajectory(
            camera_to_world=poses,
            intrinsics=np.array([lens.fx, lens.fy, lens.cx, lens.cy]),
            width=lens.width,
            height=lens.height,
            times_s=rows[:, 0],
            frame_index=np.arange(len(rows)),
            scale=Scale(kind=options.scale),
        )


def write(trajectory: Trajectory, path: Path, options: BareOptions = DEFAULT) -> None:
    """Writes times and poses; translations in metres where the scale is metric, else as they stand."""
    write_bytes(path, text(np.column_stack([trajectory.times_s, tq_from_poses(in_metres(trajectory))])))


def matches(path: Path) -> bool:
    """Whether the first line has eight numbers."""
    return number_count(next(iter(peek(path)), "")) == 8
