"""SpatialVID: `annotations/group_*/<uuid>/` with five poses per second and `videos/group_*/<uuid>.mp4`; or one clip.

Poses come from MegaSaM. SpatialVID sets the principal point to the middle of the picture, so what the lens had is lost,
and the unit is each clip's own, whatever its card says of metres. Depth (`depths/group_*/<uuid>.zip`) is disparity.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from trajkit import files, video
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import spatialvid
from trajkit.scene import Rejected

from ..exr import depth_frames
from . import Posed
from ._published import each, file_key, key_of, named, only_video

Array = np.ndarray
LICENCE = "CC-BY-NC-SA-4.0: non-commercial, share alike (SpatialVID); videos are their owners' (YouTube)"
ESTIMATOR = "MegaSaM by SpatialVID; principal point set to the middle"
LEAST_DISPARITY = 1e-3  # 1/unit: SpatialVID's reader clips there


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which part of the set."""

    group: str = option("group_*", "pattern of the groups' names, such as group_0001")


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The clips of the set, by group and name. Raises TrajkitError where there are none."""
    if (root / "poses.npy").is_file():
        name = root.resolve().name
        return each(root, [name], lambda _: _posed(root, only_video(root), None, f"spatialvid:{name}"))
    groups = sorted(path for path in (root / "annotations").glob(options.group) if path.is_dir())
    if not groups:
        problem = f"holds neither poses.npy nor annotations/{options.group}"
        raise TrajkitError(root, problem, "name the folder into which annotations and videos were unpacked")
    names = (f"{group.name}/{folder.name}" for group in groups for folder in sorted(group.iterdir()) if folder.is_dir())
    return each(root, names, functools.partial(_of_set, root), file_key)


def _of_set(root: Path, name: str) -> Posed:
    found = named(root / "videos" / Path(name).parent, Path(name).name)
    if found is None:
        raise TrajkitError(f"videos/{name}.mp4", "no such file", "unpack the group's videos, or take it as lost")
    return _posed(root / "annotations" / name, found, root / "depths" / f"{name}.zip", f"spatialvid:{name}")


def _posed(folder: Path, found: Path, depths: Path | None, source: str) -> Posed:
    facts = video.probe(found)
    return Posed(
        key=key_of(folder.resolve().name),
        video=found,
        trajectory=spatialvid.read(folder, spatialvid.Options(width=facts.width, height=facts.height)),
        fps=None,
        source=source,
        licence=LICENCE,
        caption=_caption(folder / "caption.json"),
        estimator=ESTIMATOR,
        depth=functools.partial(_depth, depths) if depths and depths.is_file() else None,
    )


def _caption(path: Path) -> str:
    """SceneSummary, or "" where there is none. Raises TrajkitError for a damaged file."""
    found = files.read_json(path).get("SceneSummary", "") if path.is_file() else ""
    if not isinstance(found, str):
        raise TrajkitError(path, f"SceneSummary is {type(found).__name__}, not text", "restore the file")
    return found


def _depth(zip_path: Path) -> Iterator[Float32[Array, "h w"]]:
    for disparity in depth_frames(zip_path):
        known = np.isfinite(disparity) & (disparity > LEAST_DISPARITY)
        yield np.divide(1, disparity, out=np.zeros_like(disparity), where=known)
