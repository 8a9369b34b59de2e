"""A scene without clips: its cameras as an exhibit, with stills of what a few of them see."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.reconstruct import read_photo
from trajkit.renderers import splats, toy
from trajkit.scene import Frame, Scene
from trajkit.show.exhibit import STILL_SIDE, Exhibit, evenly, still
from trajkit.show.scenery import seen_beside
from trajkit.trajectory import Trajectory

RATE = 4.0  # poses per second: nobody walked them in this time
TOUR_CAMERAS = 32


def cameras_exhibit(scene: Scene, id: str) -> Exhibit:
    """The captured cameras of a scene, or those on a circle in its middle where none is known.

    Stills are rendered where the scene can be, else they are its photos, else there are none. Raises TrajkitError for
    damaged splats or photos.
    """
    cameras = scene.seen or seen_beside(scene.assets.get("splat"))
    if not (cameras or "splat" in scene.assets):
        raise TrajkitError(f"scene {scene.id}", "has neither poses nor splats", "reconstruct it first")
    note = "captured cameras" if cameras else "a circle around the middle of the scene: no captured cameras are known"
    cameras = cameras or _tour(scene)
    n = len(cameras)
    cameras = replace(cameras, distortion=(), names=(), times_s=np.arange(n) / RATE, frame_index=np.arange(n))
    at = evenly(n)
    source, pictures = _pictures(scene, cameras, at)
    clip = Clip(
        key=scene.id,
        trajectory=cameras,
        fps=RATE,
        provenance=Provenance(kind="estimated", source=scene.source, scene=scene.id),
        licence=scene.licence,
    )
    stills = tuple(map(still, pictures))
    return Exhibit(id=id, clip=clip, at=at if stills else (), stills=stills, note=f"{note}{source}")


def _tour(scene: Scene) -> Trajectory:
    """Cameras on a circle around the middle of the scene's extent, a little above it, looking at it."""
    middle, half = scene.extent.mean(0), np.ptp(scene.extent, axis=0) / 2
    side = np.cross(scene.up, np.eye(3)[int(np.argmin(np.abs(scene.up)))])
    side /= np.linalg.norm(side)
    angles = np.linspace(0, 2 * np.pi, TOUR_CAMERAS, endpoint=False)[:, None]
    around = np.cos(angles) * side + np.sin(angles) * np.cross(scene.up, side)
    radius = max(0.7 * float(np.linalg.norm(half - (half @ scene.up) * scene.up)), scene.unit)
    centres = middle + radius * (around + 0.25 * scene.up)
    return Trajectory.from_camera(se3.look_at(centres, middle, scene.up), Camera.from_fov(640, 360, 58.2), fps=RATE)


def _pictures(scene: Scene, cameras: Trajectory, at: tuple[int, ...]) -> tuple[str, Iterable[np.ndarray]]:
    """What they are, and a picture for each pose of `at`: rendered at 320 pixels, or the photo."""
    factor = min(1.0, STILL_SIDE / max(cameras.width, cameras.height))
    small = cameras[np.array(at)].resized(round(cameras.width * factor), round(cameras.height * factor))
    if scene.source.startswith("toy:"):
        return "; pictures by ray casting", _rgb(toy.Renderer(scene, toy.Options()).frames(small))
    if "splat" in scene.assets:
        return "; pictures from its splats", _rgb(splats.Renderer(scene, splats.Options()).frames(small))
    if scene.photos:
        size = (cameras.width, cameras.height)
        return "; pictures are its photos", (read_photo(scene.photos[k], size, (STILL_SIDE, STILL_SIDE)) for k in at)
    return "", ()


def _rgb(frames: Iterable[Frame]) -> Iterator[np.ndarray]:
    return (frame.rgb for frame in frames)
