"""How much of the picture could be followed: what all other measurements rest on.

Formula: points that are followed for 16 frames or longer, alive per frame, median over the frames. `alive` counts all
points, `alive_least` those of the poorest frame (the first and last two left out), `covered` the share of an 8 x 6 grid
of the picture that holds a point, `length` the median life of a track in frames, weighted by life.
No value below 30 such points: then nothing can be said. `scarce` is 40 over their number.
Unit: tracks per frame.
Source: support counts of feature-based reconstruction.
Sees: plain walls, sky, darkness, blur, heavy compression, very fast motion.
Cannot see: whether the points are right, or belong to moving things (`dynamic`).
"""

import numpy as np

from trajkit.score import Better, Score

from ..evidence import Evidence
from ._common import NOTHING, quantile, scored, tracks_of

NEEDS: tuple[str, ...] = ("tracks",)
UNIT = "tracks"
BETTER: Better = "higher"
VERSION = "1"
LONG = 16  # frames
GRID = (8, 6)
LEAST, ENOUGH = 30, 40  # tracks per frame


def score(evidence: Evidence) -> Score:
    """Long tracks alive in the usual frame."""
    trajectory, tracks = evidence.trajectory, tracks_of(evidence)
    if tracks is None or not tracks.frames:
        return scored(__name__, np.nan, why=NOTHING)
    length = np.bincount(tracks.track, minlength=max(tracks.count, 1))
    wanted = min(LONG, tracks.frames)
    alive = np.bincount(tracks.frame, minlength=tracks.frames)
    long = np.bincount(tracks.frame[length[tracks.track] >= wanted], minlength=tracks.frames)
    cell = np.clip(tracks.xy / tracks.size * GRID, 0, np.array(GRID) - 1).astype(np.int64)
    number = (tracks.frame * GRID[0] + cell[:, 0]) * GRID[1] + cell[:, 1]
    filled = np.bincount(np.unique(number) // (GRID[0] * GRID[1]), minlength=tracks.frames) / (GRID[0] * GRID[1])
    inner = alive[2:-2] if tracks.frames > 5 else alive
    values = {
        "alive": quantile(alive),
        "alive_least": float(inner.min()),
        "covered": quantile(filled),
        "length": quantile(length[tracks.track]) if len(tracks.track) else 0.0,
    }
    usual = quantile(long)
    values |= {"long": usual, "scarce": ENOUGH / max(usual, 1.0)}
    frames = np.minimum(trajectory.frame_index, tracks.frames - 1)
    few = f"only {usual:g} points could be followed for {wanted} frames"
    return scored(__name__, usual if usual >= LEAST else np.nan, values, why=few, per_frame=long[frames])
