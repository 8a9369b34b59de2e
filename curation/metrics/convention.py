"""Whether the numbers of the pose file fit the picture better when they are read in another convention.

Formula: median half-line residual eight frames apart with the claimed matrices read as world_to_camera, in OpenGL's
axes, with transposed rotations, negated or world_to_camera translations, mirrored axes, or in reverse order. The value
is the claimed residual over the best of these (0.1 px added to both): above 2 another reading fits. `best` is its
place in NAMES.
Unit: ratio.
Source: conventions that public pose files have been taken for (data_formats.md 3.4).
Sees: whole-clip mistakes of reading or writing poses.
Cannot see: readings that give nearly the same motion (little rotation: negated and world_to_camera translations look
alike); with next to no motion all readings fit, and the value is 1.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.score import Better, Score

from ..evidence import Evidence
from ._common import NOTHING, Array, scored
from ._scan import Scan

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "ratio"
BETTER: Better = "lower"
VERSION = "1"
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
MIRRORS = {axis: np.diag(np.where(np.arange(4) == number, -1.0, 1.0)) for number, axis in enumerate("xyz")}


def readings(poses: Float64[Array, "n 4 4"]) -> dict[str, Float64[Array, "n 4 4"]]:
    """camera_to_world (OpenCV axes) by name of the convention that the given matrices could be in instead."""
    rotation, translation = poses[:, :3, :3], poses[:, :3, 3]
    inverse, transposed = se3.inverse(poses), np.swapaxes(rotation, 1, 2)
    return {
        "world_to_camera": inverse,
        "opengl": poses @ OPENGL,
        "opengl world_to_camera": inverse @ OPENGL,
        "transposed rotation": se3.pose(transposed, translation),
        "negated translation": se3.pose(rotation, -translation),
        "world_to_camera translation": se3.pose(rotation, -np.einsum("nij,nj->ni", rotation, translation)),
        **{f"mirrored {axis}": mirror @ poses @ mirror for axis, mirror in MIRRORS.items()},
        "reversed": poses[::-1],
    }


NAMES = tuple(readings(np.eye(4)[None]))


def score(evidence: Evidence) -> Score:
    """Residual of the claim over that of the best other reading."""
    scan, trajectory = Scan(evidence), evidence.trajectory
    if scan.batch is None:
        return scored(__name__, np.nan, why=NOTHING)
    read = [replace(trajectory, camera_to_world=poses) for poses in readings(trajectory.camera_to_world).values()]
    claimed, residuals = scan.residual_px(trajectory), np.array([scan.residual_px(other) for other in read])
    best = int(np.argmin(residuals))
    values = {"best": float(best), "residual": float(residuals[best]), "claimed": claimed}
    return scored(__name__, scan.ratio(claimed, float(residuals[best])), values)
