"""Judges a path: is it slow enough, clear of surfaces, and does it show only what was photographed?"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from trajkit.options import option
from trajkit.survey import Survey, preview
from trajkit.trajectory import Trajectory

Array = np.ndarray
EVERY = 4  # frames between previewed ones: a latent
NEAR_PERCENT = 2.0  # of a preview's pixels may be nearer than the near depth
MARGIN = 1.05  # by which repairs stay clear of a limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Accept:
    """What a path must keep to; docs/paths.md says why the defaults are what they are. Units: scene.unit."""

    clearance: float = option(0.25, "least distance to a surface", unit="path units", low=0.0, high=10.0)
    near: float = option(0.4, "least depth of all but 2 % of a picture", unit="path units", low=0.0, high=10.0)
    coverage: float = option(0.95, "least share of a picture that the scene covers", low=0.0, high=1.0)
    seen: float = option(0.9, "least share of a picture that was photographed", low=0.0, high=1.0)
    distance: float = option(2.0, "farthest from a captured camera", unit="path units", low=0.0, high=1e6)
    speed: float = option(2.0, "fastest", unit="path units per second", low=0.0, high=1e6)
    turn_deg: float = option(90.0, "fastest turn", unit="degrees per second", low=0.0, high=1e6)
    tries: int = option(8, "draws of a path before it is refused", low=1, high=1000)
    repair: bool = option(True, "also slow a path down or bend it away from surfaces")


class Reason(NamedTuple):
    """One limit that a path breaks, at its worst frame."""

    name: str  # of the field of Accept
    value: float
    threshold: float
    frame: int
    first: int  # frame at which it breaks the limit for the first time

    @property
    def text(self) -> str:
        """The reason for people."""
        side = "above" if self.value > self.threshold else "below"
        return f"{self.name} {self.value:.3g} is {side} {self.threshold:g} at frame {self.frame}"


class Judgement(NamedTuple):
    """What was measured of a path, and which limits it breaks."""

    reasons: tuple[Reason, ...]
    measured: dict[str, float]  # the worst value of each measure, for the clip's record


def judge(survey: Survey, path: Trajectory, accept: Accept) -> Judgement:
    """Measures a path frame by frame; its previews, the costly part, only where all else holds.

    Between two frames the camera may move as far as the clearance at most, whatever the speed limit: so a path that
    keeps clear at its frames passes through nothing between them.
    """
    unit = survey.scene.unit
    if accept.clearance > 0 and path.fps > 0:
        accept = replace(accept, speed=min(accept.speed, accept.clearance * path.fps))
    frames = np.arange(len(path))
    reasons: list[Reason] = []
    measured: dict[str, float] = {}

    def look(name: str, values: Float64[Array, " n"], at: Array, *, most: bool = False) -> None:
        threshold, worst = float(getattr(accept, name)), int(np.argmax(values) if most else np.argmin(values))
        measured[name] = round(float(values[worst]), 4)
        broken = values > threshold if most else values < threshold
        if broken.any():
            first = int(at[int(np.argmax(broken))])
            reasons.append(Reason(name, float(values[worst]), threshold, int(at[worst]), first))

    if len(path) > 1:
        look("speed", path.speeds / unit, frames[1:], most=True)
        look("turn_deg", path.turn_rates_deg, frames[1:], most=True)
    look("clearance", survey.surface.distance(path.centres) / unit, frames)
    if survey.views is not None:
        look("distance", survey.camera_distance(path.centres) / unit, frames, most=True)
    if reasons:
        return Judgement(tuple(reasons), measured)
    chosen = np.unique([*range(0, len(path), EVERY), len(path) - 1])
    small = preview(path[chosen])
    depth, alpha = survey.look(small)
    look("near", _near(depth) / unit, chosen)
    look("coverage", alpha.mean(axis=(1, 2), dtype=np.float64), chosen)
    if survey.views is not None:
        look("seen", survey.seen_share(small, depth), chosen)
    return Judgement(tuple(reasons), measured)


def _near(depth: Array) -> Float64[Array, " n"]:
    """Depth that all but 2 % of each picture's covered pixels exceed; infinite where nothing is covered."""
    masked = np.where(depth > 0, depth, np.inf).reshape(len(depth), -1)
    return np.percentile(masked, NEAR_PERCENT, axis=1, method="lower").astype(np.float64)
