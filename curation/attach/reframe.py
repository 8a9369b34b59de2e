"""Turns and zooms a still camera's pictures by the exact homography: the poses hold by construction.

Output pixel x shows what the source shows at K1 R K2^-1 x, with R the rotation source camera <- output camera. No point
of the scene matters, since nothing moves: a path with translation is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.scene import Finding, Frame, Rejected
from trajkit.trajectory import Trajectory

from ..footage import Shot
from ..resample import Resampler, corners, scales
from . import Attached

Array = np.ndarray
KIND = "reframed"
STILL = 1e-9  # camera centres that differ by less are one centre
HALVINGS = 20  # of the share of the path, to a millionth
NEVER = 1e9  # the zoom that keeps a view axis outside the picture inside it


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `reframe`."""

    max_zoom: float = option(2.0, "most zoom added to keep the path in the picture", low=1.0, high=10.0)
    detail: float = option(0.5, "least source pixels per pixel made, at the worst place", low=0.05, high=10.0)
    fit: Literal["slow", "reject"] = option("slow", "of a path that does not fit: walk part of it, or reject the clip")
    least_share: float = option(0.25, "smallest part of the path that is worth walking", low=0.0, high=1.0)


class View(NamedTuple):
    """Output cameras in the source camera's frame."""

    rotations: Float64[Array, "n 3 3"]  # source camera <- output camera
    intrinsics: Float64[Array, "n 4"]  # fx fy cx cy, the added zoom included
    zoom: float  # that was added
    first: Float64[Array, "3 3"]  # source camera <- first output camera


def attach(shot: Shot, trajectory: Trajectory, options: Options) -> Attached | Rejected:
    """The shot as the trajectory's cameras see it; frames are made as they are asked for.

    The path's rotations are kept relative to its first pose. The source camera looks into the middle of their range
    (per axis of the rotation vector), which needs the least zoom. All frames share the smallest added zoom with which
    none looks beyond the source picture; if that is more than `max_zoom`, or enlarges pixels beyond `detail`, the
    largest share of the path that fits is walked in the same time.
    Raises TrajkitError for a lens with distortion.
    """
    if any(trajectory.distortion) or any(shot.lens.distortion):
        raise TrajkitError(f"footage {shot.footage.key}", "has lens distortion", "undistort it; shots are pinhole")
    if np.ptp(trajectory.centres, axis=0).max() > STILL:
        return _rejected(shot, "translation", "the path moves the camera, pixels can only be turned; use --with warp")
    share, view = _largest_share(shot.lens, trajectory, options)
    if share < (1.0 if options.fit == "reject" else options.least_share):
        return _rejected(shot, "narrow-picture", _narrow(share, view, shot, trajectory, options))
    turned = trajectory.camera_to_world.copy()
    turned[:, :3, :3] = trajectory.camera_to_world[0, :3, :3] @ view.first.T @ view.rotations
    walked = replace(trajectory, camera_to_world=turned, intrinsics=view.intrinsics)
    homographies = _homographies(shot.lens, view)
    checks = {
        "path_share": round(share, 6),
        "added_zoom": round(view.zoom, 6),
        "detail": round(float(scales(homographies, walked.width, walked.height).min()), 6),
        "lens_known": shot.lens_known,
        "frozen": shot.frozen,
    }
    return Attached(trajectory=walked, frames=_frames(shot, walked, homographies), checks=checks)


def _frames(shot: Shot, walked: Trajectory, homographies: Float64[Array, "n 3 3"]) -> Iterator[Frame]:
    """As many frames as there are poses, or fewer where the footage ends early."""
    resample = Resampler(walked.width, walked.height)
    pictures = shot.frames()
    picture = next(pictures, None)
    for homography in homographies:
        if picture is None:
            return
        if picture.shape != (shot.lens.height, shot.lens.width, 3):
            problem = f"a picture of shape {picture.shape}, its lens is {shot.lens.width}x{shot.lens.height}"
            raise TrajkitError(f"footage {shot.footage.key}", problem, "give pictures of the lens's size")
        yield Frame(rgb=resample(picture, homography))
        if not shot.frozen:
            picture = next(pictures, None)


