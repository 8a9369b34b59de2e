"""Published sets of videos with estimated or known poses, one per file: `LICENCE`, `Options`, `posed(root, options)`.

`posed` yields, lazily and in a stable order, `Posed` for each video that has poses and `Rejected` for each that can't
be used, with its reason. Pose files are read by the formats of `trajkit.poses`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from trajkit.members import Kind, check_key
from trajkit.trajectory import Trajectory

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posed:
    """A video (or photos in order) and the cameras that its set gives it, as published: nothing resampled yet.

    `trajectory.frame_index` counts the video's frames (or the photos): pose i belongs to that frame, whatever its time
    says. Raises TrajkitError for a key that is none.
    """

    key: str  # [A-Za-z0-9_-]+, a function of the name in the set
    video: Path | tuple[Path, ...]
    trajectory: Trajectory  # intrinsics for width x height of the trajectory, which the video may differ from in scale
    fps: float | None  # of the video where the set says so; None = as the file says (needed for photos)
    source: str  # such as "spatialvid:group_0001/<uuid>"; no absolute path
    licence: str
    caption: str = ""
    kind: Kind = "estimated"
    estimator: str = ""  # what made the poses, such as "MegaSaM"
    depth: Callable[[], Iterator[Float32[Array, "h w"]]] | None = None  # z-depth of each pose's frame, in pose order

    def __post_init__(self) -> None:
        check_key(self.key, self.source)
