"""`Evidence`: what the metrics of one clip share. Everything is worked out at first use, and once."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from trajkit.clip import Clip
from trajkit.trajectory import Trajectory

if TYPE_CHECKING:
    from .adjust import Adjusted
    from .tracks import Tracks

Array = np.ndarray


class Evidence:
    """A clip, and what was measured in it so far.

    The claimed cameras are `trajectory` (one pose for each `trajectory.frame_index`); `tracks` follow all frames of
    the video, `adjusted` are the cameras that the tracks ask for. `mask` is True where something moves, one picture
    per frame at any size, or None.
    """

    def __init__(self, clip: Clip, *, mask: Bool[Array, "f h w"] | None = None, tracks: "Tracks | None" = None) -> None:
        self.clip, self.mask = clip, mask
        if tracks is not None:
            self.__dict__["tracks"] = tracks

    @property
    def trajectory(self) -> Trajectory:
        """The claimed cameras."""
        return self.clip.trajectory

    @cached_property
    def tracks(self) -> "Tracks":
        """Points followed through the video. Raises TrajkitError where it does not decode."""
        from .tracks import follow

        return follow(self.clip, mask=self.mask)

    @cached_property
    def adjusted(self) -> "Adjusted":
        """The claimed cameras after robust bundle adjustment on the tracks, and how far they moved."""
        from .adjust import adjust

        return adjust(self.trajectory, self.tracks)

    def claiming(self, trajectory: Trajectory) -> "Evidence":
        """The same pictures under other claimed cameras; the tracks are kept."""
        from dataclasses import replace

        return Evidence(replace(self.clip, trajectory=trajectory), mask=self.mask, tracks=self.tracks)
