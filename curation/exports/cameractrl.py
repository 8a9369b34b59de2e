"""CameraCtrl and RealEstate10K: dataset.json, videos/<key>.mp4, pose_files/<key>.txt with a line for each frame.

`dataset.json` is a list of {"clip_name", "clip_path", "pose_file", "caption"}; paths are relative to the folder, which
CameraCtrl takes as `root_path`. The first line of a pose file, a URL in RealEstate10K, is the clip's source.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajkit.clip import Clip
from trajkit.poses import re10k

from . import _layout

KEEPS = frozenset({"lens", "size", "times", "frames", "caption"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """It takes none."""


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes the data set into the folder."""

    def add(clip: Clip, _: int) -> tuple[Mapping[str, Any], list[str]]:
        row = {
            "clip_name": clip.key,
            "clip_path": f"videos/{clip.key}.mp4",
            "pose_file": f"pose_files/{clip.key}.txt",
            "caption": clip.caption,
        }
        trajectory, gone = _layout.per_frame(clip)
        source = " ".join(clip.provenance.source.split()) or "unknown"
        re10k.write(trajectory, out / row["pose_file"], re10k.Options(url=source))
        _layout.copy_video(clip, out / row["clip_path"])
        return row, gone

    return _layout.write(clips, out, add, index="dataset.json", keeps=KEEPS)
