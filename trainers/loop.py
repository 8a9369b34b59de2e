"""The training loop, the same for every stage and backbone.

A step takes the same clips and draws the same noise however it is cut into processes and micro-batches. Processes are
started by `torchrun` or `accelerate launch`. Gradients are averaged over them once per step, after the last
micro-batch: roles are called by their methods and several times per loss, which DistributedDataParallel cannot watch.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from trajkit.errors import TrajkitError

from . import checkpoint, roles, trackers
from .backbones import BackboneModule
from .batch import Batch, Draws
from .card import Card
from .roles import Cast, Options
from .stages import Role

# Dense bf16 FLOP/s of a GPU, by a part of its name (NVIDIA's data sheets, without sparsity).
PEAKS = {
    "B200": 2.25e15,
    "H100 PCIe": 0.756e15,
    "H100": 0.989e15,
    "H200": 0.989e15,
    "A100": 0.312e15,
    "A800": 0.312e15,
    "L40S": 0.362e15,
    "4090": 0.165e15,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """A run: what is trained, how, from what, and where it is kept."""

    stage: ModuleType
    stage_options: Any
    options: Options
    roles: Mapping[str, Role]
    cards: Mapping[str, Card]  # of the roles that are saved, but for the step
    load: Callable[[str, Path | None, torch.dtype], BackboneModule]  # (role, its folder in a checkpoint or None, dtype)
    batches: Callable[..., Iterator[Batch]]  # (start_step, accumulate, rank, world): this process's micro-batches
    out: Path
    seed: int = 0
    track: str = "none"
    shard: bool = False


def train(job: Job, say: Callable[[str], None] = lambda line: None) -> Path:
    """Runs the steps that are not done yet; returns the last checkpoint. Raises TrajkitError where a loss explodes."""
    options, state = job.options, processes()
    accumulate = share(options, state.num_processes)
    _settle(options, state)
    if state.is_main_process:
        checkpoint.clear(job.out, options.keep)
    state.wait_for_everyone()
    done = checkpoint.latest(job.out)
    first = checkpoint.step_of(done) if done else 0
    if done is None or first < options.steps:
        cast = _cast(job, done, state.device)
        if done:
            checkpoint.restore(done, cast)
            say(f"going on after step {first}")
        stream = job.batches(first, accumulate, state.process_index, state.num_processes)
        done = _steps(job, cast, stream, first, accumulate, say)
    if state.is_main_process:
        checkpoint.finish(job.out, done)
    state.wait_for_everyone()
    return done


def processes() -> PartialState:
    """The processes of the run and this one's device; accelerate joins them on CPUs only where it is told to."""
    return PartialState(cpu=not torch.cuda.is_available())


def share(options: Options, world: int) -> int:
    """Micro-batches of a process in a step. Raises TrajkitError where the clips of a step do not divide."""
    if options.clips % (world * options.micro):
        problem = f"{options.clips} clips per step do not divide into {world} processes x {options.micro} clips"
        raise TrajkitError("loop.clips", problem, f"use a multiple of {world * options.micro}")
    return options.clips // (world * options.micro)


