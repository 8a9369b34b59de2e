"""LingBot-World: <key>/image.jpg (first frame), prompt.txt, poses.npy, intrinsics.npy in pixels of 832x480; video.mp4.

Each folder is an `--action_path`. The picture keeps its size; LingBot scales it, and the intrinsics from 832x480. It
uses the first 4k+1 poses. `video.mp4`, which it does not read, is what the poses were filmed as.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajkit import files
from trajkit.clip import Clip
from trajkit.members import caption_bytes
from trajkit.poses import lingbot

from . import _layout

KEEPS = frozenset({"lens", "size", "times", "frames", "caption"})
SIZE = (lingbot.DEFAULT.width, lingbot.DEFAULT.height)  # pixels, of its intrinsics


@dataclass(frozen=True, kw_only=True)
class Options:
    """It takes none."""


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes a folder for each clip."""

    def add(clip: Clip, _: int) -> tuple[Mapping[str, Any], list[str]]:
        folder = out / clip.key
        trajectory, gone = _layout.per_frame(clip)
        _layout.pictures(clip, {0: folder / "image.jpg"})
        files.write_bytes(folder / "prompt.txt", caption_bytes(clip.caption, f"clip {clip.key}"))
        _layout.copy_video(clip, folder / "video.mp4")
        lingbot.write(trajectory.resized(*SIZE), folder)
        return {}, gone

    return _layout.write(clips, out, add, keeps=KEEPS)
