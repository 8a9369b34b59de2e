"""Distribution matching distillation: a causal few-step student's own clips are moved to where the teacher is likelier.

A clip x of the student (trainers/rollout.py) is noised to a drawn level. Two bidirectional networks say where it should
have come from: the teacher (frozen: the score of real clips) and the critic (trained on the student's clips: the score
of generated ones). The student descends g = (x_critic - x_teacher) / mean|x - x_teacher|, by the loss
mean((x - stopgrad(x - g))^2) / 2 whose gradient is g / numel (DMD2, arXiv 2405.14867; reference/minwm.md 3.6, 10.6).
The critic is trained by flow matching on the student's clips at each step, the student at every `ratio`-th.

minWM's Wan writes guidance as c + 3 (c - u): scale 4 here, where it is u + s (c - u). Both networks are told 1000 sigma
(minWM's HunyuanVideo tells them the index of a table instead).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trajkit.options import option

from .. import flow
from ..batch import Batch, Draws
from ..guidance import guided_velocity
from ..rollout import Sampling, last_frames, self_rollout
from . import Losses, Role, Roles

ROLES = {
    "student": Role(kind="trained", source="start", causal=True),
    "teacher": Role(kind="frozen", source="teacher", causal=False),
    "critic": Role(kind="trained", source="critic", causal=False),
}
LEAST = 1e-8  # of the normaliser


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The student's levels, its past, and how both scores are asked."""

    ratio: int = option(5, "the critic learns at each step, the student at every so manyth", low=1)
    guidance: float = option(4.0, "guidance scale of the teacher, u + s (c - u); 1 is none", low=0, high=50)
    shift: float = option(5.0, "moves noise levels towards noise; 1 leaves them", low=0.01, high=100)
    timesteps: str = option("1000 750 500 250", "the student's levels before the shift", unit="1/1000")
    lowest: float = option(0.02, "lowest level at which the scores are asked", unit="sigma", low=0.001, high=0.999)
    highest: float = option(0.98, "highest level at which the scores are asked", unit="sigma", low=0.001, high=0.999)
    normaliser: Literal["sample", "batch"] = option(
        "sample",
        "g is divided by each sample's mean |x - x_teacher|, or the part batch's, which loop.micro then shapes",
    )
    past: Literal["exit", "full"] = option(
        "exit", "what the student sees of its past: the prediction at the exit step, or the end of all steps"
    )
    last: int = option(0, "only the last latents of a clip have gradient; 0 = all", unit="latents", low=0)
    first_frame: bool = option(False, "tell the networks the clip's first latent (image to video)")

    def __post_init__(self) -> None:
        flow.timesteps_of(self.timesteps)


def losses(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Losses:
    """The student's loss at every `ratio`-th step, then the critic's. The clips' latents are used for their shape."""
    if draws.step % options.ratio == 0:
        yield "student", student_loss(batch, roles, draws, options)
    yield "critic", critic_loss(batch, roles, draws, options)


def student_loss(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Tensor:
    """Half the mean square between a clip of the student and that clip less g; its gradient reaches the student."""
    x = own_clip(batch, roles, draws, options, "student")
    with torch.no_grad():
        noisy, _, sigma = renoised(x, draws, options, "student")
        told = _told(batch, options)
        real = guided_velocity(roles["teacher"], noisy, sigma, batch.cameras, batch.text, options.guidance, **told)
        fake = roles["critic"].velocity(noisy, sigma.float(), batch.cameras, batch.text, **told)
        x_teacher, x_critic = (flow.clean_from(noisy, v, sigma) for v in (real, fake))
        g = gradient(x_critic, x_teacher, x, options.normaliser)
    return matching_loss(x, g, last_frames(x.shape[1], options.last))


def critic_loss(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Tensor:
    """Flow matching of the critic on a clip of the student, which has no gradient."""
    with torch.no_grad():
        x = own_clip(batch, roles, draws, options, "critic")
    noisy, noise, sigma = renoised(x, draws, options, "critic")
    predicted = roles["critic"].velocity(noisy, sigma.float(), batch.cameras, batch.text, **_told(batch, options))
    return flow.mean_square(predicted, flow.velocity(x, noise))


def own_clip(batch: Batch, roles: Roles, draws: Draws, options: Options, name: str) -> Float[Tensor, "b f c h w"]:
    """A clip that the student makes of noise; all samples of a step, on all ranks, leave at the same step."""
    sigmas = flow.few_step_sigmas(flow.timesteps_of(options.timesteps), options.shift)
    sampling = Sampling(sigmas=tuple(sigmas.tolist()), solver="consistency")
    return self_rollout(
        roles["student"],
        batch.cameras,
        batch.text,
        draws,
        sampling,
        draws.shared_index(f"{name} exit", sampling.steps),
        shape=tuple(batch.latents.shape[2:]),  # type: ignore[arg-type]
        name=f"{name} rollout",
        last=options.last,
        full=options.past == "full",
        **_told(batch, options),
    )


def renoised(x: Tensor, draws: Draws, options: Options, name: str) -> tuple[Tensor, Tensor, Float[Tensor, "b f"]]:
    """(the clip at a drawn level, its noise, the level), without the clip's gradient; one level per sample."""
    sigma = level(draws.uniform(f"{name} level").double(), options)[:, None].expand(-1, x.shape[1])
    noise = draws.normal(f"{name} noise", tuple(x.shape[1:]))
    return flow.noised(x.detach(), noise, sigma), noise, sigma


def level(uniform: Tensor, options: Options) -> Tensor:
    """Levels for uniform numbers in [0, 1): shifted, then clamped."""
    return flow.shifted(uniform, options.shift).clamp(options.lowest, options.highest)


def gradient(x_critic: Tensor, x_teacher: Tensor, x: Tensor, normaliser: str) -> Float[Tensor, "b f c h w"]:
    """(x_critic - x_teacher) / mean|x - x_teacher|, 0 where that is not finite; the mean of each sample, or of all."""
    away = (x - x_teacher).abs()
    mean = away.mean(dim=tuple(range(1, x.ndim)), keepdim=True) if normaliser == "sample" else away.mean()
    return torch.nan_to_num((x_critic - x_teacher) / mean.clamp(min=LEAST), posinf=0, neginf=0)


def matching_loss(x: Tensor, g: Tensor, mask: Bool[Tensor, " f"] | None = None) -> Tensor:
    """mean((x - stopgrad(x - g))^2) / 2 in float64 over the frames of the mask: its gradient is g / numel there."""
    if mask is not None:
        x, g = x[:, mask], g[:, mask]
    return 0.5 * ((x.double() - (x.double() - g.double()).detach()) ** 2).mean()


def _told(batch: Batch, options: Options) -> dict[str, Any]:
    return {"first": batch.latents[:, :1] if options.first_frame else None}
