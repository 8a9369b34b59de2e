"""A bank of small plain videos for tests of attach: a still camera, a moving one, a cut, a short one, and no video."""

import functools
from pathlib import Path

import filmed
import numpy as np

from trajkit import video

FPS = 16.0
FRAMES = 33
CAPTIONS = {"still": "a painted room", "walk": "a walk through <b>it</b>", "short": "too little"}


@functools.cache
def _still() -> np.ndarray:
    still = [frame.rgb for frame in filmed.pictures(filmed.still(FRAMES))]
    for number, picture in enumerate(still):  # something goes by, or the video would count as frozen
        picture[100:140, 40 + 8 * number : 80 + 8 * number] = (250, 200, 60)
    return np.array(still)


@functools.cache
def _pictures(name: str) -> np.ndarray:
    if name == "walk":
        return np.array([frame.rgb for frame in filmed.pictures(filmed.walk(FRAMES))])
    still = _still()
    if name == "cut":
        return np.array([*still[:12], *(255 - picture[::-1] for picture in still[12:22]), *still[22:]])
    return still[:5] if name == "short" else still


def fill(folder: Path, names: tuple[str, ...] = ("cut", "short", "still", "walk"), *, broken: bool = True) -> Path:
    """The folder with these videos, their captions, and a file that is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        video.encode(_pictures(name.split("-")[0]), folder / f"{name}.mp4", FPS)
        (folder / f"{name}.txt").write_text(CAPTIONS.get(name.split("-")[0], ""))
    if broken:
        (folder / "broken.mp4").write_bytes(b"no video" * 100)
    return folder
