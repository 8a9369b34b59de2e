"""Classifier-free guidance: the text that says nothing, and predictions guided away from it (arXiv 2207.12598)."""

from typing import Any

import torch
from torch import Tensor

from . import flow
from .backbones import BackboneModule, Text
from .cameras import Cameras


def null_text(network: BackboneModule, text: Text) -> dict[str, Tensor]:
    """The text that says nothing, in the shapes of `text`: the backbone's own `null_text(text)`, or zeros.

    Text dropout trains it and guidance asks for it, so both call this. minWM's Wan trains no null at all and guides
    away from a sentence of complaints instead (reference/minwm.md 10.1).
    """
    own = getattr(network, "null_text", None)
    return dict(own(text)) if own else {name: torch.zeros_like(value) for name, value in text.items()}


def guided_velocity(
    network: BackboneModule,
    noisy: Tensor,
    sigma: Tensor,
    cameras: Cameras | None,
    text: Text,
    scale: float,
    **told: Any,
) -> Tensor:
    """Velocity (B, F, C, H, W) float32 at a guidance scale; both predictions see the cameras and all else in `told`.

    Scale 1 is the plain prediction and costs one pass instead of two.
    """
    conditional = network.velocity(noisy, sigma.float(), cameras, text, **told).float()
    if scale == 1:
        return conditional
    unconditional = network.velocity(noisy, sigma.float(), cameras, null_text(network, text), **told).float()
    return flow.guided(conditional, unconditional, scale)
