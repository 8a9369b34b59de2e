"""nerfstudio: `transforms.json` (captures: DL3DV, instant-ngp, ns-process-data) and `camera_path.json` (ns-render).

Both hold camera to world in OpenGL axes (y up, z back). A capture's world is the reconstruction's, changed by the
file's `applied_transform`, which reading undoes; a camera path's is the normalised one of a trained model, which
`dataparser_transforms.json` leads back from.
"""

from collections import ChainMap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.files import json_bytes, read_json, write_bytes
from trajkit.options import option
from trajkit.poses import _camera_path, located, numbers, positive
from trajkit.poses._camera_path import OPENCV_FROM_OPENGL
from trajkit.poses._lenses import lens_of, lens_table
from trajkit.poses._photos import capture, numbered, photo_names
from trajkit.poses._text import peek
from trajkit.trajectory import ROTATION_TOLERANCE, Trajectory

Array = np.ndarray

KEEPS = frozenset({"lens", "size", "distortion", "frames", "names"})
# world changes that ns-process-data has made: before 2024-01-19 (nerfstudio PR 2793), and since
OLD_TRANSFORM = ((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, -1, 0))
NEW_TRANSFORM = ((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0))
SIGNS = ("transform_matrix", "fl_x", "camera_angle_x", "camera_path", "keyframes")  # keys that tell such a file


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to read what a file leaves open, and what to write."""

    width: int | None = option(None, "real image width, e.g. of images_8", unit="pixels", low=1)
    height: int | None = option(None, "real image height, e.g. of images_8", unit="pixels", low=1)
    fps: float = option(1.0, "rate of the numbers in the photos' names, for times", unit="per second", low=1e-3)
    absent: Literal["auto", "none", "old", "new"] = option(
        "auto", "world change to undo where the file states none: none, old, new; auto is nerfstudio's own rule"
    )
    form: Literal["auto", "transforms", "camera_path"] = option(
        "auto", "what to write: transforms, camera_path; auto goes by the file's name"
    )
    lossy: bool = option(False, "write a camera_path even where it cannot hold the lens or the times")


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The capture's cameras in the reconstruction's world, ordered by the integers in the photos' names; or the frames
    of a camera path in its normalised world.

    Pictures that were scaled down (images_4) keep full-size intrinsics in the file: give their width and height.
    Raises TrajkitError naming the file and the frame at fault.
    """
    path = path / "transforms.json" if path.is_dir() else path
    table = read_json(path)
    if "frames" not in table and "camera_path" in table:
        return _camera_path.read(path, table)
    frames = table.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise TrajkitError(path, "no list of frames", "check that it is a nerfstudio transforms.json")
    names = [_name(frame, f"{path}, frame {position}") for position, frame in enumerate(frames)]
    order, number = numbered(names)
    frames, names = [frames[position] for position in order], [names[position] for position in order]
    place = lambda pose: f"frame {names[pose]}"  # noqa: E731
    matrices = np.stack([_matrix(frame, f"{path}, {place(pose)}") for pose, frame in enumerate(frames)])
    size = _size(options, path)
    lenses = [lens_of(ChainMap(table, frame), f"{path}, {place(pose)}", size) for pose, frame in enumerate(frames)]
    with located(path, place):
        saved = capture(matrices @ OPENCV_FROM_OPENGL, lenses, names, number, fps=options.fps, path=path)
    original_from_saved = _original_from_saved(path, table, options)
    return replace(saved, camera_to_world=original_from_saved.poses(saved.camera_to_world))


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes a transforms.json whose world is the trajectory's own (applied_transform is the identity), or, to a file
    named like a camera_path.json, a camera path. Raises TrajkitError where a camera path cannot hold the cameras."""
    form = options.form
    if form == "auto":
        form = "camera_path" if "camera_path" in path.name else "transforms"
    if form == "camera_path":
        write_bytes(path, json_bytes(_camera_path.table_of(trajectory, path, lossy=options.lossy)))
        return
    with located(path):
        names = photo_names(trajectory, "images/")
    top, each = lens_table(trajectory)
    poses = trajectory.camera_to_world @ OPENCV_FROM_OPENGL + 0.0  # no -0.0
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist(), **lens}
        for name, pose, lens in zip(names, poses, each, strict=True)
    ]
    write_bytes(path, json_bytes({**top, "applied_transform": np.eye(4)[:3].tolist(), "frames": frames}))


def matches(path: Path) -> bool:
    """Whether it is a folder with a transforms.json, or a JSON file of a capture or a camera path."""
    if path.is_dir():
        return (path / "transforms.json").is_file()
    return path.suffix == ".json" and any(f'"{key}"' in line for line in peek(path) for key in SIGNS)


def read_dataparser_transforms(path: Path) -> se3.Similarity:
    """original <- normalised: from the world of a model trained by nerfstudio back to the reconstruction's.

    The file has normalised = scale * (transform @ original). Raises TrajkitError where it does not hold that.
    """
    path = path / "dataparser_transforms.json" if path.is_dir() else path
    table = read_json(path)
    transform = _rigid(table.get("transform"), path, "transform")
    scale = positive(table.get("scale"), path, "scale")
    return se3.Similarity(scale, transform[:3, :3], scale * transform[:3, 3]).inverse()


def _original_from_saved(path: Path, table: dict[str, Any], options: Options) -> se3.Similarity:
    """The similarity that undoes applied_transform and applied_scale; of the options' choice where there is none.

    nerfstudio takes the old transform as given where colmap/sparse/0 lies beside a file without the key, since its own
    converter did not write the key then; any other file's world (instant-ngp's, say) is its own.
    """
    transform = table.get("applied_transform")
    if transform is None:
        auto = "old" if (path.parent / "colmap/sparse/0").exists() else "none"
        rule = auto if options.absent == "auto" else options.absent
        transform = {"none": np.eye(4)[:3].tolist(), "old": OLD_TRANSFORM, "new": NEW_TRANSFORM}[rule]
    scale = positive(table.get("applied_scale", 1.0), path, "applied_scale")
    rigid = _rigid(transform, path, "applied_transform")
    return se3.Similarity(scale, rigid[:3, :3], scale * rigid[:3, 3]).inverse()


def _rigid(value: Any, path: Path, name: str) -> Float64[Array, "4 4"]:
    """A 3x4 or 4x4 rigid motion of a JSON file."""
    rows = 4 if isinstance(value, list) and len(value) == 4 else 3
    matrix = np.eye(4)
    matrix[:rows] = numbers(value, (rows, 4), path, name)
    if not np.isfinite(matrix).all() or se3.rotation_defect(matrix[:3, :3]) > ROTATION_TOLERANCE:
        raise TrajkitError(path, f"{name} is no rotation and translation", "restore the file")
    matrix[:3, :3] = se3.nearest_rotation(matrix[:3, :3])
    return matrix


def _size(options: Options, path: Path) -> tuple[int, int] | None:
    if options.width is None and options.height is None:
        return None
    if options.width is None or options.height is None:
        raise TrajkitError(path, "only one of width and height is given", "give both")
    return options.width, options.height


def _name(frame: dict[str, Any], where: str) -> str:
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise TrajkitError(where, "no file_path", "check that it is a nerfstudio transforms.json")
    return name


def _matrix(frame: dict[str, Any], where: str) -> Float64[Array, "4 4"]:
    value = frame.get("transform_matrix")
    rows = 3 if isinstance(value, list) and len(value) == 3 else 4
    matrix = np.eye(4)
    matrix[:rows] = numbers(value, (rows, 4), where, "transform_matrix")
    return matrix
