"""What a report groups clips by."""

import hashlib

import numpy as np
from jaxtyping import Float64

from trajkit import files, se3
from trajkit.clip import Clip
from trajkit.members import camera_bytes
from trajkit.trajectory import Trajectory

from ..evidence import Evidence
from ._common import Array, pairs, quantile, rotation_vectors_deg
from ._flow import kind

# names of the axes' negative and positive ends, in OpenCV axes
DIRECTIONS = (("left", "right"), ("up", "down"), ("backward", "forward"))
TURNS = (("down", "up"), ("left", "right"), ("roll", "roll"))  # about x, y, z
DOMINANT = 0.7  # of the length of all steps
LEAST_TURN_DEG_S = 2.0
Fact = bool | int | float | str


def about(evidence: Evidence) -> dict[str, Fact]:
    """Facts of a clip by short names: counts, pixels, seconds, degrees, the trajectory's own unit."""
    clip, trajectory = evidence.clip, evidence.trajectory
    moves = kind(evidence)
    frames = clip.frames or int(trajectory.frame_index[-1]) + 1
    fov = np.degrees(2 * np.arctan2(trajectory.height / 2, trajectory.intrinsics[:, 1]))
    rates, speeds = trajectory.turn_rates_deg, trajectory.speeds
    return {
        "kind": clip.provenance.kind,
        "source": clip.provenance.source,
        "scene": clip.provenance.scene,
        "licence": clip.licence,
        "clip": digest(clip),
        "fps": clip.fps,
        "frames": frames,
        "seconds": frames / clip.fps,
        "poses": len(trajectory),
        "width": trajectory.width,
        "height": trajectory.height,
        "fov_deg": quantile(fov),
        "caption_length": len(clip.caption),
        "scale": trajectory.scale.kind,
        "path_length": trajectory.path_length,
        "speed": float(np.nan_to_num(quantile(speeds))),
        "turn_rate_deg": float(np.nan_to_num(quantile(rates))),
        "motion": moves,
        "direction": direction(trajectory) if moves in ("parallax", "unknown") else "still",
        "turn": turn(trajectory),
    }


def digest(clip: Clip) -> str:
    """SHA-256 over what is scored: the poses and the video."""
    total = hashlib.sha256(camera_bytes(clip.trajectory))
    if clip.video is not None:
        one = hashlib.sha256(clip.video).hexdigest() if isinstance(clip.video, bytes) else files.sha256(clip.video)
        total.update(one.encode())
    return total.hexdigest()


def direction(trajectory: Trajectory) -> str:
    """Where the camera goes as it sees it: left right up down forward backward, mixed or still."""
    return _named(_strides(trajectory)[:, :3, 3], DIRECTIONS, "still")


def turn(trajectory: Trajectory, least_deg_s: float = LEAST_TURN_DEG_S) -> str:
    """How the camera turns: left right up down roll, mixed or none; less than `least_deg_s` degrees/s is none."""
    turns = rotation_vectors_deg(_strides(trajectory)[:, :3, :3])
    rate = quantile(trajectory.turn_rates_deg) if len(trajectory) > 1 else 0.0
    span = float(trajectory.times_s[-1] - trajectory.times_s[0])
    overall = float(np.linalg.norm(turns.sum(0))) / 8 / max(span, 1e-9)
    return "none" if max(overall, rate) < least_deg_s else _named(turns, TURNS, "none")


def _strides(trajectory: Trajectory) -> Float64[Array, "m 4 4"]:
    """Motions over eight frames (or over the clip, if that is shorter): shaking averages out."""
    span = int(trajectory.frame_index[-1] - trajectory.frame_index[0])
    first, second = pairs(trajectory, max(min(8, span), 1))
    return se3.inverse(trajectory.camera_to_world[first]) @ trajectory.camera_to_world[second]


def _named(steps: Float64[Array, "m 3"], names: tuple[tuple[str, str], ...], nothing: str) -> str:
    length = float(np.linalg.norm(steps, axis=1).sum())
    if length == 0:
        return nothing
    share = steps.sum(0) / length
    axis = int(np.argmax(np.abs(share)))
    return names[axis][int(share[axis] > 0)] if abs(share[axis]) > DOMINANT else "mixed"
