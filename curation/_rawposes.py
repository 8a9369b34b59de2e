"""A pose file as it lies there: rigid motions without a convention, the numbers of its lens, its frames.

Every format of `trajkit.poses` is read by its own module and then taken back to what the file holds; anything else is
looked at as arrays or tables of numbers. Nothing is unpickled.
"""

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from trajkit import plugins, se3
from trajkit.errors import TrajkitError
from trajkit.files import read_bytes, read_text
from trajkit.options import parse, split_spec
from trajkit.poses import NOMINAL_LENS
from trajkit.poses._arrays import DAMAGE
from trajkit.trajectory import Trajectory

from . import _hypotheses
from ._hypotheses import OPENCV, OPENGL, Convention, Direction, Lens

Array = np.ndarray
ARRAY = "array"  # --format of a file that is none of the formats
MAX_BYTES = 1 << 30
UNIT_TOLERANCE = 0.01  # of a quaternion's length
ROTATION_TOLERANCE = 5e-3  # of R'R from a multiple of the identity: files with three digits pass
XYZW, WXYZ = "quaternions xyzw", "quaternions wxyz"
POSE_NAMES = (
    "camera_to_world",
    "cam_c2w",
    "c2w",
    "poses",
    "pose",
    "data",
    "extrinsics",
    "extrinsic",
    "w2c",
    "viewmats",
)
LENS_NAMES = ("intrinsics", "intrinsic", "K", "Ks")
# what each format declares: direction of its poses, camera axes, and whether it holds quaternions
DECLARED: dict[str, tuple[Direction, str, bool]] = {
    "colmap": ("world_to_camera", OPENCV, True),
    "kitti": ("camera_to_world", OPENCV, False),
    "lingbot": ("camera_to_world", OPENCV, False),
    "megasam": ("camera_to_world", OPENCV, False),
    "minwm": ("world_to_camera", OPENCV, True),
    "nerfstudio": ("camera_to_world", OPENGL, False),
    "re10k": ("world_to_camera", OPENCV, False),
    "spatialvid": ("world_to_camera", OPENCV, True),
    "strecha": ("camera_to_world", OPENCV, False),
    "tartanair": ("camera_to_world", "forward right down", True),
    "tum": ("camera_to_world", OPENCV, True),
    "vipe": ("camera_to_world", OPENCV, False),
    "worldplay": ("camera_to_world", OPENCV, False),
}
BARE = ("kitti", "tartanair", "tum")  # formats without a lens
FRACTIONS = ("minwm", "re10k", "spatialvid")  # formats whose files divide intrinsics by width and height
FRAMED = ("colmap", "minwm", "nerfstudio", "spatialvid", "strecha", "vipe", "worldplay")  # that number frames


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawPoses:
    """N rigid motions in one or more readings, and what is known beside them."""

    source: str
    format: str  # a format of trajkit.poses, "clip", or what kind of array it is
    readings: dict[str, Float64[Array, "n 4 4"]]  # by how the numbers make a motion; "" where there is one way
    declared: Convention | None = None
    frame_index: Float64[Array, "n"] | None = None
    numbers: Float64[Array, "m 4"] | None = None  # of the lens, as they lie in the file; m is n or 1
    fractions: Float64[Array, "m 4"] | None = None  # of width and height: the lens as the format declares it

    def __len__(self) -> int:
        return len(next(iter(self.readings.values())))

    def rates(self, frames: int, fps: float) -> dict[str, Float64[Array, "n"]]:
        """Which frames the poses may belong to, in words; the first is the file's own, or the likeliest."""
        return _hypotheses.rates(len(self), frames, fps, self.frame_index)

    def lenses(self, size: tuple[int, int], fov_deg: float | None) -> dict[Lens, Float64[Array, "m 4"]]:
        """What the lens may be, in pixels of a video of that size."""
        stated = None
        if self.fractions is not None:
            stated = "the file's intrinsics", self.fractions * (size * 2)
        return _hypotheses.lenses(self.numbers, stated, size, fov_deg)


