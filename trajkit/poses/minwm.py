"""minWM: pose strings (`.txt`), WorldPlay's JSON (`.json`) and (N, 7) world-to-camera rows (`.npy`), one per latent.

Strings come in two grammars, read alike: `right-8, a-11` of its data sets and `a*4,w*8` of its inference. One step is
one latent (4 frames): 0.08 units or 3 degrees. Rows are tx ty tz qx qy qz qw; intrinsics divided by width and height
lie in a file beside them (`poses.npy` -> `intrinsics.npy`), else they are those of all WorldPlay data.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.spatial.transform import Rotation, Slerp

from trajkit import motion, se3
from trajkit.errors import TrajkitError
from trajkit.files import write_bytes
from trajkit.latents import FRAMES_PER_LATENT, latent_count
from trajkit.options import option
from trajkit.poses import inverted, located, poses_from_tq, tq_from_poses, worldplay, write_together
from trajkit.poses._arrays import npy_bytes, npy_shape, read_npy
from trajkit.poses._text import lines, peek
from trajkit.trajectory import Scale, Trajectory

Array = np.ndarray

KEEPS = frozenset({"lens", "frames"})
# WorldPlay's 969.69697 px at 1920x1080 over width and height: the K of minWM's strings and of all its data
LENS = (969.69697 / 1920, 969.69697 / 1080, 0.5, 0.5)
SEGMENT = re.compile(r"([a-z]+)(?:\*(\d{1,6})|-(\d{1,6}(?:\.\d*)?))")
MAX_STEPS = 100_000  # of one string; more is a typing error
STRING_TOLERANCE = 1e-4  # between a pose and the one its string would give; float32 files stay below it
GRAMMARS = {"inference": ("*", ","), "dataset": ("-", ", ")}  # what joins key and count, and segments


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which string of a file, what the files do not say, and how to write a string."""

    line: int | None = option(None, "which pose string of the file, from 1", low=1)
    width: int = option(832, "image width", unit="pixels", low=1)
    height: int = option(480, "image height", unit="pixels", low=1)
    fps: float = option(16.0, "video rate", unit="per second", low=1e-3)
    grammar: Literal["inference", "dataset"] = option("inference", "strings to write: inference (w*8), dataset (w-8)")
    lossy: bool = option(False, "write JSON even where the principal point is off the middle")


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The pose of each latent, with frame_index 0, 4, 8, ...; a string starts at the identity.

    Poses stay as the file has them: minWM's loader moves the first to the identity, which is `.relative_to(0)`.
    Raises TrajkitError naming the file and the line, row or entry at fault.
    """
    if path.suffix == ".json":
        return worldplay.read(path, worldplay.Options(fps=options.fps))
    if path.suffix == ".npy":
        return _read_rows(path, options)
    found = [(number, text) for number, text in lines(path)]
    if options.line is None and len(found) > 1:
        raise TrajkitError(path, f"holds {len(found)} pose strings", "choose one: minwm:line=1")
    if (options.line or 1) > len(found):
        raise TrajkitError(path, f"has no pose string {options.line}", f"it holds {len(found)}")
    number, text = found[(options.line or 1) - 1]
    return _trajectory(poses_from_string(text, f"{path}, line {number}"), np.array(LENS), options)


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes what the suffix says: .txt a pose string, .json WorldPlay's inference JSON, .npy float32 rows and lens.

    A trajectory of 4n+1 frames gives the poses of frames 0, 4, 8, ...
    Raises TrajkitError for another suffix, or a string where the motion is not made of whole key steps.
    """
    if path.suffix == ".json":
        worldplay.write(trajectory, path, worldplay.Options(lossy=options.lossy))
        return
    trajectory = worldplay.per_latent(trajectory, path)
    if path.suffix == ".npy":
        lens = trajectory.intrinsics / ((trajectory.width, trajectory.height) * 2)
        contents = {
            _beside(path).name: (lens[0] if np.all(lens == lens[0]) else lens).astype("<f4"),
            path.name: tq_from_poses(trajectory.world_to_camera).astype("<f4"),
        }
        write_together(path.parent, {name: npy_bytes(array) for name, array in contents.items()})
    elif path.suffix == ".txt":
        write_bytes(path, (to_string(trajectory, path, options.grammar) + "\n").encode())
    else:
        raise TrajkitError(path, f"minWM has no {path.suffix or 'suffix-less'} pose file", "use .txt, .json or .npy")


def matches(path: Path) -> bool:
    """Whether its first line is a pose string, or it holds rows of seven without SpatialVID's indexes.txt."""
    if path.suffix == ".npy":
        return npy_shape(path)[1:] == (7,) and not (path.parent / "indexes.txt").is_file()
    segments = [segment.strip() for segment in next(iter(peek(path)), "").split(",")]
    return all(SEGMENT.fullmatch(segment) for segment in segments if segment) and any(segments)


def key_presses(text: str, where: object) -> list[tuple[str, int]]:
    """(key, steps) of each segment of a pose string in either grammar; empty segments are skipped.

    Raises TrajkitError, naming the column, for an unknown key or a malformed count.
    """
    presses, column = [], 1
    for raw in text.split(","):
        segment, at = raw.strip(), column + len(raw) - len(raw.lstrip())
        column += len(raw) + 1
        if not segment:
            continue
        match = SEGMENT.fullmatch(segment)
        if not match:
            raise TrajkitError(where, f"column {at}: {segment!r} is no key with a count", "write w*8 or w-8")
        key, times, steps = match.groups()
        if key not in motion.KEYS:
            raise TrajkitError(where, f"column {at}: no key {key!r}", f"use {', '.join(motion.KEYS)}")
        presses.append((key, int(times or float(steps))))
    if not presses:
        raise TrajkitError(where, "an empty pose string", "write keys with counts, such as w*8,l*4")
    if sum(count for _, count in presses) > MAX_STEPS:
        raise TrajkitError(where, f"more than {MAX_STEPS} steps", "correct the counts")
    return presses


