"""nerfstudio captures: a folder for each clip with transforms.json and images/frame_00012.png, one of each posed frame.

`ns-train splatfacto --data OUT/<key>` takes a folder. There are no 3D points: splatfacto starts from random ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from trajkit.clip import Clip
from trajkit.poses import nerfstudio
from trajkit.trajectory import Trajectory

from . import _layout, _photos

KEEPS = frozenset({"lens", "size", "frames", "names"})


@dataclass(frozen=True, kw_only=True)
class Options(_photos.PhotoOptions):
    """Which frames become photos, and how."""


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes a capture for each clip."""

    def cameras(trajectory: Trajectory, folder: Path) -> None:
        named = replace(trajectory, names=tuple(f"images/{name}" for name in trajectory.names))
        nerfstudio.write(named, folder / "transforms.json")

    return _photos.export(clips, out, options, cameras, "transforms.json", KEEPS)
