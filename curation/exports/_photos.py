"""What captures have in common: a folder for each clip with its frames as pictures, and cameras by their names."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.trajectory import Trajectory

from . import _layout


@dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """Which frames become photos, and how."""

    every_nth: int = option(1, "take each n-th of the frames that have a pose", low=1)
    pictures: Literal["png", "jpg"] = option("png", "kind of file: png (lossless), jpg (quality 95)")


def export(
    clips: Iterable[Clip],
    out: Path,
    options: PhotoOptions,
    cameras: Callable[[Trajectory, Path], None],
    marker: str,
    keeps: frozenset[str],
) -> _layout.Told:
    """Writes <key>/images/frame_00012.png and `cameras(trajectory, folder)`, whose file `marker` says that it is done.

    The trajectory has a pose and a name below images/ for each picture.
    """

    def add(clip: Clip, _: int) -> tuple[Mapping[str, Any], list[str]]:
        folder = out / clip.key
        trajectory = clip.trajectory[:: options.every_nth]
        names = tuple(f"frame_{number:05d}.{options.pictures}" for number in trajectory.frame_index)
        if not (folder / marker).is_file():
            named = {
                int(number): folder / "images" / name
                for number, name in zip(trajectory.frame_index, names, strict=True)
            }
            try:
                _layout.pictures(clip, named)
            except TrajkitError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            cameras(replace(trajectory, names=names), folder)
        left = clip.frames - len(trajectory)
        return {}, [f"{left} of {clip.frames} frames"] if left else []

    return _layout.write(clips, out, add, keeps=keeps)
