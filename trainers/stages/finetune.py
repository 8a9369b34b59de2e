"""Fine-tuning of a bidirectional network by flow matching: one noise level per clip, all frames at once.

loss = mean(w(sigma) (v(x_sigma, sigma) - (noise - x0))^2)     (arXiv 2210.02747; reference/minwm.md 3.2)
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from trajkit.options import option

from .. import flow
from ..backbones import BackboneModule
from ..batch import Batch, Draws
from ..guidance import null_text
from . import Losses, Role, Roles

ROLES = {"student": Role(kind="trained", source="start", causal=False)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Noise levels, their weight in the loss, and what the network is told."""

    shift: float = option(5.0, "moves noise levels towards noise; 1 leaves them", low=0.01, high=100)
    levels: Literal["uniform", "logit-normal"] = option(
        "uniform", "how levels are drawn before the shift: uniform (Wan) or logit-normal (HunyuanVideo)"
    )
    weight: Literal["none", "bell"] = option(
        "none", "weight of a level in the loss: none, or bell (Wan's, which is 0 at pure noise)"
    )
    text_dropout: float = option(0.1, "share of clips told the null text, which guidance needs", low=0, high=1)
    camera_dropout: float = option(0.1, "share of clips told no cameras", low=0, high=1)
    first_frame: bool = option(False, "tell the network the clip's first latent (image to video)")


def losses(batch: Batch, roles: Roles, draws: Draws, options: Options) -> Losses:
    """The student's loss."""
    sigma = drawn_sigma(draws, options, 1).expand(-1, batch.latents.shape[1])
    yield "student", matching_loss(roles["student"], batch, draws, options, sigma)


def drawn_sigma(draws: Draws, options: Options, runs: int) -> Float[Tensor, "b runs"]:
    """A level in (0, 1] per run of frames, float64: an entry of the shifted grid of 1000, or shifted(sigmoid(N))."""
    if options.levels == "uniform":
        index = draws.index("level", flow.TIMESTEPS, (runs,))
        return flow.grid(flow.TIMESTEPS, options.shift).to(index.device)[index]
    return flow.shifted(torch.sigmoid(draws.normal("level", (runs,)).double()), options.shift)


def matching_loss(
    student: BackboneModule,
    batch: Batch,
    draws: Draws,
    options: Options,
    sigma: Float[Tensor, "b f"],
    clean: Tensor | None = None,
) -> Tensor:
    """Weighted mean square between the predicted velocity and noise - x0; with `clean`, teacher-forced on it."""
    noise = draws.normal("noise", tuple(batch.latents.shape[1:]))
    noisy = flow.noised(batch.latents, noise, sigma)
    predicted = student.velocity(noisy, sigma.float(), clean=clean, **_told(student, batch, draws, options))
    weight = flow.bell_weight(sigma, options.shift) if options.weight == "bell" else None
    return flow.mean_square(predicted, flow.velocity(batch.latents, noise), weight)


def _told(student: BackboneModule, batch: Batch, draws: Draws, options: Options) -> dict[str, Any]:
    """Cameras, text and first latent, some of them dropped; each sample's own draw decides."""
    keep = draws.uniform("text dropout") >= options.text_dropout
    null = null_text(student, batch.text)
    return {
        "text": {name: torch.where(flow.spread(keep, one), one, null[name]) for name, one in batch.text.items()},
        "cameras": batch.cameras.dropped(draws.uniform("camera dropout") >= options.camera_dropout),
        "first": batch.latents[:, :1] if options.first_frame else None,
    }
