"""ViPE's artefacts, which Lyra trains on: rgb/<key>.mp4, pose/, intrinsics/<key>.npz and _camera.txt, depth/<key>.zip.

Arrays are joined by `inds`, the frame of each pose: clips with fewer poses than frames stay as they are. Depth is a zip
of half-float EXR pictures, one for each frame, in the unit of the translations. ViPE's own pickles are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajkit.clip import Clip
from trajkit.depth import read_depth
from trajkit.options import option
from trajkit.poses import vipe

from . import _layout

KEEPS = frozenset({"lens", "size", "times", "frames", "depth"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to write beside pictures and cameras."""

    depth: bool = option(True, "write the depth of clips that have it")


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes the data set into the folder."""

    def add(clip: Clip, _: int) -> tuple[Mapping[str, Any], list[str]]:
        depth = out / "depth" / f"{clip.key}.zip"
        if options.depth and clip.depth is not None and not depth.is_file():
            from ..exr import write_depth_zip

            write_depth_zip(depth, read_depth(clip))
        _layout.copy_video(clip, out / "rgb" / f"{clip.key}.mp4")
        vipe.write(clip.trajectory, out, vipe.Options(name=clip.key))
        return {}, []

    return _layout.write(clips, out, add, keeps=KEEPS if options.depth else KEEPS - {"depth"})
