"""Who attends to whom: everybody, chunk by chunk under teacher forcing, or the present to a cache of the past.

A `Pass` says it for one call of a network, and travels with that call through its layers (so that checkpointing, which
runs layers again during backward, sees the same one). Tensors are (B, N, H, D): batch, tokens, heads, width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from trajkit.errors import TrajkitError

from .cameras import Projection

Heads = Float[Tensor, "b n h d"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pass:
    """What the attention layers of one call need to know.

    `chunk` is tokens per chunk, 0 where all tokens see each other. With `clean` the tokens are [clean | noisy]: clean
    chunks see clean ones up to their own, a noisy chunk sees the clean ones before it and itself. With a `cache` the
    tokens see its first `past` tokens and each other; it had `dropped` others before them.
    """

    rotary: tuple[Tensor, Tensor] | None  # cos and sin (1, N, 1, D), each pair's value twice
    projection: Projection | None = None
    chunk: int = 0
    clean: bool = False
    cache: "Cache | None" = None
    past: int = 0
    dropped: int = 0


class Cache:
    """Keys and values of tokens that are done, per layer, in buffers that are made once.

    `commit` after a pass keeps that pass's tokens. Beyond `capacity` tokens the oldest are dropped, the first `sink`
    ones excepted (StreamingLLM, arXiv 2309.17453). A pass without gradient attends to the buffer itself; one with
    gradient to a copy, so nothing that backward needs is ever overwritten and no gradient reaches the past. A pass that
    is run again (checkpointing) reads the buffer again, and is refused once tokens were dropped.
    """

    def __init__(self, layers: int, capacity: int, sink: int = 0) -> None:
        self.buffers: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self.capacity, self.sink = capacity, sink
        self.length = 0  # tokens kept
        self.seen = 0  # tokens ever committed
        self.extra: list[tuple[Tensor, Tensor] | None] = [None] * layers  # keys and values of the text, if it has any
        self.origin: Tensor | None = None  # camera_to_world (B, 1, 4, 4) of the world: the first camera's

    @property
    def dropped(self) -> int:
        """Tokens that were committed and are kept no longer."""
        return self.seen - self.length

    def joined(self, layer: int, k: Heads, v: Heads, past: int) -> tuple[Heads, Heads]:
        """Keys and values of the first `past` tokens and of the present ones, which are laid down after them."""
        if self.buffers[layer] is None:
            shape = (k.shape[0], self.capacity + k.shape[1], *k.shape[2:])
            self.buffers[layer] = (k.new_empty(shape), v.new_empty(shape))
        keys, values = self.buffers[layer]  # type: ignore[misc]
        end = past + k.shape[1]
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            return torch.cat([keys[:, :past], k], 1), torch.cat([values[:, :past], v], 1)
        keys[:, past:end], values[:, past:end] = k, v
        return keys[:, :end], values[:, :end]

    def commit(self, tokens: int) -> None:
        """Keeps the tokens of the latest pass (one without gradient); drops the oldest beyond the capacity."""
        self.length += tokens
        self.seen += tokens
        over = self.length - self.capacity
        if over > 0:
            for pair in self.buffers:
                for buffer in pair or ():
                    kept = buffer[:, self.sink + over : self.length].clone()
                    buffer[:, self.sink : self.sink + kept.shape[1]] = kept
            self.length = self.capacity


def attend(q: Heads, k: Heads, v: Heads, ahead: Pass, layer: int, extra: tuple[Heads, Heads] | None = None) -> Heads:
    """Softmax attention under the pass's rule; `extra` keys and values (a text's) are seen by every token.

    Raises TrajkitError where the cache no longer holds what the pass saw when it was first run.
    """
    if ahead.cache is not None:
        if ahead.cache.dropped != ahead.dropped:
            problem = "backward runs a pass again whose past was dropped since"
            raise TrajkitError("cache", problem, "give it room for the whole clip, or turn checkpointing off")
        k, v = ahead.cache.joined(layer, k, v, ahead.past)
    elif ahead.chunk:
        return _teacher_forced(q, k, v, ahead.chunk, extra) if ahead.clean else _causal(q, k, v, ahead.chunk, extra)
    return _sdpa(q, *_with(extra, k, v))


def _teacher_forced(q: Heads, k: Heads, v: Heads, chunk: int, extra: tuple[Heads, Heads] | None) -> Heads:
    """Chunk i of both halves at once: they see equally many keys, so they are two samples of one call.

    The cost is that of the mask's true cells, without a mask (reference/trainer_peers.md 4.2 d).
    """
    (cq, nq), (ck, nk), (cv, nv) = ((*x.chunk(2, 1),) for x in (q, k, v))
    clean, noisy = [], []
    for start in range(0, cq.shape[1], chunk):
        now, before = slice(start, start + chunk), slice(0, start)
        twice = [
            torch.cat([c[:, : start + chunk], torch.cat([c[:, before], n[:, now]], 1)]) for c, n in ((ck, nk), (cv, nv))
        ]
        both = None if extra is None else tuple(torch.cat([one, one]) for one in extra)
        out = _sdpa(torch.cat([cq[:, now], nq[:, now]]), *_with(both, *twice))  # type: ignore[arg-type]
        first, second = out.chunk(2)
        clean.append(first)
        noisy.append(second)
    return torch.cat([*clean, *noisy], 1)


def _causal(q: Heads, k: Heads, v: Heads, chunk: int, extra: tuple[Heads, Heads] | None) -> Heads:
    """Each chunk sees the ones before it and itself."""
    parts = [
        _sdpa(q[:, start : start + chunk], *_with(extra, k[:, : start + chunk], v[:, : start + chunk]))
        for start in range(0, q.shape[1], chunk)
    ]
    return torch.cat(parts, 1)


def _with(extra: tuple[Heads, Heads] | None, k: Heads, v: Heads) -> tuple[Heads, Heads]:
    return (k, v) if extra is None else (torch.cat([extra[0], k], 1), torch.cat([extra[1], v], 1))


def _sdpa(q: Heads, k: Heads, v: Heads) -> Heads:
    return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def rotated(x: Heads, rotary: tuple[Tensor, Tensor]) -> Heads:
    """Rotary embedding of interleaved pairs (2i, 2i + 1), in float32."""
    cos, sin = rotary
    wide = x.float()
    turned = torch.stack([-wide[..., 1::2], wide[..., 0::2]], -1).flatten(-2)
    return (wide * cos + turned * sin).to(x.dtype)


def teacher_forcing_mask(frames: int, tokens: int, chunk: int) -> Bool[Tensor, "n n"]:
    """The rule as a dense mask, True = may attend, rows are queries; n = 2 frames tokens; chunk in frames.

    The obvious twin of what `attend` does, for tests and for kernels that take masks.
    """
    block = torch.arange(frames).repeat_interleave(tokens) // chunk
    q, k = block[:, None], block[None]
    clean_rows = torch.cat([k <= q, torch.zeros_like(k == q)], 1)
    noisy_rows = torch.cat([k < q, k == q], 1)
    return torch.cat([clean_rows, noisy_rows])
