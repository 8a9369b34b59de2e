"""SpatialVID: a folder with `poses.npy` (N, 7) world to camera, `intrinsics.npy` (N, 4) and `indexes.txt`.

Pose rows are tx ty tz qx qy qz qw, one every 0.2 s; `indexes.txt` names the video frame of each. Intrinsics are divided
by width and height, and SpatialVID itself sets the principal point to the middle. The scale is each clip's own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import inverted, located, poses_from_tq, tq_from_poses, write_together
from trajkit.poses._arrays import npy_bytes, npy_shape, read_npy
from trajkit.poses._text import lines, table
from trajkit.trajectory import Scale, Trajectory

KEEPS = frozenset({"lens", "frames", "times"})
STEP_S = 0.2  # five poses per second


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the files do not say: the video's size, and its rate where the pose times are to come from frame numbers."""

    width: int = option(1280, "video width", unit="pixels", low=1)
    height: int = option(720, "video height", unit="pixels", low=1)
    fps: float | None = option(
        None, "video rate; needed only without indexes.txt, else times are 0.2 s apart", unit="per second", low=1e-3
    )


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The poses of the folder (or of its poses.npy); frame_index is the video frame of each.

    times_s is frame_index / fps where the video's fps is given, else 0.2 s per row.
    Raises TrajkitError naming the file and the row or line at fault.
    """
    folder = path.parent if path.name == "poses.npy" else path
    rows = read_npy(folder / "poses.npy", (None, 7)).astype(np.float64)
    intrinsics = read_npy(folder / "intrinsics.npy", (None, 4)).astype(np.float64)
    if len(rows) != len(intrinsics):
        problem = f"{len(intrinsics)} rows for {len(rows)} poses"
        raise TrajkitError(folder / "intrinsics.npy", problem, "restore both files from one archive")
    frame_index = _frames(folder / "indexes.txt", len(rows), options.fps)
    times_s = np.arange(len(rows)) * STEP_S if options.fps is None else frame_index / options.fps
    poses = poses_from_tq(rows, folder / "poses.npy", "row {}".format)
    with located(folder / "poses.npy", "row {}".format):
        return inverted(
            Trajectory(
                camera_to_world=poses,
                intrinsics=intrinsics * ((options.width, options.height) * 2),
                width=options.width,
                height=options.height,
                times_s=times_s,
                frame_index=frame_index,
                scale=Scale(kind="sfm"),
            )
        )


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes the three files into the folder, with a pose every 0.2 s: interpolated, where the trajectory has none.

    Arrays are float32, as SpatialVID's are.
    """
    span = float(trajectory.times_s[-1] - trajectory.times_s[0])
    if len(trajectory) > 1 and not np.allclose(np.diff(trajectory.times_s), STEP_S, rtol=0, atol=1e-3):
        trajectory = trajectory.resampled(trajectory.times_s[0] + np.arange(int(span / STEP_S + 1e-6) + 1) * STEP_S)
    index = "".join(f"{row} {frame}\n" for row, frame in enumerate(trajectory.frame_index))
    intrinsics = trajectory.intrinsics / ((trajectory.width, trajectory.height) * 2)
    contents = {
        "intrinsics.npy": npy_bytes(intrinsics.astype("<f4")),
        "indexes.txt": index.encode(),
        "poses.npy": npy_bytes(tq_from_poses(trajectory.world_to_camera).astype("<f4")),
    }
    write_together(path, contents)


def matches(path: Path) -> bool:
    """Whether it is, or holds, a poses.npy of seven columns with an indexes.txt beside it."""
    folder = path if path.is_dir() else path.parent
    return npy_shape(folder / "poses.npy")[1:] == (7,) and (folder / "indexes.txt").is_file()


def _frames(path: Path, count: int, fps: float | None) -> Int64[np.ndarray, " n"]:
    """The video frame of each of `count` poses, from indexes.txt, or every 0.2 s where only fps is known."""
    if not path.is_file() and fps is not None:
        return np.rint(np.arange(count) * STEP_S * fps).astype(np.int64)
    rows, line_numbers = table(path, lines(path), 2, "pose number, video frame")
    bad = (rows != np.rint(rows)).any(1) | (rows[:, 0] != np.arange(len(rows))) | (rows[:, 1] < 0)
    if bad.any():
        line = line_numbers[int(np.argmax(bad))]
        raise TrajkitError(f"{path}, line {line}", "not the next pose number and a video frame", "restore the file")
    if len(rows) != count:
        raise TrajkitError(path, f"{len(rows)} lines for {count} poses", "restore both files from one archive")
    return rows[:, 1].astype(np.int64)
