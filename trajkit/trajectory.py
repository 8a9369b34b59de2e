"""`Trajectory`: posed cameras over time, in the one canonical convention."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Gt
from jaxtyping import Float, Float64, Int64

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError

Array = np.ndarray
ScaleKind = Literal["metric", "sfm", "unit", "unknown"]
ROTATION_TOLERANCE = 1e-3  # files in float32 or with six digits stay below it; a typo or a transposed 3x4 does not


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """What one unit of translation means: translations * factor are in `kind` (metres for metric).

    sfm: the reconstruction's own arbitrary unit. unit: normalised by a known rule. unknown: nobody said.
    """

    kind: ScaleKind = "unknown"
    factor: Annotated[float, Gt(0)] = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScaleKind):
            raise TrajkitError(f"scale {self.kind!r}", "no such kind", f"use one of {', '.join(get_args(ScaleKind))}")
        if not (np.isfinite(self.factor) and self.factor > 0):
            raise TrajkitError(f"scale factor {self.factor}", "not positive and finite", "give a positive number")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trajectory:
    """N cameras: float64 camera_to_world, OpenCV axes (x right, y down, z forward), right-handed world.

    Rotations within 1e-3 of orthonormal are snapped to the nearest one, so each Trajectory lies on SE(3) to 1e-9.
    Raises TrajkitError on non-finite numbers, a non-rotation, unequal lengths, or times that go back.
    """

    camera_to_world: Float64[Array, "n 4 4"]
    intrinsics: Float64[Array, "n 4"]  # fx fy cx cy in pixels of width x height
    width: int
    height: int
    times_s: Float64[Array, " n"]
    frame_index: Int64[Array, " n"]  # the video frame, or the number in the photo's name, that each pose belongs to
    scale: Scale = Scale()
    distortion: tuple[float, ...] = ()  # () or OpenCV's k1 k2 p1 p2, shared by all frames
    names: tuple[str, ...] = ()  # image names, () or N of them

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 - frozen dataclass
        poses = np.array(self.camera_to_world, np.float64)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) == 0:
            raise TrajkitError("trajectory", f"poses of shape {poses.shape}", "give (N, 4, 4) with N >= 1")
        n = len(poses)
        intrinsics = np.array(np.broadcast_to(np.asarray(self.intrinsics, np.float64), (n, 4)))
        arrays = {
            "camera_to_world": _on_se3(poses),
            "intrinsics": intrinsics,
            "times_s": np.array(self.times_s, np.float64),
            "frame_index": np.array(self.frame_index, np.int64),
        }
        for name, array in arrays.items():
            if len(array) != n:
                raise TrajkitError("trajectory", f"{n} poses but {len(array)} {name}", "give one per pose")
            if not np.isfinite(array).all():
                bad = _first_bad(array)
                raise TrajkitError("trajectory", f"{name} {bad} is not finite", "drop that frame", item=bad)
            array.setflags(write=False)
            put(name, array)
        if np.any(np.diff(arrays["times_s"]) < 0):
            back = int(np.argmax(np.diff(arrays["times_s"]) < 0)) + 1
            raise TrajkitError("trajectory", f"times_s go backwards at {back}", "sort the poses by time", item=back)
        if self.names and len(self.names) != n:
            raise TrajkitError("trajectory", f"{n} poses but {len(self.names)} names", "give one per pose, or none")
        put("distortion", tuple(float(value) for value in self.distortion))
        put("names", tuple(self.names))
        worst = int(np.argmin(intrinsics[:, :2].min(1)))
        if intrinsics[worst, :2].min() <= 0:
            problem = f"intrinsics {worst} have no positive focal length ({intrinsics[worst, :2].min():g})"
            raise TrajkitError("trajectory", problem, "correct the intrinsics", item=worst)
        self.camera(worst)  # validates size and distortion

    @classmethod
    def from_camera(
        cls,
        camera_to_world: Float[Array, "n 4 4"],
        camera: Camera,
        *,
        fps: float,
        scale: Scale | None = None,
        names: Sequence[str] = (),
    ) -> "Trajectory":
        """N poses seen through one lens at a constant rate (frames per second)."""
        n = len(camera_to_world)
        return cls(
            camera_to_world=camera_to_world,
            intrinsics=np.tile([camera.fx, camera.fy, camera.cx, camera.cy], (n, 1)),
            width=camera.width,
            height=camera.height,
            times_s=np.arange(n) / fps,
            frame_index=np.arange(n),
            scale=scale or Scale(),
            distortion=camera.distortion,
            names=tuple(names),
        )

    def __len__(self) -> int:
        return len(self.camera_to_world)

    def __getitem__(self, index: slice | Int64[Array, " m"]) -> "Trajectory":
        """The poses of a slice or of an array of positions, times and frame indices kept."""
        if isinstance(index, int):
            raise TypeError("take a slice, or .camera_to_world[i] for one pose")
        names = tuple(np.array(self.names, dtype=object)[index]) if self.names else ()
        return replace(
            self,
            camera_to_world=self.camera_to_world[index],
            intrinsics=self.intrinsics[index],
            times_s=self.times_s[index],
            frame_index=self.frame_index[index],
            names=names,
        )

    def camera(self, index: int) -> Camera:
        """The lens of pose number `index`."""
        fx, fy, cx, cy = map(float, self.intrinsics[index])
        return Camera(width=self.width, height=self.height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=self.distortion)

    def with_camera(self, camera: Camera) -> "Trajectory":
        """The same poses seen through one other lens."""
        return replace(
            self,
            intrinsics=np.tile([camera.fx, camera.fy, camera.cx, camera.cy], (len(self), 1)),
            width=camera.width,
            height=camera.height,
            distortion=camera.distortion,
        )

    def resized(self, width: int, height: int) -> "Trajectory":
        """The same cameras at another image size (pixels)."""
        factors = np.array([width / self.width, height / self.height] * 2)
        return replace(self, intrinsics=self.intrinsics * factors, width=width, height=height)

    @property
    def world_to_camera(self) -> Float64[Array, "n 4 4"]:
        """Inverse poses."""
        return se3.inverse(self.camera_to_world)

    @property
    def centres(self) -> Float64[Array, "n 3"]:
        """Camera centres in the world."""
        return self.camera_to_world[:, :3, 3]

    @property
    def fps(self) -> float:
        """Mean pose rate per second; 0 for a single pose or for photos without times."""
        span = float(self.times_s[-1] - self.times_s[0])
        return (len(self) - 1) / span if span > 0 else 0.0

    @property
    def path_length(self) -> float:
        """Length of the polyline of camera centres, in the trajectory's unit."""
        return float(np.linalg.norm(np.diff(self.centres, axis=0), axis=1).sum())

    @property
    def speeds(self) -> Float64[Array, " m"]:
        """Speed of the camera centre over each of the N-1 steps, in units per second (inf for a jump in no time)."""
        return self._per_second(np.linalg.norm(np.diff(self.centres, axis=0), axis=1))

    @property
    def turn_rates_deg(self) -> Float64[Array, " m"]:
        """Rotation over each of the N-1 steps, in degrees per second."""
        rotations = self.camera_to_world[:, :3, :3]
        return self._per_second(se3.angle_deg(np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]))

    def _per_second(self, steps: Float64[Array, " m"]) -> Float64[Array, " m"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = steps / np.diff(self.times_s)
        return np.where(steps == 0, 0.0, rates)

    def relative_to(self, index: int = 0) -> "Trajectory":
        """The same motion in the frame of pose number `index`, which becomes the identity."""
        return replace(self, camera_to_world=se3.inverse(self.camera_to_world[index]) @ self.camera_to_world)

    def scaled(self, factor: float) -> "Trajectory":
        """Translations multiplied by `factor`; the scale's own factor remembers how to undo it."""
        poses = self.camera_to_world.copy()
        poses[:, :3, 3] *= factor
        return replace(self, camera_to_world=poses, scale=replace(self.scale, factor=self.scale.factor / factor))

    def moved(self, similarity: se3.Similarity) -> "Trajectory":
        """The same cameras in another world frame (target <- source)."""
        scale = replace(self.scale, factor=self.scale.factor / similarity.scale)
        return replace(self, camera_to_world=similarity.poses(self.camera_to_world), scale=scale)

    def resampled(self, times_s: Float[Array, " m"]) -> "Trajectory":
        """Poses at the given times (s): slerp, linear centres, linear intrinsics, ends held; frame_index rounded."""
        times_s = np.asarray(times_s, np.float64)
        if np.any(np.diff(self.times_s) <= 0):
            raise TrajkitError("trajectory", "two poses share a time", "drop duplicates before resampling")
        held = np.clip(times_s, self.times_s[0], self.times_s[-1])
        columns = [np.interp(held, self.times_s, self.intrinsics[:, k]) for k in range(4)]
        return replace(
            self,
            camera_to_world=se3.interpolate(self.camera_to_world, self.times_s, held),
            intrinsics=np.stack(columns, axis=-1),
            times_s=times_s,
            frame_index=np.rint(np.interp(held, self.times_s, self.frame_index)).astype(np.int64),
            names=(),
        )


def _on_se3(poses: Float64[Array, "n 4 4"]) -> Float64[Array, "n 4 4"]:
    """The poses with rotations made exact. Raises TrajkitError where one is no pose at all."""
    if not np.isfinite(poses).all():
        bad = _first_bad(poses)
        raise TrajkitError("trajectory", f"pose {bad} is not finite", "drop that frame", item=bad)
    defect = se3.rotation_defect(poses[:, :3, :3])
    if defect.max() > ROTATION_TOLERANCE:
        index = int(np.argmax(defect > ROTATION_TOLERANCE))
        determinant = np.linalg.det(poses[index, :3, :3])
        problem = f"pose {index} is not a rotation (|R'R-I| {defect[index]:.2g}, determinant {determinant:.3g})"
        raise TrajkitError("trajectory", problem, "check the convention and the matrix layout", item=index)
    last = np.abs(poses[:, 3] - (0, 0, 0, 1)).max(1) > 1e-6
    if last.any():
        problem, index = f"the last row of pose {np.argmax(last)} is not 0 0 0 1", int(np.argmax(last))
        raise TrajkitError("trajectory", problem, "check the matrix layout (transposed?)", item=index)
    poses[:, 3] = (0, 0, 0, 1)
    rough = defect > 1e-12
    poses[rough, :3, :3] = se3.nearest_rotation(poses[rough, :3, :3])
    return poses


def _first_bad(array: Float[Array, "n ..."]) -> int:
    return int(np.argmax(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
