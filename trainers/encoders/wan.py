"""Wan 2.1: AutoencoderKLWan and UMT5, from a folder in diffusers' layout or a hub id."""

import html

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from . import DTYPES, Encoding, Settings, from_pictures, identity, part

TOKENS = 512  # of the text, padded with zeros


class Encoder(Encoding):
    """The mode of the posterior, each channel normalised by the VAE's mean and standard deviation."""

    multiple = 16  # 8 of the VAE times 2 of the transformer's patches

    def __init__(self, settings: Settings) -> None:
        from diffusers import AutoencoderKLWan
        from transformers import AutoTokenizer, UMT5EncoderModel

        dtype = DTYPES[settings.dtype]
        self.vae = part(AutoencoderKLWan, settings.source, "vae", torch_dtype=dtype, use_safetensors=True)
        self.words = part(UMT5EncoderModel, settings.source, "text_encoder", dtype=dtype, use_safetensors=True)
        self.tokenizer = part(AutoTokenizer, settings.source, "tokenizer")
        self.id = identity("wan", self.vae, self.words)
        if settings.tiling:
            self.vae.enable_tiling()

    def to(self, device: str) -> None:
        """Moves the networks."""
        self.vae.to(device)
        self.words.to(device)

    def frames(self, count: int) -> Int64[np.ndarray, " n"]:
        """All."""
        return np.arange(count)

    @torch.no_grad()
    def latents(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "f c h w"]:
        """(z - mean) / std of the posterior's mode z, in float32."""
        pixels = from_pictures(pictures, self.vae.dtype, self.vae.device)
        mode = self.vae.encode(pixels).latent_dist.mode()[0].float().cpu()
        norms = torch.tensor([self.vae.config.latents_mean, self.vae.config.latents_std])
        mean, std = norms[..., None, None, None]
        return ((mode - mean) / std).transpose(0, 1)

    @torch.no_grad()
    def text(self, caption: str, first: UInt8[np.ndarray, "h w 3"]) -> dict[str, Tensor]:
        """embeddings (512, D) bfloat16: UMT5's last states, zeros after the last token."""
        clean = " ".join(html.unescape(html.unescape(caption)).split())
        length = {"padding": "max_length", "max_length": TOKENS, "truncation": True}
        tokens = self.tokenizer([clean], **length, return_attention_mask=True, return_tensors="pt")
        tokens = tokens.to(self.words.device)
        states = self.words(tokens.input_ids, tokens.attention_mask).last_hidden_state[0]
        states[int(tokens.attention_mask.sum()) :] = 0
        return {"embeddings": states.to("cpu", torch.bfloat16)}
