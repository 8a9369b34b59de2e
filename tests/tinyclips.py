"""Small clips for tests: real ones (encoded pictures) and hollow ones (any bytes as mp4, the rest consistent)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance, member, write_clip
from trajkit.members import CONVENTION, SCHEMA, Record, camera_bytes, caption_bytes, record_bytes
from trajkit.scene import Frame
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

FPS = 16.0


def trajectory(key: str, frames: int = 5, width: int = 32, height: int = 24) -> Trajectory:
    """A straight walk with a turn, another one for each key."""
    rng = generator(0, key)
    steps = np.arange(frames)
    rotation = se3.axis_rotation("y", steps * rng.uniform(-3, 3))
    translation = steps[:, None] * rng.uniform(-0.1, 0.1, 3)
    camera = Camera.from_fov(width, height, 60.0)
    return Trajectory.from_camera(se3.pose(rotation, translation), camera, fps=FPS)


def pictures(key: str, frames: int = 5, width: int = 32, height: int = 24) -> Iterator[Frame]:
    """Gradients that move, with depth; another hue for each key."""
    tint = generator(0, key).integers(0, 200, 3)
    y, x = np.mgrid[:height, :width]
    for number in range(frames):
        rgb = np.stack([x * 4 + number * 3, y * 5, x + y], axis=-1) + tint
        yield Frame(rgb=(rgb % 256).astype(np.uint8), depth=(1 + x / width + number).astype(np.float32))


def real(folder: Path, count: int, *, frames: int = 5, prefix: str = "clip", depth: bool = False) -> list[str]:
    """Writes `count` playable clips; returns their keys."""
    keys = [f"{prefix}-{number:04d}" for number in range(count)]
    for key in keys:
        clip = Clip(
            key=key,
            trajectory=trajectory(key, frames),
            fps=FPS,
            caption=f"a gradient named {key}, größer",
            provenance=Provenance(kind="rendered", source="test:", generator="gradient", scene="gradient"),
            licence="CC0-1.0",
        )
        write_clip(folder, clip, pictures(key, frames), depth="z" if depth else None)
    return keys


def hollow(folder: Path, count: int, mp4_bytes: int, *, prefix: str = "hollow") -> list[str]:
    """Writes `count` clips whose mp4 is noise of that size: enough for packing, at no cost of encoding."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f"{prefix}-{number:05d}" for number in range(count)]
    for key in keys:
        track = trajectory(key)
        contents = {
            "mp4": generator(0, key).bytes(mp4_bytes),
            "camera.npz": camera_bytes(track),
            "txt": caption_bytes(key, key),
        }
        record = Record(
            schema=SCHEMA,
            convention=CONVENTION,
            key=key,
            scale=track.scale,
            poses=len(track),
            pose_rate=track.fps,
            frames=len(track),
            fps=FPS,
            width=track.width,
            height=track.height,
            provenance=Provenance(kind="rendered", source="test:"),
            licence="CC0-1.0",
        )
        contents["json"] = record_bytes(record)
        for suffix, content in contents.items():
            member(folder, key, suffix).write_bytes(content)
    return keys
