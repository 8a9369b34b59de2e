"""Reads with torchcodec and the system's FFmpeg (shared libraries of version 4 to 9), where both load."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from trajkit.errors import TrajkitError
from trajkit.readers.pyav import opened, probe
from trajkit.video import Source, check_indices, label

__all__ = ["EXTRA", "REQUIRES", "probe", "read"]
REQUIRES = ("torchcodec",)
EXTRA = "fast"


def read(source: Source, indices: Sequence[int] | None = None) -> UInt8[np.ndarray, "n h w 3"]:
    """RGB pictures of the frames in the order asked for. Raises TrajkitError where torchcodec cannot load or read."""
    decoder_class = _decoder_class()
    facts = probe(source)
    numbers = check_indices(indices, facts.frames, source)
    if not numbers:
        return np.empty((0, facts.height, facts.width, 3), np.uint8)
    try:
        decoder = decoder_class(opened(source), dimension_order="NHWC", num_ffmpeg_threads=1)
        if len(decoder) != facts.frames:
            problem = f"torchcodec counts {len(decoder)} of {facts.frames} frames"
            raise TrajkitError(label(source), problem, "use the reader pyav")
        return decoder.get_frames_at(numbers).data.numpy()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TrajkitError(label(source), f"torchcodec cannot read it ({reason})", "use the reader pyav") from None


def _decoder_class() -> Any:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        remedy = "install FFmpeg's shared libraries and a matching torch, or use the reader pyav"
        raise TrajkitError("reader torchcodec", f"does not load ({reason})", remedy) from None
    return VideoDecoder
