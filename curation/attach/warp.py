"""Moves the camera of a still shot through its depth: a forward warp with occlusion, and a count of what was not seen.

The shot's pictures (or its frozen one) are those of the path's first camera. Every frame is that camera's picture as a
mesh (see trajkit.curation.warping), seen by the frame's camera. A path that shows more than `max_unseen` of what was
not seen is tried through a narrower lens, then walked part of the way, then refused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from jaxtyping import Float32, UInt8

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.scene import Finding, Frame, Rejected
from trajkit.trajectory import Scale, Trajectory

from ..depths import Depth, fit_depth, open_depth
from ..filling import Fill, filled
from ..footage import Shot
from ..warping import Surface, surface, unseen_share, warp_picture
from . import Attached

Array = np.ndarray
KIND = "warped"
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25)  # of the path, tried in turn
ZOOMS = 3  # lenses tried for each
PATH_UNITS = 4  # of a path, in the median depth of the first picture: as in every scene
MEASURED = 2  # times smaller than the picture are those that unseen shares are measured on
FINER = 1.3  # times the output's resolution, from which a picture is reduced first
SKY = 6e4  # depth units: beyond it, depth is left out (0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where depth comes from, how much unseen is borne, and what is put there."""

    depth: str = option("given", "'given' with the footage, or an estimator's module, MODULE:key=value")
    max_unseen: float = option(0.25, "share of the worst frame that may be unseen", low=0, high=1)
    max_zoom: float = option(1.25, "most that the lens may be narrowed by, to keep borders out", low=1, high=4)
    slow: bool = option(True, "walk a part of the path where all of it shows too much")
    fill: Fill = option("inpaint", "what is put where nothing was seen: none (black), edge or inpaint")


def attach(shot: Shot, trajectory: Trajectory, options: Options) -> Attached | Rejected:
    """The shot's pictures, as the trajectory's cameras see them.

    The first pose is the shot's camera. Translations are in units of the depth, or, where the trajectory's scale is
    "unit", in path units: a quarter of the first picture's median depth. alpha is what was seen of each pixel, depth
    is 0 where nothing was, and in the sky.
    """
    depth = _depth_of(shot, options)
    if depth is None:
        return _rejected(shot, "depth", "no depth beside it", "give --depth, or an estimator")
    lens = _working_lens(shot, trajectory)
    try:
        small = [_small(picture, lens, shot) for picture in depth()]
    except TrajkitError as error:
        return _rejected(shot, "depth", error.problem, error.remedy)
    wanted = 1 if shot.frozen else len(trajectory)
    if len(small) < wanted or not np.any(small[0] > 0):
        problem = f"{len(small)} depth pictures for {wanted} frames" if len(small) < wanted else "no depth is known"
        return _rejected(shot, "depth", problem, "give one for each frame")
    walk = _in_depth_units(trajectory, small[0], depth.scale)
    found, worst = _calmed(walk, [surface(picture) for picture in small[:wanted]], lens, options)
    if found is None:
        finding = f"{worst:.0%} of a frame was never seen, on a quarter of the path or all of it"
        return _rejected(shot, "unseen", finding, "choose a shorter path", worst, options.max_unseen)
    walk, unseen, share, zoom = found
    shares = {"unseen_mean": round(float(np.mean(unseen)), 4), "unseen_worst": round(max(unseen), 4)}
    checks = {**shares, "path_share": share, "zoom": round(zoom, 4), "depth": depth.source, "scale": depth.scale}
    frames = _frames(shot, depth, walk, lens, options.fill)
    return Attached(trajectory=walk, frames=frames, checks=checks, depth=True)


def _depth_of(shot: Shot, options: Options) -> Depth | None:
    if options.depth != "given":
        return open_depth(options.depth, shot.footage.name, shot.frames)
    if shot.depth is None:
        return None
    beside = shot.depth if isinstance(shot.depth, Depth) else shot.footage.depth  # a shot's may pick some of those
    about = beside if isinstance(beside, Depth) else Depth(read=shot.depth, source="given", scale="unknown")
    return replace(about, read=shot.depth)


def _working_lens(shot: Shot, trajectory: Trajectory) -> Camera:
    """The shot's lens, on pictures that are not much finer than the output."""
    finer = shot.lens.fx / float(trajectory.intrinsics[:, 0].max())
    if finer < FINER:
        return shot.lens
    return shot.lens.resized(round(shot.lens.width / finer), round(shot.lens.height / finer))


