"""HunyuanVideo 1.5: diffusers' HunyuanVideo15Transformer3DModel, made causal, told a timestep per frame and cameras.

diffusers' modules hold the parameters, under diffusers' names; the calls between them are here, because the stock
forward has one timestep per sample, a dense mask, a sync of the device per call and no cache. Where all frames are seen
at once, picture and text see each other and share the clip's timestep, as in the stock model. Where there is an order
(teacher forcing, cache), the text sees itself alone at timestep 0, so that its keys and values are the same in every
call and are cached once (reference/minwm.md 2.3, 2.4).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from trajkit.errors import TrajkitError
from trajkit.options import option

from ..attention import Cache, Heads, Pass, attend
from ..cameras import Cameras, Projection
from ..flow import TIMESTEPS
from . import Text, wan
from ._hunyuan_text import MASKS, SampleCache, of_sample, stripped
from .wan import _added, _modulated, _normed

REQUIRES, EXTRA = wan.REQUIRES, wan.EXTRA
TEXT_TOKENS = 300  # valid tokens of a usual prompt, for counting operations


@dataclass(frozen=True, kw_only=True)
class Options:
    """Size of a network with random weights; the defaults are HunyuanVideo 1.5, 8.33 billion parameters."""

    heads: int = option(16, "attention heads", low=1)
    head_dim: int = option(128, "width of a head, a multiple of 4 (of 8 for prope-merged)", low=8)
    layers: int = option(54, "transformer blocks", low=1)
    refiner: int = option(2, "transformer blocks that refine the text", low=1)
    mlp_ratio: float = option(4.0, "width of the feed-forward layers by that of the tokens", low=0.1)
    channels: int = option(32, "channels of a latent", low=1)
    patch: int = option(1, "side of a patch", unit="latent cells", low=1)
    text: int = option(3584, "width of the text embedding", low=1)
    byt5: int = option(1472, "width of the embedding of text to be drawn", low=1)
    image: int = option(1152, "width of the first picture's embedding", low=1)
    seed: int = option(0, "seed of the random weights")


class Backbone(wan.Backbone):
    """See `wan.Backbone`."""

    name, architecture = "hunyuan", "HunyuanVideo15Transformer3DModel"
    caches = SampleCache

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
        """See `BackboneModule.velocity`.

        Text is {"embeddings": (B, T, 3584), "byt5": (B, T2, 1472), "image": (B, T3, 1152)} with "mask" and "byt5_mask";
        all but the embeddings may be absent. Without `first` it is text to video, and the image is not told either.
        `first` stands beside the clip's first latent, with mask 1; beside all others, those of later chunks among them,
        stand zeros and mask 0.
        The clean and the noisy half are told the same. Through a cache the text stream's weights get no gradient.
        """
        beside = _beside(noisy, first if cache is None or not cache.seen else None)
        noisy = torch.cat([noisy, beside], 2)
        clean = None if clean is None else torch.cat([clean.to(noisy.dtype), beside], 2)
        samples = stripped({name: one for name, one in text.items() if name != "image" or first is not None})
        if len(samples) == 1:
            return super().velocity(noisy, sigma, cameras, samples[0], clean=clean, cache=cache)
        parts = []
        for number, words in enumerate(samples):
            own = slice(number, number + 1)
            seen = None if cameras is None else of_sample(cameras, own)
            past = cache.sample(number) if isinstance(cache, SampleCache) else None
            done = None if clean is None else clean[own]
            parts.append(super().velocity(noisy[own], sigma[own], seen, words, clean=done, cache=past))
        return torch.cat(parts)

    def null_text(self, text: Text) -> dict[str, Tensor]:
        """The text that says nothing: the empty prompt, which `text` holds as "null" (B, T0, D), or one token of zeros.

        There is nothing to draw; the first picture stays, as in minWM.
        """
        null = {name: value if name in ("image", "null") else torch.zeros_like(value) for name, value in text.items()}
        empty = text["null"] if "null" in text else null["embeddings"][:, :1]
        null["embeddings"][:, : empty.shape[1]] = empty
        if "mask" in null:
            null["mask"][:, : empty.shape[1]] = 1
        return null

    def flops(
        self, frames: int, height: int, width: int, *, clean: bool = False, past: int = 0, words: int = TEXT_TOKENS
    ) -> float:
        """See `BackboneModule.flops`; `words` are the text's valid tokens, whose own pass a past saves."""
        d, config, cells = self.width, self.model.config, self.patch**2
        dd, inner = d * d, 4 * d * d + int(2 * config.mlp_ratio * d * d)
        tokens, told = height * width // cells, frames * (2 if clean else 1)
        n, chunks = told * tokens, frames // self.chunk
        pairs = (frames * tokens) ** 2 * (1 + 1 / chunks) if clean else n * (n + past * tokens)
        dual = 2 if self.conditioning == "prope" else 1
        rays = 6 if self.conditioning == "plucker" else 0
        turned = {"prope": 16, "prope-merged": 8}.get(self.conditioning, 0)  # by the 4x4s, per value of a token
        level = 256 * d + dd  # of the timestep's embedding
        outside = n * d * cells * (config.in_channels + config.out_channels + rays) + told * (level + 2 * dd)
        image = n * (inner + (dual - 1) * dd + turned * d) + told * 6 * dd + 2 * d * dual * (pairs + n * words)
        total = outside + self.layers * image
        if not past:
            refined = words * 12 * dd + 2 * d * words**2 + 2 * dd
            start = (words + 1) * config.text_embed_dim * d + 2 * level + dd + config.num_refiner_layers * refined
            asked = words * 3 * dd + 6 * dd
            heard = words * (inner - 3 * dd) + 2 * d * words * (words + (0 if clean else n))
            total += start + self.layers * asked + (self.layers - 1) * heard
        return 2.0 * total

    @staticmethod
    def _config(options: Options) -> dict[str, Any]:
        """What diffusers makes the network from."""
        return {
            "in_channels": 2 * options.channels + 1,
            "out_channels": options.channels,
            "num_attention_heads": options.heads,
            "attention_head_dim": options.head_dim,
            "num_layers": options.layers,
            "num_refiner_layers": options.refiner,
            "mlp_ratio": options.mlp_ratio,
            "patch_size": options.patch,
            "text_embed_dim": options.text,
            "text_embed_2_dim": options.byt5,
            "image_embed_dim": options.image,
            "rope_axes_dim": rope_axes(options.head_dim),
        }

    @staticmethod
    def _checked(model: Any) -> Any:
        """The network. Raises TrajkitError where parts of it would be passed over here."""
        config = model.config
        if config.in_channels != 2 * config.out_channels + 1 or config.patch_size_t != 1 or config.use_meanflow:
            problem = "the network is told more than a first latent, or takes several latents per patch"
            remedy = "give the text- or image-to-video network, not super-resolution"
            raise TrajkitError("backbone hunyuan", problem, remedy)
        return model

    def _trunk(self, x: Tensor, sigma: Tensor, cameras: Cameras | None, text: Text, ahead: Pass) -> Tensor:
        """Tokens (B, N, D) after the last layer, modulated and projected to (B, N, p p C)."""
        model = self.model
        hidden = self._lit(model.x_embedder(x.transpose(1, 2)), cameras, x)
        told, words, spoken = self._level(sigma), None, None
        if ahead.cache is None:
            loudest = torch.zeros_like(sigma) if ahead.clean else sigma
            words, spoken = self._words(text, loudest.amax(1, keepdim=True), hidden.dtype)
        elif ahead.cache.extra[0] is None:
            self._keep_words(text, ahead.cache, sigma, hidden.dtype)
        hidden = self._through(model.transformer_blocks, hidden, words, (told, spoken), ahead)
        scale, shift = _turns(model.norm_out.linear, told, 2)
        values = model.proj_out(_modulated(model.norm_out.norm, hidden, shift, scale))
        return values.unflatten(2, (-1, self.patch**2)).mT.flatten(2)  # diffusers has them as C p p

    def _block(
        self, block: Any, camera: Any, number: int, hidden: Tensor, words: Any, levels: Any, ahead: Pass
    ) -> tuple[Tensor, Tensor | None]:
        """One block for the picture's tokens and, unless a cache knows what it would say, for the text's.

        After the last block nobody reads the words, so none are made.
        """
        told, spoken = levels
        turns = _turns(block.norm1.linear, told, 6)
        q, k, v = self._before(block, hidden, turns, ahead.rotary, ahead.projection)
        if words is None:
            assert ahead.cache is not None
            extra: Any = ahead.cache.extra[number]
        else:
            asked, *extra, text_turns = self._asked(block, words, spoken)
            last = number == self.layers - 1
            seen = None if ahead.clean else (k[:, :, : self.heads], v[:, :, : self.heads])
            words = None if last else self._answered(block, words, _heard(asked, extra, seen), text_turns)
        both: Any = tuple(one.repeat(1, 1, q.shape[2] // self.heads, 1) for one in extra)
        out = attend(q, k, v, ahead, number, both)
        return self._after(block, camera, hidden, turns, out, ahead.projection), words

    def _before(
        self, block: Any, hidden: Tensor, turns: tuple[Tensor, ...], rotary: Any, p: Projection | None
    ) -> tuple[Heads, Heads, Heads]:
        """See `wan.Backbone`."""
        attn, normed = block.attn, _modulated(block.norm1.norm, hidden, turns[0], turns[1])
        heads = self._heads(normed, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k))
        return self._laid(*heads, rotary, p)

    def _after(  # type: ignore[override]
        self, block: Any, camera: Any, hidden: Tensor, turns: tuple[Tensor, ...], out: Heads, p: Projection | None
    ) -> Tensor:
        """See `wan.Backbone`."""
        hidden = _added(hidden, self._read(block.attn, camera, out, p), turns[2])
        return _added(hidden, block.ff(_modulated(block.norm2, hidden, turns[3], turns[4])), turns[5])

    def _heads(self, x: Tensor, projections: tuple[Any, ...], norms: tuple[Any, ...]) -> tuple[Heads, Heads, Heads]:
        q, k, v = (one(x).unflatten(2, (self.heads, -1)) for one in projections)
        return _normed(norms[0], q).to(x.dtype), _normed(norms[1], k).to(x.dtype), v.to(x.dtype)

    def _asked(self, block: Any, words: Tensor, spoken: Tensor | None) -> tuple[Any, ...]:
        """The text's queries, keys, values and modulation in one block."""
        attn, turns = block.attn, _turns(block.norm1_context.linear, spoken, 6)
        normed = _modulated(block.norm1_context.norm, words, turns[0], turns[1])
        projections = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        return *self._heads(normed, projections, (attn.norm_added_q, attn.norm_added_k)), turns

    def _answered(self, block: Any, words: Tensor, heard: Heads, turns: tuple[Tensor, ...]) -> Tensor:
        """The words after one block."""
        words = _added(words, block.attn.to_add_out(heard.flatten(2)), turns[2])
        return _added(words, block.ff_context(_modulated(block.norm2_context, words, turns[3], turns[4])), turns[5])

    @torch.no_grad()
    def _keep_words(self, text: Text, cache: Cache, sigma: Tensor, dtype: torch.dtype) -> None:
        """Lays the text's keys and values of every layer into the cache."""
        words, spoken = self._words(text, torch.zeros_like(sigma[:, :1]), dtype)
        for number, block in enumerate(self.model.transformer_blocks):
            q, k, v, turns = self._asked(block, words, spoken)
            cache.extra[number] = k, v
            if number < self.layers - 1:
                words = self._answered(block, words, _heard(q, (k, v), None), turns)

    def _words(self, text: Text, sigma: Float[Tensor, "b 1"], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The text's tokens (B, T, D), in the order picture, text to draw, prompt, and the level that they are told."""
        model = self.model
        own = model.context_embedder.proj_in.weight.dtype
        parts = [model.context_embedder(text["embeddings"].to(own), TIMESTEPS * sigma[:, 0])]
        for name, embedder in (("byt5", model.context_embedder_2), ("image", model.image_embedder)):
            if name in text:  # even with no token, so that all processes of a sharded network gather its weights
                parts.insert(0, embedder(text[name].to(own)) + model.cond_type_embed.weight[list(MASKS).index(name)])
        parts[-1] = parts[-1] + model.cond_type_embed.weight[0]
        return torch.cat([part.to(dtype) for part in parts], 1), self._level(sigma)

    def _level(self, sigma: Float[Tensor, "b f"]) -> Float[Tensor, "b f d"]:
        """SiLU of the timestep's embedding, which every modulation is linear in."""
        embed = self.model.time_embed
        waves = embed.time_proj((TIMESTEPS * sigma).flatten().float())
        told = embed.timestep_embedder(waves.to(embed.timestep_embedder.linear_1.weight.dtype))
        return F.silu(told.float()).unflatten(0, sigma.shape)

    def _waves(self, head: int) -> tuple[tuple[int, ...], float, torch.dtype]:
        """See `wan.Backbone`; float32, as in the stock network."""
        config = self.model.config
        own = config.rope_axes_dim if head == config.attention_head_dim else rope_axes(head)
        return own, config.rope_theta, torch.float32


def rope_axes(width: int) -> tuple[int, int, int]:
    """Shares of a head for frame, row and column: 16, 56, 56 of 128."""
    side = 2 * (7 * width // 32)
    return width - 2 * side, side, side


def _beside(noisy: Tensor, first: Tensor | None) -> Float[Tensor, "b f c+1 h w"]:
    """What the network is told beside each latent: the first latent and mask 1 at the first one, zeros elsewhere."""
    b, f, c, h, w = noisy.shape
    beside = noisy.new_zeros(b, f, c + 1, h, w)
    if first is not None:
        beside[:, :1, :c], beside[:, 0, c] = first, 1
    return beside


def _heard(asked: Heads, own: Any, seen: tuple[Heads, Heads] | None) -> Heads:
    """What the text's queries bring back from its own keys and values, and from the picture's where they are seen."""
    return attend(asked, own[0], own[1], Pass(rotary=None), 0, seen)


def _turns(linear: Any, told: Tensor | None, parts: int) -> tuple[Tensor, ...]:
    """Modulations (B, F, 1, D), float32, in the order of the layer's output."""
    assert told is not None
    return linear(told.to(linear.weight.dtype)).float().unsqueeze(2).chunk(parts, -1)
