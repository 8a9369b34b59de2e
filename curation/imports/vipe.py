"""ViPE's artefacts: `rgb/<n>.mp4`, `pose/<n>.npz`, `intrinsics/<n>.npz`, `intrinsics/<n>_camera.txt`, `depth/<n>.zip`.

Poses are camera to world, joined by `inds`: frames that ViPE could not place have none. Intrinsics are in pixels of
the video in rgb/, whose size is taken (a principal point far from its middle belongs to another video). The scale is
near metric, by a depth network's word alone, so it is kept as unknown unless `scale=metric` vouches for it. Terms are
those of the footage: NVIDIA publishes Dynpose-100K++ and Web360 as CC BY-NC 4.0, Wild-SDG-1M as CC BY 4.0.
"""

import functools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from trajkit import files, video
from trajkit.errors import TrajkitError
from trajkit.members import DAMAGE
from trajkit.options import option
from trajkit.poses import vipe
from trajkit.scene import Rejected
from trajkit.trajectory import Scale, ScaleKind

from ..exr import NUMBERED, depth_frames
from . import Posed
from ._published import each, key_of

Array = np.ndarray

LICENCE = "unknown: ViPE's artefacts carry the terms of the footage (NVIDIA's sets: CC BY-NC 4.0 or CC BY 4.0)"
OFF_MIDDLE = 0.1  # of the picture's size that the principal point may lie off its middle


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the artefacts do not say."""

    scale: ScaleKind = option("unknown", "what the translations are in: metric, sfm, unit, unknown")
    licence: str = option(LICENCE, "terms of the footage")


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The videos of rgb/ and the pose files of pose/, by name. Raises TrajkitError where there are neither."""
    root = root.resolve()
    names = {path.stem for path in (*root.glob("rgb/*.mp4"), *root.glob("pose/*.npz"))}
    if not names:
        raise TrajkitError(root, "holds neither rgb/*.mp4 nor pose/*.npz", "name the folder of ViPE's results")
    return each(root, iter(sorted(names)), functools.partial(_posed, root, options))


def _posed(root: Path, options: Options, name: str) -> Posed:
    path, pose_path = files.inside(root, f"rgb/{name}.mp4"), files.inside(root, f"pose/{name}.npz")
    files.inside(root, f"intrinsics/{name}.npz")
    facts = video.probe(path)
    track = vipe.read(pose_path, vipe.Options(name=name, width=facts.width, height=facts.height, fps=facts.fps))
    off = np.abs(track.intrinsics[:, 2:] / (facts.width, facts.height) - 0.5).max()
    if off > OFF_MIDDLE:
        problem = f"the principal point is {off:.0%} off the middle of {facts.width}x{facts.height} pictures"
        raise TrajkitError(f"intrinsics/{name}.npz", problem, "take the video from ViPE's own rgb/")
    depth = files.inside(root, f"depth/{name}.zip")
    return Posed(
        key=key_of(name),
        video=path,
        trajectory=replace(track, scale=Scale(kind=options.scale)),
        fps=None,
        source=f"vipe:{name}",
        licence=options.licence,
        estimator="ViPE",
        depth=_depth_of(depth, track.frame_index) if depth.is_file() else None,
    )


def _depth_of(path: Path, frame_index: Int64[Array, " n"]) -> Callable[[], Iterator[Float32[Array, "h w"]]]:
    """Reads the poses' depth, by the numbers of the members. Raises TrajkitError where a pose's frame has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            numbers = {int(match[1]) for name in archive.namelist() if (match := NUMBERED.fullmatch(name))}
    except DAMAGE as error:
        raise TrajkitError(path, f"damaged zip ({error})", "restore the file, or move it away") from None
    absent = sorted(set(frame_index.tolist()) - numbers)
    if absent:
        raise TrajkitError(path, f"has no depth of frame {absent[0]}, which has a pose", "restore it, or move it away")
    return functools.partial(_depth, path, min(numbers), frozenset(frame_index.tolist()))


def _depth(path: Path, first: int, wanted: frozenset[int]) -> Iterator[Float32[Array, "h w"]]:
    yield from (depth for number, depth in enumerate(depth_frames(path), first) if number in wanted)
