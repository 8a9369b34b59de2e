"""Videos whose camera is known to stand or to move, from one large picture: movers, water, light, noise, coding."""

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from trajkit import video
from trajkit.camera import Camera
from trajkit.scenes import open_scenes
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

cv2 = pytest.importorskip("cv2")
WIDTH, HEIGHT, FPS = 640, 360, 16.0
PLACES = ("room", "paint", "sky", "weak", "flat")
MOTIONS = ("still", "pan", "creep", "zoom", "roll", "shake", "sway", "late")
SIGHTS = ("calm", "movers", "big", "water", "crowd", "light", "noise")


class Staged(NamedTuple):
    """One video to be made."""

    place: str
    motion: str
    sight: str
    crf: int
    seed: int
    frames: int = 32


def plan(count: int) -> list[Staged]:
    """Every motion in every place with every sight, in a shuffled order of which `count` are taken."""
    every = list(itertools.product(PLACES, MOTIONS, SIGHTS, (18, 28, 35)))
    hidden = {
        ("sky", "water"),
        ("sky", "crowd"),
        ("sky", "big"),
        *(("flat", sight) for sight in ("movers", "big", "water", "crowd")),
    }
    every = [one for one in every if (one[0], one[2]) not in hidden]  # nothing of the background is left to judge by
    every += [one for one in every if one[1] == "still"] * 3  # as many that stand still as move by much
    order = generator(0, "staged").permutation(len(every))
    return [Staged(*every[number], seed=place) for place, number in enumerate(order[:count])]


def film(one: Staged, path: Path) -> Path:
    """The video, encoded."""
    video.encode(pictures(one), path, FPS, crf=one.crf)
    return path