def _settle(options: Options, state: PartialState) -> None:
    """Deterministic kernels where asked; buffers need not be filled for it, as the networks read none unwritten."""
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(options.deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if state.device.type == "cuda":
        torch.backends.cudnn.benchmark = False


def _cast(job: Job, done: Path | None, device: torch.device) -> Cast:
    def load(name: str, dtype: torch.dtype) -> BackboneModule:
        saved = done / name if done and name in job.cards else None
        return job.load(name, saved, dtype)

    return roles.make(job.roles, load, job.options, device, shard=job.shard)


def _steps(
    job: Job, cast: Cast, stream: Iterator[Batch], first: int, accumulate: int, say: Callable[[str], None]
) -> Path:
    """All steps from `first` on; returns the last checkpoint."""
    options, state = job.options, processes()
    folder = checkpoint.latest(job.out)
    with trackers.Log(job.out, first, job.track, writes=state.is_main_process) as log:
        meter = Figures(options, state)
        for step in range(first, options.steps):
            batches = list(itertools.islice(stream, accumulate))
            losses, norms = forward_backward(job, cast, batches, step)
            _refuse_infinite(losses, norms, step, folder)
            roles.set_rates(cast, step, options)
            for optimizer in (one for name in losses for one in cast.optimizers[name]):
                optimizer.step()
            roles.update_averages(cast, set(losses), step, options)
            meter.add(losses, norms)
            if (step + 1) % options.log_every == 0 or step + 1 == options.steps:
                figures = meter.take(cast)
                log.write(step + 1, figures)
                say(_line(step + 1, options.steps, figures))
            if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
                cards = {name: replace(card, step=step + 1) for name, card in job.cards.items()}
                with meter.paused():
                    writes = state.is_main_process
                    folder = checkpoint.save(job.out, cast, step + 1, cards, writes=writes, keep=options.keep)
                    state.wait_for_everyone()
    assert folder is not None
    return folder


def forward_backward(
    job: Job, cast: Cast, batches: list[Batch], step: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Losses and gradient norms by role of one step, means over all its clips; leaves the gradients in place.

    Autocast keeps no copies of weights: a copy made in a pass without gradient would serve the next one with.
    """
    device = processes().device
    for optimizer in (one for each in cast.optimizers.values() for one in each):
        optimizer.zero_grad(set_to_none=True)
    found: dict[str, Tensor] = {}
    half = torch.autocast(device.type, torch.bfloat16, enabled=job.options.precision == "bf16", cache_enabled=False)
    for batch in batches:
        batch = batch.to(device)
        draws = Draws(seed=job.seed, positions=batch.positions, device=device, step=step)
        losses = job.stage.losses(batch, cast.networks, draws, job.stage_options)
        while True:
            with half:
                item = next(losses, None)
            if item is None:
                break
            name, loss = item[0], item[1] / len(batches)
            loss.backward()
            found[name] = found.get(name, 0) + loss.detach().double()
    names = list(found)
    values = torch.stack([found[name] for name in names])
    _mean_over_processes([values, *(one.grad for name in names for one in cast.parameters(name))])
    largest = job.options.clip or math.inf
    norms = [torch.nn.utils.clip_grad_norm_(cast.parameters(name), largest) for name in names]
    together = torch.stack([values, torch.stack([roles.whole(one).double() for one in norms]).to(device)]).tolist()
    return dict(zip(names, together[0], strict=True)), dict(zip(names, together[1], strict=True))


def _mean_over_processes(tensors: list[Tensor | None]) -> None:
    """Replaces each tensor by its mean over processes; sharded gradients already are."""
    world = processes().num_processes
    plain = [one for one in tensors if one is not None and not hasattr(one, "device_mesh")]
    if world > 1:
        for pending in [dist.all_reduce(one, async_op=True) for one in plain]:
            pending.wait()
        torch._foreach_div_(plain, world)


def _refuse_infinite(losses: dict[str, float], norms: dict[str, float], step: int, good: Path | None) -> None:
    for name in losses:
        for what, value in (("loss", losses[name]), ("gradient", norms[name])):
            if not math.isfinite(value):
                kept = f"the last good checkpoint is {good}" if good else "nothing was saved yet"
                raise TrajkitError(f"step {step + 1}", f"the {name}'s {what} is {value}", f"lower loop.lr; {kept}")


class Figures:
    """What the log says about a stretch of steps."""

    def __init__(self, options: Options, state: PartialState) -> None:
        self.options, self.state = options, state
        gpu = torch.cuda.get_device_name(state.device) if state.device.type == "cuda" else ""
        self.peak = next((peak for part, peak in PEAKS.items() if part in gpu), None)
        self.sums: dict[str, list[float]] = {}
        self.steps, self.start = 0, time.perf_counter()

    def add(self, losses: dict[str, float], norms: dict[str, float]) -> None:
        """A step's losses and gradient norms."""
        self.steps += 1
        for name in losses:
            self.sums.setdefault(f"{name} loss", []).append(losses[name])
            self.sums.setdefault(f"{name} gradient", []).append(norms[name])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time inside is not counted."""
        start = time.perf_counter()
        yield
        self.start += time.perf_counter() - start

    def take(self, cast: Cast) -> dict[str, float]:
        """Means since the last call, clips and tokens per second over all processes, and the share of the peak."""
        if self.state.device.type == "cuda":
            torch.cuda.synchronize(self.state.device)
        seconds = time.perf_counter() - self.start
        figures = {name: sum(values) / len(values) for name, values in self.sums.items()}
        figures["seconds per step"] = seconds / self.steps
        figures["clips/s"] = self.steps * self.options.clips / seconds
        figures["tokens/s"] = cast.meter.tokens * self.state.num_processes / seconds
        if self.peak:
            figures["model FLOP utilisation"] = cast.meter.model / seconds / self.peak
            figures["hardware FLOP utilisation"] = cast.meter.hardware / seconds / self.peak
        if self.state.device.type == "cuda":
            figures["peak memory GB"] = torch.cuda.max_memory_allocated(self.state.device) / 1e9
        cast.meter.model = cast.meter.hardware = 0.0
        self.sums, self.steps, cast.meter.tokens, self.start = {}, 0, 0, time.perf_counter()
        return figures


def _line(step: int, steps: int, figures: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.4g}" for name, value in figures.items() if not name.endswith("gradient")]
    return f"step {step}/{steps}  {', '.join(shown)}"
