"""Another path walked by hand: band-limited shake on top of it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.paths._inner import WrappingOptions, sample_inner
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

_WAVES = 32  # per axis: enough for a spectrum without gaps over a clip of seconds


@dataclass(frozen=True, kw_only=True)
class Options(WrappingOptions):
    """Options of `handheld`. Amplitudes are the root mean square over time of each axis."""

    shake_deg: float = option(0.4, "shake of the view about each axis, rms", unit="degrees", low=0.0, high=10.0)
    shake: float = option(0.01, "shake of the place along each axis, rms", unit="path units", low=0.0, high=1.0)
    low_hz: float = option(0.3, "slowest shake", unit="Hz", low=0.01, high=100.0)
    high_hz: float = option(3.0, "fastest shake, below half the frame rate", unit="Hz", low=0.02, high=100.0)

    def __post_init__(self) -> None:
        if not self.low_hz < self.high_hz:
            raise TrajkitError(
                f"handheld: low_hz={self.low_hz:g}", f"not below high_hz={self.high_hz:g}", "lower it or raise high_hz"
            )
        if self.high_hz >= self.fps / 2:
            raise TrajkitError(
                f"handheld: high_hz={self.high_hz:g}",
                f"{self.fps:g} frames per second cannot show it",
                f"stay below {self.fps / 2:g}",
            )
        super().__post_init__()


def sample(scene: Scene, options: Options, rng: np.random.Generator) -> Trajectory:
    """The inner path with each pose turned and moved a little in its own axes; frame 0 stays as it was."""
    path = sample_inner(scene, options, rng)
    shake = noise(path.times_s, options.low_hz, options.high_hz, rng)
    turn = Rotation.from_rotvec(np.radians(options.shake_deg) * shake[:, :3]).as_matrix()
    shaken = path.camera_to_world @ se3.pose(turn, options.shake * scene.unit * shake[:, 3:])
    return replace(path, camera_to_world=shaken)


def noise(
    times_s: Float64[np.ndarray, " n"], low_hz: float, high_hz: float, rng: np.random.Generator
) -> Float64[np.ndarray, "n 6"]:
    """Six independent signals of rms 1 about their mean, shifted to start at 0.

    Power density falls as 1/f^2 between low_hz and high_hz (an amplitude of 1/f: slow sway, fine tremor) and is zero
    elsewhere, but for the shift. Made of sines at drawn frequencies, one in each of 32 equal ratios of the band, so
    that it never repeats with the clip; each sine carries its ratio's share of the power.
    """
    edges = np.geomspace(low_hz, high_hz, _WAVES + 1)
    power = 1 / edges[:-1] - 1 / edges[1:]  # the integral of f^-2 over each part
    frequencies = edges[:-1, None] * (high_hz / low_hz) ** (rng.random((_WAVES, 6)) / _WAVES)
    phases = rng.uniform(0, 2 * np.pi, (_WAVES, 6))
    waves = np.sin(2 * np.pi * frequencies * times_s[:, None, None] + phases)
    signal = np.einsum("w,nwa->na", np.sqrt(2 * power / power.sum()), waves)
    return signal - signal[0]