def _largest_share(lens: Camera, trajectory: Trajectory, options: Options) -> tuple[float, View]:
    """The largest share 0..1 of the path that fits, and its cameras; 0 where not even the first pose does."""

    def fits(view: View) -> bool:
        if view.zoom > options.max_zoom:
            return False
        size = trajectory.width, trajectory.height
        return float(scales(_homographies(lens, view), *size).min()) >= options.detail - 1e-9

    whole, none = _view(lens, trajectory, 1.0), _view(lens, trajectory, 0.0)
    if fits(whole):
        return 1.0, whole
    if not fits(none):
        return 0.0, none
    low, high, best = 0.0, 1.0, none
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        view = _view(lens, trajectory, middle)
        low, high, best = (middle, high, view) if fits(view) else (low, middle, best)
    return low, best


def _view(lens: Camera, trajectory: Trajectory, share: float) -> View:
    """The cameras of a walk whose every step turns (and zooms) by `share` of the path's, with the least added zoom."""
    given = trajectory.camera_to_world[:, :3, :3]
    steps = Rotation.from_matrix(np.swapaxes(given[:-1], 1, 2) @ given[1:]).as_rotvec() * share
    walk = [np.eye(3)]
    for step in Rotation.from_rotvec(steps.reshape(-1, 3)).as_matrix():
        walk.append(walk[-1] @ step)
    rotations = np.stack(walk)
    for _ in range(3):  # the middle of the range of rotation vectors depends on where they are counted from
        vectors = Rotation.from_matrix(rotations).as_rotvec()
        middle = Rotation.from_rotvec((vectors.min(axis=0) + vectors.max(axis=0)) / 2).as_matrix()
        rotations = middle.T @ rotations
    rotations = se3.nearest_rotation(rotations)
    first = trajectory.intrinsics[0]
    intrinsics = np.hstack(
        [first[:2] * (trajectory.intrinsics[:, :2] / first[:2]) ** share, trajectory.intrinsics[:, 2:]]
    )
    zoom = added_zoom(lens, rotations, intrinsics, trajectory.width, trajectory.height)
    return View(rotations, intrinsics * (zoom, zoom, 1, 1), zoom, rotations[0])


def added_zoom(
    lens: Camera, rotations: Float64[Array, "n 3 3"], intrinsics: Float64[Array, "n 4"], width: int, height: int
) -> float:
    """Smallest zoom >= 1 with which all output pixels of all frames lie in the source picture; NEVER if none does.

    A ray d of the source camera is in its picture iff n.d >= 0 for the four planes n of its pyramid. The output's
    pixels are rays of the pyramid that its corners span, and a pyramid lies in a convex one iff its edges do: corners
    suffice. A corner's ray under zoom z is R (a, b, z), (a, b, 1) being the one without: each condition is linear in z.
    """
    planes = np.array(
        [
            [lens.fx, 0, lens.cx],
            [-lens.fx, 0, lens.width - lens.cx],
            [0, lens.fy, lens.cy],
            [0, -lens.fy, lens.height - lens.cy],
        ]
    )
    fx, fy, cx, cy = (column[:, None] for column in intrinsics.T)
    x, y, _ = corners(width, height).T
    edges = np.stack([(x - cx) / fx, (y - cy) / fy, np.zeros_like(x - cx)], axis=-1)  # (n, 4, 3)
    across = np.einsum("pi,nij,ncj->npc", planes, rotations, edges)
    ahead = np.einsum("pi,ni->np", planes, rotations[:, :, 2])[:, :, None]
    if ahead.min() <= 0:
        return NEVER
    return float(max(1.0, (-across / ahead).max()))


def _homographies(lens: Camera, view: View) -> Float64[Array, "n 3 3"]:
    """K1 R K2^-1: homogeneous source pixels from output pixels."""
    fx, fy, cx, cy = view.intrinsics.T
    zero, one = np.zeros_like(fx), np.ones_like(fx)
    inverse = np.stack([1 / fx, zero, -cx / fx, zero, 1 / fy, -cy / fy, zero, zero, one], axis=-1).reshape(-1, 3, 3)
    return lens.matrix @ view.rotations @ inverse


def _narrow(share: float, view: View, shot: Shot, trajectory: Trajectory, options: Options) -> str:
    size = f"a {shot.lens.width}x{shot.lens.height} picture"
    limits = f"max_zoom={options.max_zoom:g} and detail={options.detail:g}"
    if share == 0:
        return f"{size} is too small for {trajectory.width}x{trajectory.height} within {limits}; use a smaller --size"
    return f"{share:.0%} of the path fits into {size} within {limits}; use a smaller turn, or allow a smaller share"


def _rejected(shot: Shot, code: str, message: str) -> Rejected:
    finding = Finding(code=code, level="error", where=shot.footage.source, message=message)
    return Rejected(key=shot.footage.key, findings=(finding,))
