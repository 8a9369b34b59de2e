"""Seconds, memory and FLOP utilisation of a step of each stage on a GPU, with random weights; and rollouts.

    python tests/bench/bench_train_gpu.py wan finetune:prope causal:prope rollout:none [--compile] [--profile FOLDER]
    python tests/bench/bench_train_gpu.py hunyuan finetune:prope rollout:prope --half

A step is the loop's own (`loop.forward_backward`) on one sample of 77 frames at 832x480 (20 latents), checkpointed
blocks, float32 weights (--half: bfloat16), bfloat16 autocast; then AdamW of each trained role. Latents and text are
noise. Utilisation is what the loop logs: FLOPs by `Backbone.flops`, a trained pass counted 4 times (`hardware`, its
forward runs twice) or 3 times (`model`), over the card's dense bfloat16 peak. The first step warms up. A stage that
does not train each role at each step (dmd) is given as the mean of its `ratio` steps.

A rollout: 4 steps, chunk 4, no guidance, bfloat16 weights, without the VAE. The first chunk runs from noise to latents;
the last rollout of three is told.
"""

import argparse
import contextlib
import gc
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trajkit import plugins
from trajkit.trainers import loop, preflight, roles
from trajkit.trainers.backbones import BackboneModule
from trajkit.trainers.batch import Batch, Draws
from trajkit.trainers.cameras import Cameras
from trajkit.trainers.flow import few_step_sigmas
from trajkit.trainers.rollout import Rollout, Sampling

FRAMES = 20
SHAPES = {"wan": (16, 60, 104), "hunyuan": (32, 30, 52)}
TINY = {"heads": 2, "head_dim": 32, "layers": 2, "ffn": 32, "text": 16, "freq": 16, "refiner": 1, "mlp_ratio": 1.0}
TINY |= {"byt5": 8, "image": 8}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def cameras(frames: int = FRAMES) -> Cameras:
    """A walk forward with a slow turn."""
    w2c = torch.eye(4).repeat(1, frames, 1, 1)
    turn = torch.linspace(0, 0.5, frames)
    w2c[0, :, 0, 0] = w2c[0, :, 2, 2] = turn.cos()
    w2c[0, :, 0, 2], w2c[0, :, 2, 0] = -turn.sin(), turn.sin()
    w2c[0, :, 2, 3] = -0.05 * torch.arange(frames)
    K = torch.tensor([[0.505, 0, 0.5], [0, 0.898, 0.5], [0, 0, 1]]).repeat(1, frames, 1, 1)
    return Cameras(world_to_camera=w2c, K=K).to(DEVICE)


def text(network: BackboneModule) -> dict[str, torch.Tensor]:
    """Noise in the shape of a clip's text; of HunyuanVideo 300 valid tokens, nothing to draw and no picture."""
    config: Any = network.get_submodule("model").config
    if network.name == "hunyuan":
        told = torch.randn(1, 300, config.text_embed_dim, device=DEVICE)
        byt5 = torch.zeros(1, 256, config.text_embed_2_dim, device=DEVICE)
        return {"embeddings": told, "mask": torch.ones(1, 300), "byt5": byt5, "byt5_mask": torch.zeros(1, 256)}
    return {"embeddings": torch.randn(1, 512, config.text_dim, device=DEVICE)}


