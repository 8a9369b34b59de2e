"""Photos of a capture: their order, their numbers, their cameras, and the folder that holds them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64, Int64

from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.files import inside
from trajkit.trajectory import Scale, Trajectory

FOLDERS = ("images", "images_2", "images_4", "images_8")  # nerfstudio's and DL3DV's, full size first
LARGEST_NUMBER = 2**53  # beyond, a float no longer counts by one


def numbered(names: Sequence[str]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """(order, number): positions of the names sorted by the integers in them, then by name; and each one's number.

    The number is the last integer in the file name that differs between names ("frame_00012_4k.png" -> 12), in sorted
    order. Where there is none, or where it does not count up (a time stamp's decimals), it is the place in the order.
    """
    integers = [tuple(int(run) for run in re.findall(r"\d+", PurePosixPath(name).stem)) for name in names]
    order = np.array(sorted(range(len(names)), key=lambda i: (integers[i], names[i])), np.int64)
    place = np.arange(len(names), dtype=np.int64)
    count = len(integers[0])
    if count == 0 or any(len(each) != count for each in integers):
        return order, place
    columns = [[integers[i][column] for i in order] for column in range(count)]
    number = next((column for column in reversed(columns) if len(set(column)) > 1), columns[-1])
    if max(number) > LARGEST_NUMBER or any(b < a for a, b in pairwise(number)):
        return order, place
    return order, np.array(number, np.int64)


def capture(
    camera_to_world: Float64[np.ndarray, "n 4 4"],
    lenses: Sequence[Camera],
    names: Sequence[str],
    number: Int64[np.ndarray, " n"],
    *,
    fps: float,
    path: Path,
) -> Trajectory:
    """The cameras of a reconstruction's photos, at number / fps seconds, in its own unit.

    Raises TrajkitError naming `path` where photos differ in size or distortion, which one trajectory cannot hold.
    """
    sizes = sorted({(lens.width, lens.height) for lens in lenses})
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sizes[:5])
        raise TrajkitError(path, f"photos of {len(sizes)} sizes ({shown})", "split the capture by camera")
    if len({lens.distortion for lens in lenses}) > 1:
        raise TrajkitError(path, "photos of several lens distortions", "undistort the photos first")
    return Trajectory(
        camera_to_world=camera_to_world,
        intrinsics=np.array([[lens.fx, lens.fy, lens.cx, lens.cy] for lens in lenses]),
        width=lenses[0].width,
        height=lenses[0].height,
        times_s=number / fps,
        frame_index=number,
        scale=Scale(kind="sfm"),
        distortion=lenses[0].distortion,
        names=tuple(names),
    )


def photo_names(trajectory: Trajectory, folder: str) -> tuple[str, ...]:
    """The trajectory's photo names, or folder/frame_00012.png after its frame_index (its place, if two share one).

    Raises TrajkitError on a negative frame_index or a name that no file can have.
    """
    for place, name in enumerate(trajectory.names):
        if not name or not name.isprintable():
            raise TrajkitError("trajectory", f"{name!r} is no file name", "rename the photo", item=place)
    if trajectory.names:
        return trajectory.names
    index = trajectory.frame_index
    if index.min() < 0:
        raise TrajkitError("trajectory", f"frame_index {index.min()}", "count frames from 0", item=int(index.argmin()))
    if len(np.unique(index)) < len(index):
        index = np.arange(len(index))
    return tuple(f"{folder}frame_{number:05d}.png" for number in index)


def photo_paths(root: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The photos' paths under root: as named, or in the images_N folder that is there instead (DL3DV's 480P, 960P).

    The first folder that holds any of the photos is taken for all of them; single ones may be missing in it.
    Raises TrajkitError where no folder holds any, or where a name climbs out of root.
    """
    for folder in ("", *FOLDERS):
        paths = tuple(_path(root, _moved(name, folder)) for name in names)
        if any(path.is_file() for path in paths):
            return paths
    wanted = f"{names[0]} nor any other of {len(names)} photos" if names else "photos"
    raise TrajkitError(root, f"holds neither {wanted}, also not in {', '.join(FOLDERS[1:])}", "unpack the photos there")


def _moved(name: str, folder: str) -> str:
    parts = PurePosixPath(name).parts
    return str(PurePosixPath(folder, *parts[1:])) if folder and len(parts) > 1 else name


def _path(root: Path, name: str) -> Path:
    path = inside(root, name)
    if not path.suffix and not path.is_file():  # NeRF-synthetic names its photos without the suffix
        return path.with_suffix(".png")
    return path
