"""Turns on the spot: pan, tilt and roll about one camera centre, and an optical zoom. Nothing moves."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.paths._pace import Ease, progress
from trajkit.paths._start import AnchoredOptions, anchor
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

AXES = ("pan", "tilt", "roll")  # about the camera's y, x and z axis: right, up and clockwise are positive


@dataclass(frozen=True, kw_only=True)
class Options(AnchoredOptions):
    """Options of `turn`. Totals that are given are kept; where none is, `kind` says which are drawn."""

    pan_deg: float | None = option(None, "total turn to the right", unit="degrees", low=-720.0, high=720.0)
    tilt_deg: float | None = option(None, "total turn upwards", unit="degrees", low=-180.0, high=180.0)
    roll_deg: float | None = option(None, "total turn clockwise", unit="degrees", low=-720.0, high=720.0)
    kind: Literal["any", "pan", "tilt", "roll", "mixed"] = option(
        "any", "what is drawn where no total is given: one axis, all of them (mixed), or one of these four (any)"
    )
    least_deg: float = option(4.0, "smallest turn that is drawn", unit="degrees", low=0.0, high=180.0)
    most_deg: float = option(20.0, "largest turn that is drawn", unit="degrees", low=0.0, high=180.0)
    zoom: float = option(1.0, "focal length at the end over the one at the start", low=0.1, high=10.0)
    ease: Ease = option("none", "speed profile: none, in, out or in-out")

    def __post_init__(self) -> None:
        if self.least_deg > self.most_deg:
            problem = f"least_deg={self.least_deg} is above most_deg={self.most_deg}"
            raise TrajkitError("path turn", problem, "give a range, smallest first")
        if self.kind != "any" and self.given:
            problem = f"kind={self.kind} beside {', '.join(self.given)}"
            raise TrajkitError("path turn", problem, "give the totals, or the kind that is drawn")

    @property
    def given(self) -> dict[str, float]:
        """The totals in degrees that are not left to chance, by option."""
        totals = {f"{axis}_deg": getattr(self, f"{axis}_deg") for axis in AXES}
        return {name: total for name, total in totals.items() if total is not None}


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """R(s) = R_start R_y(s pan) R_x(s tilt) R_z(s roll) at progress s, as on a tripod head; the centre stands still.

    The focal length is zoom^s times the lens's, so that the picture grows by the same factor in each frame; the
    principal point stays.
    """
    start = anchor(scene, rng, options.anchor)
    pan, tilt, roll = progress(options.frames, options.ease) * _totals_deg(options, rng)[:, None]
    turned = se3.axis_rotation("y", pan) @ se3.axis_rotation("x", tilt) @ se3.axis_rotation("z", roll)
    path = options.trajectory(start @ se3.pose(turned, np.zeros(3)), scene)
    if options.zoom == 1.0:
        return path
    growth = options.zoom ** progress(options.frames, options.ease)
    return replace(path, intrinsics=path.intrinsics * np.stack([growth, growth, growth**0, growth**0], axis=-1))


def _totals_deg(options: Options, rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    """Pan, tilt and roll in degrees: as given, or of drawn size, sign and (with kind=any) axis."""
    if options.given:
        return np.array([options.given.get(f"{axis}_deg", 0.0) for axis in AXES])
    kind = str(rng.choice([*AXES, "mixed"])) if options.kind == "any" else options.kind
    sizes = rng.uniform(options.least_deg, options.most_deg, 3) * rng.choice([-1.0, 1.0], 3)
    return sizes * [kind in (axis, "mixed") for axis in AXES]
