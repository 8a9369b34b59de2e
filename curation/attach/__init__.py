"""Ways to give footage a camera path, one per file: `KIND`, `Options` and `attach(shot, trajectory, options)`.

External generators define `LICENCE`, `Options`, `write_job`, `command` and `output` in place of `attach`
(see trajkit.curation.jobs).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from trajkit.scene import Frame
from trajkit.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attached:
    """A clip in the making: the cameras that see the frames to come, exactly."""

    trajectory: Trajectory  # one pose per frame; may be a slower walk of the path that was asked for
    frames: Iterator[Frame]  # pictures of trajectory.width x height; depth where the backend knows it
    checks: Mapping[str, bool | int | float | str] = field(default_factory=dict)  # for the clip's json
    depth: bool = False  # whether the frames carry z-depth
