"""Backbones, one per file: `Options` and `Backbone(BackboneModule)`; see `BackboneModule` for what each must do.

Latents are (B, F, C, H, W), velocities too; sigma is (B, F). Text is a mapping of tensors by name, as `trajkit encode`
wrote it for this backbone.
"""

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..attention import Cache
from ..cameras import Cameras

Conditioning = Literal["prope", "prope-merged", "plucker", "none"]
Text = Mapping[str, Tensor]
CHUNK_LATENTS = 4


class BackboneModule(nn.Module, abc.ABC):
    """A video network that predicts velocities, and how cameras reach it.

    `velocity` is the one call: all frames at once; or, with `clean`, teacher forcing on [clean | noisy] in chunks; or,
    with a `cache`, one chunk after those that the cache holds. The timestep that the network is told is 1000 sigma. The
    world's frame is of no matter: cameras count by where they stand to the clip's first one.
    """

    name: ClassVar[str]
    architecture: ClassVar[str]  # the class of diffusers that its weights are of
    conditioning: Conditioning
    chunk: int = CHUNK_LATENTS  # latents per chunk
    gradient_checkpointing: bool = False

    @classmethod
    @abc.abstractmethod
    def load(
        cls, source: str, conditioning: Conditioning | None, *, dtype: torch.dtype = torch.float32
    ) -> "BackboneModule":
        """From a folder that `save` or diffusers wrote, a released file (minWM's), or a hub id; `random` or
        `random:key=value,...` makes one with random weights. Conditioning None is that of the source.

        Raises TrajkitError naming what is missing or at odds.
        """

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Writes safetensors and config.json that diffusers' from_pretrained reads, and camera.safetensors beside."""

    @abc.abstractmethod
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
        """Predicted noise - x0 of the noisy frames.

        With a cache the frames are those after `frames_in(cache)`, and nothing is committed: `remember` does that.
        `first` is the clip's first latent where the backbone is told it (image to video); others ignore it.
        """

    @abc.abstractmethod
    def remember(
        self,
        clean: Float[Tensor, "b f c h w"],
        cameras: Cameras | None,
        text: Text,
        cache: Cache,
        **told: Tensor | None,
    ) -> None:
        """Runs the finished frames at sigma 0 without gradient and commits their keys and values to the cache."""

    @abc.abstractmethod
    def cache(self, frames: int, height: int, width: int, sink: int = 0) -> Cache:
        """An empty cache for so many latents of height x width."""

    @abc.abstractmethod
    def flops(self, frames: int, height: int, width: int, *, clean: bool = False, past: int = 0) -> float:
        """Floating-point operations of one forward call of one sample (2 per multiply-add)."""

    def compile_blocks(self) -> None:
        """Compiles what is slow in eager mode, for `loop.compile` and `rollout --compile`."""
