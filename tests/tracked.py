"""Clips without pictures, and tracks as if their pictures had been followed: random points of a still world, projected.

A mover is a share of the points that drifts through the world. Noise is white, in pixels.
"""

from dataclasses import replace

import numpy as np

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance
from trajkit.curation.evidence import Evidence
from trajkit.curation.tracks import Tracks
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

FPS = 16.0
SIZE = (832, 480)
LIFE = 24  # frames that a point is followed for


def walk(frames: int = 41, *, step: float = 0.05, turn_deg: float = 0.4, shake_deg: float = 0.15) -> Trajectory:
    """A walk forward along a bend, the camera swaying a little; depth of the world is about 5."""
    rng = generator(1, "walk")
    sway = rng.normal(size=(frames + 8, 6)) @ np.diag([0.1 * step] * 3 + [shake_deg] * 3)
    sway = np.stack([np.convolve(sway[:, k], np.ones(5) / 5, "valid")[:frames] for k in range(6)], axis=1)
    speed = 1 + 0.3 * np.sin(np.arange(frames) / 3)
    yaw = turn_deg * np.cumsum(speed) + sway[:, 4]
    rotation = se3.axis_rotation("y", yaw) @ se3.axis_rotation("x", sway[:, 3]) @ se3.axis_rotation("z", sway[:, 5])
    forward = np.stack([np.sin(np.radians(yaw)), np.zeros(frames), np.cos(np.radians(yaw))], axis=-1)
    side = np.stack([0.4 * np.sin(np.arange(frames) / 5), 0.2 * np.cos(np.arange(frames) / 4), 0 * yaw], axis=-1)
    centres = np.cumsum(forward * speed[:, None] * step, axis=0) + side * step * 5 + sway[:, :3]
    return Trajectory.from_camera(se3.pose(rotation, centres), Camera.from_fov(*SIZE, 50.0), fps=FPS)


def turning(frames: int = 41) -> Trajectory:
    """The camera of `walk`, kept in its place."""
    poses = walk(frames, turn_deg=0.8).camera_to_world.copy()
    poses[:, :3, 3] = poses[0, :3, 3]
    return replace(walk(frames), camera_to_world=poses)


def still(frames: int = 41) -> Trajectory:
    """One pose again and again."""
    return replace(walk(frames), camera_to_world=np.tile(walk(1).camera_to_world, (frames, 1, 1)))


def tracks(
    trajectory: Trajectory, *, points: int = 450, noise_px: float = 0.1, movers: float = 0.0, frames: int = 0
) -> Tracks:
    """What following points through pictures of these cameras would give. Points leave the picture and are lost."""
    rng = generator(2, "points")
    picked = rng.integers(0, len(trajectory), points)
    lens = trajectory.camera(0)
    pixels = rng.uniform(0, 1, (points, 2)) * (lens.width, lens.height)
    local = lens.rays(pixels) * rng.uniform(2, 12, (points, 1))
    world = se3.transform(trajectory.camera_to_world[picked], local)
    drift = rng.normal(size=3) * 0.03 * (np.arange(points) < movers * points)[:, None]
    rows = []
    for number, frame in enumerate(trajectory.frame_index):
        seen = np.abs(frame - trajectory.frame_index[picked]) < LIFE / 2
        now = world + drift * (frame - trajectory.frame_index[picked])[:, None]
        xy = trajectory.camera(number).project(se3.transform(trajectory.world_to_camera[number], now))
        seen &= np.isfinite(xy).all(1) & (np.nan_to_num(xy) > 0).all(1) & (np.nan_to_num(xy) < SIZE).all(1)
        chosen = np.flatnonzero(seen)
        rows.append(
            np.c_[chosen, np.full(len(chosen), frame), xy[chosen] + rng.normal(size=(len(chosen), 2)) * noise_px]
        )
    table = np.concatenate(rows)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    return Tracks(
        track=table[:, 0].astype(np.int32),
        frame=table[:, 1].astype(np.int32),
        xy=table[:, 2:].astype(np.float32),
        count=points,
        frames=frames or int(trajectory.frame_index[-1]) + 1,
        size=SIZE,
    )


def nothing(frames: int) -> Tracks:
    """Tracks of a video in which nothing could be followed."""
    empty = np.empty(0, np.int32)
    xy = np.empty((0, 2), np.float32)
    return Tracks(track=empty, frame=empty, xy=xy, count=0, frames=frames, size=SIZE)


def clip(trajectory: Trajectory, **changes: object) -> Clip:
    """A clip of these cameras that has no pictures."""
    provenance = Provenance(kind="estimated", source="test:points", generator="test", scene="points")
    made = Clip(key="points", trajectory=trajectory, fps=FPS, provenance=provenance, licence="CC0-1.0")
    return replace(made, **changes)


def evidence(claimed: Trajectory, seen: Tracks | None = None) -> Evidence:
    """The claim, and what was followed in the pictures."""
    return Evidence(clip(claimed), tracks=seen)