def poses_from_string(text: str, where: object = "pose string") -> Float64[Array, "n 4 4"]:
    """camera_to_world of a pose string: the identity, then one pose after each step of 0.08 units or 3 degrees."""
    steps = [motion.key_move(key) for key, count in key_presses(text, where) for _ in range(count)]
    return motion.integrate(np.array(steps))


def to_string(
    trajectory: Trajectory, where: object = "trajectory", grammar: Literal["inference", "dataset"] = "inference"
) -> str:
    """The pose string of a trajectory of latents. Raises TrajkitError where a step is not one press of one key."""
    keys = ["w", "s", "a", "d", "u", "dn", "j", "l", "i", "k"]
    if grammar == "dataset":
        keys = ["w", "s", "a", "d", *motion.ALIASES]
    steps = np.array([motion.integrate(motion.key_move(key)[None])[1] for key in keys])
    poses = trajectory.camera_to_world
    pressed: list[list] = []
    for index, moved in enumerate(se3.inverse(poses[:-1]) @ poses[1:]):
        error = np.abs(steps - moved).max(axis=(1, 2))
        if error.min() > STRING_TOLERANCE:
            problem = f"the motion to pose {index + 1} is not one step of one key"
            raise TrajkitError(where, problem, "write .json or .npy, which hold any motion")
        key = keys[int(error.argmin())]
        if pressed and pressed[-1][0] == key:
            pressed[-1][1] += 1
        else:
            pressed.append([key, 1])
    if not pressed:
        raise TrajkitError(where, "a single pose has no motion", "write .json or .npy")
    joint, comma = GRAMMARS[grammar]
    return comma.join(f"{key}{joint}{count}" for key, count in pressed)


def view_matrices(trajectory: Trajectory) -> Float32[Array, "n 4 4"]:
    """world_to_camera as minWM's trainers get it: float32, with the first pose moved to the identity."""
    return trajectory.relative_to(0).world_to_camera.astype(np.float32)


def sample_frames(camera_frames: Int64[Array, " n"], frames: int = 77) -> Int64[Array, " frames"]:
    """Video frames that minWM encodes for poses at `camera_frames`: the middle poses, three frames between each two.

    Between frames round half to even. Its loader pairs them with the *first* poses instead, which is right only where
    there are no more poses than latents (reference/minwm.md 1.6). Raises TrajkitError for fewer poses than latents.
    """
    latents = latent_count(frames)
    camera_frames = np.asarray(camera_frames, np.int64)
    if len(camera_frames) < latents:
        remedy = "use a longer clip, or fewer frames"
        raise TrajkitError("camera frames", f"{len(camera_frames)} poses for {latents} latents", remedy)
    first = (len(camera_frames) - latents) // 2
    chosen = camera_frames[first : first + latents]
    quarters = np.arange(FRAMES_PER_LATENT) / FRAMES_PER_LATENT
    between = np.rint(chosen[:-1, None] + np.diff(chosen)[:, None] * quarters).astype(np.int64)
    return np.append(between.ravel(), chosen[-1])


def interpolate_rows(
    rows: Float[Array, "n 7"], frames: Int64[Array, " n"], query: Int64[Array, " m"]
) -> Float64[Array, "m 7"]:
    """World-to-camera rows at other frames as minWM interpolates them: slerp, and linear world-to-camera translations.

    For compatibility: this mixes rotation into the path of the camera, which `Trajectory.resampled` does not.
    """
    rows = np.asarray(rows, np.float64)
    held = np.clip(np.asarray(query, np.float64), frames[0], frames[-1])
    translation = np.stack([np.interp(held, frames, rows[:, axis]) for axis in range(3)], axis=-1)
    rotation = Slerp(np.asarray(frames, np.float64), Rotation.from_quat(rows[:, 3:]))(held)
    return tq_from_poses(se3.pose(rotation.as_matrix(), translation))


def video_slug(pose_string: str, encoder: Literal["wan", "hy"]) -> str:
    """The part of a video folder's name that minWM makes of a pose string (`000012_right8a11`); encoders differ."""
    if encoder == "wan":
        return re.sub(r"[^a-z0-9]", "", pose_string.lower())
    return re.sub(r"[\s,-]", "", pose_string)


def _read_rows(path: Path, options: Options) -> Trajectory:
    rows = read_npy(path, (None, 7)).astype(np.float64)
    beside = _beside(path)
    lens = np.array(LENS)
    if beside.is_file():
        lens = read_npy(beside, (4,), (len(rows), 4)).astype(np.float64)
    poses = poses_from_tq(rows, path, "row {}".format)
    with located(path, "row {}".format):
        return inverted(_trajectory(poses, lens, options))


def _trajectory(poses: Float64[Array, "n 4 4"], lens: Float64[Array, "*n 4"], options: Options) -> Trajectory:
    """Poses of latents with intrinsics that are divided by width and height."""
    frame_index = np.arange(len(poses)) * FRAMES_PER_LATENT
    return Trajectory(
        camera_to_world=poses,
        intrinsics=lens * ((options.width, options.height) * 2),
        width=options.width,
        height=options.height,
        times_s=frame_index / options.fps,
        frame_index=frame_index,
        scale=Scale(kind="unit"),
    )


def _beside(path: Path) -> Path:
    """Where the intrinsics of a file of rows lie."""
    name = path.name.replace("poses", "intrinsics")
    return path.with_name(name if name != path.name else f"{path.stem}_intrinsics.npy")
