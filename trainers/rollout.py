"""Clips from noise: all frames at once, or chunk by chunk against a cache, in many steps or few.

`Rollout.next_chunk` takes the cameras of the next chunk and no others, so a live loop can sit on it. DMD's own
rollouts, evaluation and `trajkit rollout` all run this code.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trajkit.errors import TrajkitError
from trajkit.latents import frame_count

from . import flow
from .attention import Cache
from .backbones import BackboneModule, Text
from .batch import Draws
from .cameras import Cameras
from .card import Card, Solver
from .guidance import null_text

Drops = Literal["text", "cameras", "both"]
MANY_STEPS, MANY_STEPS_GUIDANCE = 50, 3.0  # minWM's for causal networks (reference/minwm.md 11)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How noise becomes a clip. `sigmas` fall from 1 to 0, one more than there are steps.

    euler follows the path: x + (sigma' - sigma) v. consistency jumps to the end and adds fresh noise of the next level:
    (1 - sigma') x0 + sigma' noise. A student of one is not to be sampled with the other.
    """

    sigmas: tuple[float, ...]
    solver: Solver = "euler"
    guidance: float = 1.0  # u + guidance (c - u); 1 = none, one pass per step instead of two
    drops: Drops = "text"  # what the unconditional prediction is not told

    @classmethod
    def of(
        cls,
        card: Card,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        solver: Solver | None = None,
        drops: Drops = "text",
    ) -> "Sampling":
        """What a checkpoint was trained for; None = as its card says, or 50 steps at guidance 3 for many-step networks.

        Raises TrajkitError for another solver than the card's (minWM's HunyuanVideo samples its consistency students
        with Euler steps, reference/minwm.md 5.3), and for a few-step student asked for another number of steps.
        """
        where = f"checkpoint of {card.backbone}, stage {card.stage}"
        if solver not in (None, card.solver):
            problem = f"was trained for the {card.solver} solver, not {solver}"
            raise TrajkitError(where, problem, f"use --solver {card.solver}, or leave it out")
        if card.timesteps and steps not in (None, len(card.timesteps)):
            problem = f"was trained for {len(card.timesteps)} steps, not {steps}"
            raise TrajkitError(where, problem, "leave --steps out")
        few = flow.few_step_sigmas(card.timesteps, card.shift) if card.timesteps else None
        sigmas = flow.grid(steps or MANY_STEPS, card.shift) if few is None else few
        usual = MANY_STEPS_GUIDANCE if few is None else 1.0
        return cls(
            sigmas=tuple(sigmas.tolist()),
            solver=card.solver,
            guidance=usual if guidance is None else guidance,
            drops=drops,
        )

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.sigmas) - 1

    def stepped(self, x: Tensor, v: Tensor, step: int, noise: "_Noise") -> Tensor:
        """The state after a step, float32: a function of the state before it and of the velocity there."""
        now, after = (torch.tensor(one, dtype=torch.float64) for one in self.sigmas[step : step + 2])
        if self.solver == "euler":
            return flow.euler(x, v, now, after)
        x0 = flow.clean_from(x, v, now)
        return x0 if after == 0 else flow.noised(x0, noise(step + 1), after)


class _Noise(NamedTuple):
    """The noise of one chunk, before its first step (0) and before each later one of a consistency solver."""

    draws: Draws
    name: str
    shape: tuple[int, ...]

    def __call__(self, step: int) -> Tensor:
        return self.draws.normal(f"{self.name} step {step}", self.shape)


class _Branch(NamedTuple):
    """One side of guidance: what it is told, and its own past."""

    text: Text
    sighted: bool  # whether it is told the cameras
    cache: Cache | None


