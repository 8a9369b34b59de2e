"""How far a renderer's depth is off, at triangulated points that were kept out of the fit."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from trajkit import files, se3
from trajkit.members import npz_bytes, read_npz
from trajkit.sparse import Sparse
from trajkit.trajectory import Trajectory

Array = np.ndarray
JUDGES = ".judges.npz"  # suffix of the file beside the splats
LONGEST = 480  # pixels at which depth is rendered for this
MOST_VIEWS = 12
MOST_POINTS = 10_000_000


class DepthError(NamedTuple):
    """Relative differences |rendered / triangulated - 1| over points and the views that saw them; nan: none to see."""

    median: float
    p90: float
    missing: float  # share of them that have no rendered depth


class Judges(NamedTuple):
    """Points and the captured views that each was triangulated from."""

    points: Float64[Array, "n 3"]  # world
    tracks: Int64[Array, "m 2"]  # which point is seen in which captured view

    @classmethod
    def of(cls, sparse: Sparse, chosen: Bool[Array, " n"], views: Int64[Array, " v"]) -> "Judges":
        """The chosen points; `views` gives the number in the capture of each view that was triangulated."""
        number = np.cumsum(chosen) - 1
        tracks = sparse.tracks[chosen[sparse.tracks[:, 0]]]
        return cls(sparse.points[chosen], np.stack([number[tracks[:, 0]], views[tracks[:, 1]]], axis=-1))

    @classmethod
    def read(cls, path: Path) -> "Judges":
        """What `write` wrote. Raises TrajkitError where the file is damaged."""
        wanted: Any = {"points": ("<f8", (None, 3)), "tracks": ("<i8", (None, 2))}
        return cls(**read_npz(io.BytesIO(files.read_bytes(path)), path, wanted, limit=MOST_POINTS))

    def write(self, path: Path) -> None:
        """An npz, whole or absent."""
        files.write_bytes(path, npz_bytes({"points": self.points.astype("<f8"), "tracks": self.tracks.astype("<i8")}))


def depth_error(renderer: Any, seen: Trajectory, judges: Judges) -> DepthError:
    """Compares depth, rendered from at most 12 captured views, with the points that were triangulated from them."""
    used = np.unique(judges.tracks[:, 1])
    if not len(used):
        return DepthError(float("nan"), float("nan"), float("nan"))
    used = used[np.unique(np.linspace(0, len(used) - 1, MOST_VIEWS).round().astype(int))]
    factor = min(1.0, LONGEST / max(seen.width, seen.height))
    views = replace(seen[used], distortion=()).resized(round(seen.width * factor), round(seen.height * factor))
    errors: list[Array] = []
    missing = total = 0
    for number, frame in enumerate(renderer.frames(views)):
        mine = judges.tracks[judges.tracks[:, 1] == used[number], 0]
        local = se3.transform(views.world_to_camera[number], judges.points[mine])
        x, y = np.floor(views.camera(number).project(local)).T
        inside = (local[:, 2] > 0) & (x >= 0) & (y >= 0) & (x < views.width) & (y < views.height)
        depth = np.asarray(frame.depth, np.float64)[y[inside].astype(int), x[inside].astype(int)]
        total += len(depth)
        missing += int((depth <= 0).sum())
        errors.append(np.abs(depth[depth > 0] / local[inside, 2][depth > 0] - 1))
    every = np.concatenate(errors)
    if not len(every):
        return DepthError(float("nan"), float("nan"), 1.0)
    return DepthError(float(np.median(every)), float(np.percentile(every, 90)), missing / total)
