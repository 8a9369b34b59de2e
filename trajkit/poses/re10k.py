"""RealEstate10K and CameraCtrl: a URL line, then per frame `time_us fx fy cx cy 0 0` and the 3x4 world to camera.

Intrinsics are divided by width (fx, cx) and height (fy, cy); the scale is the clip's own.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.files import write_bytes
from trajkit.options import option
from trajkit.poses import inverted, located
from trajkit.poses._text import lines, number_count, peek, table, text
from trajkit.trajectory import Scale, Trajectory

KEEPS = frozenset({"lens", "times"})
COLUMNS = "time_us fx fy cx cy 0 0, then r11 r12 r13 t1 .. t3"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the file does not say: the picture's size and rate; and the first line of a file to write."""

    width: int = option(1280, "image width", unit="pixels", low=1)
    height: int = option(720, "image height", unit="pixels", low=1)
    fps: float | None = option(None, "video rate, to turn times into frame_index", unit="per second", low=1e-3)
    url: str = option("https://www.youtube.com/watch?v=unknown", "first line of a file to write")


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The file's poses; frame_index is time x fps where fps is given, else it counts lines.

    Raises TrajkitError naming the line at fault.
    """
    found = lines(path)
    if number_count(found[0][1]) != 19:  # the URL; some tools leave it out
        found = found[1:]
    rows, line_numbers = table(path, found, 19, COLUMNS)
    place = lambda pose: f"line {line_numbers[pose]}"  # noqa: E731
    if np.any(rows[:, 5:7] != 0):
        line = place(int(np.argmax(np.any(rows[:, 5:7] != 0, axis=1))))
        raise TrajkitError(f"{path}, {line}", "columns 6 and 7 are not 0", "undistort the video; check the columns")
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows[:, 7:].reshape(-1, 3, 4)
    with located(path, place):
        world_to_camera = Trajectory(
            camera_to_world=poses,
            intrinsics=rows[:, 1:5] * ((options.width, options.height) * 2),
            width=options.width,
            height=options.height,
            times_s=rows[:, 0] * 1e-6,
            frame_index=np.arange(len(rows)),
            scale=Scale(kind="sfm"),
        )
    if options.fps is not None:
        frame_index = np.rint(world_to_camera.times_s * options.fps).astype(np.int64)
        world_to_camera = replace(world_to_camera, frame_index=frame_index)
    return inverted(world_to_camera)


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes a file that RealEstate10K's readers take, with times rounded to whole microseconds."""
    size = (trajectory.width, trajectory.height) * 2
    times_us = np.rint(trajectory.times_s * 1e6)
    pose = trajectory.world_to_camera[:, :3].reshape(-1, 12)
    rows = [trajectory.intrinsics / size, np.zeros((len(trajectory), 2)), pose]
    body = text(np.hstack(rows)).decode().splitlines()
    stamped = [f"{int(time)} {line}" for time, line in zip(times_us, body, strict=True)]
    write_bytes(path, "\n".join([options.url, *stamped, ""]).encode())


def matches(path: Path) -> bool:
    """Whether one of the first two lines has nineteen numbers."""
    return 19 in map(number_count, peek(path)[:2])
