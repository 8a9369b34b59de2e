"""How fast a path is walked: easing of progress, and constant pace along a curve."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

Array = np.ndarray
Ease = Literal["none", "in", "out", "in-out"]
EASES: tuple[str, ...] = get_args(Ease)
Direction = Literal["either", "right", "left"]


def eased(ease: str, fraction: Float64[Array, " n"]) -> Float64[Array, " n"]:
    """Progress 0..1 at a fraction 0..1 of the time; the path and its length stay the same.

    none: constant speed. in: starts at rest (u^2, ends at twice the mean speed). out: ends at rest. in-out: both
    (3u^2 - 2u^3, 1.5 times the mean speed half way).
    """
    if ease == "in":
        return fraction**2
    if ease == "out":
        return 1 - (1 - fraction) ** 2
    if ease == "in-out":
        return fraction**2 * (3 - 2 * fraction)
    return fraction


def progress(frames: int, ease: str = "none") -> Float64[Array, " frames"]:
    """Progress 0..1 along a path at each of its frames; a single frame stands at the start."""
    return eased(ease, np.linspace(0.0, 1.0, frames))


def sign(direction: str, rng: np.random.Generator) -> float:
    """+1 for right, -1 for left, and a fair coin for either."""
    if direction == "either":
        return float(rng.choice([1.0, -1.0]))
    return 1.0 if direction == "right" else -1.0
