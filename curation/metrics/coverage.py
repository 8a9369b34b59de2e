"""For how much of the video there is a claimed camera, and how evenly.

Formula: poses / frames of the video. `gap_longest` is the longest stretch of frames without a pose (0 = every frame
has one), ends included; `missing_start` and `missing_end` count those at the ends; `cadence` is the usual distance of
two poses in frames and `cadence_uneven` the share of distances that differ from it; `time_error` is the largest
difference of frame_index and times_s at the clip's rate, in frames.
Unit: share; gaps in frames, `pose_rate` in poses per second, `gap_longest_s` in seconds.
Source: pose files of public sets (SpatialVID estimates a pose each 0.2 s and users interpolate the rest).
Sees: sparse, cut off and lost poses. What is interpolated between sparse poses misses all faster shaking.
Cannot see: poses that somebody interpolated or repeated already (`regularity`), nor times shifted as a whole (`lag`).
"""

import numpy as np

from trajkit.score import Better, Score

from ..evidence import Evidence
from ._common import scored

NEEDS: tuple[str, ...] = ()
UNIT = "share"
BETTER: Better = "higher"
VERSION = "1"


def score(evidence: Evidence) -> Score:
    """Share of the frames that have a pose."""
    clip, trajectory = evidence.clip, evidence.trajectory
    index = trajectory.frame_index
    frames = clip.frames or int(index[-1]) + 1
    gaps, (start, end) = np.diff(index), (int(index[0]), frames - 1 - int(index[-1]))
    empty = max(start, end, int(gaps.max()) - 1 if len(gaps) else 0)
    cadence = float(np.median(gaps)) if len(gaps) else 0.0
    drift = (trajectory.times_s - trajectory.times_s[0]) * clip.fps - (index - index[0])
    values = {
        "gap_longest": float(empty),
        "gap_longest_s": empty / clip.fps,
        "missing_start": float(start),
        "missing_end": float(end),
        "cadence": cadence,
        "cadence_uneven": float((np.abs(gaps - cadence) > 1).mean()) if len(gaps) else 0.0,
        "pose_rate": trajectory.fps,
        "time_error": float(np.abs(drift).max()),
    }
    return scored(__name__, len(index) / frames, values)
