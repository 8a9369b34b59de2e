"""HY-WorldPlay's training set: train.json, videos/<key>.mp4, poses/<key>.json with w2c and intrinsic of each frame.

`train.json` is a list of {"latent_path", "pose_path"}, with the video and caption that the latents are to be made of.
Paths are relative to the folder, so train in it. latents/<key>.pt come from HY-WorldPlay's own preprocessing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajkit.clip import Clip
from trajkit.latents import latent_count
from trajkit.options import option
from trajkit.poses import worldplay

from . import _layout

KEEPS = frozenset({"lens", "size", "times", "frames", "caption"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to do with a lens that the layout cannot hold."""

    lossy: bool = option(False, "take clips whose principal point is off the middle, and move it there")


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes the data set into the folder; clips have 4n+1 frames."""

    def add(clip: Clip, _: int) -> tuple[Mapping[str, Any], list[str]]:
        latent_count(clip.frames)
        row = {
            "latent_path": f"latents/{clip.key}.pt",
            "pose_path": f"poses/{clip.key}.json",
            "video_path": f"videos/{clip.key}.mp4",
            "caption": clip.caption,
        }
        trajectory, gone = _layout.per_frame(clip)
        writing = worldplay.Options(form="training", lossy=options.lossy)
        worldplay.write(trajectory, out / row["pose_path"], writing)
        _layout.copy_video(clip, out / row["video_path"])
        return row, [*gone, *_layout.off_middle(trajectory)]

    return _layout.write(clips, out, add, index="train.json", keeps=KEEPS)