def of_trajectory(trajectory: Trajectory, source: str, format: str) -> RawPoses:
    """The numbers that a file of the format holds when it is read as this trajectory."""
    direction, axes, quaternions = DECLARED.get(format, ("camera_to_world", OPENCV, False))
    if format == "minwm" and not source.endswith(".npy"):  # WorldPlay's JSON, or strings
        direction, quaternions = "camera_to_world", False
    if format in ("minwm", "worldplay") and _training(Path(source)):
        direction = "world_to_camera"
    turn = np.eye(4)
    turn[:3, :3] = _hypotheses.opencv_from(axes)
    motions = trajectory.camera_to_world @ turn
    if direction == "world_to_camera":
        motions = se3.inverse(motions)
    readings = {"": motions}
    if quaternions:
        xyzw = se3.to_quaternion_xyzw(motions[:, :3, :3])
        own, other = (WXYZ, XYZW) if format == "colmap" else (XYZW, WXYZ)
        roll = 1 if format == "colmap" else -1
        turned = se3.from_quaternion_xyzw(np.roll(xyzw, roll, axis=1))
        readings = {own: motions, other: se3.pose(turned, motions[:, :3, 3])}
    lens, side = trajectory.intrinsics, (trajectory.width, trajectory.height) * 2
    fractions = None if _nominal(trajectory, format) else lens / side
    return RawPoses(
        source=source,
        format=format,
        readings=readings,
        declared=Convention(next(iter(readings)), direction, False, axes),
        frame_index=trajectory.frame_index.astype(np.float64) if format in (*FRAMED, "clip") else None,
        numbers=fractions if fractions is None or format in FRACTIONS else lens,
        fractions=fractions,
    )


def _nominal(trajectory: Trajectory, format: str) -> bool:
    """Whether the lens only stands in for one that the file does not hold."""
    return format in BARE and trajectory.camera(0) == NOMINAL_LENS


def _training(path: Path) -> bool:
    """Whether it is one of WorldPlay's files for training, whose poses are world to camera."""
    return path.suffix == ".json" and path.is_file() and '"w2c"' in read_text(path)[:4096]


def read(path: Path, spec: str | None = None) -> RawPoses:
    """The poses of a file or folder of any kind; `spec` is --format: a format with options, or "array".

    Raises TrajkitError naming the file for what is missing, damaged or holds no poses.
    """
    if not path.exists():
        raise TrajkitError(path, "no such file or folder", "check the path")
    name, options = split_spec(spec or "")
    if name and name != ARRAY:
        return _by_format(path, name, options)
    if not name:
        for fitting in _fitting(path):
            try:
                return _by_format(path, fitting, "")
            except TrajkitError:
                continue  # it looked like one, and is not: what numbers it holds may still be read
    return _array(path)


def _by_format(path: Path, name: str, options: str) -> RawPoses:
    module = plugins.load("poses", name)
    if not hasattr(module, "read"):
        raise TrajkitError(f"--format {name}", "files of this format can only be written", "choose another format")
    given = (parse(module.Options, options, where=f"--format {name}"),) if hasattr(module, "Options") else ()
    return of_trajectory(module.read(path, *given), str(path), name)


def _fitting(path: Path) -> list[str]:
    """Formats whose files look like this one; those that hold more beside the poses come first."""
    found = []
    for name in plugins.names("poses"):
        try:
            looks = getattr(plugins.load("poses", name), "matches", None)
        except TrajkitError:  # a plugin that cannot be loaded here
            continue
        if looks is not None and looks(path):
            found.append(name)
    return sorted(found, key=lambda name: name not in FRAMED)


def _array(path: Path) -> RawPoses:
    """Poses of a file that is of no known format."""
    folder = path if path.is_dir() else path.parent
    path = folder / "poses.npy" if path.is_dir() else path
    suffix = path.suffix.lower()
    lens = None
    if suffix == ".npy":
        array = _npy(path)
    elif suffix == ".npz":
        array, lens = _npz(path)
    elif suffix == ".json":
        array, lens = _json(path)
    else:
        array = _table(path)
    kind, readings, beside = _motions(array, path)
    beside = lens if lens is not None else beside
    sidecar = folder / "intrinsics.npy"
    if beside is None and suffix == ".npy" and sidecar.is_file() and sidecar != path:
        beside = _npy(sidecar)
    return _finite(path, kind, readings, None if beside is None else _lens_numbers(beside, len(array)))


def _finite(path: Path, kind: str, readings: dict[str, Array], numbers: Array | None) -> RawPoses:
    """Poses that are numbers; a pose without keeps its frame."""
    good = np.logical_and.reduce([np.isfinite(motions).all((1, 2)) for motions in readings.values()])
    if np.count_nonzero(good) < 2:
        raise TrajkitError(path, "holds fewer than two finite poses", "check that it is the right file")
    if numbers is not None and len(numbers) > 1:
        numbers = numbers[good]
    return RawPoses(
        source=str(path),
        format=kind,
        readings={name: motions[good] for name, motions in readings.items()},
        frame_index=None if good.all() else np.flatnonzero(good).astype(np.float64),
        numbers=numbers,
    )


