"""Teacher forcing: each chunk denoised at its own noise level, given the clean chunks before it, in one pass.

The same loss as `finetune`, on the noisy half of [clean | noisy] (reference/minwm.md 2.4, 3.3).
"""

from dataclasses import dataclass

from trajkit.options import option

from .. import flow
from ..batch import Batch, Draws
from . import Losses, Role, Roles, finetune

ROLES = {"student": Role(kind="trained", source="start", causal=True)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options(finetune.Options):
    """Those of `finetune`, and noise in the past."""

    context_noise: float = option(
        0.0, "highest noise level of the past, which is told that it is clean; makes rollouts forgiving", low=0, high=1
    )


def losses(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Losses:
    """The student's loss."""
    student, past, frames = roles["student"], batch.latents, batch.latents.shape[1]
    chunks = -(-frames // student.chunk)
    sigma = finetune.drawn_sigma(draws, options, chunks).repeat_interleave(student.chunk, 1)[:, :frames]
    if options.context_noise:
        level = options.context_noise * draws.uniform("context level")
        past = flow.noised(past, draws.normal("context noise", tuple(past.shape[1:])), level)
    yield "student", finetune.matching_loss(student, batch, draws, options, sigma, past)
