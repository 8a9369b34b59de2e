"""A walk written as keys, such as w*12,l*7: minWM's and HY-WorldPlay's pose strings and more."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from trajkit import motion
from trajkit.errors import TrajkitError
from trajkit.latents import FRAMES_PER_LATENT
from trajkit.options import option
from trajkit.paths import _program
from trajkit.paths._pace import Ease
from trajkit.paths._start import AnchoredOptions, anchor
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Options(AnchoredOptions):
    """Options of `keys`. The program is checked here, so that a typo stops the run before it starts."""

    program: str = option("w*12,l*7", "keys and the latents (4 frames each) they are held for; see docs/paths.md")
    step: float = option(
        motion.LATENT_STEP, "distance of a moving key", unit="path units per latent", low=0.0, high=5.0
    )
    turn_deg: float = option(
        motion.LATENT_STEP_DEG, "angle of a turning key", unit="degrees per latent", low=0.0, high=45.0
    )
    ease: Ease = option("none", "speed profile of segments that name none: none, in, out or in-out")
    fit: Literal["error", "hold", "stretch"] = option(
        "error", "a program of another length than the clip: error, hold (its last pose), or stretch (its speed)"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "program", _program.text(self.segments))  # one walk has one name, also in provenance
        self.latent_times()

    @property
    def segments(self) -> tuple[_program.Segment, ...]:
        """The parsed program."""
        return _program.parse(self.program)

    def latent_times(self) -> Float64[np.ndarray, " frames"]:
        """The moment of the program, in latents, that each frame shows. Raises TrajkitError where it does not fit."""
        length, clip = _program.latents(self.segments), (self.frames - 1) / FRAMES_PER_LATENT
        if self.fit == "stretch":
            return np.linspace(0.0, length, self.frames)
        if length > clip or (length < clip and self.fit == "error"):
            ways = f"make the counts add up to {clip:g}, use --frames {round(length * FRAMES_PER_LATENT) + 1}"
            raise TrajkitError(
                f"keys: {self.program!r}",
                f"lasts {length:g} latents, but a clip of {self.frames} frames lasts {clip:g}",
                f"{ways}, or add ;fit=stretch" + (" or ;fit=hold" if length < clip else ""),
            )
        return np.arange(self.frames) / FRAMES_PER_LATENT


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """The program integrated frame by frame from a captured camera; `step` counts in scene.unit.

    Each frame turns, then moves, a quarter of a latent's step (0.02 and 0.75 degrees): on frames 0, 4, 8, ... a program
    of single keys gives minWM's poses. With keys held together the walk follows the arc that minWM cuts short.
    """
    start = anchor(scene, rng, options.anchor)
    path = _program.poses(
        options.segments,
        options.latent_times(),
        step=options.step * scene.unit,
        turn_deg=options.turn_deg,
        ease=options.ease,
    )
    return options.trajectory(start @ path, scene)
