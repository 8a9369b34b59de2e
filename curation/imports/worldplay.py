"""HY-WorldPlay: videos with its pose JSON: `<name>.mp4` and `<name>.json`, `<name>/gen.mp4` and its JSON, `train.json`.

`train.json` is a list of rows `pose_path`, `caption` and, for this, `video_path` (WorldPlay's own have latents alone).
Both pose files are read: per latent, camera to world (what inference was given: pose k belongs to frame 4k, and the
video has exactly as many frames), and per frame, world to camera (training). K is taken relative to the picture, as
WorldPlay takes it: its nominal 16:9 lens is stretched over 832x480. `gen_sr.mp4` beside gen.mp4 is the same clip made
larger, not another one. Captions: the row's, `<name>.txt`, or `prompt.txt` beside gen.mp4. One unit is WorldPlay's own:
0.08 of it is a step. The poses are what the model was told, so they hold as far as it obeyed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trajkit import files, video
from trajkit.errors import TrajkitError
from trajkit.latents import FRAMES_PER_LATENT
from trajkit.options import option
from trajkit.poses import worldplay
from trajkit.scene import Rejected

from . import Posed
from ._published import each, key_of

LICENCE = (
    "Tencent HY-WorldPlay Community License: its outputs must not be used to train or improve any other AI model; "
    "no rights in the EU, the UK and South Korea"
)
TABLE = "train.json"
ESTIMATOR = "commanded to HY-WorldPlay"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Terms of the videos, where they were not made by WorldPlay."""

    licence: str = option(LICENCE, "terms of the videos")


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """Rows of train.json, other videos, pose files without one, by name. Raises TrajkitError where there are none."""
    root = root.resolve()
    rows = files.read_json(root / TABLE, expect=list) if (root / TABLE).is_file() else []
    listed = {_of_row(row, "video_path") or f"{TABLE}, row {number}": row for number, row in enumerate(rows)}
    pairs = {name: _of_row(row, "pose_path") for name, row in listed.items()}
    poses = [path.relative_to(root) for path in sorted(root.rglob("*.json")) if worldplay.matches(path)]
    for path in sorted(path.relative_to(root) for path in root.rglob("*.mp4")):
        if path.name != "gen_sr.mp4" or not (root / path).with_name("gen.mp4").exists():
            pairs.setdefault(path.as_posix(), _poses_of(path, poses))
    used = set(pairs.values())
    names = [*pairs, *(path.as_posix() for path in poses if path.as_posix() not in used)]
    if not names:
        raise TrajkitError(root, "holds no videos", "name the folder of WorldPlay's videos and pose files")
    return each(root, iter(names), lambda name: _posed(root, options, name, pairs.get(name), listed.get(name)))


def _of_row(row: Any, key: str) -> str:
    """A text of a row of train.json; "" where it has none."""
    text = row.get(key) if isinstance(row, dict) else None
    return text if isinstance(text, str) else ""


def _poses_of(path: Path, poses: list[Path]) -> str:
    """The pose file of a video: that of the same name, else the only one in its folder."""
    if path.with_suffix(".json") in poses:
        return path.with_suffix(".json").as_posix()
    beside = [other for other in poses if other.parent == path.parent]
    return beside[0].as_posix() if len(beside) == 1 and path.stem == "gen" else ""


def _posed(root: Path, options: Options, name: str, pose_name: str | None, row: Any) -> Posed:
    if name.startswith(f"{TABLE}, row "):
        raise TrajkitError(name, "names no video_path", "latents alone make no clip: name the video that they encode")
    path = files.inside(root, name)
    if pose_name is None:
        raise TrajkitError(path, "has no video", "put the video beside it under the same name")
    if not pose_name:
        raise TrajkitError(path, "has no pose file", "put WorldPlay's JSON beside it under the same name")
    facts = video.probe(path)
    pose_path = files.inside(root, pose_name)
    track = worldplay.read(pose_path, worldplay.Options(fps=facts.fps))
    check_latents(track.frame_index, facts.frames, pose_path)
    text = path.with_name("prompt.txt") if path.name == "gen.mp4" else path.with_suffix(".txt")
    beside = files.inside(root, str(text))
    return Posed(
        key=key_of(name.removesuffix(".mp4")),
        video=path,
        trajectory=track.resized(facts.width, facts.height),
        fps=None,
        source=f"worldplay:{name}",
        licence=options.licence,
        caption=_of_row(row, "caption") or (files.read_text(beside).strip() if beside.is_file() else ""),
        kind="generated",
        estimator=ESTIMATOR,
    )


def check_latents(frame_index: np.ndarray, frames: int, where: object) -> None:
    """Raises TrajkitError where poses of latents end at another frame than the video does."""
    if np.all(np.diff(frame_index) == FRAMES_PER_LATENT) and frame_index[-1] != frames - 1:
        problem = f"{len(frame_index)} latents are {frame_index[-1] + 1} frames, the video has {frames}"
        raise TrajkitError(where, problem, "check that poses and video belong together")
