"""A small network in pixel space, made of the same layers as `wan`: for demos, tests and proofs of concept.

Its latents are pictures themselves, one per latent frame, RGB in -1 .. 1; its text is one null token.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trajkit.options import option

from ..attention import Cache
from ..cameras import Cameras
from ..flow import velocity_from
from . import Text, wan

REQUIRES, EXTRA = wan.REQUIRES, wan.EXTRA
TEXT_WIDTH = 16
LEAST_SIGMA = 0.05  # below it the layers' output is x - LEAST_SIGMA v: a division by 0 has no gradient to learn from
EXACT_SIGMA = 1e-4  # of the first latent, which is known; only `remember` asks below it, and takes no velocity


@dataclass(frozen=True, kw_only=True)
class Options(wan.Options):
    """Size of the network; the defaults have 22 million parameters and take pictures of 64x64 in patches of 8."""

    heads: int = option(6, "attention heads", low=1)
    head_dim: int = option(64, "width of a head", low=4)
    layers: int = option(10, "transformer blocks", low=1)
    ffn: int = option(1536, "width of the feed-forward layers", low=1)
    channels: int = option(3, "channels of a latent", low=1)
    patch: int = option(8, "side of a patch", unit="pixels", low=1)
    text: int = option(TEXT_WIDTH, "width of the text embedding", low=1)


class Backbone(wan.Backbone):
    """See `wan.Backbone`. The layers say the clean picture: a large patch of pixels has too much noise to be told.

    "Back to Basics: Let Denoising Generative Models Denoise", arXiv 2511.13720.
    """

    name, words = "toy", 1

    def velocity(
        self,
        noisy: Float[Tensor, "b f c h w"],
        sigma: Float[Tensor, "b f"],
        cameras: Cameras | None,
        text: Text,
        *,
        clean: Float[Tensor, "b f c h w"] | None = None,
        cache: Cache | None = None,
        first: Float[Tensor, "b 1 c h w"] | None = None,
    ) -> Float[Tensor, "b f c h w"]:
        """(noisy - x0) / max(sigma, 0.05), float32, x0 being what the layers say.

        `first` stands in the clip's first frame without noise, at sigma 0, and that frame's velocity leads to it.
        """
        told, level, known = noisy, sigma, None if cache is not None and cache.seen else first
        if known is not None:
            told = torch.cat([known.to(noisy.dtype), noisy[:, 1:]], 1)
            level = torch.cat([torch.zeros_like(sigma[:, :1]), sigma[:, 1:]], 1)
        x0 = super().velocity(told, level, cameras, text, clean=clean, cache=cache).float()
        velocity = velocity_from(noisy.float(), x0, sigma.clamp(min=LEAST_SIGMA))
        if known is None:
            return velocity
        own = velocity_from(noisy[:, :1].float(), known.float(), sigma[:, :1].clamp(min=EXACT_SIGMA))
        return torch.cat([own, velocity[:, 1:]], 1)


def null_text(batch: int, device: Any = None) -> dict[str, Tensor]:
    """The text of toy clips: one token of zeros."""
    return {"embeddings": torch.zeros(batch, 1, TEXT_WIDTH, device=device)}
