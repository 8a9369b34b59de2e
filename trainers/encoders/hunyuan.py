"""HunyuanVideo 1.5: its VAE, Qwen2.5-VL, byT5 and SigLIP, from a folder in diffusers' layout or a hub id.

The texts are made by diffusers' own pipeline (its prompt template, the quoted words for byT5), one clip at a time.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from . import DTYPES, Encoding, Settings, from_pictures, identity, part

IMAGE = (729, 1152)  # tokens and width of SigLIP's picture; zeros where the folder holds no image encoder


class Encoder(Encoding):
    """The mode of the posterior times the VAE's scaling factor (no shift: reference/minwm.md 1.6)."""

    multiple = 16

    def __init__(self, settings: Settings) -> None:
        import transformers
        from diffusers import AutoencoderKLHunyuanVideo15, DiffusionPipeline

        source, weights = settings.source, {"dtype": DTYPES[settings.dtype], "use_safetensors": True}
        self.vae = part(
            AutoencoderKLHunyuanVideo15, source, "vae", torch_dtype=DTYPES[settings.dtype], use_safetensors=True
        )
        self.words = part(transformers.Qwen2_5_VLTextModel, source, "text_encoder", **weights)
        self.tokenizer = part(transformers.Qwen2Tokenizer, source, "tokenizer")
        self.glyphs = part(transformers.T5EncoderModel, source, "text_encoder_2", **weights)
        self.glyph_tokenizer = part(transformers.ByT5Tokenizer, source, "tokenizer_2")
        self.networks = [self.vae, self.words, self.glyphs]
        self.picture = self.processor = None
        self.empty: Tensor | None = None  # the empty prompt, once it is encoded
        if "image_encoder" in DiffusionPipeline.load_config(source):
            self.picture = part(transformers.SiglipVisionModel, source, "image_encoder", **weights)
            self.processor = part(transformers.SiglipImageProcessor, source, "feature_extractor")
            self.networks.append(self.picture)
        self.id = identity("hunyuan", *self.networks)
        if settings.tiling:
            self.vae.enable_tiling()

    def to(self, device: str) -> None:
        """Moves the networks."""
        for network in self.networks:
            network.to(device)

    def frames(self, count: int) -> Int64[np.ndarray, " n"]:
        """All."""
        return np.arange(count)

    @torch.no_grad()
    def latents(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "f c h w"]:
        """The posterior's mode times scaling_factor, in float32."""
        pixels = from_pictures(pictures, self.vae.dtype, self.vae.device)
        mode = self.vae.encode(pixels).latent_dist.mode()[0].float().cpu()
        return (mode * self.vae.config.scaling_factor).transpose(0, 1)

    @torch.no_grad()
    def text(self, caption: str, first: UInt8[np.ndarray, "h w 3"]) -> dict[str, Tensor]:
        """embeddings (1000, 3584), byt5 (256, 1472), image (729, 1152) in bfloat16, and mask, byt5_mask; and null.

        null (T0, 3584) is the empty prompt, which the network was trained to take for none (reference/minwm.md 1.10).
        """
        from diffusers import HunyuanVideo15ImageToVideoPipeline as Pipeline

        device = self.words.device
        words, mask = Pipeline._get_mllm_prompt_embeds(self.words, self.tokenizer, caption, device)
        glyphs, glyph_mask = Pipeline._get_byt5_prompt_embeds(self.glyph_tokenizer, self.glyphs, caption, device)
        image = torch.zeros(1, *IMAGE)
        if self.picture is not None:
            image = Pipeline._get_image_embeds(self.picture, self.processor, Image.fromarray(first), device)
        if self.empty is None:
            empty, valid = Pipeline._get_mllm_prompt_embeds(self.words, self.tokenizer, "", device)
            self.empty = empty[:, valid[0].bool()]
        made = {"embeddings": words, "byt5": glyphs, "image": image, "null": self.empty}
        masks = {"mask": mask.bool(), "byt5_mask": glyph_mask.bool()}
        return {
            **{name: one[0].to("cpu", torch.bfloat16) for name, one in made.items()},
            **{name: one[0].cpu() for name, one in masks.items()},
        }
