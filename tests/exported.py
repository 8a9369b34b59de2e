"""Clips to export, latents beside them, and a reader of minWM's LMDB written from the format's note."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import tinyclips
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance, write_clip
from trajkit.trajectory import Scale, Trajectory

WIDTH, HEIGHT, FRAMES, FPS = 64, 48, 13, 16.0
CAPTION = 'a "walk", größer\n<b>& so on</b>, 日本'
CENTRED = Camera(width=WIDTH, height=HEIGHT, fx=60, fy=55, cx=WIDTH / 2, cy=HEIGHT / 2)
OFF = replace(CENTRED, cx=30.5, cy=25.0)
Seen = dict[int, tuple[np.ndarray, np.ndarray]]  # frame -> world to camera, lens divided by the picture's size


def walk(lens: Camera, frames: int = FRAMES) -> Trajectory:
    """A walk along a bend, which neither starts at the identity nor stays in a plane; metres."""
    steps = np.arange(frames) / frames
    turn = se3.axis_rotation("y", 4 + 9 * steps) @ se3.axis_rotation("x", 5 * steps - 2)
    poses = se3.pose(turn, np.stack([0.3 * steps - 0.2, 0.2 * steps**2, 0.9 * steps], axis=-1))
    return Trajectory.from_camera(poses, lens, fps=FPS, scale=Scale(kind="metric"))


def film(
    folder: Path, key: str, trajectory: Trajectory, *, frames: int = 0, depth: bool = False, licence: str = "CC0-1.0"
) -> Clip:
    """A clip of gradients; sparser poses than `frames` make it an estimated one."""
    kind = "estimated" if frames else "rendered"
    clip = Clip(
        key=key,
        trajectory=trajectory,
        fps=FPS,
        caption=CAPTION,
        frames=frames,
        provenance=Provenance(kind=kind, source="test:room"),
        licence=licence,
    )
    shots = tinyclips.pictures(key, frames or len(trajectory), trajectory.width, trajectory.height)
    return write_clip(folder, clip, shots, depth="z" if depth else None)


def safetensors(array: np.ndarray, kind: str = "F16") -> bytes:
    """A file with one tensor, by the format's note: header length, JSON header, data."""
    header = json.dumps({"latents": {"dtype": kind, "shape": array.shape, "data_offsets": [0, array.nbytes]}}).encode()
    return len(header).to_bytes(8, "little") + header + array.tobytes()


def latents(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 16, 6, 8)).astype(np.float16)


def read_minwm_lmdb(out: Path, number: int) -> Seen:
    import lmdb

    with (
        lmdb.open(str(out / "lmdb"), readonly=True, lock=False, readahead=False, meminit=False) as base,
        base.begin() as read,
    ):
        shape = {
            name: tuple(map(int, read.get(f"{name}_shape".encode()).decode().split()))
            for name in ("latents", "poses", "intrinsics", "prompts")
        }
        assert number < shape["latents"][0]
        latents = np.frombuffer(read.get(f"latents_{number}_data".encode()), np.float16).reshape(shape["latents"][1:])
        rows = np.frombuffer(read.get(f"poses_{number}_data".encode()), np.float32).reshape(shape["poses"][1:])
        lens = np.frombuffer(read.get(f"intrinsics_{number}_data".encode()), np.float32)
        assert read.get(f"prompts_{number}_data".encode()).decode() == CAPTION
    assert len(latents) == len(rows)
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = Rotation.from_quat(rows[:, 3:]).as_matrix(), rows[:, :3]
    camera_to_world = np.linalg.inv(matrices)
    aligned = np.linalg.inv(np.linalg.inv(camera_to_world[0]) @ camera_to_world)  # as minWM's loader does
    return {4 * n: (matrix, lens) for n, matrix in enumerate(aligned)}