class Rollout:
    """A clip that grows by a chunk at each call; noise is a function of (draws, chunk number) alone.

    `window` latents, the present chunk among them, are what a chunk sees of the clip; beyond it the oldest are dropped,
    the first `sink` excepted. window=0: all frames at once, of a bidirectional network, in one call. `shape`: C, H, W.
    The world is that of the very first camera; `translation_scale` is the card's.
    """

    def __init__(
        self,
        backbone: BackboneModule,
        sampling: Sampling,
        text: Text,
        *,
        shape: tuple[int, int, int],
        draws: Draws,
        window: int,
        sink: int = 0,
        first: Float[Tensor, "b 1 c h w"] | None = None,
        translation_scale: float = 1.0,
        name: str = "rollout",
    ) -> None:
        if window:
            check_window(window, sink, backbone.chunk)
        self.chunk = backbone.chunk if window else 0  # latents per call; 0 = as many as there are cameras
        self.backbone, self.sampling, self.shape, self.draws = backbone, sampling, shape, draws
        self.first, self.translation_scale, self.name = first, translation_scale, name
        self.chunks = 0  # made so far
        self._pending: tuple[Tensor, Cameras] | None = None  # the chunk that is not yet in the cache
        past = window - backbone.chunk
        fresh = lambda: backbone.cache(past, *shape[1:], sink=sink) if window else None  # noqa: E731 - one per branch
        self._branches = [_Branch(text, True, fresh())]
        if sampling.guidance != 1:
            untold = text if sampling.drops == "cameras" else null_text(backbone, text)
            self._branches.append(_Branch(untold, sampling.drops == "text", fresh()))

    @torch.no_grad()
    def next_chunk(self, cameras: Cameras) -> Float[Tensor, "b f c h w"]:
        """The next latents, as the given cameras see them. Raises TrajkitError for too few cameras, or too many."""
        self.settle()
        cameras, noise = self._begun(cameras)
        x = self._denoised(noise(0), 0, cameras, noise)
        return self._done(x, cameras)

    def trained_chunk(self, cameras: Cameras, exit_index: int, *, graded: bool = True, full: bool = False) -> Tensor:
        """The next chunk's end as predicted at step `exit_index`, with gradient (where `graded`) of that step alone.

        The past is what was predicted there, or (`full`) the end of all steps, as in later use.
        """
        self.settle()
        cameras, noise = self._begun(cameras)
        with torch.no_grad():
            x = self._denoised(noise(0), 0, cameras, noise, until=exit_index)
        with nullcontext() if graded else torch.no_grad():
            v = self._velocity(x, exit_index, cameras)
            predicted = flow.clean_from(x, v, torch.tensor(self.sampling.sigmas[exit_index]))
        with torch.no_grad():
            past = predicted.detach()
            if full:
                past = self._denoised(self.sampling.stepped(x, v, exit_index, noise), exit_index + 1, cameras, noise)
            self._done(past, cameras)
        return predicted

    def settle(self) -> None:
        """Puts the latest chunk into the cache. The next call does so by itself; a live loop may while it waits."""
        if self._pending is None:
            return
        latents, cameras = self._pending
        for text, sighted, cache in self._branches:
            if cache is not None:
                self.backbone.remember(latents, cameras if sighted else None, text, cache, first=self.first)
        self._pending = None

    def _begun(self, cameras: Cameras) -> tuple[Cameras, _Noise]:
        """The cameras with translations divided by the scale, and this chunk's noise."""
        if self.chunk and len(cameras) != self.chunk:
            problem = f"{len(cameras)} cameras for a chunk of {self.chunk} latents"
            raise TrajkitError("rollout", problem, "give one camera per latent")
        w2c = cameras.world_to_camera.clone()
        w2c[..., :3, 3] /= self.translation_scale
        noise = _Noise(self.draws, f"{self.name} chunk {self.chunks}", (len(cameras), *self.shape))
        return replace(cameras, world_to_camera=w2c), noise

    def _done(self, latents: Tensor, cameras: Cameras) -> Tensor:
        self.chunks += 1
        self._pending = latents, cameras
        return latents

    def _denoised(self, x: Tensor, begin: int, cameras: Cameras, noise: _Noise, until: int | None = None) -> Tensor:
        """The state x before step `begin` taken through the steps up to `until` (not included), or all."""
        for step in range(begin, self.sampling.steps if until is None else until):
            x = self.sampling.stepped(x, self._velocity(x, step, cameras), step, noise)
        return x

    def _velocity(self, x: Tensor, step: int, cameras: Cameras) -> Tensor:
        """The guided velocity (B, F, C, H, W), float32."""
        sigma = torch.full(x.shape[:2], self.sampling.sigmas[step], device=x.device)
        told = [
            self.backbone.velocity(x, sigma, cameras if sighted else None, text, cache=cache, first=self.first).float()
            for text, sighted, cache in self._branches
        ]
        return told[0] if len(told) == 1 else flow.guided(told[0], told[1], self.sampling.guidance)


