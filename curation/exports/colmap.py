"""COLMAP models: a folder for each clip with sparse/0 and images/frame_00012.png, one of each posed frame.

A model has cameras and images but no 3D points; `colmap point_triangulator` adds them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trajkit.clip import Clip
from trajkit.options import option
from trajkit.poses import colmap
from trajkit.trajectory import Trajectory

from . import _layout, _photos

KEEPS = frozenset({"lens", "size", "frames", "names"})


@dataclass(frozen=True, kw_only=True)
class Options(_photos.PhotoOptions):
    """Which frames become photos, and how the model is written."""

    form: Literal["binary", "text"] = option("binary", "what to write: binary, text")


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes a capture for each clip."""

    def cameras(trajectory: Trajectory, folder: Path) -> None:
        colmap.write(trajectory, folder / "sparse/0", colmap.Options(form=options.form))

    marker = f"sparse/0/{colmap.MARKER}.{'bin' if options.form == 'binary' else 'txt'}"
    return _photos.export(clips, out, options, cameras, marker, KEEPS)
