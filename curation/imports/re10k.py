"""RealEstate10K and CameraCtrl: camera files <id>.txt, and videos <id>.mp4 or frames <id>/<time_us>.jpg.

The set ships no pictures. Its times are those of the YouTube video in microseconds: a pose belongs to the frame that is
shown nearest to its time. A video may also be named after the YouTube id in the file's first line.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses import re10k
from trajkit.scene import Rejected
from trajkit.scenes._photos import photo_size
from trajkit.trajectory import Trajectory

from ..windows import nearest, own_rate
from . import Posed
from ._published import each, file_key, frame_times_s, named, photos_in

LICENCE = "CC-BY-4.0 (RealEstate10K's cameras); videos are their owners' (YouTube)"
ESTIMATOR = "ORB-SLAM2 and bundle adjustment by RealEstate10K"
YOUTUBE = re.compile(r"(?:v=|youtu\.be/)([A-Za-z0-9_-]{6,20})")
PHOTO_US = 1000  # furthest that a frame's name may be off its pose's time


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the pictures are, and what their times count from."""

    videos: str = option("", "folder of the videos or frame folders (default: where the camera files are)")
    start: Literal["video", "pose"] = option(
        "video", "what a video starts at: video, the original's start; pose, the first pose (clips that were cut out)"
    )


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The clips of the set, by file name. Raises TrajkitError where there are no camera files."""
    found = sorted(path.relative_to(root) for pattern in ("*.txt", "*/*.txt") for path in root.glob(pattern))
    names = [str(path.with_suffix("")) for path in found if re10k.matches(root / path)]
    if not names:
        raise TrajkitError(root, "holds no camera files", "name the folder of RealEstate10K's <id>.txt")
    videos = Path(options.videos) if options.videos else root
    if not videos.is_dir():
        raise TrajkitError(videos, "no such folder", "check the option videos")
    return each(root, names, functools.partial(_posed, root, videos, options.start), file_key)


def _posed(root: Path, videos: Path, start: str, name: str) -> Posed:
    path, stem = root / f"{name}.txt", Path(name).name
    youtube = YOUTUBE.search(path.read_text("utf-8", "replace").split("\n", 1)[0])
    wanted = [(folder, one) for one in (stem, youtube[1] if youtube else stem) for folder in (videos, path.parent)]
    found = next((video for folder, one in wanted if (video := named(folder, one))), None)
    kept = functools.partial(Posed, key=file_key(name), fps=None, source=f"re10k:{name}", licence=LICENCE)
    if found is not None:
        facts, times_s = frame_times_s(found)
        track = re10k.read(path, re10k.Options(width=facts.width, height=facts.height))
        trajectory = _on_frames(track, times_s, track.times_s[0] if start == "pose" else 0.0, found)
        return kept(video=found, trajectory=trajectory, estimator=ESTIMATOR)
    folder = next((folder / stem for folder in (videos, path.parent) if (folder / stem).is_dir()), None)
    if folder is None:
        problem = f"no video and no folder of frames is named {stem}" + (f" or {youtube[1]}" if youtube else "")
        raise TrajkitError(f"{name}.txt", problem, "the set ships no pictures: get them, or say videos=FOLDER")
    trajectory, photos = _on_photos(path, folder)
    return kept(video=photos, trajectory=trajectory, estimator=ESTIMATOR)


def _on_frames(track: Trajectory, times_s: np.ndarray, start_s: float, where: Path) -> Trajectory:
    """Each pose on the frame shown nearest to its time. Raises TrajkitError where none is near, or two share one."""
    wanted_s = track.times_s - start_s
    index = nearest(times_s, wanted_s)
    off_s = np.abs(times_s[index] - wanted_s)
    if off_s.max() * own_rate(times_s) > 1:
        worst = int(off_s.argmax())
        problem = f"lasts {times_s[-1]:.3f} s, pose {worst} is for {wanted_s[worst]:.3f} s"
        raise TrajkitError(where, problem, "take the whole video, or start=pose for one cut at its first pose")
    return replace(track, frame_index=index)


def _on_photos(path: Path, folder: Path) -> tuple[Trajectory, tuple[Path, ...]]:
    """The poses whose photo is there, and their photos, named by time in microseconds."""
    stamped = {int(photo.stem): photo for photo in photos_in(folder) if photo.stem.isdecimal()}
    if not stamped:
        raise TrajkitError(folder, "holds no frames named by their time in microseconds", "name them 158692025.jpg")
    first = next(iter(stamped.values()))
    size = photo_size(first)
    if size is None:
        raise TrajkitError(first, "not a readable picture", "restore the frame")
    track = re10k.read(path, re10k.Options(width=size[0], height=size[1]))
    stamps = np.array(sorted(stamped))
    near = stamps[nearest(stamps * 1e-6, track.times_s)]
    there = np.flatnonzero(np.abs(near - track.times_s * 1e6) <= PHOTO_US)
    if not len(there):
        raise TrajkitError(folder, f"no frame has the time of a pose in {path.name}", "name frames by time in us")
    photos = tuple(stamped[int(stamp)] for stamp in near[there])
    return replace(track[there], frame_index=np.arange(len(there))), photos
