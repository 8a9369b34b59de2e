"""ODE regression: a few-step student learns where the teacher's path ends, from each of its own noise levels.

loss = mean((x_k - sigma_k v(x_k, sigma_k) - x_end)^2), k drawn among the few levels, x_k and x_end states of a path of
the causal teacher (trainers/ode_pairs.py), the past being the true clip (reference/minwm.md 3.4, 10.4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trajkit.errors import TrajkitError
from trajkit.options import option

from .. import flow
from ..batch import Batch, Draws
from . import Losses, Role, Roles

ROLES = {"student": Role(kind="trained", source="start", causal=True)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The student's levels; they must be those that the pairs were made for."""

    shift: float = option(5.0, "moves noise levels towards noise; 1 leaves them", low=0.01, high=100)
    timesteps: str = option("1000 750 500 250", "the student's levels before the shift", unit="1/1000")
    first_frame: bool = option(False, "tell the network the clip's first latent (image to video)")

    def __post_init__(self) -> None:
        flow.timesteps_of(self.timesteps)


def losses(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Losses:
    """The student's loss. Raises TrajkitError where the clips hold no pairs, or pairs for other levels."""
    states, sigmas = _states(batch, options), flow.few_step_sigmas(flow.timesteps_of(options.timesteps), options.shift)
    clean, target = states[:, -1], states[:, -2]
    chosen = draws.index("level", len(sigmas) - 1)
    sigma = sigmas.to(chosen.device)[chosen][:, None].expand(-1, clean.shape[1])
    noisy = states[torch.arange(len(batch), device=chosen.device), chosen]
    first = clean[:, :1] if options.first_frame else None
    predicted = roles["student"].velocity(noisy, sigma.float(), batch.cameras, batch.text, clean=clean, first=first)
    yield "student", flow.mean_square(flow.clean_from(noisy, predicted, sigma), target)


def _states(batch: Batch, options: Options) -> Tensor:
    """(B, N, F, C, H, W): a state per level, the path's end, the true clip."""
    wanted = len(flow.timesteps_of(options.timesteps)) + 2
    if batch.trajectory is None:
        raise TrajkitError(f"clip {batch.keys[0]}", "holds no path of a teacher", "run trajkit pairs first")
    if batch.trajectory.shape[1] != wanted:
        problem = f"its path has {batch.trajectory.shape[1]} states, not {wanted}"
        raise TrajkitError(f"clip {batch.keys[0]}", problem, "give the timesteps that trajkit pairs was given")
    return batch.trajectory.float()
