"""Pose formats, one per file: `read(path, options) -> Trajectory` and/or `write(trajectory, path, options)`.

A format may define `Options` (text options, see trajkit.options), `KEEPS` (which of ASPECTS its files hold) and
`matches(path)` (whether a file looks like this format, never raising). docs/formats.md has the contract.
Translations are written as they stand: a unit is never changed behind the user's back. TUM, KITTI and TartanAir, which
are in metres by definition, are the exception: there a metric trajectory's factor is applied.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from trajkit import files, se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.trajectory import ScaleKind, Trajectory

Array = np.ndarray
Place = Callable[[int], str]  # pose number -> where its numbers stand in the file, such as "line 7"

ASPECTS = ("lens", "size", "distortion", "times", "frames", "names")
NOMINAL_LENS = Camera.from_fov(1280, 720, 60.0)  # stands in where a file has no lens and none was given
UNIT_TOLERANCE = 0.01  # of a quaternion's length: files with three digits pass, a wrong column order does not


@dataclass(frozen=True, kw_only=True)
class BareOptions:
    """What files of bare poses leave out: the lens, without which they can be converted, and the unit."""

    scale: ScaleKind = option("unknown", "what the translations are in: metric, sfm, unit, unknown")
    width: int | None = option(None, "image width", unit="pixels", low=1)
    height: int | None = option(None, "image height", unit="pixels", low=1)
    fx: float | None = option(None, "focal length", unit="pixels", low=0)
    fy: float | None = option(None, "vertical focal length (default: fx)", unit="pixels", low=0)
    cx: float | None = option(None, "principal point (default: the middle)", unit="pixels")
    cy: float | None = option(None, "principal point (default: the middle)", unit="pixels")

    @property
    def lens_given(self) -> bool:
        """Whether the lens is the user's rather than the nominal one."""
        return any(value is not None for value in (self.width, self.height, self.fx, self.fy, self.cx, self.cy))

    def lens(self, where: object) -> Camera:
        """The lens given, or the nominal one (1280x720, 60 degrees high) if none is. Raises TrajkitError on a part."""
        if not self.lens_given:
            return NOMINAL_LENS
        if self.width is None or self.height is None or self.fx is None:
            raise TrajkitError(where, "the lens is given in part", "give width, height and fx together, or none")
        cx = self.width / 2 if self.cx is None else self.cx
        cy = self.height / 2 if self.cy is None else self.cy
        fy = self.fx if self.fy is None else self.fy
        with located(where):
            return Camera(width=self.width, height=self.height, fx=self.fx, fy=fy, cx=cx, cy=cy)


@contextmanager
def located(path: object, place: Place = "pose {}".format) -> Iterator[None]:
    """Within the block, an error of a Trajectory or Camera names the file, and the place of the pose at fault."""
    try:
        yield
    except TrajkitError as error:
        if error.where not in ("trajectory", "camera"):
            raise
        where = str(path) if error.item is None else f"{path}, {place(error.item)}"
        raise TrajkitError(where, error.problem, error.remedy) from None


def numbers(value: object, shape: tuple[int, ...], where: object, name: str) -> Float64[Array, "..."]:
    """A JSON value as an array of exactly this shape. Raises TrajkitError for text, gaps or another shape."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged lists
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf" or array.shape != shape:
        wanted = "x".join(map(str, shape)) + " numbers" if shape else "a number"
        raise TrajkitError(where, f"{name} is not {wanted}", "correct it, or check that it is the right file")
    return array.astype(np.float64)


def positive(value: object, where: object, name: str) -> float:
    """A JSON value as a positive, finite number. Raises TrajkitError for anything else."""
    number = float(numbers(value, (), where, name))
    if not (math.isfinite(number) and number > 0):
        raise TrajkitError(where, f"{name} is {number:g}", "give a positive number")
    return number


def pixels(value: object, where: object, name: str) -> int:
    """A JSON value (1080 or 1080.0) as a count of pixels. Raises TrajkitError unless it is whole and positive."""
    number = positive(value, where, name)
    if not number.is_integer():
        raise TrajkitError(where, f"{name} is {number:g}", "give a whole number of pixels")
    return int(number)


def poses_from_tq(rows: Float[Array, "n 7"], path: object, place: Place) -> Float64[Array, "n 4 4"]:
    """Rigid motions of rows tx ty tz qx qy qz qw. Raises TrajkitError where a quaternion is not of unit length."""
    rows = np.asarray(rows, np.float64)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(rows[:, 3:], axis=1)
    fits = np.isfinite(rows).all(1) & (np.abs(length - 1) <= UNIT_TOLERANCE)
    if not fits.all():
        bad = int(np.argmin(fits))
        finite = np.isfinite(rows[bad]).all()
        problem = f"the quaternion's length is {length[bad]:.3g}, not 1" if finite else "not finite"
        raise TrajkitError(f"{path}, {place(bad)}", problem, "check the columns (t x y z, then quaternion x y z w)")
    return se3.pose(se3.from_quaternion_xyzw(rows[:, 3:]), rows[:, :3])


def tq_from_poses(matrix: Float64[Array, "n 4 4"]) -> Float64[Array, "n 7"]:
    """Rows tx ty tz qx qy qz qw of rigid motions, with qw >= 0."""
    return np.hstack([matrix[:, :3, 3], se3.to_quaternion_xyzw(matrix[:, :3, :3])])


def in_metres(trajectory: Trajectory) -> Float64[Array, "n 4 4"]:
    """camera_to_world with the scale's factor applied where it is known to be metric, else as it stands."""
    if trajectory.scale.kind != "metric":
        return trajectory.camera_to_world
    return trajectory.scaled(trajectory.scale.factor).camera_to_world


def centred(trajectory: Trajectory, path: object, *, lossy: bool) -> Trajectory:
    """The same with the principal point in the image's middle, for formats that know no other.

    Raises TrajkitError where that moves it by more than a hundredth of a pixel, unless `lossy` allows it.
    """
    middle = np.array([trajectory.width / 2, trajectory.height / 2])
    offset = float(np.abs(trajectory.intrinsics[:, 2:] - middle).max())
    if offset > 0.01 and not lossy:
        problem = f"the principal point is {offset:.4g} pixels off the middle, which this format cannot hold"
        raise TrajkitError(path, problem, "crop the pictures to centre it, or give the option lossy=true")
    intrinsics = trajectory.intrinsics.copy()
    intrinsics[:, 2:] = middle
    return replace(trajectory, intrinsics=intrinsics)


def inverted(trajectory: Trajectory) -> Trajectory:
    """The trajectory with each pose inverted: what a reader makes of a world-to-camera file that it has checked."""
    return replace(trajectory, camera_to_world=trajectory.world_to_camera)


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that readers need all of; the last one marks the set as complete.

    It is removed before the others change and written after them, so a kill leaves no mix of old and new files.
    """
    *_, marker = contents
    (folder / marker).unlink(missing_ok=True)
    for name, content in contents.items():
        files.write_bytes(folder / name, content)
