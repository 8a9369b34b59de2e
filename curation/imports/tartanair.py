"""TartanAir: `<env>/<difficulty>/P000/` with `image_left/`, `pose_left.txt`, `depth_left/` (version 2: `lcam_front`).

Poses are exact, in metres, in NED axes, one line per picture: another count of pictures is refused. The lens is 90
degrees wide. Depth is along the view axis, in metres: npy files, or in version 2 floats kept as the four bytes of a
PNG. The sky is some ten thousand metres away, which here is unknown depth. Published as CC BY 4.0.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import tartanair
from trajkit.poses._arrays import read_npy
from trajkit.scene import Rejected
from trajkit.scenes._photos import photo_size

from . import Posed
from ._published import each, key_of, photos_in

Array = np.ndarray

LICENCE = "CC-BY-4.0 (TartanAir)"
LEVELS = 4  # folders below the root that are searched: env/env/difficulty/P000
SKY_M = 5000.0  # depth from which on there is only sky


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which camera, and how fast it flew."""

    camera: Literal["auto", "left", "right", "lcam_front", "rcam_front"] = option(
        "auto", "left, right (version 1), lcam_front, rcam_front (version 2); auto: the left one that is there"
    )
    fps: float = option(10.0, "rate of the pictures", unit="per second", low=1e-3)


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The flights below the root, by name. Raises TrajkitError where there are none."""
    root = root.resolve()
    cameras = ("left", "lcam_front") if options.camera == "auto" else (options.camera,)
    found = {path.relative_to(root).as_posix(): camera for path, camera in _flights(root, cameras, LEVELS)}
    if not found:
        problem = f"holds no image_{' nor image_'.join(cameras)} with poses"
        raise TrajkitError(root, problem, "name TartanAir's folder, or that of an environment or a flight")
    return each(root, iter(found), lambda name: _posed(root, options.fps, name, found[name]))


def _flights(folder: Path, cameras: tuple[str, ...], levels: int) -> Iterator[tuple[Path, str]]:
    for camera in cameras:
        if (folder / f"image_{camera}").is_dir() or (folder / f"pose_{camera}.txt").is_file():
            yield folder, camera
            return
    for below in sorted(folder.iterdir()) if levels else ():
        if below.is_dir() and not below.is_symlink():
            yield from _flights(below, cameras, levels - 1)


def _posed(root: Path, fps: float, name: str, camera: str) -> Posed:
    folder = root / name
    pictures, pose_path = folder / f"image_{camera}", files.inside(folder, f"pose_{camera}.txt")
    names = [path.name for path in photos_in(pictures)] if pictures.is_dir() else []
    photos = [files.inside(folder, f"image_{camera}/{name}") for name in names]
    size = photo_size(photos[0]) if photos else None
    if size is None:
        problem = "its first picture cannot be read" if photos else "holds no pictures"
        raise TrajkitError(pictures, problem, "unpack the archive of pictures again")
    track = tartanair.read(pose_path, tartanair.Options(width=size[0], height=size[1], fps=fps))
    if len(photos) != len(track):
        raise TrajkitError(pose_path, f"{len(track)} poses for {len(photos)} pictures", "unpack both archives again")
    return Posed(
        key=key_of(root.name if name == "." else name),
        video=tuple(photos),
        trajectory=track,
        fps=fps,
        source=f"tartanair:{root.name if name == '.' else name}/image_{camera}",
        licence=LICENCE,
        kind="rendered",
        estimator="AirSim, exact",
        depth=_depth_of(folder, camera, photos),
    )


def _depth_of(folder: Path, camera: str, photos: list[Path]) -> functools.partial | None:
    """Reads the depth of each picture; None without a folder of it. Raises TrajkitError where a file is missing."""
    if not (folder / f"depth_{camera}").is_dir():
        return None
    paths = []
    for photo in photos:
        names = [f"depth_{camera}/{photo.stem}_depth{end}" for end in (".npy", ".png")]
        found = [path for name in names if (path := files.inside(folder, name)).is_file()]
        if not found:
            raise TrajkitError(folder / names[0], "no such file", "unpack the archive of depth again, or move it away")
        paths.append(found[0])
    return functools.partial(_depth, tuple(paths))


def _depth(paths: tuple[Path, ...]) -> Iterator[Float32[Array, "h w"]]:
    for path in paths:
        depth = read_npy(path, (None, None)) if path.suffix == ".npy" else _floats(path)
        with np.errstate(invalid="ignore"):
            yield np.where((depth > 0) & (depth < SKY_M), depth, 0).astype(np.float32)


def _floats(path: Path) -> Float32[Array, "h w"]:
    """Little-endian floats whose bytes are the blue, green, red and alpha of a PNG, as OpenCV wrote it."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            channels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrajkitError(path, f"not a readable picture ({error})", "restore the file") from None
    if channels.ndim != 3 or channels.shape[2] != 4:
        raise TrajkitError(path, "no depth: not a picture of four channels", "restore the file")
    return np.ascontiguousarray(channels[..., [2, 1, 0, 3]]).view("<f4")[..., 0]
