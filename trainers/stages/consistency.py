"""Consistency distillation of a causal teacher: neighbouring points of its path must lead the student to one end.

x_i = (1 - sigma_i) x0 + sigma_i noise; the frozen teacher's guided Euler step leads to x_(i+1); then
loss = mean((f(x_i, sigma_i) - f_target(x_(i+1), sigma_(i+1)))^2), f(x, sigma) = x - sigma v(x, sigma), so f(x, 0) = x
(arXiv 2303.01469 with its boundary met by the parametrisation; reference/minwm.md 3.5, 10.5).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trajkit.options import option

from .. import flow
from ..backbones import BackboneModule
from ..batch import Batch, Draws
from ..guidance import guided_velocity
from . import Losses, Role, Roles

ROLES = {
    "student": Role(kind="trained", source="start", causal=True),
    "teacher": Role(kind="frozen", source="teacher", causal=True),
    "target": Role(kind="average", source="student", causal=True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The teacher's steps, and how it is guided."""

    steps: int = option(50, "steps of the teacher's path from noise to clip", low=1, high=1000)
    shift: float = option(5.0, "moves noise levels towards noise; 1 leaves them", low=0.01, high=100)
    guidance: float = option(3.0, "guidance scale of the teacher, which the student learns; 1 is none", low=0, high=50)
    timesteps: str = option("1000 750 500 250", "levels it will be sampled at; noted in its card", unit="1/1000")
    first_frame: bool = option(False, "tell the network the clip's first latent (image to video)")

    def __post_init__(self) -> None:
        flow.timesteps_of(self.timesteps)


def losses(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Losses:
    """The student's loss; no gradient reaches the teacher or the target."""
    clip, grid = batch.latents, flow.grid(options.steps, options.shift).to(batch.latents.device)
    chosen = draws.index("level", options.steps)[:, None].expand(-1, clip.shape[1])
    sigma, after = grid[chosen], grid[chosen + 1]
    told = {"clean": clip, "first": clip[:, :1] if options.first_frame else None}
    noisy = flow.noised(clip, draws.normal("noise", tuple(clip.shape[1:])), sigma)
    with torch.no_grad():
        v = guided_velocity(roles["teacher"], noisy, sigma, batch.cameras, batch.text, options.guidance, **told)
        target = endpoint(roles["target"], flow.euler(noisy, v, sigma, after), after, batch, **told)
    yield "student", flow.mean_square(endpoint(roles["student"], noisy, sigma, batch, **told), target)


def endpoint(
    network: BackboneModule, x: Tensor, sigma: Float[Tensor, "b f"], batch: Batch, **told: Any
) -> Float[Tensor, "b f c h w"]:
    """f(x, sigma) = x - sigma v(x, sigma), float32; x itself where sigma is 0."""
    return flow.clean_from(x, network.velocity(x, sigma.float(), batch.cameras, batch.text, **told), sigma)
