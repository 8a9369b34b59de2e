"""Any video or folder of photos with a pose file of a known format, or with a 4x4 text file per photo.

`files:FOLDER;video=walk.mp4,poses=walk.txt,format=tum,fx=600,width=1280,height=720`, all names from FOLDER. With a `*`
in poses the files are single matrices (camera to world, OpenCV axes: ScanNet, 7-Scenes), one per photo.
"""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from trajkit import options as options_
from trajkit import plugins, video
from trajkit.errors import TrajkitError
from trajkit.files import inside
from trajkit.options import option
from trajkit.poses import BareOptions, located
from trajkit.poses._photos import numbered
from trajkit.poses._text import lines, table
from trajkit.scene import Rejected
from trajkit.trajectory import Scale, Trajectory

from . import Posed
from ._published import each, key_of, only_video, photos_in

LICENCE = "unknown"


@dataclass(frozen=True, kw_only=True)
class Options(BareOptions):
    """Which files belong together, and what they leave out."""

    poses: str = option("", "pose file or folder, or a pattern of one 4x4 text file per photo, such as *.pose.txt")
    format: str = option("", "one of `trajkit plugins poses`; not needed for a pattern")
    video: str = option("", "the video (default: the only one), or a pattern of photos such as *.color.jpg")
    fps: float | None = option(None, "rate of the video or photos", unit="per second", low=1e-3)
    licence: str = option("unknown", "what the clips carry as licence")
    caption: str = option("", "what the clips carry as caption")


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The one video. Raises TrajkitError for a wrong option; a damaged file becomes a rejection."""
    if not options.poses:
        raise TrajkitError("set files", "poses is not given", "say poses=FILE,format=NAME, or poses=*.pose.txt")
    if "*" not in options.poses:
        reader = plugins.load("poses", options.format) if options.format else None
        if reader is None or not hasattr(reader, "read"):
            known = ", ".join(name for name in plugins.names("poses"))
            raise TrajkitError("set files", f"format={options.format} cannot be read", f"use one of {known}")
    elif not options.lens_given:
        raise TrajkitError("set files", "matrices have no lens", "give width, height and fx")
    if not root.is_dir():
        raise TrajkitError(root, "is no folder", "name the folder of the video and its poses")
    return each(root, [root.resolve().name], lambda name: _posed(root, options, name))


def _posed(root: Path, options: Options, name: str) -> Posed:
    held = _pictures(root, options.video)
    track = _matrices(root, options) if "*" in options.poses else _read(inside(root, options.poses), options, held)
    if isinstance(held, tuple):
        track = _on_photos(track, held)
        if options.fps is None:
            raise TrajkitError(root, "photos have no rate", "give fps")
    return Posed(
        key=key_of(name),
        video=held,
        trajectory=track,
        fps=options.fps,
        source=f"files:{name};poses={options.poses}",
        licence=options.licence,
        caption=options.caption,
        estimator=f"unknown ({options.format or 'matrices'})",
    )


def _pictures(root: Path, wanted: str) -> Path | tuple[Path, ...]:
    if "*" in wanted:
        photos = [path for path in photos_in(root) if fnmatch.fnmatchcase(path.name, wanted)]
        if not photos:
            raise TrajkitError(root, f"no photo fits {wanted}", "check the option video")
        return tuple(photos[place] for place in numbered([photo.name for photo in photos])[0])
    return inside(root, wanted) if wanted else only_video(root)


def _read(path: Path, options: Options, held: Path | tuple[Path, ...]) -> Trajectory:
    """The pose file, read with those of our options that its format has; a video's size and rate where not given."""
    module = plugins.load("poses", options.format)
    if not hasattr(module, "Options"):
        track: Trajectory = module.read(path)
        return track
    given = {name: value for name, value in options_.as_dict(options).items() if value is not None}
    if isinstance(held, Path):
        facts = video.probe(held)
        own = {"width": facts.width, "height": facts.height} if not options.lens_given else {}
        given = {"fps": facts.fps} | own | given
    taken: dict[str, Any] = {name: given[name] for name in options_.settable(module.Options) if name in given}
    if "fx" in options_.settable(module.Options) and not options.lens_given:
        raise TrajkitError(path, f"{options.format} has no lens", "give width, height and fx")
    track = module.read(path, module.Options(**taken))
    return track


def _matrices(root: Path, options: Options) -> Trajectory:
    """One camera to world matrix per file, in the order of the numbers in their names, which count the frames."""
    paths = sorted(path for path in root.glob(options.poses) if path.is_file())
    if not paths:
        raise TrajkitError(root, f"no file fits {options.poses}", "check the option poses")
    order, number = numbered([path.name for path in paths])
    paths = [paths[place] for place in order]
    lens = options.lens(root)
    with located(root, lambda place: paths[place].name):
        return Trajectory(
            camera_to_world=np.stack([_matrix(path) for path in paths]),
            intrinsics=np.array([lens.fx, lens.fy, lens.cx, lens.cy]),
            width=lens.width,
            height=lens.height,
            times_s=number / (options.fps or 1.0),
            frame_index=number,
            scale=Scale(kind=options.scale),
            names=tuple(path.name for path in paths),
        )


def _matrix(path: Path) -> Float64[np.ndarray, "4 4"]:
    rows, _ = table(path, lines(path), 4, "a 4x4 matrix")
    if len(rows) != 4:
        raise TrajkitError(path, f"{len(rows)} rows, not 4", "restore the file")
    return rows


def _on_photos(track: Trajectory, photos: tuple[Path, ...]) -> Trajectory:
    """frame_index counts the photos: found by the poses' names or by the numbers in them, else one pose per photo."""
    _, number = numbered([photo.name for photo in photos])
    place_of = {int(value): place for place, value in enumerate(number)}
    names = {photo.name: place for place, photo in enumerate(photos)}
    places = [names.get(Path(name).name) for name in track.names] if track.names else []
    if None in places or not places:
        places = [place_of.get(int(value)) for value in track.frame_index]
    missing = sum(place is None for place in places)
    if missing:
        raise TrajkitError(photos[0].parent, f"{missing} of {len(track)} poses have no photo", "check the option video")
    return replace(track, frame_index=np.array(places))