class Bench:
    """What is measured, and on which networks."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.name = given, given.backbone
        c, h, w = SHAPES[self.name]
        self.shape = (c, 4, 8) if given.tiny else (c, h, w)

    def network(self, conditioning: Any, dtype: torch.dtype) -> BackboneModule:
        """The full-size backbone with random weights, on the GPU."""
        plugin = plugins.load("backbones", self.name)
        known = set(plugin.Options.__dataclass_fields__)
        size = {name: value for name, value in TINY.items() if name in known} if self.given.tiny else {}
        with torch.device(DEVICE), default_dtype(dtype):
            made: Any = plugin.Backbone.random(plugin.Options(**size), conditioning)
        return made.to(DEVICE, dtype)

    def batch(self, network: BackboneModule, step: int, *, states: bool) -> Batch:
        """One sample of noise."""
        shape = (FRAMES, *self.shape)
        return Batch(
            keys=("x",),
            positions=torch.tensor([step]),
            latents=torch.randn(1, *shape, device=DEVICE),
            cameras=cameras(),
            text=text(network),
            trajectory=torch.randn(1, 6, *shape, device=DEVICE) if states else None,
        )

    def stage(self, stage: str, conditioning: Any) -> dict[str, Any]:
        """One line of the table."""
        given, module = self.given, plugins.load("stages", stage)
        half = torch.bfloat16 if given.half else None
        options = roles.Options(clips=1, ema=0.99, precision="bf16", lr=1e-6, compile=given.compile)
        own, kinds = module.Options(), preflight.roles_of(stage, options)
        kinds = {name: one for name, one in kinds.items() if name != roles.AVERAGE}

        def load(name: str, dtype: torch.dtype) -> BackboneModule:
            return self.network(conditioning, half or dtype)

        cast = roles.make(kinds, load, options, torch.device(DEVICE))
        job = loop.Job(
            stage=module, stage_options=own, options=options, roles=kinds, cards={}, load=None, batches=None,
            out=Path(), seed=0,
        )  # fmt: skip

        def step(number: int) -> None:
            batch = self.batch(cast.networks["student"], number, states=stage == "ode")
            losses, _ = loop.forward_backward(job, cast, [batch], number)
            for optimizer in (one for name in losses for one in cast.optimizers[name] if not given.half):
                optimizer.step()
            roles.update_averages(cast, set(losses), number, options)

        cycle = getattr(own, "ratio", 1)
        return self.timed(step, cast, cycle, given.steps * cycle if cycle == 1 else cycle)

    def timed(self, step: Any, cast: roles.Cast, cycle: int, steps: int) -> dict[str, Any]:
        """Means over the steps after the first `cycle`-th's start, and the peak memory."""
        begun = time.perf_counter()
        step(0)
        sync()
        warm = time.perf_counter() - begun
        if DEVICE == "cuda":
            torch.cuda.reset_peak_memory_stats()
        cast.meter.model = cast.meter.hardware = 0.0
        marks = [time.perf_counter()]
        for number in range(cycle, cycle + steps):
            step(number)
            sync()
            marks.append(time.perf_counter())
        seconds = (marks[-1] - marks[0]) / steps
        each = [round(after - before, 3) for before, after in itertools.pairwise(marks)]
        told: dict[str, Any] = {"seconds": round(seconds, 3), "each": each, "first": round(warm, 1)}
        if DEVICE == "cuda":
            told["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
            peak = next(value for part, value in loop.PEAKS.items() if part in torch.cuda.get_device_name())
            told["hardware"] = round(cast.meter.hardware / seconds / steps / peak, 3)
            told["model"] = round(cast.meter.model / seconds / steps / peak, 3)
        return told

    @torch.no_grad()
    def rollout(self, conditioning: Any) -> dict[str, Any]:
        """First-chunk latency and frames a second of a whole rollout."""
        network = self.network(conditioning, torch.bfloat16)
        if self.given.compile:
            network.compile_blocks()
        sigmas = tuple(few_step_sigmas((1000, 750, 500, 250), 5).tolist())
        sampling = Sampling(sigmas=sigmas, solver="consistency")
        path, words, marks = cameras(), text(network), []
        for number in range(3):
            draws = Draws(seed=number, positions=torch.tensor([number]), device=DEVICE)
            if DEVICE == "cuda":
                torch.cuda.reset_peak_memory_stats()
            with torch.autocast(DEVICE, torch.bfloat16):
                made = Rollout(network, sampling, words, shape=self.shape, draws=draws, window=FRAMES + 4)
                sync()
                marks = [time.perf_counter()]
                for first in range(0, FRAMES, 4):
                    made.next_chunk(path[first : first + 4])
                    sync()
                    marks.append(time.perf_counter())
        frames = 4 * (FRAMES - 1) + 1
        each = [round(after - before, 3) for before, after in itertools.pairwise(marks)]
        told = {"first_chunk_s": each[0], "fps": round(frames / (marks[-1] - marks[0]), 2), "chunks_s": each}
        if DEVICE == "cuda":
            told["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
        return told

    def measured(self, what: str) -> dict[str, Any]:
        """What was asked for as stage:conditioning or rollout:conditioning."""
        kind, _, conditioning = what.partition(":")
        try:
            return self.rollout(conditioning) if kind == "rollout" else self.stage(kind, conditioning)
        except torch.OutOfMemoryError as error:
            return {"out_of_memory": str(error).split(".")[0]}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Networks are made in this precision: 8 billion parameters in float32, and again in bfloat16, are too many."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


def sync() -> None:
    """Waits for the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def profiled(bench: Bench, what: str, folder: Path) -> dict[str, Any]:
    """The same, and a table of the kernels that took longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as kept:
        told = bench.measured(what)
    key = "self_cuda_time_total" if DEVICE == "cuda" else "self_cpu_time_total"
    table = kept.key_averages().table(sort_by=key, row_limit=40, max_name_column_width=90)
    (folder / f"{what.replace(':', '-')}{'-compiled' if bench.given.compile else ''}.txt").write_text(table)
    return told


def main() -> None:
    """Prints a JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", choices=("wan", "hunyuan"))
    parser.add_argument("what", nargs="+", help="STAGE:CONDITIONING or rollout:CONDITIONING")
    parser.add_argument("--compile", action="store_true", help="as loop.compile does")
    parser.add_argument("--half", action="store_true", help="bfloat16 weights and gradients, and no optimiser")
    parser.add_argument("--deterministic", action="store_true", help="as the loop does where loop.deterministic is on")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a small network and small latents, to try the script")
    parser.add_argument("--profile", type=Path, help="folder for tables of kernels; times are then too long")
    given = parser.parse_args()
    if given.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cuda.enable_cudnn_sdp(False)  # its backward is not, and warns instead of stepping aside
        torch.utils.deterministic.fill_uninitialized_memory = False
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    flags = {name: getattr(given, name) for name in ("compile", "half", "deterministic")}
    print(json.dumps({"card": card, "torch": torch.__version__, "backbone": given.backbone, **flags}), flush=True)
    bench = Bench(given)
    for what in given.what:
        told = profiled(bench, what, given.profile) if given.profile else bench.measured(what)
        print(json.dumps({"what": what, **told}), flush=True)
        gc.collect()  # a role's network refers to itself
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