def moved_px(one: Staged) -> float:
    """How far the background moves away from the middle picture at most, rms, in pixels of a picture 832 wide."""
    grid = np.stack([*np.meshgrid([64, 320, 576], [36, 180, 324]), np.ones((3, 3))], axis=-1).reshape(-1, 3)
    ways = motions(one)
    at = grid @ ways.transpose(0, 2, 1)
    off = np.linalg.norm((at - at[len(at) // 2])[..., :2], axis=-1)
    return float(np.sqrt((off**2).mean(1)).max() * 832 / WIDTH)


def pictures(one: Staged) -> Iterator[np.ndarray]:
    """RGB pictures."""
    rng = generator(one.seed, "pictures")
    ground = place(one.place, one.seed % 3)
    for number, way in enumerate(motions(one)):
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        corner = np.array([[1, 0, 160], [0, 1, 90], [0, 0, 1.0]])
        seen = cv2.warpAffine(ground, (corner @ way)[:2], (WIDTH, HEIGHT), flags=flags).astype(np.float32)
        seen = _sight(seen, one, number / one.frames)
        seen += rng.normal(size=seen.shape).astype(np.float32) * (8.0 if one.sight == "noise" else 1.2)
        yield seen.clip(0, 255).astype(np.uint8)


def motions(one: Staged) -> np.ndarray:
    """(n, 3, 3): from pixels of each picture to those of the large one's middle."""
    rng = generator(one.seed, "motion")
    t = np.linspace(0, 1, one.frames)
    x, y, zoom, roll = np.zeros((4, one.frames))
    heading = rng.uniform(0, 2 * np.pi)
    far = {"pan": 0.5 * one.frames, "creep": 1.5}.get(one.motion, 0.0) * t
    if one.motion == "late":
        far = 0.4 * one.frames * np.maximum(t - 0.7, 0)
    x, y = far * np.cos(heading), far * np.sin(heading)
    if one.motion == "shake":
        x, y = rng.normal(size=(2, one.frames)) * 0.5
    if one.motion == "sway":
        phase = rng.uniform(0, 6, 4)
        x = 1.5 * np.sin(5 * t + phase[0]) + 0.5 * np.sin(17 * t + phase[1])
        y = 1.5 * np.sin(4 * t + phase[2]) + 0.5 * np.sin(19 * t + phase[3])
    zoom = 0.01 * t * (one.motion == "zoom")
    roll = np.radians(0.5) * t * (one.motion == "roll")
    ways = np.tile(np.eye(3), (one.frames, 1, 1))
    ways[:, 0, 0] = ways[:, 1, 1] = (1 + zoom) * np.cos(roll)
    ways[:, 1, 0], ways[:, 0, 1] = (1 + zoom) * np.sin(roll), -(1 + zoom) * np.sin(roll)
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    ways[:, :2, 2] = np.stack([x, y], axis=-1) + middle - ways[:, :2, :2] @ middle
    return ways


@cache
def place(name: str, seed: int) -> np.ndarray:
    """A picture of 960 x 540 to film."""
    if name == "room":
        return room(seed)
    rng = generator(seed, name)
    grey = np.zeros((540, 960, 3))
    for size, weight in ((4, 18.0), (12, 25.0), (60, 40.0)):
        rough = rng.normal(size=(540 // size + 1, 960 // size + 1, 3)) * weight
        grey += cv2.resize(rough, (960, 540), interpolation=cv2.INTER_CUBIC)
    if name == "flat":
        grey = np.zeros((540, 960, 3)) + np.linspace(-30, 30, 960)[None, :, None]
    if name == "weak":
        grey *= 0.15
    if name == "sky":
        grey[:360] = np.linspace(60, 20, 360)[:, None, None]
    return np.clip(125 + grey, 0, 255).astype(np.uint8)


def room(seed: int) -> np.ndarray:
    """A view of a toy room."""
    return next(walk(seed, np.zeros((1, 3)), (960, 540)))


def walk(seed: int, steps_m: np.ndarray, size: tuple[int, int] = (416, 234)) -> Iterator[np.ndarray]:
    """Views of a toy room from places that lie `steps_m` (n, 3) from the first."""
    from trajkit.renderers.toy import Options, Renderer

    (scene,) = open_scenes(f"toy:seed={seed}")
    poses = np.tile(scene.seen.camera_to_world[0], (len(steps_m), 1, 1))
    poses[:, :3, 3] += steps_m
    trajectory = Trajectory.from_camera(poses, Camera.from_fov(*size, 50.0), fps=FPS)
    return (frame.rgb for frame in Renderer(scene, Options()).frames(trajectory))


def _sight(seen: np.ndarray, one: Staged, t: float) -> np.ndarray:
    if one.sight == "light":
        return seen * (1 + 0.2 * np.sin(25 * t)) + 10 * np.sin(9 * t)
    rng = generator(one.seed, "sight")
    skin = place("paint", 7).astype(np.float32)
    sizes = {"movers": [(90, 110)] * 3, "big": [(300, 330)], "crowd": [(50, 60)] * 45}.get(one.sight, [])
    for wide, high in sizes:
        speed = rng.normal(size=2) * ((40, 40) if one.sight == "crowd" else (250, 30))
        start = rng.uniform((0, HEIGHT * 0.2), (WIDTH, HEIGHT))
        left, top = (start + speed * (t - 0.5)).astype(int)
        at = np.clip([top, top + high, left, left + wide], 0, [HEIGHT, HEIGHT, WIDTH, WIDTH])
        piece = skin[at[0] - top + 40 : at[1] - top + 40, at[2] - left + 40 : at[3] - left + 40]
        seen[at[0] : at[1], at[2] : at[3]] = 255 - piece
    if one.sight == "water":
        y, x = np.mgrid[:150, :WIDTH].astype(np.float32)
        wave = 4 * np.sin(y / 5 + 30 * t) + 5 * np.sin(x / 17 - 22 * t)
        seen[-150:] = cv2.remap(skin, x + wave + 40 * t, y + wave, cv2.INTER_LINEAR)
    return seen
