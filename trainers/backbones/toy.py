"""A small network in pixel space, made of the same layers as `wan`: for demos, tests and proofs of concept.

Its latents are pictures themselves, one per latent frame, RGB in -1 .. 1; its text is one null token.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trajkit.options import option

from . import wan

REQUIRES, EXTRA = wan.REQUIRES, wan.EXTRA
TEXT_WIDTH = 16


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
    """See `wan.Backbone`."""

    name, words = "toy", 1


def null_text(batch: int, device: Any = None) -> dict[str, Tensor]:
    """The text of toy clips: one token of zeros."""
    return {"embeddings": torch.zeros(batch, 1, TEXT_WIDTH, device=device)}
