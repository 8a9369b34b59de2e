"""Wan 2.1: diffusers' WanTransformer3DModel with causal attention, per-frame timesteps and cameras.

diffusers' modules hold the parameters, under diffusers' names; the calls between them are here, because the stock
forward knows neither caches nor teacher forcing, and spreads a timestep's six modulations over every token.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trajkit.errors import TrajkitError
from trajkit.options import option

from ..attention import Cache, Heads, Pass, attend, rotated
from ..cameras import Cameras, Projection, plucker, transform
from ..flow import TIMESTEPS
from . import BackboneModule, Conditioning, Text

REQUIRES, EXTRA = ("accelerate", "diffusers", "safetensors"), "train"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Size of a network with random weights; the defaults are Wan 2.1 1.3B."""

    heads: int = option(12, "attention heads", low=1)
    head_dim: int = option(128, "width of a head", low=4)
    layers: int = option(30, "transformer blocks", low=1)
    ffn: int = option(8960, "width of the feed-forward layers", low=1)
    channels: int = option(16, "channels of a latent", low=1)
    patch: int = option(2, "side of a patch", unit="latent cells", low=1)
    text: int = option(4096, "width of the text embedding", low=1)
    freq: int = option(256, "width of the sinusoidal timestep", low=2)
    seed: int = option(0, "seed of the random weights")