def _motions(array: Array, path: Path) -> tuple[str, dict[str, Array], Array | None]:
    """What kind of array it is, its rigid motions by reading, and lens numbers that stand in the same rows."""
    array = np.asarray(array, np.float64)
    if array.ndim == 3 and array.shape[1:] == (4, 4):
        return "matrices (N, 4, 4)", _matrices(array, path), None
    if array.ndim == 3 and array.shape[1:] == (3, 4):
        return "matrices (N, 3, 4)", _matrices(_squared(array), path), None
    columns = array.shape[1] if array.ndim == 2 else 0
    kind = f"rows (N, {columns})"
    if columns == 19:
        return kind, _matrices(_squared(array[:, 7:].reshape(-1, 3, 4)), path), array[:, 1:5]
    if columns in (17, 13):  # a time or number first
        array, columns = array[:, 1:], columns - 1
    if columns == 16:
        return kind, _matrices(array.reshape(-1, 4, 4), path), None
    if columns == 12:
        return kind, _matrices(_squared(array.reshape(-1, 3, 4)), path, array.reshape(-1, 4, 3)), None
    if columns in (7, 8):
        return kind, _quaternions(array[:, columns - 7 :], path), None
    problem = f"numbers of shape {array.shape}"
    raise TrajkitError(path, problem, "give (N, 4, 4), (N, 3, 4), or rows of 7, 8, 12, 16 or 19; or name --format")


def _squared(top: Array) -> Array:
    return np.concatenate([top, np.tile([[[0.0, 0.0, 0.0, 1.0]]], (len(top), 1, 1))], axis=1)


def _matrices(matrices: Array, path: Path, columns: Array | None = None) -> dict[str, Array]:
    """The motions of 4x4 matrices; row-vector ones (translation in the last row) are turned round."""
    choices = {"": matrices, "row vectors": np.swapaxes(matrices, 1, 2)}
    if columns is not None:  # twelve numbers column by column
        choices["row vectors"] = np.concatenate([np.swapaxes(columns, 1, 2), matrices[:, 3:]], axis=1)
    defects = {}
    for name, choice in choices.items():
        good = np.isfinite(choice).all((1, 2))
        if not good.any():
            raise TrajkitError(path, "holds no finite pose", "check that it is the right file")
        last = np.abs(choice[good, 3] - (0, 0, 0, 1)).max()
        defects[name] = max(_defect(choice[good, :3, :3]), float(last))
        if defects[name] < ROTATION_TOLERANCE:
            exact = np.full(choice.shape, np.nan)
            exact[good] = se3.pose(_orthogonal(choice[good, :3, :3]), choice[good, :3, 3])
            return {name: exact}
    problem = f"its matrices hold no rotations (|R'R - I| up to {min(defects.values()):.2g})"
    raise TrajkitError(path, problem, "check that it is the right array, or name --format")


def _defect(rotations: Array) -> float:
    """Largest |R'R / s^2 - I| over rotations that may be scaled by one s each, or mirrored."""
    gram = np.swapaxes(rotations, 1, 2) @ rotations
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None] / 3
    if not (size > 1e-12).all():
        return math.inf
    return float(np.abs(gram / size - np.eye(3)).max())


def _orthogonal(matrices: Array) -> Array:
    """Nearest orthogonal matrices, mirrored where the given ones are."""
    u, _, vt = np.linalg.svd(matrices)
    return u @ vt


def _quaternions(rows: Array, path: Path) -> dict[str, Array]:
    """The motions of rows of a translation and a quaternion, in either order, and of the quaternion in both orders."""
    good = np.isfinite(rows).all(1)
    found: dict[str, Array] = {}
    for last in (True, False):
        translation, quaternion = (rows[:, :3], rows[:, 3:]) if last else (rows[:, 4:], rows[:, :4])
        with np.errstate(over="ignore"):
            length = np.linalg.norm(quaternion[good], axis=1)
        if not good.any() or np.abs(length - 1).max() > UNIT_TOLERANCE:
            continue
        place = "" if last else " before the translation"
        for name, roll in ((XYZW, 0), (WXYZ, -1)):
            motions = np.full((len(rows), 4, 4), np.nan)
            rotation = se3.from_quaternion_xyzw(np.roll(quaternion[good], roll, axis=1))
            motions[good] = se3.pose(rotation, translation[good])
            found[name + place] = motions
    if not found:
        raise TrajkitError(path, "no four columns are quaternions of length 1", "check the columns, or name --format")
    return found


