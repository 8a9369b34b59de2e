"""Cameras from tracks alone, one after the other: a start for the adjustment where the claimed cameras are no good.

The pair of frames with the most parallax gives the first two cameras and the points between them; every further camera
is put where the points it sees ask for (resection), and new points follow as soon as two cameras see them.
"""

import numpy as np
from jaxtyping import Bool, Float64

from trajkit import se3
from trajkit.trajectory import Trajectory

from . import twoview
from ._bundle import Sightings, resect
from ._triangulation import triangulate_all
from .tracks import Tracks

Array = np.ndarray
SEEDS, STRIDES = 5, (8, 20)  # pairs tried as the first one: places in the clip, and frames apart
ENOUGH_PX = 20.0  # of parallax: more is no better
LEAST = 10  # points that a camera is put by
BACK = 24  # poses that a point is triangulated from
AGAIN = 2  # poses between triangulations


def chained(trajectory: Trajectory, tracks: Tracks, seen: Sightings, limit_px: float) -> Float64[Array, "n 3 4"] | None:
    """World-to-camera matrices of all poses, in a world of their own; None where no pair gives a start.

    Of the claim only the lens is used, and where a frame sees too few points, the motion from its neighbour.
    `seen` are observations of the tracks, all that there are.
    """
    best, score = None, 0.0
    for stride in STRIDES:
        for view in twoview.relative(trajectory, tracks, twoview.spread(trajectory, stride, SEEDS)):
            parallax = 0.1 if view.only_rotation else min(view.parallax_px, ENOUGH_PX)
            if view.inliers * view.points * parallax > score:
                best, score = view, view.inliers * view.points * parallax
    if best is None:
        return None
    chain = _Chain(trajectory, seen, limit_px)
    chain.cameras[best.second, :, :3] = best.rotation
    chain.cameras[best.second, :, 3] = 0.0 if best.only_rotation else best.direction
    chain.points_from((seen.pose == best.first) | (seen.pose == best.second))
    for pose in range(best.first + 1, best.second):
        chain.place(pose, pose - 1)
    chain.points_from((seen.pose >= best.first) & (seen.pose <= best.second))
    for pose in range(best.second + 1, len(trajectory)):
        chain.place(pose, pose - 1)
        if (pose - best.second) % AGAIN == 0:
            chain.points_from((seen.pose > pose - BACK) & (seen.pose >= best.first) & (seen.pose <= pose), pose)
    for pose in range(best.first - 1, -1, -1):
        chain.place(pose, pose + 1)
        if (best.first - pose) % AGAIN == 0:
            chain.points_from((seen.pose < pose + BACK) & (seen.pose >= pose), pose)
    return chain.cameras


class _Chain:
    """Cameras placed so far, and the points they gave."""

    def __init__(self, trajectory: Trajectory, seen: Sightings, limit_px: float) -> None:
        self.seen, self.limit_px = seen, limit_px
        self.lenses = np.column_stack([trajectory.intrinsics, np.zeros(len(trajectory))])
        self.claimed = trajectory.world_to_camera
        self.cameras: Float64[Array, "n 3 4"] = np.tile(np.eye(4)[:3], (len(trajectory), 1, 1))
        self.points = np.zeros((len(seen.start) - 1, 4))
        self.known = np.zeros(len(self.points), bool)
        order = np.argsort(seen.pose, kind="stable")
        bounds = np.searchsorted(seen.pose[order], np.arange(len(trajectory) + 1))
        self.rows_of = [order[bounds[i] : bounds[i + 1]] for i in range(len(trajectory))]

    def place(self, pose: int, neighbour: int) -> None:
        """Puts one camera, starting where its neighbour stands."""
        rows = self.rows_of[pose]
        rows = rows[self.known[self.seen.point[rows]]]
        camera = self.cameras[neighbour].copy()
        if len(rows) >= LEAST:
            resect(camera, self.lenses[pose], self.points[self.seen.point[rows]], self.seen.xy[rows], self.limit_px, 10)
        else:
            step = self.claimed[pose] @ se3.inverse(self.claimed[neighbour])
            camera = (step @ np.vstack([camera, [0, 0, 0, 1]]))[:3]
        self.cameras[pose] = camera

    def points_from(self, among: Bool[Array, "m"], newest: int | None = None) -> None:
        """Triangulates points seen twice or more `among` these observations (and by the newest camera, if given)."""
        if newest is not None:
            alive = np.zeros(len(self.points), bool)
            alive[self.seen.point[self.rows_of[newest]]] = True
            among = among & alive[self.seen.point]
        rows = np.flatnonzero(among)
        point = self.seen.point[rows]
        numbers, first = np.unique(point, return_index=True)
        start = np.append(first, len(rows)).astype(np.int64)
        points, front = np.zeros((len(numbers), 4)), np.zeros(len(numbers), bool)
        residual = np.empty(len(rows))
        pose, xy = self.seen.pose[rows], self.seen.xy[rows]
        triangulate_all(self.cameras, self.lenses, start, pose, xy, self.limit_px, 4, points, residual, front)
        good = front & (np.diff(start) >= 2)
        if len(rows):
            good &= np.add.reduceat(residual, first) < 3 * self.limit_px * np.diff(start)
        self.points[numbers[good]] = points[good]
        self.known[numbers] = good
