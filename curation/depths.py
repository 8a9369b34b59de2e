"""Where depth comes from: files beside the videos in layouts that people have, or an estimator given by module.

A spec is `LAYOUT:FOLDER` with one of
  clips       <stem>.depth.npz, trajkit's own: z-depth, or inverse where <stem>.json says so
  vipe        depth/<stem>.zip of EXR, z in metres
  megasam     <stem>_sgd_cvd_hr.npz or <stem>_droid.npz, z in a unit of each clip's own
  spatialvid  depths/*/<stem>.zip of EXR disparity, five a second, and annotations/*/<stem>/indexes.txt
or `MODULE:key=value,...`: an importable module with `SCALE` ("metric" or "unknown"), `estimate(frames, options)`, which
yields a float32 z-depth (0 = unknown) for each picture, and, where it has any, `Options`.
"""

import dataclasses
import functools
import glob
import importlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from trajkit import files, options, plugins
from trajkit.errors import TrajkitError
from trajkit.members import DAMAGE
from trajkit.poses._text import lines, table

from .exr import MAX_PIXELS, depth_frames

Array = np.ndarray
Known = Literal["metric", "unknown"]
Depths = Iterator[Float32[Array, "h w"]]
Pictures = Callable[[], Iterator[UInt8[Array, "h w 3"]]]
ASPECT = 0.02  # that a depth picture's may be off by, beyond a pixel
EDGE = 0.1  # share of the nearer's inverse depth: beyond it no depth in between is made up
MEGASAM_AREA, MEGASAM_STEP = 384 * 512, 8  # its pictures' size: scaled to this area, then cropped to a multiple
MAX_GAP = 1000  # frames between two with depth; SpatialVID has one every 0.2 s
DISPARITY = (1e-3, 1e2)  # that SpatialVID's own reader clips z to


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """Called, it yields the z-depth of each frame of one video; 0 or NaN = unknown. Picklable."""

    read: Callable[[], Depths]
    source: str  # such as "vipe"; no path
    scale: Known

    def __call__(self) -> Depths:
        return self.read()


def open_depth(spec: str, name: str, frames: Pictures | None = None) -> Depth:
    """The depth of the video `name`. An estimator sees `frames`; the other sources have one picture a source frame.

    Raises TrajkitError for an unknown layout, a missing file or a broken estimator; damage is found while reading.
    """
    layout, text = options.split_spec(spec)
    if layout not in LAYOUTS:
        return _estimator(layout, text, frames)
    if not Path(text).is_dir():
        raise TrajkitError(text or spec, "no such folder", f"give depth as {layout}:FOLDER")
    read, scale, patterns = LAYOUTS[layout]
    stem = PurePosixPath(name).stem
    for pattern in patterns:
        for path in sorted(Path(text).glob(pattern.format(glob.escape(stem)))):
            if path.is_file():
                files.inside(Path(text), str(path.relative_to(text)))  # no link leads out
                return Depth(read=functools.partial(read, path, stem), source=layout, scale=scale)
    wanted = " or ".join(pattern.format(stem) for pattern in patterns)
    raise TrajkitError(text, f"no {wanted}", "put the depth there, or leave the video out")


def fit_depth(depth: Float32[Array, "h w"], width: int, height: int, where: str) -> Float32[Array, "h2 w2"]:
    """The same view's depth at another size: between pixels of one surface, else the nearest pixel's.

    A picture of the size that MegaSaM gives videos of this size lacks what MegaSaM crops off. Raises TrajkitError,
    naming `where`, for another aspect.
    """
    rows, columns = depth.shape
    if (rows, columns) == (height, width):
        return depth
    factor = np.sqrt(MEGASAM_AREA / (height * width))
    whole = int(height * factor), int(width * factor)
    cropped = tuple(side - side % MEGASAM_STEP for side in whole)
    if (rows, columns) != cropped:
        whole = rows, columns
        if abs(rows * width - columns * height) > ASPECT * columns * height + max(width, height):
            problem = f"depth of {columns}x{rows} for pictures of {width}x{height}"
            raise TrajkitError(where, problem, "give depth of the same view, not cropped")
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth > 0, 1 / depth, -1).astype(np.float32)
    made = np.empty((height, width), np.float32)
    _resample(inverse, whole[0] / height, whole[1] / width, made)
    with np.errstate(divide="ignore"):
        return np.where(made >= 0, 1 / np.maximum(made, 0), 0).astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _resample(inverse: Float32[Array, "h w"], down: float, across: float, made: Float32[Array, "h2 w2"]) -> None:
    """Inverse depth at `made`'s pixel centres; what lies beyond the depth picture stays unknown (negative)."""
    rows, columns = inverse.shape
    for i in range(made.shape[0]):
        v = (i + 0.5) * down
        for j in range(made.shape[1]):
            u = (j + 0.5) * across
            if v >= rows or u >= columns:
                made[i, j] = -1
                continue
            y, x = min(max(v - 0.5, 0.0), rows - 1.0), min(max(u - 0.5, 0.0), columns - 1.0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            a, b, c, d = inverse[top, left], inverse[top, right], inverse[bottom, left], inverse[bottom, right]
            low, high = min(a, b, c, d), max(a, b, c, d)
            if low < 0 or high - low > EDGE * high:
                made[i, j] = inverse[int(v), int(u)]
            else:
                s, t = x - left, y - top
                made[i, j] = (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d)


def _clips(path: Path, stem: str) -> Depths:
    record = path.with_name(f"{stem}.json")
    inverse = record.is_file() and files.read_json(record).get("depth") == "inverse"
    for depth in _npz_frames(path, "depth"):
        yield np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0) if inverse else depth


