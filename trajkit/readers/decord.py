"""Reads with decord 0.6, for who asks for it. It never seeks: after a seek decord gives wrong frames of open groups."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from trajkit.errors import TrajkitError
from trajkit.readers.pyav import opened, probe
from trajkit.video import Source, check_indices, label, places_of

__all__ = ["EXTRA", "REQUIRES", "probe", "read"]
REQUIRES = ("decord",)
EXTRA = "decord"


def read(source: Source, indices: Sequence[int] | None = None) -> UInt8[np.ndarray, "n h w 3"]:
    """RGB pictures of the frames in the order asked for, by decoding all frames up to the last of them.

    Raises TrajkitError where decord shows other frames than every other reader: it ignores edit lists, turned
    pictures and damage, and knows no AV1.
    """
    import decord

    facts = probe(source)
    numbers = check_indices(indices, facts.frames, source)
    pictures = np.empty((len(numbers), facts.height, facts.width, 3), np.uint8)
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(opened(source), num_threads=1)
        if len(reader) != facts.frames:
            problem = f"decord counts {len(reader)} of {facts.frames} frames"
            raise TrajkitError(label(source), problem, "use the reader pyav")
        places = places_of(numbers)
        for number in range(max(numbers, default=-1) + 1):
            frame = reader.next()
            if number in places:
                pictures[places[number]] = frame.asnumpy()
    except (decord.DECORDError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TrajkitError(label(source), f"decord cannot read it ({reason})", "use the reader pyav") from None
    return pictures