class CameraAttention(nn.Module):
    """What cameras add to one self-attention layer: the zero-initialised output of the projective branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)


class Backbone(BackboneModule):
    """`model` is the diffusers module; `camera` the layers that cameras need, apart from it."""

    name, architecture = "wan", "WanTransformer3DModel"
    words = 512  # tokens of a clip's text
    compiled: ClassVar[tuple[str, ...]] = ("_before", "_after")  # what `compile_blocks` compiles

    def __init__(self, model: Any, conditioning: Conditioning) -> None:
        super().__init__()
        config = model.config
        _refuse(config, conditioning)
        self.model, self.conditioning = model, conditioning
        self.heads, self.width = config.num_attention_heads, config.num_attention_heads * config.attention_head_dim
        self.layers, self.patch = config.num_layers, config.patch_size[1]
        parts: list[nn.Module] = []
        if conditioning == "prope":
            parts = [CameraAttention(self.width) for _ in range(self.layers)]
        elif conditioning == "plucker":
            parts = [nn.Conv3d(6, self.width, config.patch_size, config.patch_size)]
            nn.init.zeros_(parts[0].weight)  # type: ignore[arg-type]
            nn.init.zeros_(parts[0].bias)  # type: ignore[arg-type]
        self.camera = nn.ModuleList(parts)

    @classmethod
    def load(cls, source: str, conditioning: Conditioning | None, *, dtype: torch.dtype = torch.float32) -> "Backbone":
        """See `BackboneModule.load`."""
        from ._folders import load

        return load(cls, source, conditioning, dtype)

    @classmethod
    def random(cls, options: Options, conditioning: Conditioning) -> "Backbone":
        """A network with random weights, a function of the options alone."""
        from diffusers import WanTransformer3DModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            model = WanTransformer3DModel(
                patch_size=(1, options.patch, options.patch),
                num_attention_heads=options.heads,
                attention_head_dim=options.head_dim,
                in_channels=options.channels,
                out_channels=options.channels,
                text_dim=options.text,
                freq_dim=options.freq,
                ffn_dim=options.ffn,
                num_layers=options.layers,
            )
            return cls(model, conditioning)

    def compile_blocks(self) -> None:
        """Compiles what a block does before and after attention, once for all blocks; each new shape takes a while.

        Attention itself stays as it is: it is one kernel, and knows caches, whose every length would be a new shape.
        """
        for name in self.compiled:
            setattr(self, name, torch.compile(getattr(self, name), dynamic=False))

    def save(self, folder: Path) -> None:
        """See `BackboneModule.save`."""
        from ._folders import save

        save(self, folder)

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
        """See `BackboneModule.velocity`; text is {"embeddings": (B, T, D)}, padding zeroed; `first` is not told."""
        frames, tokens = noisy.shape[1], self._tokens(noisy)
        if clean is not None:
            noisy = torch.cat([clean.to(noisy.dtype), noisy], 1)
            sigma = torch.cat([torch.zeros_like(sigma), sigma], 1)
            cameras = cameras.repeated(2) if cameras is not None else None
        start = cache.seen // tokens if cache is not None else 0
        ids = torch.arange(start, start + frames, device=noisy.device).repeat(noisy.shape[1] // frames)
        projecting = cameras is not None and self.conditioning in ("prope", "prope-merged")
        ahead = Pass(
            rotary=self._rotary(ids, noisy.shape[3] // self.patch, noisy.shape[4] // self.patch),
            projection=Projection.of(cameras) if projecting else None,  # type: ignore[arg-type]
            chunk=self.chunk * tokens if clean is not None else 0,
            clean=clean is not None,
            cache=cache,
            past=cache.length if cache is not None else 0,
        )
        return self._unpatched(self._trunk(noisy, sigma, cameras, text, ahead), noisy)[:, -frames:]

    @torch.no_grad()
    def remember(
        self,
        clean: Float[Tensor, "b f c h w"],
        cameras: Cameras | None,
        text: Text,
        cache: Cache,
        **told: Tensor | None,
    ) -> None:
        """See `BackboneModule.remember`."""
        sigma = clean.new_zeros(clean.shape[:2], dtype=torch.float32)
        self.velocity(clean, sigma, cameras, text, cache=cache)
        cache.commit(clean.shape[1] * self._tokens(clean))

    def cache(self, frames: int, height: int, width: int, sink: int = 0) -> Cache:
        """See `BackboneModule.cache`."""
        tokens = (height // self.patch) * (width // self.patch)
        return Cache(self.layers, frames * tokens, sink * tokens)

    def flops(self, frames: int, height: int, width: int, *, clean: bool = False, past: int = 0) -> float:
        """See `BackboneModule.flops`; the text has `words` tokens."""
        d, config = self.width, self.model.config
        tokens = (height // self.patch) * (width // self.patch)
        n = frames * tokens * (2 if clean else 1)
        chunks = frames // self.chunk
        pairs = (frames * tokens) ** 2 * (1 + 1 / chunks) if clean else n * (n + past * tokens)
        dual = 2 if self.conditioning == "prope" else 1
        linear = n * (6 * d * d + 2 * d * config.ffn_dim + (dual - 1) * d * d) + 2 * self.words * d * d
        return 2.0 * self.layers * (linear + 2 * d * (dual * pairs + n * self.words))

    def _tokens(self, latents: Tensor) -> int:
        """Tokens of one latent."""
        return (latents.shape[3] // self.patch) * (latents.shape[4] // self.patch)

    def _trunk(self, x: Tensor, sigma: Tensor, cameras: Cameras | None, text: Text, ahead: Pass) -> Tensor:
        """Tokens (B, N, D) after the last layer, modulated and projected to (B, N, patch values)."""
        model, frames = self.model, x.shape[1]
        hidden = model.patch_embedding(x.transpose(1, 2))
        if self.conditioning == "plucker" and cameras is not None:
            rays = plucker(cameras, x.shape[3], x.shape[4]).to(x.dtype)
            added = self.camera[0](rays.transpose(1, 2))
            if cameras.present is not None:
                added = added * cameras.present.reshape(-1, 1, 1, 1, 1)
            hidden = hidden + added
        hidden = hidden.flatten(2).transpose(1, 2).contiguous()
        embedder = model.condition_embedder
        waves = embedder.timesteps_proj((TIMESTEPS * sigma).flatten().float())
        told = embedder.time_embedder(waves.to(embedder.time_embedder.linear_1.weight.dtype)).float()
        modulation = embedder.time_proj(embedder.act_fn(told.to(embedder.time_proj.weight.dtype))).float()
        told, modulation = told.unflatten(0, (-1, frames)), modulation.unflatten(0, (-1, frames)).unflatten(2, (6, -1))
        words = embedder.text_embedder(text["embeddings"].to(hidden.dtype))
        for number, block in enumerate(model.blocks):
            camera = self.camera[number] if self.conditioning == "prope" else None
            given = (block, camera, number, hidden, words, modulation, ahead)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(self._block, *given, use_reentrant=False)
            else:
                hidden = self._block(*given)
        shift, scale = (model.scale_shift_table + told[:, :, None]).chunk(2, 2)
        return model.proj_out(_modulated(model.norm_out, hidden, shift, scale))

    def _block(
        self, block: Any, camera: Any, number: int, hidden: Tensor, words: Tensor, modulation: Tensor, ahead: Pass
    ) -> Tensor:
        """One transformer block; the modulation (B, F, 6, D) is per frame."""
        assert ahead.rotary is not None
        q, k, v = self._before(block, hidden, modulation, ahead.rotary, ahead.projection)
        out = attend(q, k, v, ahead, number)
        return self._after(block, camera, hidden, words, modulation, out, ahead.projection)

    def _before(
        self, block: Any, hidden: Tensor, modulation: Tensor, rotary: tuple[Tensor, Tensor], p: Projection | None
    ) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values; of both branches of `prope` side by side: one call of attention, and one cache."""
        shift, scale = (block.scale_shift_table[:, None] + modulation)[:, :, :2].chunk(2, 2)
        x, attn = _modulated(block.norm1, hidden, shift, scale), block.attn1
        q, k, v = _normed(attn.norm_q, attn.to_q(x)), _normed(attn.norm_k, attn.to_k(x)), attn.to_v(x)
        q, k, v = (one.unflatten(2, (self.heads, -1)).to(x.dtype) for one in (q, k, v))
        half = q.shape[-1] // 2 if self.conditioning == "prope-merged" else 0
        turned = rotated(q[..., half:], rotary), rotated(k[..., half:], rotary), v[..., half:]
        if p is None and not half:
            return turned
        plain = [one[..., :half] if half else one for one in (q, k, v)]
        if p is not None:
            matrices = (p.transposed, p.inverse, p.inverse)
            plain = [transform(one, by) for one, by in zip(plain, matrices, strict=True)]
        pairs = zip(plain, turned, strict=True) if half else zip(turned, plain, strict=True)
        q, k, v = (torch.cat(pair, -1 if half else 2) for pair in pairs)
        return q, k, v

    def _after(
        self,
        block: Any,
        camera: Any,
        hidden: Tensor,
        words: Tensor,
        modulation: Tensor,
        out: Heads,
        p: Projection | None,
    ) -> Tensor:
        """The block's tokens, from what attention brought back."""
        table = (block.scale_shift_table[:, None] + modulation).chunk(6, 2)
        hidden = _added(hidden, self._read(block.attn1, camera, out, p), table[2])
        normed = block.norm2(hidden.float()).to(hidden.dtype)
        hidden = hidden + self._cross_attention(block.attn2, normed, words)
        normed = _modulated(block.norm3, hidden, table[3], table[4])
        return _added(hidden, block.ffn(normed), table[5])

    def _read(self, attn: Any, camera: Any, out: Heads, p: Projection | None) -> Tensor:
        """The update (B, N, D) from what the heads of `_before` brought back.

        Merged: half of each head is projective, half rotary (arXiv 2507.10496); without cameras the first is plain.
        """
        if p is None:
            return attn.to_out[0](out.flatten(2))
        if self.conditioning == "prope-merged":
            half = out.shape[-1] // 2
            return attn.to_out[0](torch.cat([transform(out[..., :half], p.forward), out[..., half:]], -1).flatten(2))
        plain, projected = out.chunk(2, 2)
        added = camera.out(transform(projected, p.forward).flatten(2))
        if p.present is not None:
            added = added * p.present.reshape(-1, 1, 1)
        return attn.to_out[0](plain.flatten(2)) + added

    def _cross_attention(self, attn: Any, x: Tensor, words: Tensor) -> Tensor:
        q, k, v = _normed(attn.norm_q, attn.to_q(x)), _normed(attn.norm_k, attn.to_k(words)), attn.to_v(words)
        q, k, v = (one.unflatten(2, (self.heads, -1)).transpose(1, 2).to(x.dtype) for one in (q, k, v))
        return attn.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _rotary(self, ids: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """cos and sin (1, N, 1, D) of tokens in the order frame, row, column, the frames numbered by `ids`."""
        rope = self.model.rope
        if self.conditioning == "prope-merged":
            rope = self._half_rope(rope)
        grids = (ids, torch.arange(rows, device=ids.device), torch.arange(columns, device=ids.device))
        shape = (len(ids), rows, columns)
        tables = []
        for table in (rope.freqs_cos, rope.freqs_sin):
            parts = table.to(ids.device).split([rope.t_dim, rope.h_dim, rope.w_dim], 1)
            views = [
                part[at].reshape(*[-1 if axis == own else 1 for axis in range(3)], part.shape[1]).expand(*shape, -1)
                for own, (part, at) in enumerate(zip(parts, grids, strict=True))
            ]
            tables.append(torch.cat(views, -1).reshape(1, len(ids) * rows * columns, 1, -1).float())
        return tables[0], tables[1]

    def _half_rope(self, rope: Any) -> Any:
        """The same rotary table for half of a head."""
        if not hasattr(self, "_half"):
            self._half = type(rope)(rope.attention_head_dim // 2, rope.patch_size, rope.max_seq_len)
        return self._half

    def _unpatched(self, tokens: Tensor, like: Tensor) -> Tensor:
        """(B, N, p p C) to latents (B, F, C, H, W)."""
        b, f, _, h, w = like.shape
        p = self.patch
        cells = tokens.reshape(b, f, h // p, w // p, p, p, -1)
        return cells.permute(0, 1, 6, 2, 4, 3, 5).reshape(b, f, -1, h, w)


def _refuse(config: Any, conditioning: Conditioning) -> None:
    """Raises TrajkitError for a network whose parts would be passed over here, or whose heads cannot be cut."""
    cut = {"prope": 4, "prope-merged": 8}.get(conditioning, 2)
    if config.attention_head_dim % cut:
        problem = f"heads {config.attention_head_dim} wide cannot be cut for {conditioning}"
        raise TrajkitError("backbone wan", problem, f"use a head_dim that {cut} divides")
    extra = (config.image_dim, config.added_kv_proj_dim, config.pos_embed_seq_len)
    if any(extra) or config.in_channels != config.out_channels or config.patch_size[0] != 1:
        problem = "the network takes pictures or several latents per patch"
        raise TrajkitError("backbone wan", problem, "give a text-to-video network with patches of one latent")


def _normed(norm: Any, x: Tensor) -> Tensor:
    """norm(x) in the precision of its weights: of two precisions there is no fused kernel."""
    return norm(x.to(norm.weight.dtype))


def _modulated(norm: nn.Module, hidden: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(hidden) (1 + scale) + shift in float32; shift and scale (B, F, 1, D) hold for a frame's tokens."""
    split = norm(hidden.float()).unflatten(1, (shift.shape[1], -1))
    return (split * (1 + scale) + shift).flatten(1, 2).to(hidden.dtype)


def _added(hidden: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """hidden + gate * update, in float32; gate (B, F, 1, D)."""
    split = update.float().unflatten(1, (gate.shape[1], -1)) * gate
    return (hidden.float() + split.flatten(1, 2)).to(hidden.dtype)
