"""HY-WorldPlay: JSON with a 4x4 matrix and a 3x3 K in pixels under the number of each latent or frame.

Inference files hold camera to world per latent (`extrinsic`, `K`), the first pose the identity; training files hold
world to camera per frame (`w2c`, `intrinsic`). WorldPlay reads keys in the order of the file, so they are written in
numeric order; minWM's exporter adds `_metadata`, which WorldPlay would count as a pose, so it is left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from trajkit.errors import TrajkitError
from trajkit.files import read_json, write_bytes
from trajkit.latents import FRAMES_PER_LATENT, latent_frames
from trajkit.options import option
from trajkit.poses import centred, inverted, located, numbers
from trajkit.poses._text import peek
from trajkit.trajectory import Scale, Trajectory

Array = np.ndarray

KEEPS = frozenset({"lens", "size", "frames"})
INFERENCE, TRAINING = ("extrinsic", "K"), ("w2c", "intrinsic")  # the keys of a pose and its intrinsics


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a file does not say, and which of the two to write."""

    form: Literal["inference", "training"] = option("inference", "what to write: inference, training")
    width: int | None = option(None, "image width (default: twice cx)", unit="pixels", low=1)
    height: int | None = option(None, "image height (default: twice cy)", unit="pixels", low=1)
    fps: float = option(24.0, "video rate", unit="per second", low=1e-3)
    lossy: bool = option(False, "write even where the principal point is off the middle")


DEFAULT = Options()


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The poses in numeric order; frame_index is the frame: the number itself in a training file, else 4 x latent.

    Raises TrajkitError naming the file and the entry at fault.
    """
    table = read_json(path)
    entries = _numbered({key: value for key, value in table.items() if key != "_metadata"}, path)
    training = all(TRAINING[0] in entry for entry in entries.values())
    pose_key, lens_key = TRAINING if training else INFERENCE
    if not training and list(entries) != list(range(len(entries))):
        raise TrajkitError(path, f"{len(entries)} latents, not numbered 0 to {len(entries) - 1}", "restore the file")
    wheres = {number: f"{path}, entry {number}" for number in entries}
    poses = [numbers(entry.get(pose_key), (4, 4), wheres[number], pose_key) for number, entry in entries.items()]
    lenses = np.stack([_lens(entry.get(lens_key), wheres[number]) for number, entry in entries.items()])
    frame_index = np.array(list(entries)) * (1 if training else FRAMES_PER_LATENT)
    with located(path, lambda pose: f"entry {list(entries)[pose]}"):
        trajectory = Trajectory(
            camera_to_world=np.stack(poses),
            intrinsics=lenses,
            width=options.width or max(1, round(2 * lenses[0, 2])),
            height=options.height or max(1, round(2 * lenses[0, 3])),
            times_s=frame_index / options.fps,
            frame_index=frame_index,
            scale=Scale(kind="unit"),
        )
    return inverted(trajectory) if training else trajectory


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes an inference file (one pose per latent, the first the identity) or a training file (one per frame).

    For inference, a trajectory of 4n+1 frames gives the poses of frames 0, 4, 8, ...
    Raises TrajkitError where the principal point is not in the middle (WorldPlay takes twice its place for the
    picture's size), or where the frames don't fit.
    """
    trajectory = centred(trajectory, path, lossy=options.lossy)
    if options.form == "training":
        pose_key, lens_key = TRAINING
        matrices, index = trajectory.world_to_camera, trajectory.frame_index
        if index[0] < 0 or np.any(np.diff(index) <= 0):
            raise TrajkitError(path, "frame_index does not count up from 0", "give each pose a frame of its own")
    else:
        pose_key, lens_key = INFERENCE
        trajectory = per_latent(trajectory, path).relative_to(0)
        matrices, index = trajectory.camera_to_world, np.arange(len(trajectory))
    entries = {
        str(number): {pose_key: (matrix + 0.0).tolist(), lens_key: trajectory.camera(place).matrix.tolist()}
        for place, (number, matrix) in enumerate(zip(index, matrices, strict=True))
    }
    write_bytes(path, (json.dumps(entries, indent=1, allow_nan=False) + "\n").encode())


def matches(path: Path) -> bool:
    """Whether it is a JSON file with WorldPlay's keys."""
    keys = (*INFERENCE, *TRAINING)
    return path.suffix == ".json" and any(f'"{key}"' in line for line in peek(path) for key in keys)


def per_latent(trajectory: Trajectory, where: object) -> Trajectory:
    """The poses of the latents: of frames 0, 4, 8, ... of consecutive frames; all, where they are 4 frames apart.

    Raises TrajkitError for anything between, or unless consecutive frames number 4n+1.
    """
    steps = np.diff(trajectory.frame_index)
    if np.all(steps == FRAMES_PER_LATENT):
        return trajectory
    if np.any(steps != 1):
        problem = "the poses are neither of consecutive frames nor 4 frames apart"
        raise TrajkitError(where, problem, "resample to the video's rate first (--fps)")
    return trajectory[latent_frames(len(trajectory))]


def _numbered(table: dict[str, Any], path: Path) -> dict[int, dict[str, Any]]:
    """The entries by number, in numeric order. Raises TrajkitError where a key is none or an entry is no object."""
    entries = {}
    for key, value in table.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10) or int(key) in entries:
            raise TrajkitError(path, f"{key!r} is not the number of a pose", "check that it is a WorldPlay pose file")
        if not isinstance(value, dict):
            raise TrajkitError(f"{path}, entry {key}", "not an object", "check that it is a WorldPlay pose file")
        entries[int(key)] = value
    if not entries:
        raise TrajkitError(path, "holds no poses", "restore the file or write it again")
    return dict(sorted(entries.items()))


def _lens(value: object, where: str) -> Float64[Array, "4"]:
    """fx fy cx cy of a K, image<-camera. Raises TrajkitError for skew or another last row."""
    matrix = numbers(value, (3, 3), where, "K")
    if not np.allclose(matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], (0, 0, 0, 0, 1), atol=1e-6):
        raise TrajkitError(where, "K has skew or a last row other than 0 0 1", "check that it is not transposed")
    fx, fy, cx, cy = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    if not (np.isfinite((fx, fy, cx, cy)).all() and cx > 0 and cy > 0):
        raise TrajkitError(where, "K is not finite, or its principal point is off the picture", "correct K")
    return np.array([fx, fy, cx, cy])
