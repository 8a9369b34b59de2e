"""Out along another path and back the same way: the last frame is the first one again."""

from dataclasses import dataclass, replace

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.paths._inner import WrappingOptions, sample_inner
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Options(WrappingOptions):
    """Options of `revisit`. The inner path has half of the frames, 39 of 77."""

    pause: int = option(0, "further frames that stand still at the far end", unit="frames", low=0)

    def __post_init__(self) -> None:
        if self.pause >= self.frames:
            raise TrajkitError(
                f"revisit: pause={self.pause}", f"the clip has {self.frames} frames", "pause for fewer frames"
            )
        super().__post_init__()

    @property
    def inner_frames(self) -> int:
        """Frames of the way out, the far end included."""
        return (self.frames + 1 - self.pause) // 2


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """Poses that read the same backwards, bit by bit. With an even number of frames the far end shows twice."""
    out = sample_inner(scene, options, rng)
    frame = np.arange(options.frames)
    at = np.minimum(np.minimum(frame, frame[::-1]), len(out) - 1)
    return replace(options.trajectory(out.camera_to_world[at], scene), intrinsics=out.intrinsics[at])