def _lens_numbers(array: Array, poses: int) -> Float64[Array, "m 4"] | None:
    """fx fy cx cy, in whatever unit, of (4,), (N, 4), (3, 3) or (N, 3, 3) numbers; None for anything else."""
    array = np.asarray(array, np.float64)
    array = array[None] if array.shape in ((4,), (3, 3)) else array
    if array.ndim == 3 and array.shape[1:] == (3, 3):
        array = np.stack([array[:, 0, 0], array[:, 1, 1], array[:, 0, 2], array[:, 1, 2]], axis=-1)
    fits = array.ndim == 2 and array.shape[1] == 4 and len(array) in (1, poses)
    return array if fits and np.isfinite(array).all() else None


def _npy(path: Path) -> Array:
    """The numbers of a npy file."""
    if not path.is_file():
        raise TrajkitError(path, "no such file", "name the file that holds the poses")
    try:
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    return _numeric(array, path)


def _npz(path: Path) -> tuple[Array, Array | None]:
    """The poses and, where there is one, the lens of a npz file."""
    try:
        with np.load(io.BytesIO(read_bytes(path, limit=MAX_BYTES)), allow_pickle=False) as archive:
            names = list(archive.files)
            arrays = {name: archive[name] for name in names if name in (*POSE_NAMES, *LENS_NAMES) or len(names) == 1}
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    pose = next((arrays[name] for name in (*POSE_NAMES, *names) if name in arrays and name not in LENS_NAMES), None)
    if pose is None:
        problem = f"holds {', '.join(names)[:120] or 'nothing'}, none of which is known to be poses"
        raise TrajkitError(path, problem, f"name the array {POSE_NAMES[0]}")
    lens = next((arrays[name] for name in LENS_NAMES if name in arrays), None)
    return _numeric(pose, path), None if lens is None else _numeric(lens, path)


def _json(path: Path) -> tuple[Array, Array | None]:
    """The poses and, where there is one, the lens of a JSON file: a list, or a table of poses by number or name."""
    try:
        value = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise TrajkitError(path, f"not valid JSON ({error})", "restore the file") from None
    entries: list[Any] = value if isinstance(value, list) else []
    lens = None
    if isinstance(value, dict):
        numbered = {key: item for key, item in value.items() if key.isdecimal()}
        named = next((value[name] for name in (*POSE_NAMES, "frames") if isinstance(value.get(name), list)), None)
        entries = named if named is not None else [numbered[key] for key in sorted(numbered, key=int)]
        lens = next((value[name] for name in LENS_NAMES if name in value), None)
    if entries and all(isinstance(entry, dict) for entry in entries):
        names = (*POSE_NAMES, "transform_matrix", "matrix")
        lenses = [next((entry[name] for name in LENS_NAMES if name in entry), None) for entry in entries]
        entries = [next((entry[name] for name in names if name in entry), None) for entry in entries]
        lens = lenses if all(one is not None for one in lenses) else lens
    return _listed(entries, path), None if lens is None else _listed(lens, path)


def _listed(value: Any, path: Path) -> Array:
    try:
        return _numeric(np.asarray(value), path)
    except ValueError:  # ragged lists
        raise TrajkitError(path, "holds lists of differing length", "check that it is the right file") from None


def _table(path: Path) -> Array:
    """The numbers of a text file, in rows parted by blanks or commas; comments, and words before them, are skipped."""
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path), 1):
        cells = line.replace(",", " ").replace(";", " ").split()
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            if rows:
                raise TrajkitError(f"{path}, line {number}", "not numbers alone", "remove the line") from None
        if rows and len(rows[-1]) != len(rows[0]):
            problem = f"{len(rows[-1])} numbers, not {len(rows[0])} as before"
            raise TrajkitError(f"{path}, line {number}", problem, "give every pose the same number of columns")
    if not rows:
        raise TrajkitError(path, "holds no rows of numbers", "check that it is the right file")
    return np.array(rows)


def _lines(path: Path) -> Iterator[str]:
    stripped: Callable[[str], str] = lambda line: line.partition("#")[0].strip()  # noqa: E731
    return (line for line in map(stripped, read_text(path).splitlines()) if line)


def _numeric(array: Array, path: Path) -> Array:
    if array.dtype.kind not in "iuf" or not array.size:
        raise TrajkitError(path, f"holds {array.dtype} of shape {array.shape}, not numbers", "name the right file")
    return array.astype(np.float64)


def _unreadable(path: Path, error: BaseException) -> TrajkitError:
    return TrajkitError(path, f"damaged or not a NumPy file ({error})", "restore the file or write it again")
