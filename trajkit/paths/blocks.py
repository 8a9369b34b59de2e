"""Random blocks of single keys, drawn by the rules behind minWM's training trajectories."""

from dataclasses import dataclass

import numpy as np

from trajkit import motion
from trajkit.latents import FRAMES_PER_LATENT
from trajkit.options import option
from trajkit.paths import _program
from trajkit.paths._start import AnchoredOptions, anchor
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

# key -> (what it does, whether its blocks are long); reference/minwm.md 1.4
_KEYS = {
    "w": ("translate", False),
    "s": ("translate", False),
    "a": ("translate", True),
    "d": ("translate", True),
    "j": ("yaw", True),
    "l": ("yaw", True),
    "i": ("pitch", False),
    "k": ("pitch", False),
}
_NEXT_TO = {key: {key} for key in _KEYS} | {"w": {"w", "s"}, "s": {"w", "s"}}  # keys that may not follow a key


@dataclass(frozen=True, kw_only=True)
class Options(AnchoredOptions):
    """Options of `blocks`; the defaults are minWM's."""

    step: float = option(motion.LATENT_STEP, "distance of w s a d", unit="path units per latent", low=0.0, high=5.0)
    turn_deg: float = option(motion.LATENT_STEP_DEG, "angle of j l i k", unit="degrees per latent", low=0.0, high=45.0)
    short_frames: int = option(16, "length of blocks of w s i k", unit="frames", low=1, high=1000)
    long_frames: int = option(32, "length of blocks of a d j l", unit="frames", low=1, high=1000)
    translate_weight: float = option(1.2, "how often w s a d are drawn", low=0.01, high=100.0)
    yaw_weight: float = option(1.0, "how often j l are drawn", low=0.01, high=100.0)
    pitch_weight: float = option(0.8, "how often i k are drawn", low=0.01, high=100.0)
    pitch_limit_deg: float = option(
        60.0, "no block looks further up or down from the start; 77 frames never do", unit="degrees", low=0.0, high=89.0
    )


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """A drawn program of keys integrated frame by frame from a captured camera; `step` counts in scene.unit.

    i looks up and k looks down, as in minWM's strings; its generator had the two swapped (reference/minwm.md 1.4).
    """
    start = anchor(scene, rng, options.anchor)
    path = _program.poses(
        draw(options, rng),
        np.arange(options.frames) / FRAMES_PER_LATENT,
        step=options.step * scene.unit,
        turn_deg=options.turn_deg,
    )
    return options.trajectory(start @ path, scene)


def draw(options: Options, rng: np.random.Generator) -> tuple[_program.Segment, ...]:
    """Segments that fill the clip: no key twice in a row, no w next to s, a tail shorter than a block joined on."""
    weights = {"translate": options.translate_weight, "yaw": options.yaw_weight, "pitch": options.pitch_weight}
    left, last, pitch_deg = options.frames - 1, "", 0.0
    blocks: list[tuple[str, int]] = []
    while left > 0:
        lengths = {key: _length(key, left, options) for key in _KEYS if key not in _NEXT_TO.get(last, ())}
        climbs = {key: pitch_deg + _climb_deg(key, frames, options) for key, frames in lengths.items()}
        keys = [key for key in lengths if abs(climbs[key]) <= max(options.pitch_limit_deg, abs(pitch_deg))]
        chances = np.array([weights[_KEYS[key][0]] for key in keys])
        last = str(rng.choice(keys, p=chances / chances.sum()))
        pitch_deg = climbs[last]
        left -= lengths[last]
        blocks.append((last, lengths[last]))
    return tuple(
        _program.Segment(presses=((key, 1.0),), latents=frames / FRAMES_PER_LATENT) for key, frames in blocks
    ) or (_program.Segment(presses=(), latents=1.0),)


def _length(key: str, left: int, options: Options) -> int:
    """Frames of the next block of `key`: its length, or all that is left where the rest would make no block."""
    frames = min(options.long_frames if _KEYS[key][1] else options.short_frames, left)
    return left if left - frames < options.short_frames else frames


def _climb_deg(key: str, frames: int, options: Options) -> float:
    return motion.key_move(key, options.step, options.turn_deg)[1] * frames / FRAMES_PER_LATENT
