"""SpatialVID's own columns, on what they were computed from and on camera centres.

Formula: their evaluation code's (spatialvid.py): `moveDist` path length, `distLevel` its level, `rotAngle` sum of the
angles between poses, `trajTurns` turns of the path, `anomaly` 1 where a constant acceleration misses the next position
by 0.03 twice in a row. Plain names are those on camera centres, `w2c_` ones on the world-to-camera translation, which
is what was published. The value is the relative difference of the two path lengths.
Unit: relative; the columns in the trajectory's own unit, and radians.
Source: SpatialVID's utils/evaluation.py (reference: data_formats.md 3.4).
Sees: how far the published numbers depend on the choice of the world's origin.
Cannot see: whether poses are right; the limits are absolute, so they mean nothing where the scale is unknown.
"""

import numpy as np

from trajkit.score import Better, Score

from ..evidence import Evidence
from ..spatialvid import PUBLISHED, W2C, recompute
from ._common import scored

NEEDS: tuple[str, ...] = ()
UNIT = "relative"
BETTER: Better = "neither"
VERSION = "1"


def score(evidence: Evidence) -> Score:
    """Relative difference of the path length on world-to-camera translations and on centres."""
    found = recompute(evidence.trajectory)
    values = {name: float(value) for name, value in zip(PUBLISHED, found.centres, strict=True)}
    values |= {W2C + name: float(value) for name, value in zip(PUBLISHED, found.translations, strict=True)}
    ours, theirs = values["moveDist"], values[W2C + "moveDist"]
    off = abs(theirs - ours) / max(ours, theirs) if max(ours, theirs) > 0 else np.nan
    return scored(__name__, off, values, why="the cameras stand still")
