"""LingBot-World: a folder with `poses.npy` (N, 4, 4) camera to world and `intrinsics.npy` (N, 4) fx fy cx cy.

Intrinsics are in pixels of the picture that the model makes, 832x480 unless the options say otherwise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import located, write_together
from trajkit.poses._arrays import npy_bytes, npy_shape, read_npy
from trajkit.trajectory import Trajectory

KEEPS = frozenset({"lens"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the arrays do not say: the picture's size and rate."""

    width: int = option(832, "image width", unit="pixels", low=1)
    height: int = option(480, "image height", unit="pixels", low=1)
    fps: float = option(16.0, "pose rate", unit="per second", low=1e-3)


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The poses of the folder (or of its poses.npy), one per frame. Raises TrajkitError naming the file at fault."""
    folder = path.parent if path.name == "poses.npy" else path
    poses = read_npy(folder / "poses.npy", (None, 4, 4)).astype(np.float64)
    intrinsics = read_npy(folder / "intrinsics.npy", (None, 4)).astype(np.float64)
    if len(poses) != len(intrinsics):
        problem = f"{len(intrinsics)} rows for {len(poses)} poses"
        raise TrajkitError(folder / "intrinsics.npy", problem, "restore both files from one export")
    with located(folder / "poses.npy", "frame {}".format):
        return Trajectory(
            camera_to_world=poses,
            intrinsics=intrinsics,
            width=options.width,
            height=options.height,
            times_s=np.arange(len(poses)) / options.fps,
            frame_index=np.arange(len(poses)),
        )


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes both float32 arrays into the folder. The model itself uses the first 4k+1 poses.

    Raises TrajkitError where the trajectory's pictures are of another size than the options'.
    """
    if (trajectory.width, trajectory.height) != (options.width, options.height):
        problem = f"the trajectory is for {trajectory.width}x{trajectory.height} pictures"
        remedy = f"give lingbot:width={trajectory.width},height={trajectory.height}, or resize the trajectory first"
        raise TrajkitError(path, f"{problem}, the arrays for {options.width}x{options.height}", remedy)
    arrays = {"intrinsics.npy": trajectory.intrinsics, "poses.npy": trajectory.camera_to_world}
    write_together(path, {name: npy_bytes(array.astype("<f4")) for name, array in arrays.items()})


def matches(path: Path) -> bool:
    """Whether it is, or holds, a poses.npy of matrices."""
    return npy_shape(path / "poses.npy" if path.is_dir() else path)[1:] == (4, 4)
