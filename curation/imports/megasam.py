"""MegaSaM's outputs: `outputs_cvd/<scene>_sgd_cvd_hr.npz`, `reconstructions/<scene>/`, `outputs/<scene>_droid.npz`.

The first of these that a scene has is taken: all have the same poses, but the last stops at 1000 frames, and only the
first has depth that agrees between frames. They hold pictures at a working size, no video: `videos` names the folder
of the originals (`<scene>.mp4`, or `<scene>/` with the photos that MegaSaM was given). The working picture is the
original shrunk to 384x512 in area and then cut on the right and below to multiples of 8, so the lens is brought to the
original's size by the shrinking alone. MegaSaM counts pictures: where it was given every second frame of the video,
say `step=2`; another count than the video's is refused. The scale is each video's own. MegaSaM's code is Apache-2.0,
its output carries the terms of the footage.
"""

import functools
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from trajkit import files, video
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import megasam
from trajkit.poses._arrays import DAMAGE, npy_header, npz_shape
from trajkit.scene import Rejected
from trajkit.scenes._photos import photo_size
from trajkit.trajectory import Trajectory

from . import Posed
from ._published import each, key_of

Array = np.ndarray

LICENCE = "unknown: MegaSaM's output carries the terms of the footage"
AREA = 384 * 512  # pixels of the working picture before it is cut
MOST = 1000  # poses of outputs/*_droid.npz
FORMS = ("outputs_cvd/{}_sgd_cvd_hr.npz", "reconstructions/{}/poses.npy", "outputs/{}_droid.npz")
SUFFIXES = (".jpg", ".png", ".jpeg")  # in the order in which MegaSaM lists its photos


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the originals are, and which of their frames MegaSaM saw."""

    videos: str = option("", "folder of the original videos: <scene>.mp4, or <scene>/ with photos")
    step: int = option(1, "MegaSaM was given every n-th frame of the video", low=1)
    fps: float = option(30.0, "rate of photos; a video's is its own", unit="per second", low=1e-3)
    licence: str = option(LICENCE, "terms of the footage")


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The scenes, by name. Raises TrajkitError where there are none, or for `videos` that is no folder."""
    root = root.resolve()
    found: dict[str, str] = {}
    for form in FORMS:
        before, after = form.split("{}")
        for path in root.glob(form.format("*")):
            name = path.relative_to(root).as_posix()
            found.setdefault(name.removeprefix(before).removesuffix(after), name)
    if not found:
        raise TrajkitError(root, "holds no output of MegaSaM", "name the folder that has outputs/ or outputs_cvd/")
    if options.videos and not Path(options.videos).is_dir():
        raise TrajkitError(options.videos, "no such folder", "check the option videos")
    return each(root, iter(sorted(found)), lambda scene: _posed(root, options, scene, found[scene]))


def _posed(root: Path, options: Options, scene: str, name: str) -> Posed:
    path = files.inside(root, name)
    if not options.videos:
        remedy = "name the folder of the originals: megasam:FOLDER;videos=ORIGINALS"
        raise TrajkitError(path, "MegaSaM keeps small pictures, no video", remedy)
    original, size, count, fps = _original(Path(options.videos), scene, options.fps)
    step = options.step if isinstance(original, Path) else 1
    track = megasam.read(path)
    pictures = -(-count // step)
    if len(track) != (min(pictures, MOST) if name.startswith("outputs/") else pictures):
        problem = f"{len(track)} poses for {pictures} pictures of the original"
        raise TrajkitError(path, problem, "say which frames were used, such as step=2, or take the original")
    frame_index = track.frame_index * step
    track, shrunk = _at_size(track, size, path)
    return Posed(
        key=key_of(scene),
        video=original,
        trajectory=replace(track, frame_index=frame_index, times_s=frame_index / fps),
        fps=None if isinstance(original, Path) else fps,
        source=f"megasam:{name}",
        licence=options.licence,
        estimator="MegaSaM",
        depth=functools.partial(_depth, path, shrunk) if len(npz_shape(path, "depths")) == 3 else None,
    )


def _original(folder: Path, scene: str, fps: float) -> tuple[Path | tuple[Path, ...], tuple[int, int], int, float]:
    """The video or the photos that MegaSaM was given: where, width and height, how many frames, and at what rate."""
    folder = folder.resolve()
    photos = [path for end in SUFFIXES for path in sorted(folder.glob(f"{scene}/*{end}"))]
    if not photos:
        path = files.inside(folder, f"{scene}.mp4")
        facts = video.probe(path)
        return path, (facts.width, facts.height), facts.frames, facts.fps
    inside = tuple(files.inside(folder, f"{scene}/{path.name}") for path in photos)
    size = photo_size(inside[0])
    if size is None:
        raise TrajkitError(photos[0], "not a readable picture", "restore the photo")
    return inside, size, len(inside), fps


def _at_size(track: Trajectory, size: tuple[int, int], path: Path) -> tuple[Trajectory, tuple[int, int]]:
    """The cameras at the original's size, and the size of the working picture before it was cut (width, height).

    Raises TrajkitError where MegaSaM would not have made such a working picture of the original.
    """
    factor = math.sqrt(AREA / (size[0] * size[1]))
    shrunk = int(size[0] * factor), int(size[1] * factor)
    cut = shrunk[0] - shrunk[0] % 8, shrunk[1] - shrunk[1] % 8
    if cut != (track.width, track.height):
        problem = f"poses of {track.width}x{track.height} pictures, the original's would be {cut[0]}x{cut[1]}"
        raise TrajkitError(path, problem, "take the original that MegaSaM was given")
    return replace(track, width=shrunk[0], height=shrunk[1]).resized(*size), shrunk


def _depth(path: Path, shrunk: tuple[int, int]) -> Iterator[Float32[Array, "h w"]]:
    """Depth of each frame, with 0 in the strip that was cut off; the archive is read frame by frame."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("depths.npy") as member:
            (count, height, width), dtype = npy_header(member)
            around = (0, shrunk[1] - height), (0, shrunk[0] - width)
            if dtype.kind != "f" or min(*around[0], *around[1]) < 0:
                raise ValueError(f"depths are {dtype} of {width}x{height}")
            for _ in range(count):
                content = member.read(height * width * dtype.itemsize)
                yield np.pad(np.frombuffer(content, dtype).reshape(height, width).astype(np.float32), around)
    except DAMAGE as error:
        raise TrajkitError(path, f"damaged depth ({error})", "restore the file") from None
