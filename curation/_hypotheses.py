"""What the numbers of a pose file may mean: the convention of its poses, its frames and its lens."""

from itertools import permutations, product
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.camera import Camera

Array = np.ndarray
Direction = Literal["camera_to_world", "world_to_camera"]
TOWARDS = {  # in OpenCV's axes of the camera
    "right": (1.0, 0.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "up": (0.0, -1.0, 0.0),
    "forward": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}
OPENCV, OPENGL = "right down forward", "right up back"
KNOWN = {
    OPENCV: "OpenCV",
    OPENGL: "OpenGL",
    "forward right down": "aircraft (NED, TartanAir)",
    "forward left up": "vehicle (ROS)",
    "right forward up": "z up (x right, y forward)",
    "left up forward": "PyTorch3D",
    "right up forward": "mirrored (Unity, left-handed)",
    "forward right up": "Unreal (left-handed)",
}
FOVS_DEG = (25.0, 32.0, 40.0, 48.0, 56.0, 65.0, 75.0, 86.0, 98.0, 112.0)  # horizontal
OFFSETS = 5  # frames that poses may be late or early


class Convention(NamedTuple):
    """How a file's rigid motions are read as camera_to_world in OpenCV's axes."""

    reading: str  # how its numbers make a rigid motion: a key of RawPoses.readings
    direction: Direction
    transposed: bool  # whether the rotation is the inverse of what the direction says
    axes: str  # where the file's x, y and z of the camera point, seen in the picture

    @property
    def rank(self) -> int:
        """0 for what most files hold, 1 for what some do, 2 for what has not been met."""
        if self.axes in (OPENCV, OPENGL):
            return int(self.transposed)
        return 1 if self.axes in KNOWN and not self.transposed else 2

    @property
    def text(self) -> str:
        """The convention in words, such as "camera to world, OpenGL axes"."""
        parts = [self.direction.replace("_", " ")]
        if self.transposed:
            parts[0] += " with the rotation transposed"
        name = KNOWN.get(self.axes)
        parts.append(f"{name} axes" if name else "axes x {}, y {}, z {}".format(*self.axes.split()))
        return ", ".join(parts + [self.reading] * bool(self.reading))


class Timing(NamedTuple):
    """Which video frame each pose belongs to."""

    rate: str  # in words: "one per frame"
    offset: int  # frames that poses come later than that

    @property
    def text(self) -> str:
        """Such as "one pose per frame, 2 frames later"."""
        shift = abs(self.offset)
        if not shift:
            return self.rate
        return f"{self.rate}, {shift} frame{'s' * (shift > 1)} {'later' if self.offset > 0 else 'earlier'}"


class Lens(NamedTuple):
    """One meaning of the file's intrinsics, or a field of view that is tried."""

    text: str
    tried: bool  # a field of view that nobody states


class Hypothesis(NamedTuple):
    """One meaning of a pose file."""

    convention: Convention
    timing: Timing
    lens: Lens

    @property
    def text(self) -> str:
        """All of it in one line."""
        return "; ".join(part.text for part in self)


def all_axes() -> list[str]:
    """The 48 ways in which a camera's three axes can point along the picture's, the common ones first."""
    pairs_of = (("right", "left"), ("down", "up"), ("forward", "back"))
    found = [" ".join(way) for order in permutations(pairs_of) for way in product(*order)]
    return [*KNOWN, *(axes for axes in found if axes not in KNOWN)]


def opencv_from(axes: str) -> Float64[Array, "3 3"]:
    """The signed permutation that leads from the file's camera axes to OpenCV's."""
    return np.array([TOWARDS[way] for way in axes.split()]).T


def conventions(readings: list[str]) -> list[tuple[str, Direction, bool]]:
    """All conventions of a file apart from the camera's axes."""
    directions: tuple[Direction, ...] = ("camera_to_world", "world_to_camera")
    return list(product(readings, directions, (False, True)))


def as_camera_to_world(
    motions: Float64[Array, "n 4 4"], direction: Direction, transposed: bool
) -> Float64[Array, "n 4 4"]:
    """The motions as camera_to_world with the file's own camera axes; a mirrored world is mirrored back."""
    poses = motions
    if transposed:
        poses = se3.pose(np.swapaxes(motions[:, :3, :3], 1, 2), motions[:, :3, 3])
    if direction == "world_to_camera":
        poses = se3.inverse(poses)
    if np.linalg.det(poses[0, :3, :3]) < 0:
        poses = np.diag([1.0, 1.0, -1.0, 1.0]) @ poses
    return poses


def canonical(motions: Float64[Array, "n 4 4"], convention: Convention) -> Float64[Array, "n 4 4"]:
    """The motions as camera_to_world in OpenCV's axes, in a world of their own."""
    poses = as_camera_to_world(motions, convention.direction, convention.transposed)
    axes = np.eye(4)
    axes[:3, :3] = opencv_from(convention.axes)
    return axes @ poses @ axes.T


def at_frames(
    poses: Float64[Array, "n 4 4"], frame_of_pose: Float64[Array, "n"], frames: int
) -> Float64[Array, "f 4 4"]:
    """A pose for each frame of the video: between poses interpolated, ends held."""
    wanted = np.arange(frames)
    place = np.clip(np.searchsorted(frame_of_pose, wanted), 0, len(poses) - 1)
    exact = np.abs(frame_of_pose[place] - wanted) < 1e-9
    inside = (wanted > frame_of_pose[0]) & (wanted < frame_of_pose[-1])
    if np.all(exact | ~inside):
        return poses[np.where(wanted <= frame_of_pose[0], 0, place)]
    return se3.interpolate(poses, frame_of_pose, wanted)


def rates(
    poses: int, frames: int, fps: float, frame_index: Float64[Array, "n"] | None
) -> dict[str, Float64[Array, "n"]]:
    """What the frames of the poses may be, by words; the first one is the file's own, or the likeliest."""
    found: dict[str, Array] = {}
    steps: list[float] = []
    if frame_index is not None:
        found["the file's own frames"] = frame_index
    if poses >= 0.9 * frames:
        steps.append(1.0)
    if poses != frames and poses > 1:
        even = (frames - 1) / (poses - 1)
        steps += [float(round(even))] * (even > 1.5) + [even, frames / poses] + [0.2 * fps] * (even > 1.5)
    elif not steps:
        steps.append(1.0)
    for step in steps:
        at = np.arange(poses) * step
        reach = abs(at[-1] - (frames - 1))
        new = all(np.abs(other - at).max() > 0.5 for other in found.values())
        if new and (step == 1.0 or reach <= max(2 * step, 0.1 * frames)):
            found["one pose per frame" if step == 1 else f"a pose every {step:.4g} frames"] = at
    return found or {"one pose per frame": np.arange(poses, dtype=np.float64)}


def lenses(
    numbers: Float64[Array, "n 4"] | None,
    stated: tuple[str, Float64[Array, "n 4"]] | None,
    size: tuple[int, int],
    fov_deg: float | None,
) -> dict[Lens, Float64[Array, "n 4"]]:
    """What the four numbers of the file's lens may mean, as fx fy cx cy in pixels of the video.

    The first one is what is stated, where something is. Meanings that make no lens are left out.
    """
    width, height = size
    found: dict[Lens, Array] = {}

    def add(text: str, values: Array, *, tried: bool = False, sure: bool = False) -> None:
        same = any(np.allclose(values, other, rtol=2e-3, atol=0.3) for other in found.values())
        if sure or (not same and _plausible(values, size)):
            found[Lens(text, tried)] = values

    if fov_deg is not None:
        add(f"--fov {fov_deg:g}", _of_fov(size, vertical_deg=fov_deg), sure=True)
    elif stated is not None:
        add(stated[0], stated[1], sure=True)
    if numbers is not None and fov_deg is None:
        orders = {"": (0, 1, 2, 3), ", in the order fx cx fy cy": (0, 2, 1, 3), ", cx cy first": (2, 3, 0, 1)}
        for words, order in orders.items():
            values = numbers[:, order]
            middle = 2 * np.median(values[:, 2:], axis=0)
            own = " by ".join(f"{side:.4g}" for side in middle)
            add("intrinsics in pixels of the video" + words, values)
            add("intrinsics divided by width and height" + words, values * ((width, height) * 2))
            add("intrinsics divided by the width" + words, values * width)
            for factor, share in ((2.0, "half"), (0.5, "twice")):
                add(f"intrinsics in pixels of a picture {share} the size" + words, values * factor)
            if np.isfinite(middle).all() and (middle > 0).all():
                scale = np.array([width / middle[0], height / middle[1]] * 2)
                add(f"intrinsics in pixels of a picture of {own}" + words, values * scale)
    for fov in FOVS_DEG:
        vertical = 2 * np.degrees(np.arctan(np.tan(np.radians(fov) / 2) * height / width))
        add(f"{fov:g} degrees wide, tried", _of_fov(size, vertical_deg=float(vertical)), tried=True)
    return found


def _of_fov(size: tuple[int, int], *, vertical_deg: float) -> Float64[Array, "1 4"]:
    lens = Camera.from_fov(*size, vertical_deg)
    return np.array([[lens.fx, lens.fy, lens.cx, lens.cy]])


def _plausible(values: Float64[Array, "n 4"], size: tuple[int, int]) -> bool:
    """Whether it could be a camera's: 15 to 140 degrees wide, pixels about square, centre near the middle."""
    if not np.isfinite(values).all():
        return False
    fx, fy, cx, cy = np.median(values, axis=0)
    width, height = size
    wide = 0.18 * width < fx < 3.8 * width
    return bool(wide and 0.7 < fy / fx < 1.43 and 0.3 < cx / width < 0.7 and 0.3 < cy / height < 0.7)