def _vipe(path: Path, stem: str) -> Depths:
    return depth_frames(path)


def _megasam(path: Path, stem: str) -> Depths:
    return _npz_frames(path, "depths")


def _spatialvid(path: Path, stem: str) -> Depths:
    """One picture per video frame, up to the last that has depth; all unknown for frames between two of those."""
    root, group = path.parents[2], path.parent.name
    index = root / "annotations" / group / stem / "indexes.txt"
    rows, _ = table(index, lines(index), 2, "pose number, video frame")
    frames = rows[:, 1].tolist()
    number = 0
    for count, disparity in enumerate(depth_frames(path)):
        if count >= len(frames) or not number <= frames[count] < number + MAX_GAP:
            raise TrajkitError(
                path, f"picture {count} has no frame soon after the last in {index.name}", "restore both files"
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.where(disparity >= 0, (1 / disparity).clip(*DISPARITY), 0).astype(np.float32)
        while number < frames[count]:
            yield np.zeros_like(depth)
            number += 1
        yield depth
        number += 1


LAYOUTS: dict[str, tuple[Callable[[Path, str], Depths], Known, tuple[str, ...]]] = {
    "clips": (_clips, "unknown", ("{}.depth.npz",)),
    "vipe": (_vipe, "metric", ("depth/{}.zip",)),
    "megasam": (_megasam, "unknown", ("{}_sgd_cvd_hr.npz", "*/{}_sgd_cvd_hr.npz", "{}_droid.npz", "*/{}_droid.npz")),
    "spatialvid": (_spatialvid, "unknown", ("depths/*/{}.zip",)),
}


def _npz_frames(path: Path, name: str) -> Depths:
    """The pictures of a float (N, H, W) array of an npz, one at a time; nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
            if len(shape) != 3 or dtype.kind != "f" or by_columns or not 0 < shape[1] * shape[2] <= MAX_PIXELS:
                problem = f"{name} is {dtype} of shape {shape}, not floats of shape (frames, height, width)"
                raise TrajkitError(path, problem, "check that it is the right file")
            size = shape[1] * shape[2] * dtype.itemsize
            for number in range(shape[0]):
                content = stream.read(size)
                if len(content) != size:
                    raise ValueError(f"ends within frame {number} of {shape[0]}")
                yield np.frombuffer(content, dtype).reshape(shape[1:]).astype(np.float32)
    except DAMAGE as error:
        raise TrajkitError(path, f"damaged npz ({error})", "restore the file") from None


def _estimator(module: str, text: str, frames: Pictures | None) -> Depth:
    known = f"{', '.join(LAYOUTS)} or an importable module"
    try:
        made: Any = importlib.import_module(module)
    except plugins.IMPORT_FAILURES as error:
        problem = f"no such layout, and no module ({type(error).__name__}: {error})"
        raise TrajkitError(f"depth {module!r}", problem, f"use {known}") from error
    if not hasattr(made, "estimate") or getattr(made, "SCALE", None) not in get_args(Known):
        problem = "defines no estimate, or no SCALE of metric or unknown"
        raise TrajkitError(f"depth {module!r}", problem, "see docs/warp.md")
    if frames is None:
        raise TrajkitError(f"depth {module!r}", "estimates from pictures, and there are none here", f"use {known}")
    chosen = options.parse(made.Options, text, where=f"depth {module}") if hasattr(made, "Options") else None
    if chosen is None and text:
        raise TrajkitError(f"depth {module}", f"takes no options, not {text!r}", "leave them out")
    return Depth(read=functools.partial(_estimated, module, chosen, frames), source=module, scale=made.SCALE)


def _estimated(module: str, chosen: Any, frames: Pictures) -> Depths:
    """What the estimator says, checked. The module is named, not held, so that this can cross process borders."""
    for number, depth in enumerate(importlib.import_module(module).estimate(frames(), chosen)):
        picture = np.asarray(depth, np.float32)
        if picture.ndim != 2 or not picture.size:
            problem = f"depth {number} has shape {picture.shape}"
            raise TrajkitError(f"depth {module}", problem, "yield one (height, width) array per picture")
        yield picture
