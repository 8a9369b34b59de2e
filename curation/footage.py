"""`Footage`: a video without cameras, and what its source says of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from trajkit.camera import Camera
from trajkit.members import check_key

Array = np.ndarray
Stillness = Literal["still", "moving", "unsure"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Footage:
    """One video of a source such as OpenVid. Nothing is read before `open` is called.

    Raises TrajkitError for a key that is none.
    """

    key: str  # [A-Za-z0-9_-]+, a function of the name in the source
    name: str  # as the source has it, such as "---_iRTHryQ_13_0to241.mp4"
    open: Callable[[], Path | bytes]  # picklable; the file, or its content where it lies in an archive
    source: str  # what finds it again, such as "openvid:OpenVid_part3.zip/abc.mp4"; no absolute path
    licence: str  # "unknown" where nobody said
    caption: str = ""
    columns: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)  # its row of the table
    depth: Callable[[], Iterator[Float32[Array, "h w"]]] | None = None  # z-depth beside it, one per source frame
    lens: Camera | None = None  # where the source knows it; pixels of the source's pictures

    def __post_init__(self) -> None:
        check_key(self.key, self.source)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitness:
    """What was measured in footage, before anything is made of it. Frames count in the source's own rate."""

    frames: int
    fps: float
    width: int  # pixels, as shown
    height: int
    cuts: tuple[int, ...]  # first frame of each shot after the first
    picture: tuple[int, int, int, int]  # left, top, right, bottom (exclusive) of what black bars leave
    overlays: tuple[tuple[int, int, int, int], ...]  # boxes of burned-in text or logos: left, top, right, bottom
    frozen: tuple[tuple[int, int], ...]  # runs of repeated pictures: first, last frame
    camera: Stillness  # over the longest shot
    camera_sure: float  # 0.5 (no idea) .. 1: how sure `camera` is
    camera_px: float | None  # how far the background moved over that shot, pixels of a picture 832 wide; None: unseen
    sharpness: float  # 0..1: how much of the detail that its size could hold is there
    brightness: float  # 0..1: mean luma


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """A stretch of footage, ready to be filmed anew: upright pictures without bars, at the clip's rate.

    A frozen shot has one picture, which stands for all frames.
    """

    footage: Footage
    fitness: Fitness
    lens: Camera  # of `frames`' pictures; a pinhole
    lens_known: bool  # False: an assumed field of view
    frozen: bool
    frames: Callable[[], Iterator[UInt8[Array, "h w 3"]]]  # as many as the clip has, or one; can be called again
    depth: Callable[[], Iterator[Float32[Array, "h w"]]] | None = None  # z-depth of those pictures; 0 = unknown
