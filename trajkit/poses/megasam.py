"""MegaSaM: `<scene>_droid.npz` and `<scene>_sgd_cvd_hr.npz` (`cam_c2w`, `intrinsic`), or a folder of `reconstructions`.

The archives hold camera to world (N, 4, 4) and one 3x3 K; the folder has `poses.npy`, world to camera rows
tx ty tz qx qy qz qw, and `intrinsics.npy` (rows fx fy cx cy, of which MegaSaM itself takes the first for all frames).
K is in pixels of the working pictures: about 384x512 in area, cut on the right and below to multiples of 8. The
scale is each video's own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from trajkit.errors import TrajkitError
from trajkit.files import write_bytes
from trajkit.options import option
from trajkit.poses import located, poses_from_tq, tq_from_poses, write_together
from trajkit.poses._arrays import npy_bytes, npy_shape, npz_bytes, npz_shape, read_npy, read_npz
from trajkit.se3 import inverse
from trajkit.trajectory import Scale, Trajectory

Array = np.ndarray

KEEPS = frozenset({"lens"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What files without pictures do not say."""

    width: int | None = option(None, "working pictures' width (default: theirs, or 2 cx)", unit="pixels", low=1)
    height: int | None = option(None, "working pictures' height (default: theirs, or 2 cy)", unit="pixels", low=1)
    fps: float = option(30.0, "pose rate", unit="per second", low=1e-3)


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The poses, one per picture that MegaSaM was given. Raises TrajkitError naming the file and the frame at fault."""
    if path.suffix == ".npz":
        arrays = read_npz(path, {"cam_c2w": (None, 4, 4), "intrinsic": (3, 3)})
        poses, matrix = arrays["cam_c2w"].astype(np.float64), arrays["intrinsic"]
        if not np.allclose(matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], (0, 0, 0, 0, 1), atol=1e-6):
            problem = "intrinsic has skew or a last row other than 0 0 1"
            raise TrajkitError(path, problem, "check that it is not transposed")
        lens = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
        size = npz_shape(path, "images")[1:3] or npz_shape(path, "depths")[1:3]
    else:
        folder, path = (path.parent, path) if path.name == "poses.npy" else (path, path / "poses.npy")
        poses = inverse(poses_from_tq(read_npy(path, (None, 7)), path, "frame {}".format))
        lens = read_npy(folder / "intrinsics.npy", (None, 4))[0]
        size = npy_shape(folder / "images.npy")[2:4]
    height, width = size if len(size) == 2 else _around(lens)
    with located(path, "frame {}".format):
        return Trajectory(
            camera_to_world=poses,
            intrinsics=lens,
            width=options.width or width,
            height=options.height or height,
            times_s=np.arange(len(poses)) / options.fps,
            frame_index=np.arange(len(poses)),
            scale=Scale(kind="sfm"),
        )


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes an archive (.npz) without pictures, or a folder's two arrays; float32, as MegaSaM's.

    Raises TrajkitError where the lens changes, which MegaSaM cannot hold.
    """
    if np.ptp(trajectory.intrinsics, axis=0).max() > 1e-6:
        problem = "the lens changes from pose to pose, MegaSaM holds one"
        raise TrajkitError(path, problem, "write vipe or spatialvid, which hold a lens per pose")
    if path.suffix == ".npz":
        matrix = trajectory.camera(0).matrix.astype("<f4")
        write_bytes(path, npz_bytes({"cam_c2w": trajectory.camera_to_world.astype("<f4"), "intrinsic": matrix}))
        return
    rows = {"intrinsics.npy": trajectory.intrinsics, "poses.npy": tq_from_poses(trajectory.world_to_camera)}
    write_together(path, {name: npy_bytes(array.astype("<f4")) for name, array in rows.items()})


def matches(path: Path) -> bool:
    """Whether it is an archive with cam_c2w, or a folder with rows of seven and the pictures that belong to them."""
    if path.suffix == ".npz":
        return npz_shape(path, "cam_c2w")[1:] == (4, 4)
    return npy_shape(path / "poses.npy")[1:] == (7,) and len(npy_shape(path / "images.npy")) == 4


def _around(lens: Float[Array, "4"]) -> tuple[int, int]:
    """Height and width whose middle is the principal point; 1 where it is no number, which Trajectory then refuses."""
    across, down = (max(1, round(2 * float(value))) if np.isfinite(value) else 1 for value in lens[2:])
    return down, across
