"""ViPE: `pose/<name>.npz` camera to world, `intrinsics/<name>.npz` fx fy cx cy in pixels, each with its frame `inds`.

Frames without a pose are absent from `inds`, so arrays are joined by it. The files don't hold the picture's size: twice
the principal point, unless the options give it. The scale is near metric, but nothing vouches for it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import located, write_together
from trajkit.poses._arrays import Shape, npz_bytes, read_npz
from trajkit.poses._text import lines
from trajkit.trajectory import Trajectory

KEEPS = frozenset({"lens", "frames"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which video of the folder, and what the arrays do not say: the picture's size and rate."""

    name: str = option("", "video name in the folder; default: the only one there, or the folder's own when writing")
    width: int | None = option(None, "image width (default: twice cx)", unit="pixels", low=1)
    height: int | None = option(None, "image height (default: twice cy)", unit="pixels", low=1)
    fps: float = option(30.0, "video rate", unit="per second", low=1e-3)


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The poses of one video of a ViPE folder, or of one of its pose/*.npz files.

    Raises TrajkitError naming the file at fault, also for other camera models than pinhole.
    """
    folder, name = _named(path, options.name)
    pose_path, lens_path = folder / "pose" / f"{name}.npz", folder / "intrinsics" / f"{name}.npz"
    _check_pinhole(folder / "intrinsics" / f"{name}_camera.txt")
    poses, frame_index = _by_frame(pose_path, (None, 4, 4))
    lenses, lens_index = _by_frame(lens_path, (None, 4))
    place = np.minimum(np.searchsorted(lens_index, frame_index), len(lens_index) - 1)
    absent = lens_index[place] != frame_index
    if absent.any():
        problem = f"no intrinsics for frame {frame_index[absent][0]}"
        raise TrajkitError(lens_path, problem, "restore both files from one run")
    intrinsics = lenses[place]
    middle = intrinsics[0, 2:] if np.isfinite(intrinsics[0]).all() else (0.5, 0.5)
    with located(pose_path, lambda pose: f"frame {frame_index[pose]}"):
        return Trajectory(
            camera_to_world=poses,
            intrinsics=intrinsics,
            width=options.width or max(1, round(2 * float(middle[0]))),
            height=options.height or max(1, round(2 * float(middle[1]))),
            times_s=frame_index / options.fps,
            frame_index=frame_index,
        )


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes pose/, intrinsics/ and the camera's model name into the folder; arrays are float32, as ViPE's are."""
    index = trajectory.frame_index
    if np.any(np.diff(index) <= 0):
        raise TrajkitError(path, "two poses share a frame", "ViPE holds one pose per frame; drop one of them")
    folder, name = _named(path, options.name or ("" if path.suffix == ".npz" else path.resolve().name))
    lens = {"data": trajectory.intrinsics.astype("<f4"), "inds": index.astype("<i8")}
    pose = {"data": trajectory.camera_to_world.astype("<f4"), "inds": index.astype("<i8")}
    contents = {
        f"intrinsics/{name}_camera.txt": "".join(f"{frame}: PINHOLE\n" for frame in index).encode(),
        f"intrinsics/{name}.npz": npz_bytes(lens),
        f"pose/{name}.npz": npz_bytes(pose),
    }
    write_together(folder, contents)


def matches(path: Path) -> bool:
    """Whether it is a pose/*.npz, or a folder with one."""
    if path.is_dir():
        return any(path.glob("pose/*.npz"))
    return path.suffix == ".npz" and path.parent.name == "pose"


def _named(path: Path, name: str) -> tuple[Path, str]:
    """The ViPE folder and the video's name in it. Raises TrajkitError where the name stays open."""
    if path.suffix == ".npz":
        return path.parent.parent, name or path.stem
    if not name:
        found = sorted(file.stem for file in path.glob("pose/*.npz"))
        if not found:
            raise TrajkitError(path, "holds no pose/*.npz", "check the path")
        if len(found) > 1:
            problem = f"holds {len(found)} videos ({', '.join(found[:5])}{', ...' if len(found) > 5 else ''})"
            raise TrajkitError(path, problem, f"name one: vipe:name={found[0]}")
        name = found[0]
    return path, name


def _check_pinhole(path: Path) -> None:
    """Raises TrajkitError where the file beside the intrinsics names another camera model; without it, all is well."""
    models = {line.partition(":")[2].strip() for _, line in lines(path)} if path.is_file() else set()
    if models - {"PINHOLE"}:
        problem = f"the camera model is {', '.join(sorted(models)) or 'missing'}"
        raise TrajkitError(path, problem, "run ViPE with a pinhole camera")


def _by_frame(path: Path, shape: Shape) -> tuple[Float64[np.ndarray, "n ..."], Int64[np.ndarray, " n"]]:
    """A file's data and frame numbers, sorted by frame. Raises TrajkitError where they don't fit each other."""
    arrays = read_npz(path, {"data": shape, "inds": (None,)})
    data, index = arrays["data"].astype(np.float64), arrays["inds"]
    if len(data) != len(index):
        raise TrajkitError(path, f"{len(index)} inds for {len(data)} rows", "restore the file from ViPE's output")
    if index.dtype.kind not in "iu" or len(np.unique(index)) < len(index):
        raise TrajkitError(path, "inds are not distinct whole numbers", "restore the file from ViPE's output")
    order = np.argsort(index)
    return data[order], index[order].astype(np.int64)
