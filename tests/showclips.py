"""A folder of clips to show: two in a hall with captured cameras, an estimated one that is metric, one alone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trajkit import files, se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance, write_clip
from trajkit.members import DepthKind, camera_bytes
from trajkit.scene import Frame
from trajkit.trajectory import Scale, Trajectory

FPS = 10.0
FRAMES = 15
DEPTH = 3.0
EVIL = "</script><img src=x onerror=alert(1)>"
LENS = Camera(width=64, height=48, fx=60.0, fy=58.0, cx=30.0, cy=25.0)
TALL = Camera(width=36, height=64, fx=60.0, fy=60.0, cx=18.0, cy=32.0)


def colour(index: int) -> tuple[int, int, int]:
    """The flat colour of frame `index`."""
    return 20 + 15 * index, 120, 230 - 15 * index


def pictures(lens: Camera, count: int = FRAMES) -> Iterator[Frame]:
    """Flat frames, as of a wall that stays ahead at the same depth."""
    for index in range(count):
        rgb = np.full((lens.height, lens.width, 3), colour(index), np.uint8)
        yield Frame(rgb=rgb, depth=np.full(rgb.shape[:2], DEPTH, np.float32))


def walk(step: float = 0.1, turn_deg: float = 2.0, count: int = FRAMES) -> np.ndarray:
    """camera_to_world of a walk along z that turns right; every step has the same length."""
    steps = np.arange(count)
    return se3.pose(se3.axis_rotation("y", turn_deg * steps), steps[:, None] * [0.0, 0.0, step])


def write_clips(folder: Path, depth: DepthKind | None = None) -> list[str]:
    """Writes the four clips and the hall's captured cameras; returns the keys, sorted."""
    forward = Trajectory.from_camera(walk(), LENS, fps=FPS, scale=Scale(kind="sfm"))
    back = Trajectory.from_camera(walk()[::-1], TALL, fps=FPS, scale=Scale(kind="sfm"))
    sparse = Trajectory(
        camera_to_world=walk(step=0.5)[::2],
        intrinsics=np.array([LENS.fx, LENS.fy, LENS.cx, LENS.cy]),
        width=LENS.width,
        height=LENS.height,
        times_s=np.arange(0, FRAMES, 2) / FPS,
        frame_index=np.arange(0, FRAMES, 2),
        scale=Scale(kind="metric", factor=2.0),
    )
    alone = Trajectory.from_camera(np.eye(4)[None], LENS, fps=FPS)
    hall = Provenance(kind="rendered", source=EVIL, path="keys:w*12,l*7", generator="toy", scene="hall", seed=4)
    street = Provenance(kind="estimated", source="street.mp4", generator="vipe")
    for key, trajectory, provenance, lens, count in (
        ("hall-a", forward, hall, LENS, FRAMES),
        ("hall-b", back, hall, TALL, FRAMES),
        ("street", sparse, street, LENS, FRAMES),
        ("the-one", alone, Provenance(kind="rendered", source="a photo", path=EVIL), LENS, 1),
    ):
        caption = EVIL if key == "hall-a" else f"caption of {key}, größer & <b>bold</b>"
        clip = Clip(
            key=key,
            trajectory=trajectory,
            fps=FPS,
            frames=count,
            caption=caption,
            provenance=provenance,
            licence=f"{EVIL} CC0",
        )
        write_clip(folder, clip, pictures(lens, count), depth=depth)
    files.write_bytes(folder / "scenes/hall.seen.npz", camera_bytes(forward[::5]))
    return ["hall-a", "hall-b", "street", "the-one"]


def write_refused(folder: Path, count: int = 3, scene: str = "hall") -> list[str]:
    """Leaves refused paths as render does: every other one is too near at frame 6, the rest unseen and near; a record
    of the reconstruction beside them. Returns the keys, sorted."""
    keys = []
    for number in range(count):
        key = f"{scene}-refused-{number}"
        path = Trajectory.from_camera(walk(step=0.1 + 0.05 * number, turn_deg=-4.0), LENS, fps=FPS)
        reasons = {"clearance": {"value": 0.031, "threshold": 0.15, "frame": 6}}
        if number % 2:
            reasons["unseen"] = {"value": 0.4, "threshold": 0.9, "frame": 11}
        record = {
            "version": 1,
            "key": key,
            "scene": scene,
            "path": EVIL if number == 0 else "orbit",
            "reason": EVIL if number == 0 else "clearance 0.031 is below 0.15 at frame 6",
            "reasons": reasons,
            "tries": 8,
        }
        files.write_bytes(folder / f"refused/{key}.camera.npz", camera_bytes(path))
        files.write_bytes(folder / f"refused/{key}.json", files.json_bytes(record))
        keys.append(key)
    quality = {"photos": 50, "psnr_held_out_db": 24.126, "ssim_held_out": 0.8125, "coverage_held_out": 0.97}
    files.write_bytes(folder / f"scenes/{scene}.json", files.json_bytes(quality | {"scene": scene}))
    return keys


def content_of(page: Path) -> dict:
    """The data that a page carries, parsed from it as a browser would."""
    text = (page / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)[1])