def _small(depth: Float32[Array, "h w"], lens: Camera, shot: Shot) -> Float32[Array, "h2 w2"]:
    return fit_depth(
        fit_depth(depth, lens.width, lens.height, shot.footage.source),
        lens.width // MEASURED,
        lens.height // MEASURED,
        shot.footage.source,
    )


def _in_depth_units(trajectory: Trajectory, depth: Float32[Array, "h w"], scale: str) -> Trajectory:
    """The path from its first camera on, which becomes the identity, in the depth's unit."""
    if trajectory.scale.kind == "unit":
        known = depth[(depth > 0) & np.isfinite(depth)]
        trajectory = trajectory.scaled(float(np.median(known)) / PATH_UNITS if len(known) else 1.0)
    return replace(trajectory.relative_to(0), scale=Scale(kind="metric" if scale == "metric" else "unknown"))


def _calmed(
    trajectory: Trajectory, meshes: list[Surface], lens: Camera, options: Options
) -> tuple[tuple[Trajectory, list[float], float, float] | None, float]:
    """(path, unseen share of each frame, share of the path, zoom) of the first try that stays below the limit.

    None where none does; the second value is then the least that a try's first bad frame showed.
    """
    least = 1.0
    for share in SHARES if options.slow else SHARES[:1]:
        for zoom in np.unique(np.geomspace(1, options.max_zoom, ZOOMS)).tolist():
            walk = _walked(trajectory, share, zoom)
            unseen = []
            for value in _unseen(walk, meshes, lens):
                unseen.append(value)
                if value > options.max_unseen:
                    least = min(least, value)
                    break
            else:
                return (walk, unseen[::-1], share, zoom), max(unseen)
    return None, least


def _walked(trajectory: Trajectory, share: float, zoom: float) -> Trajectory:
    """The first `share` of the path in the time of all of it, through a lens of `zoom` times the focal length."""
    intrinsics = trajectory.intrinsics * [zoom, zoom, 1, 1]
    trajectory = replace(trajectory, intrinsics=intrinsics)
    if share == 1:
        return trajectory
    times_s = trajectory.times_s
    slowed = trajectory.resampled(times_s[0] + share * (times_s - times_s[0]))
    return replace(slowed, times_s=times_s, frame_index=trajectory.frame_index, names=trajectory.names)


def _unseen(trajectory: Trajectory, meshes: list[Surface], lens: Camera) -> Iterator[float]:
    """Unseen share of each frame, the last one first: that is where most paths show most."""
    small = lens.resized(lens.width // MEASURED, lens.height // MEASURED)
    for number in reversed(range(len(trajectory))):
        target = trajectory.camera(number)
        target = target.resized(target.width // MEASURED, target.height // MEASURED)
        mesh = meshes[number if len(meshes) > 1 else 0]
        yield unseen_share(mesh, small, target, se3.inverse(trajectory.camera_to_world[number]))


def _frames(shot: Shot, depth: Depth, walk: Trajectory, lens: Camera, fill: Fill) -> Iterator[Frame]:
    made = _meshed(shot, depth, lens)
    source: Iterable = repeat(next(made)) if shot.frozen else made
    for number, (rgb, mesh) in zip(range(len(walk)), source, strict=False):
        warped = warp_picture(rgb, mesh, lens, walk.camera(number), se3.inverse(walk.camera_to_world[number]))
        near = warped.inverse > 1 / SKY
        z = np.divide(1, warped.inverse, out=np.zeros_like(warped.inverse), where=near)
        yield Frame(rgb=filled(warped, fill), depth=z, alpha=warped.seen)


def _meshed(shot: Shot, depth: Depth, lens: Camera) -> Iterator[tuple[UInt8[Array, "h w 3"], Surface]]:
    """Each picture of the shot at the working size, and its mesh."""
    from PIL import Image

    for rgb, z in zip(shot.frames(), depth(), strict=False):
        if rgb.shape[1] != lens.width:
            rgb = np.asarray(Image.fromarray(rgb).resize((lens.width, lens.height), Image.Resampling.LANCZOS))
        yield rgb, surface(fit_depth(z, lens.width, lens.height, shot.footage.source))


def _rejected(
    shot: Shot, code: str, problem: str, remedy: str, value: float | None = None, threshold: float | None = None
) -> Rejected:
    where, message = shot.footage.source, f"{problem}; {remedy}"
    finding = Finding(code=code, level="error", where=where, message=message, value=value, threshold=threshold)
    return Rejected(key=shot.footage.key, findings=(finding,))