def check_window(window: int, sink: int, chunk: int) -> None:
    """Raises TrajkitError unless a chunk, one before it and the sink fit into the window (all in latents)."""
    if window < 2 * chunk:
        problem = f"holds no latent before a chunk of {chunk}"
        raise TrajkitError(f"window {window}", problem, f"give {2 * chunk} or more")
    if not 0 <= sink <= window - 2 * chunk:
        problem = f"leaves no room to move in a window of {window} latents"
        raise TrajkitError(f"sink {sink}", problem, f"give 0 to {window - 2 * chunk}, or a larger window")


def bidirectional(
    backbone: BackboneModule,
    sampling: Sampling,
    cameras: Cameras,
    text: Text,
    *,
    shape: tuple[int, int, int],
    draws: Draws,
    first: Tensor | None = None,
    translation_scale: float = 1.0,
) -> Float[Tensor, "b f c h w"]:
    """A whole clip at once, of a network that sees all frames."""
    told = {"first": first, "translation_scale": translation_scale}
    return Rollout(backbone, sampling, text, shape=shape, draws=draws, window=0, **told).next_chunk(cameras)  # type: ignore[arg-type]


def chunks(rollout: Rollout, cameras: Cameras) -> Iterator[Float[Tensor, "b chunk c h w"]]:
    """The chunks of a clip whose cameras are all known. Raises TrajkitError for a part of a chunk."""
    chunk = rollout.chunk or len(cameras)
    check_chunks(len(cameras), chunk)
    for start in range(0, len(cameras), chunk):
        yield rollout.next_chunk(cameras[start : start + chunk])


def check_chunks(latents: int, chunk: int) -> None:
    """Raises TrajkitError unless the latents are a whole number of chunks."""
    if latents < 1 or latents % chunk:
        problem = f"are no whole number of chunks of {chunk}"
        nearest = max(1, round(latents / chunk)) * chunk
        raise TrajkitError(f"{latents} latents", problem, f"give {nearest} latents: {frame_count(nearest)} frames")


def self_rollout(
    student: BackboneModule,
    cameras: Cameras,
    text: Text,
    draws: Draws,
    sampling: Sampling,
    exit_index: int,
    *,
    shape: tuple[int, int, int],
    name: str,
    last: int = 0,
    full: bool = False,
    first: Tensor | None = None,
) -> Float[Tensor, "b f c h w"]:
    """A student's own clip for DMD: each chunk predicted at step `exit_index`, against the chunks that it made before.

    Gradient reaches one pass per chunk and no earlier chunk: the past is detached (Self Forcing, arXiv 2506.08009).
    With `last`, only the last so many latents have any. `full`: the past is the end of all steps (as in minWM's
    HunyuanVideo), not the prediction at the exit (its Wan). The cache is made for the whole clip: backward with
    checkpointing reads it again, so nothing may be dropped.
    """
    frames, chunk = len(cameras), student.chunk
    check_chunks(frames, chunk)
    window = frames + chunk
    rollout = Rollout(student, sampling, text, shape=shape, draws=draws, window=window, first=first, name=name)
    mask, parts = last_frames(frames, last), []
    for start in range(0, frames, chunk):
        now = slice(start, start + chunk)
        graded = bool(mask[now].any())
        part = rollout.trained_chunk(cameras[now], exit_index, graded=graded, full=full)
        parts.append(gradient_of(part, mask[now]))
    rollout.settle()
    return torch.cat(parts, 1)


def last_frames(frames: int, last: int) -> Bool[Tensor, " f"]:
    """True for the last `last` of the frames; 0 = all of them."""
    return torch.arange(frames) >= (frames - last if last else 0)


def gradient_of(x: Float[Tensor, "b f c h w"], mask: Bool[Tensor, " f"]) -> Float[Tensor, "b f c h w"]:
    """x itself, with gradient only where the mask of frames is True."""
    return x if mask.all() else torch.where(flow.spread(mask[None], x), x, x.detach())
