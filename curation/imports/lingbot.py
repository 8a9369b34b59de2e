"""LingBot-World: a folder (or a folder of folders) with `poses.npy`, `intrinsics.npy`, `prompt.txt` and the video made.

The examples that LingBot-World ships have one picture and no video: they say where to go, not what was seen. The poses
are what the model was told, so they hold only as far as it obeyed.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import lingbot
from trajkit.scene import Rejected
from trajkit.trajectory import Scale, ScaleKind

from . import Posed
from ._published import VIDEOS, each, key_of, only_video, photos_in

LICENCE = "Apache-2.0 (LingBot-World)"
PROMPT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the arrays do not say."""

    width: int = option(832, "width that the intrinsics are for", unit="pixels", low=1)
    height: int = option(480, "height that the intrinsics are for", unit="pixels", low=1)
    fps: float = option(16.0, "rate of photos; a video's is its own", unit="per second", low=1e-3)
    scale: ScaleKind = option("unknown", "what the translations are in: metric, sfm, unit, unknown")
    video: str = option("", "name of the video in each folder, where it holds several")


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The folders with poses, by name. Raises TrajkitError where there are none."""
    own = (root / "poses.npy").is_file()
    names = [""] if own else sorted(path.parent.name for path in root.glob("*/poses.npy"))
    if not names:
        raise TrajkitError(root, "holds no poses.npy", "name a folder of LingBot-World, or the folder of several")
    label = root.resolve().name
    return each(root, [label] if own else names, functools.partial(_posed, root, options, own=own))


def _posed(root: Path, options: Options, name: str, *, own: bool) -> Posed:
    folder = root if own else root / name
    track = lingbot.read(folder, lingbot.Options(width=options.width, height=options.height, fps=options.fps))
    track = replace(track, scale=Scale(kind=options.scale))
    photos = photos_in(folder)
    held: Path | tuple[Path, ...]
    if options.video:
        held = files.inside(folder, options.video)
    elif any(path.suffix.lower() in VIDEOS for path in folder.iterdir()):
        held = only_video(folder)
    elif len(photos) > 1:
        held = tuple(photos)
    else:
        problem = f"{len(track)} poses, but no video and {len(photos)} photo" + "s" * (len(photos) != 1)
        raise TrajkitError(folder, problem, "put the video that was made with these poses beside them")
    if isinstance(held, tuple) and len(held) != len(track):
        raise TrajkitError(folder, f"{len(held)} photos for {len(track)} poses", "keep one photo per pose")
    prompt = folder / "prompt.txt"
    return Posed(
        key=key_of(name),
        video=held,
        trajectory=track if isinstance(held, tuple) else track[np.arange(min(len(track), _frames(held)))],
        fps=options.fps if isinstance(held, tuple) else None,
        source=f"lingbot:{name}",
        licence=LICENCE,
        caption=files.read_text(prompt).strip() if prompt.is_file() else "",
        estimator="commanded to LingBot-World, or estimated",
    )


def _frames(held: Path) -> int:
    """Frames of the video. The model uses the first 4k+1 poses, so there may be fewer."""
    from trajkit import video

    return video.probe(held).frames
