"""Small sets as others publish them: a painted room, filmed at 30 frames per second by known cameras."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import filmed
import numpy as np

from trajkit import se3, video
from trajkit.camera import Camera
from trajkit.files import json_bytes
from trajkit.poses import spatialvid
from trajkit.trajectory import Trajectory

FPS = 30.0
SIZE = (192, 108)
FRAMES = 99
EVERY = 6  # frames from one published pose to the next
UUID = "0a1b2c3d-0000-4000-8000-00000000000{}"


def walk(times_s: np.ndarray) -> np.ndarray:
    """Smooth camera_to_world at any time: forward on a bend, looking around; fast enough to tell frames apart."""
    yaw, pitch = 10 * np.sin(times_s * 0.8), 3 * np.cos(times_s * 0.7)
    rotation = se3.axis_rotation("y", yaw) @ se3.axis_rotation("x", pitch)
    centre = np.stack([0.6 * np.sin(times_s * 0.5), 0.1 * times_s, 0.35 * times_s - 1], axis=-1)
    return se3.pose(rotation, centre)


def exact(frames: int = FRAMES, fps: float = FPS) -> Trajectory:
    """The camera at every frame."""
    lens = Camera.from_fov(*SIZE, 50.0)
    return Trajectory.from_camera(walk(np.arange(frames) / fps), lens, fps=fps)


@cache
def pictures(frames: int = FRAMES) -> tuple[np.ndarray, ...]:
    """What it sees."""
    return tuple(frame.rgb for frame in filmed.pictures(exact(frames)))


def film(path: Path, frames: int = FRAMES, fps: float = FPS) -> Path:
    """The video of those pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video.encode(pictures(FRAMES)[:frames], path, fps)
    return path


def sparse(frames: int = FRAMES) -> Trajectory:
    """Every sixth pose, five per second."""
    return exact(frames)[::EVERY]


def annotate(root: Path, number: int, *, shift: int = 0, without: Sequence[int] = ()) -> Path:
    """A clip's annotations in SpatialVID's layout; `shift`: its poses claim frames that are so many later."""
    folder = root / "annotations/group_0001" / UUID.format(number)
    track = sparse()
    track = track[np.setdiff1d(np.arange(len(track)), without)]
    spatialvid.write(replace(track, times_s=np.arange(len(track)) * spatialvid.STEP_S), folder)
    index = "".join(f"{row} {frame + shift}\n" for row, frame in enumerate(track.frame_index))
    (folder / "indexes.txt").write_text(index)
    (folder / "caption.json").write_bytes(json_bytes({"SceneSummary": "a painted room"}))
    return folder


def spatialvid_clip(root: Path, number: int = 0) -> Path:
    """One clip of the set with its video. Returns its annotations."""
    film(root / f"videos/group_0001/{UUID.format(number)}.mp4")
    return annotate(root, number)


def offsets_px(shown: np.ndarray, trajectory: Trajectory) -> np.ndarray:
    """How far, in pixels, each picture is off what its camera sees: the middle and four corners, (N, 5).

    The least-squares shift between the picture and a rendering at the claimed pose (Lucas and Kanade 1981), repeated.
    """
    plain = replace(trajectory, distortion=())
    found = []
    for picture, frame in zip(shown, filmed.pictures(plain), strict=True):
        seen, wanted = (_soft(image[..., 1].astype(float)) for image in (picture, frame.rgb))
        found.append([_shift(seen, wanted, y, x) for y, x in _patches(*seen.shape)])
    return np.array(found)


def _soft(grey: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        for _ in range(4):
            grey = (np.roll(grey, 1, axis) + 2 * grey + np.roll(grey, -1, axis)) / 4
    return grey


def _patches(height: int, width: int) -> list[tuple[slice, slice]]:
    rows = [slice(8, height // 3), slice(height // 3, -height // 3), slice(-height // 3, -8)]
    columns = [slice(8, width // 3), slice(width // 3, -width // 3), slice(-width // 3, -8)]
    return [(rows[1], columns[1]), *((rows[i], columns[j]) for i in (0, 2) for j in (0, 2))]


def _shift(seen: np.ndarray, wanted: np.ndarray, rows: slice, columns: slice) -> float:
    dy, dx = np.gradient((seen + wanted) / 2)
    slope = np.stack([dx[rows, columns].ravel(), dy[rows, columns].ravel()], axis=1)
    step, *_ = np.linalg.lstsq(slope, (wanted - seen)[rows, columns].ravel(), rcond=None)
    return float(np.hypot(*step))
