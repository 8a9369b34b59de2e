"""Flow matching: noise levels, the path between data and noise, and the steps of samplers.

Everywhere sigma is in [0, 1] and exact: x = (1 - sigma) x0 + sigma eps, velocity v = eps - x0, x0 = x - sigma v; the
timestep that a network is told is 1000 sigma (reference/minwm.md 3.1; Wan and HunyuanVideo share it). No table is
looked up: minWM's nearest entry turns t = 0 into sigma 0.005.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trajkit.errors import TrajkitError

TIMESTEPS = 1000  # timestep = TIMESTEPS * sigma, at every call of a network


def shifted(sigma: Tensor, shift: float) -> Tensor:
    """shift * s / (1 + (shift - 1) s): moves uniform levels towards noise (SD3, arXiv 2403.03206, eq. 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def grid(steps: int, shift: float) -> Float[Tensor, " steps+1"]:
    """Sigmas of a sampler with `steps` steps, from 1 down to 0, both included (float64)."""
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)


def few_step_sigmas(timesteps: Sequence[float], shift: float) -> Float[Tensor, " n+1"]:
    """Sigmas of a few-step student from its list of unshifted timesteps, and a final 0.

    1000, 750, 500, 250 with shift 5 are 1, 0.9375, 0.8333, 0.625 (float64).
    """
    levels = torch.tensor([*timesteps, 0.0], dtype=torch.float64) / TIMESTEPS
    return shifted(levels, shift)


def timesteps_of(text: str) -> tuple[float, ...]:
    """Unshifted timesteps of a few-step student from "1000 750 500 250". Raises TrajkitError unless they fall."""
    remedy = f"write them like 1000 750 500 250, from {TIMESTEPS} downwards and above 0"
    try:
        found = tuple(map(float, text.split()))
    except ValueError:
        raise TrajkitError(f"timesteps {text!r}", "not numbers", remedy) from None
    if not found or any(not 0 < one <= TIMESTEPS for one in found) or found != tuple(sorted(set(found), reverse=True)):
        raise TrajkitError(f"timesteps {text!r}", "not a falling list of noise levels", remedy)
    return found


def noised(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) x0 + sigma noise; sigma (B, F) or anything that broadcasts from the left."""
    level = spread(sigma, x0)
    return ((1 - level) * x0 + level * noise).to(x0.dtype)


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """What the network predicts: noise - x0."""
    return noise - x0


def clean_from(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """x0 = x - sigma v, computed in float32 or better."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.to(wide) - spread(sigma, x).to(wide) * v.to(wide)


def velocity_from(x: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
    """v = (x - x0) / sigma, for sigma > 0."""
    return (x - x0) / spread(sigma, x)


def euler(x: Tensor, v: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """x + (next_sigma - sigma) v with the exact difference of the levels."""
    wide = torch.promote_types(x.dtype, torch.float32)
    step = spread(next_sigma.to(torch.float64) - sigma.to(torch.float64), x).to(wide)
    return (x.to(wide) + step * v.to(wide)).to(x.dtype)


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """u + scale (c - u): scale 1 is the conditional prediction. minWM's DMD writes c + w (c - u), scale 1 + w here."""
    return unconditional + scale * (conditional - unconditional)


def mean_square(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """mean(weight (prediction - target)^2) in float32; weight (B, F), not renormalised."""
    square = (prediction.float() - target.float()) ** 2
    return (square if weight is None else spread(weight, square).float() * square).mean()


def spread(values: Tensor, like: Tensor) -> Tensor:
    """`values` with axes of length 1 added on the right, on the device of `like`: (B, F) -> (B, F, 1, 1, 1)."""
    return values.to(like.device).reshape(*values.shape, *[1] * (like.ndim - values.ndim))


def bell_weight(sigma: Tensor, shift: float, steps: int = TIMESTEPS) -> Tensor:
    """Loss weight of a level: exp(-2 (t/1000 - 1/2)^2) less its value at t = 1000, mean 1 over the shifted grid.

    Wan's training weight (`bsmntw` in its code); 0 at pure noise, highest at sigma = 1/2.
    """
    bell = lambda s: torch.exp(-2 * (s - 0.5) ** 2)  # noqa: E731 - a formula, used twice
    levels = shifted(1 - torch.arange(steps, dtype=torch.float64) / steps, shift)
    lowest = math.exp(-0.5)
    mean = (bell(levels) - lowest).mean()
    return ((bell(sigma.to(torch.float64)) - lowest) / mean).to(sigma.dtype)
