"""`Exhibit`: what is shown of one clip, its pictures at a handful of evenly spaced poses among them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.show.refused import Refusal, last_candidate
from trajkit.trajectory import Trajectory
from trajkit.video import read

STILLS = 8  # pictures per clip: the strip of the page, the columns of the sheet
STILL_SIDE = 320  # pixels of a still's longer side
# Colours over time, first to last; each has a contrast of 3 or more against white and against the dark page.
RAMP = ((63, 109, 242), (139, 84, 232), (207, 63, 168), (232, 80, 63), (217, 122, 6))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exhibit:
    """A clip with its stills: `stills[k]` is the picture at pose `at[k]`, scaled to 320 pixels on its longer side.

    A refused path is a clip that was never made: it has no stills. The cameras of a scene are shown as one that nobody
    filmed: `note` says what its stills are.
    """

    id: str  # the key, with ~2 for a second clip of that key
    clip: Clip
    at: tuple[int, ...]
    stills: tuple[Image.Image, ...]
    refusal: Refusal | None = None
    note: str = ""  # such as "captured cameras, seen by renderer splats"; "" for clips and refused paths

    @property
    def kind(self) -> Literal["clip", "refused", "cameras"]:
        """What it is: only a clip is training material."""
        return "refused" if self.refusal else "cameras" if self.note else "clip"

    @property
    def place(self) -> str:
        """Which place it is in: its scene's, or one of its own where no scene is named."""
        return self.clip.provenance.scene or f"clip {self.id}"

    @property
    def trajectory(self) -> Trajectory:
        """The clip's cameras."""
        return self.clip.trajectory

    @property
    def unit(self) -> str:
        """Name of the length unit of `length` and `speeds`: metres where the scale is metric, else units."""
        return "m" if self.trajectory.scale.kind == "metric" else "u"

    @property
    def length(self) -> float:
        """Path length in `unit`."""
        return self.trajectory.path_length * self.trajectory.scale.factor

    @property
    def speeds(self) -> np.ndarray:
        """Speeds over the N-1 steps in `unit` per second."""
        return self.trajectory.speeds * self.trajectory.scale.factor

    @property
    def video(self) -> bytes:
        """The mp4's bytes; empty where the clip has none."""
        return self.clip.video.read_bytes() if isinstance(self.clip.video, Path) else self.clip.video or b""


def exhibit(clip: Clip, id: str) -> Exhibit:
    """The clip with its stills decoded. Raises TrajkitError where its video is missing or does not decode."""
    if clip.video is None:
        raise TrajkitError(f"clip {clip.key}", "has no video", "render it first")
    at = evenly(len(clip.trajectory))
    pictures = read(clip.video, [int(clip.trajectory.frame_index[k]) for k in at])
    return Exhibit(id=id, clip=clip, at=at, stills=tuple(map(still, pictures)))


def refused_exhibit(path: Path, refusal: Refusal, id: str) -> Exhibit:
    """A refused path, of which nobody has made pictures. Raises TrajkitError where its cameras cannot be used."""
    trajectory = last_candidate(path, refusal)
    origin = Provenance(kind="rendered", source="", path=refusal.path, scene=refusal.scene)
    try:
        clip = Clip(key=refusal.key, trajectory=trajectory, fps=trajectory.fps or 1.0, provenance=origin, licence="-")
    except TrajkitError as error:
        raise TrajkitError(path, error.problem, error.remedy) from None
    return Exhibit(id=id, clip=clip, at=(), stills=(), refusal=refusal)


def evenly(n: int) -> tuple[int, ...]:
    """The poses, of `n`, that stills are of: at most 8, evenly spaced, both ends included."""
    return tuple(int(k) for k in np.unique(np.linspace(0, n - 1, STILLS).round().astype(int)))


def still(rgb: np.ndarray) -> Image.Image:
    """A picture at the size of a still, never enlarged."""
    image = Image.fromarray(rgb)
    image.thumbnail((STILL_SIDE, STILL_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def sampled(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth at a still's (width, height), each pixel that of the pixel around its centre: means would cross edges."""
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size[::-1], depth.shape, strict=True))
    return depth[np.ix_(rows, columns)]


def colour_at(share: float) -> tuple[int, int, int]:
    """The ramp's RGB at a share 0..1 of the time."""
    red, green, blue = (np.interp(share, np.linspace(0, 1, len(RAMP)), channel) for channel in zip(*RAMP, strict=True))
    return round(red), round(green), round(blue)
