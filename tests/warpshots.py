"""Shots of toy rooms with their true depth, what a camera truly sees there, and the pose that pictures ask for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation.attach import Attached, warp
from trajkit.curation.depths import Depth
from trajkit.curation.footage import Fitness, Footage, Shot
from trajkit.renderers import toy as renderer
from trajkit.scene import Frame
from trajkit.scenes import toy
from trajkit.seeding import generator
from trajkit.trajectory import Scale, Trajectory

FPS = 16.0


def shot_of(frames: list[Frame], lens: Camera, *, frozen: bool = True, scale: str = "metric") -> Shot:
    """A shot of these pictures, with their depth beside it."""
    shown = frames[:1] if frozen else frames
    fitness = Fitness(
        frames=len(frames),
        fps=FPS,
        width=lens.width,
        height=lens.height,
        cuts=(),
        picture=(0, 0, lens.width, lens.height),
        overlays=(),
        frozen=(),
        camera="still",
        camera_sure=1.0,
        camera_px=0.0,
        sharpness=1.0,
        brightness=0.5,
    )
    footage = Footage(key="room", name="room.mp4", open=lambda: Path("room.mp4"), source="test:room.mp4", licence="CC0")
    depth = Depth(read=lambda: iter([frame.depth for frame in shown]), source="given", scale=scale)
    pictures = lambda: iter([frame.rgb for frame in shown])  # noqa: E731
    return Shot(
        footage=footage, fitness=fitness, lens=lens, lens_known=True, frozen=frozen, frames=pictures, depth=depth
    )


def room(seed: int, size: tuple[int, int], view: int = 10) -> tuple[renderer.Renderer, np.ndarray, Camera]:
    """A toy room's renderer, one of its captured poses, and a lens."""
    scene = next(toy.scenes(None, toy.Options(seed=seed)))
    return renderer.Renderer(scene, renderer.Options()), scene.seen.camera_to_world[view], Camera.from_fov(*size, 50.0)


def random_path(key: object, lens: Camera, frames: int = 9) -> Trajectory:
    """A straight move of 0.3 to 0.9 path units in any direction while turning by up to 6 degrees about each axis."""
    rng = generator(0, "path", str(key))
    direction = rng.normal(size=3)
    move = direction / np.linalg.norm(direction) * rng.uniform(0.3, 0.9)
    part = np.linspace(0, 1, frames)
    x, y, z = rng.uniform(-6, 6, 3)
    turn = se3.axis_rotation("y", y * part) @ se3.axis_rotation("x", x * part) @ se3.axis_rotation("z", z * part / 2)
    return Trajectory.from_camera(se3.pose(turn, part[:, None] * move), lens, fps=FPS, scale=Scale(kind="unit"))


def filmed(
    seed: int, size: tuple[int, int], frames: int = 9, options: warp.Options | None = None
) -> tuple[Frame, Attached, list[Frame], Iterator[Frame]]:
    """(the picture, what attach says, its frames, what its cameras truly see) of a random path in a room."""
    draw, pose, lens = room(seed % 6, size, (7 * seed) % 60)
    first = next(draw.frames(Trajectory.from_camera(pose[None], lens, fps=FPS)))
    made = warp.attach(shot_of([first], lens), random_path(seed, lens, frames), options or warp.Options())
    if not isinstance(made, Attached):
        raise ValueError(made.reason)
    world = made.trajectory.camera_to_world
    seen = Trajectory.from_camera(pose @ world, made.trajectory.camera(0), fps=FPS)
    return first, made, list(made.frames), draw.frames(seen[np.array([frames // 2, frames - 1])])


def psnr_db(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Over the pixels that are chosen."""
    difference = (one.astype(np.float64) - other)[where]
    return float(-10 * np.log10(max(np.mean(difference**2), 1e-9) / 255**2))


def recovered(first: Frame, lens: Camera, later: np.ndarray, camera: Camera) -> np.ndarray:
    """The later picture's camera_to_world in the first one's frame: matched features, their true depth, and PnP."""
    import cv2

    finder = cv2.SIFT_create(4000)
    (here, mine), (there, other) = (finder.detectAndCompute(picture, None) for picture in (first.rgb, later))
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(mine, other, k=2)
    good = [best for best, second in pairs if best.distance < 0.75 * second.distance]
    one = np.array([here[match.queryIdx].pt for match in good])
    two = np.array([there[match.trainIdx].pt for match in good]) + 0.5
    column, row = np.rint(one).astype(int).T
    near = [first.depth[np.clip(row + i, 0, lens.height - 1), np.clip(column + j, 0, lens.width - 1)]
            for i in (-2, 0, 2) for j in (-2, 0, 2)]  # fmt: skip
    flat = np.ptp(near, axis=0) < 0.05 * np.min(near, axis=0)  # a feature on an edge belongs to no depth
    points = lens.rays(one + 0.5) * first.depth[row, column][:, None]
    _, turn, move, inlier = cv2.solvePnPRansac(
        points[flat], two[flat], camera.matrix, None, reprojectionError=1.5, iterationsCount=2000
    )
    inlier = inlier[:, 0]
    turn, move = cv2.solvePnPRefineLM(points[flat][inlier], two[flat][inlier], camera.matrix, None, turn, move)
    return se3.inverse(se3.pose(cv2.Rodrigues(turn)[0], move[:, 0]))
