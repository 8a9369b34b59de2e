"""Wan 2.1: diffusers' WanTransformer3DModel with causal attention, per-frame timesteps and cameras.

diffusers' modules hold the parameters, under diffusers' names; the calls between them are here, because the stock
forward knows neither caches nor teacher forcing, and spreads a timestep's six modulations over every token.
"""

from collections.abc import Callable
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
from ..cameras import Cameras, Projection, anchored, inverse_pose, plucker, transform
from ..flow import TIMESTEPS
from . import BackboneModule, Conditioning, Text, _folders

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


class Sinusoid(nn.Module):
    """[cos, sin] of t 10000^(-2k / width), angles in float64 as in Wan's release: diffusers' float32 is off by 6e-5."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, timesteps: Float[Tensor, " n"]) -> Float[Tensor, "n width"]:
        half = self.width // 2
        angles = timesteps.double()[:, None] * 10000 ** (-torch.arange(half, device=timesteps.device).double() / half)
        return F.pad(torch.cat([angles.cos(), angles.sin()], 1).float(), (0, self.width % 2))


class Backbone(BackboneModule):
    """`model` is the diffusers module; `camera` the layers that cameras need, apart from it, zero at the start."""

    name, architecture = "wan", "WanTransformer3DModel"
    words = 512  # tokens of a clip's text
    caches: ClassVar[type[Cache]] = Cache

    def __init__(self, model: Any, conditioning: Conditioning) -> None:
        super().__init__()
        self.model, self.conditioning, config = self._checked(model), conditioning, model.config
        cut = {"prope": 4, "prope-merged": 8}.get(conditioning, 2)
        if config.attention_head_dim % cut:
            problem = f"heads {config.attention_head_dim} wide cannot be cut for {conditioning}"
            raise TrajkitError(f"backbone {self.name}", problem, f"use a head_dim that {cut} divides")
        self.heads, self.layers = config.num_attention_heads, config.num_layers
        self.width = self.heads * config.attention_head_dim
        self.patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[1]
        self.camera = nn.ModuleList()
        if conditioning == "prope":  # one output layer for the projective branch of each block
            self.camera.extend(nn.ModuleDict({"out": nn.Linear(self.width, self.width)}) for _ in range(self.layers))
        elif conditioning == "plucker":
            side = (1, self.patch, self.patch)
            self.camera.append(nn.Conv3d(6, self.width, side, side))
        for parameter in self.camera.parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def load(cls, source: str, conditioning: Conditioning | None, *, dtype: torch.dtype = torch.float32) -> "Backbone":
        """See `BackboneModule.load`."""
        return _folders.load(cls, source, conditioning, dtype)

    @classmethod
    def random(cls, options: Any, conditioning: Conditioning) -> "Backbone":
        """A network with random weights, a function of the options alone."""
        import diffusers

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            return cls(getattr(diffusers, cls.architecture)(**cls._config(options)), conditioning)

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compiles what a block does before and after attention, once for all blocks; each new shape takes a while.

        Attention itself stays as it is: it is one kernel, and knows caches, whose every length would be a new shape.
        """
        for name in ("_before", "_after"):
            setattr(self, name, torch.compile(getattr(self, name), dynamic=False, backend=backend))

    def save(self, folder: Path) -> None:
        """See `BackboneModule.save`."""
        _folders.save(self, folder)

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
        if cameras is not None:  # rays, and projected queries that meet a text's keys, see the world's frame otherwise
            cameras = anchored(cameras, origin=None if cache is None else cache.origin)
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
            dropped=cache.dropped if cache is not None else 0,
        )
        made = self._unpatched(self._trunk(noisy, sigma, cameras, text, ahead), noisy)
        return made if clean is None else made[:, -frames:].clone()  # no view: FSDP2 lays hooks on what is returned

    @torch.no_grad()
    def remember(
        self,
        clean: Float[Tensor, "b f c h w"],
        cameras: Cameras | None,
        text: Text,
        cache: Cache,
        **told: Tensor | None,
    ) -> None:
        """See `BackboneModule.remember`; `first` is told as `velocity` tells it."""
        if cameras is not None and cache.origin is None:
            cache.origin = inverse_pose(cameras.world_to_camera[:, :1])
        sigma = clean.new_zeros(clean.shape[:2], dtype=torch.float32)
        self.velocity(clean, sigma, cameras, text, cache=cache, **told)
        cache.commit(clean.shape[1] * self._tokens(clean))

    def cache(self, frames: int, height: int, width: int, sink: int = 0) -> Cache:
        """See `BackboneModule.cache`."""
        tokens = (height // self.patch) * (width // self.patch)
        return self.caches(self.layers, frames * tokens, sink * tokens)

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

    @staticmethod
    def _config(options: Any) -> dict[str, Any]:
        """What diffusers makes the network from."""
        return {
            "patch_size": (1, options.patch, options.patch),
            "num_attention_heads": options.heads,
            "attention_head_dim": options.head_dim,
            "in_channels": options.channels,
            "out_channels": options.channels,
            "text_dim": options.text,
            "freq_dim": options.freq,
            "ffn_dim": options.ffn,
            "num_layers": options.layers,
        }

    @staticmethod
    def _checked(model: Any) -> Any:
        """The network with its release's sinusoid. Raises TrajkitError where parts of it would be passed over here."""
        config = model.config
        extra = (config.image_dim, config.added_kv_proj_dim, config.pos_embed_seq_len)
        if any(extra) or config.in_channels != config.out_channels or config.patch_size[0] != 1:
            problem = "the network takes pictures or several latents per patch"
            raise TrajkitError("backbone wan", problem, "give a text-to-video network with patches of one latent")
        model.condition_embedder.timesteps_proj = Sinusoid(config.freq_dim)
        return model

    def _tokens(self, latents: Tensor) -> int:
        """Tokens of one latent."""
        return (latents.shape[3] // self.patch) * (latents.shape[4] // self.patch)

    def _trunk(self, x: Tensor, sigma: Tensor, cameras: Cameras | None, text: Text, ahead: Pass) -> Tensor:
        """Tokens (B, N, D) after the last layer, modulated and projected to (B, N, p p C)."""
        model, embedder = self.model, self.model.condition_embedder
        hidden = model.patch_embedding(x.transpose(1, 2)).flatten(2).transpose(1, 2).contiguous()
        hidden = self._lit(hidden, cameras, x)
        waves = embedder.timesteps_proj(TIMESTEPS * sigma.flatten())
        told = embedder.time_embedder(waves.to(embedder.time_embedder.linear_1.weight.dtype)).float()
        modulation = embedder.time_proj(embedder.act_fn(told.to(embedder.time_proj.weight.dtype))).float()
        told = told.unflatten(0, sigma.shape)[:, :, None]
        words = embedder.text_embedder(text["embeddings"].to(hidden.dtype))
        levels = modulation.unflatten(0, sigma.shape).unflatten(2, (6, -1))
        hidden = self._through(model.blocks, hidden, words, levels, ahead)
        shift, scale = (model.scale_shift_table + told).chunk(2, 2)
        return model.proj_out(_modulated(model.norm_out, hidden, shift, scale))

    def _lit(self, hidden: Tensor, cameras: Cameras | None, x: Tensor) -> Tensor:
        """The tokens with what Pluecker rays add to them: nothing for samples without cameras."""
        if self.conditioning != "plucker" or cameras is None:
            return hidden
        rays = plucker(cameras, x.shape[3], x.shape[4]).to(x.dtype)
        there = 1 if cameras.present is None else cameras.present.reshape(-1, 1, 1)
        return hidden + self.camera[0](rays.transpose(1, 2)).flatten(2).transpose(1, 2) * there

    def _through(self, blocks: Any, hidden: Tensor, words: Tensor | None, levels: Any, ahead: Pass) -> Tensor:
        """The tokens after all blocks; `levels` is what each block is told of the timesteps."""
        for number, block in enumerate(blocks):
            camera = self.camera[number] if self.conditioning == "prope" else None
            call = (block, camera, number, hidden, words, levels, ahead)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden, words = checkpoint(self._block, *call, use_reentrant=False)
            else:
                hidden, words = self._block(*call)
        return hidden

    def _block(
        self, block: Any, camera: Any, number: int, hidden: Tensor, words: Any, levels: Any, ahead: Pass
    ) -> tuple[Tensor, Tensor | None]:
        """The tokens and the text after one block; levels (B, F, 6, D) are per frame."""
        turns = (block.scale_shift_table[:, None] + levels).chunk(6, 2)
        q, k, v = self._before(block, hidden, turns, ahead.rotary, ahead.projection)
        out = attend(q, k, v, ahead, number)
        return self._after(block, camera, hidden, turns, out, ahead.projection, words), words

    def _before(
        self, block: Any, hidden: Tensor, turns: tuple[Tensor, ...], rotary: Any, p: Projection | None
    ) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values as they attend and are cached."""
        x, attn = _modulated(block.norm1, hidden, turns[0], turns[1]), block.attn1
        q, k, v = _normed(attn.norm_q, attn.to_q(x)), _normed(attn.norm_k, attn.to_k(x)), attn.to_v(x)
        q, k, v = (one.unflatten(2, (self.heads, -1)).to(x.dtype) for one in (q, k, v))
        return self._laid(q, k, v, rotary, p)

    def _after(
        self,
        block: Any,
        camera: Any,
        hidden: Tensor,
        turns: tuple[Tensor, ...],
        out: Heads,
        p: Projection | None,
        words: Tensor,
    ) -> Tensor:
        """The block's tokens, from what attention brought back."""
        hidden = _added(hidden, self._read(block.attn1, camera, out, p), turns[2])
        normed = block.norm2(hidden.float()).to(hidden.dtype)
        hidden = hidden + self._cross_attention(block.attn2, normed, words)
        return _added(hidden, block.ffn(_modulated(block.norm3, hidden, turns[3], turns[4])), turns[5])

    def _laid(self, q: Heads, k: Heads, v: Heads, rotary: Any, p: Projection | None) -> tuple[Heads, Heads, Heads]:
        """Both branches of `prope` side by side, rotated heads, then projected ones: one call of attention, one cache.

        Merged: half of each head is projective, half rotary (arXiv 2507.10496); without cameras the first is plain.
        """
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

    def _read(self, attn: Any, camera: Any, out: Heads, p: Projection | None) -> Tensor:
        """The update (B, N, D) from what the heads of `_laid` brought back."""
        if p is None:
            return attn.to_out[0](out.flatten(2))
        if self.conditioning == "prope-merged":
            half = out.shape[-1] // 2
            return attn.to_out[0](torch.cat([transform(out[..., :half], p.forward), out[..., half:]], -1).flatten(2))
        plain, projected = out.chunk(2, 2)
        there = 1 if p.present is None else p.present.reshape(-1, 1, 1)
        return attn.to_out[0](plain.flatten(2)) + camera["out"](transform(projected, p.forward).flatten(2)) * there

    def _cross_attention(self, attn: Any, x: Tensor, words: Tensor) -> Tensor:
        q, k, v = _normed(attn.norm_q, attn.to_q(x)), _normed(attn.norm_k, attn.to_k(words)), attn.to_v(words)
        q, k, v = (one.unflatten(2, (self.heads, -1)).transpose(1, 2).to(x.dtype) for one in (q, k, v))
        return attn.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _waves(self, head: int) -> tuple[tuple[int, ...], float, torch.dtype]:
        """Shares of a head for frame, row and column, the base of the rotary waves, and what they are computed in."""
        side = 2 * (head // 6)
        return (head - 2 * side, side, side), 10000.0, torch.float64

    def _rotary(self, ids: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """cos and sin (1, N, 1, D) of tokens in the order frame, row, column, the frames numbered by `ids`.

        Computed and not looked up: diffusers' table for Wan ends at 1,024.
        """
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        head = self.width // self.heads
        axes, base, dtype = self._waves(head // 2 if self.conditioning == "prope-merged" else head)
        places = (ids, *(torch.arange(count, device=ids.device) for count in (rows, columns)))
        tables: tuple[list[Tensor], list[Tensor]] = ([], [])
        for axis, (at, width) in enumerate(zip(places, axes, strict=True)):
            view = [width if own == 3 else len(at) if own == axis else 1 for own in range(4)]
            waves = get_1d_rotary_pos_embed(width, at, base, use_real=True, freqs_dtype=dtype)  # type: ignore[arg-type]
            for table, one in zip(tables, waves, strict=True):
                table.append(one.reshape(view).expand(len(ids), rows, columns, width))
        cos, sin = (torch.cat(table, -1).reshape(1, -1, 1, sum(axes)) for table in tables)
        return cos, sin

    def _unpatched(self, tokens: Tensor, like: Tensor) -> Tensor:
        """(B, N, p p C) to latents (B, F, C, H, W)."""
        b, f, _, h, w = like.shape
        p = self.patch
        cells = tokens.reshape(b, f, h // p, w // p, p, p, -1)
        return cells.permute(0, 1, 6, 2, 4, 3, 5).reshape(b, f, -1, h, w)


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
