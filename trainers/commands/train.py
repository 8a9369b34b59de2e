"""`trajkit train`: one stage of the line from a bidirectional network to a causal one of few steps."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from trajkit import files, plugins
from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError
from trajkit.options import as_dict

from .. import data, loop, preflight, trackers
from ..backbones import BackboneModule, Conditioning
from ..batch import Batch
from ..card import Card
from ..roles import Options, flag_of

CONDITIONINGS = ("prope", "prope-merged", "plucker", "none")


@click.command("train")
@click.argument("stage")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARDS...")
@click.option("--backbone", required=True, metavar="NAME", help="toy, wan, hunyuan or a plugin.")
@click.option("--start", required=True, metavar="CKPT", help="What the student starts from: a run, folder or hub id.")
@click.option("--teacher", metavar="CKPT", help="Network that is distilled.  [default: --start]")
@click.option("--critic", metavar="CKPT", help="Score of generated clips, of dmd.  [default: --teacher]")
@click.option("--conditioning", type=click.Choice(CONDITIONINGS), help="How cameras enter.  [default: --start's]")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Folder of the run.")
@click.option("--only", type=click.Path(path_type=Path), metavar="TXT", help="Keys of the clips to use, one a line.")
@click.option("--config", type=click.Path(path_type=Path), metavar="TOML", help="Tables loop and stage of options.")
@click.option("--set", "assigned", multiple=True, metavar="KEY=VALUE", help="One option, such as loop.lr=1e-5.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of order and noise.")
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Threads that read ahead."
)
@click.option("--shard", is_flag=True, help="Spread each network over the processes (FSDP2).")
@click.option("--track", type=click.Choice(trackers.TRACKERS), default="none", show_default=True, help="Tracker.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the options; write nothing.")
@json_option
def command(out: Path, dry_run: bool, as_json: bool, workers: int, shard: bool, track: str, **given: Any) -> None:
    """Train a network through STAGE (finetune, causal, ode, consistency or dmd) on encoded SHARDS.

    \b
    trajkit train finetune shards --backbone wan --start WEIGHTS --conditioning prope --out runs/finetune
    trajkit train causal shards --backbone wan --start runs/finetune --out runs/causal
    torchrun --nproc-per-node 8 -m trajkit train dmd shards --backbone wan --start runs/ode --teacher runs/finetune ...

    Defaults are those of the papers for the stage and backbone (trainers/defaults). RUN/final holds the weights, RUN/
    log.jsonl the losses, RUN/train.toml the options, which --config reads back. Run the same command again to go on
    after an interruption: the result has the same bits.
    """
    trackers.check(track)
    plan = _plan(out, workers=workers, **given)
    if dry_run:
        emit(plan.record, as_json, _lines(plan.record))
        return
    main = int(os.environ.get("RANK", "0")) == 0
    say = _say if main else _silent
    for start in plan.starts.values():
        if start.card is None:
            say(f"--{start.flag} {start.source} has no trajkit.json: it is taken to be what {plan.stage} needs")
    with files.locked(out) if main else contextlib.nullcontext():
        preflight.keep_record(out, plan.record, write=main)
        last = loop.train(plan.job(out, track=track, shard=shard), say)
    loop.processes().destroy_process_group()
    if main:
        result = {"run": str(out), "steps": plan.options.steps, "checkpoint": str(last), "final": str(out / "final")}
        emit(result, as_json, [f"{plan.options.steps} steps done, weights in {out / 'final'}"])


def _say(line: str) -> None:
    click.echo(line, err=True)


def _silent(line: str) -> None:
    """What the other processes of a run say."""


def _lines(record: dict[str, dict[str, Any]]) -> list[str]:
    return [f"{section}.{key} = {value}" for section, table in record.items() for key, value in table.items()]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Plan:
    """A run that has passed all checks."""

    stage: str
    backbone: str
    conditioning: Conditioning
    sources: tuple[Path, ...]
    only: frozenset[str] | None
    options: Options
    stage_options: Any
    starts: dict[str, preflight.Start]
    cards: dict[str, Card]
    scale: float
    seed: int
    workers: int
    record: dict[str, dict[str, Any]]

    def job(self, out: Path, *, track: str, shard: bool) -> loop.Job:
        """The run as the loop takes it."""
        return loop.Job(
            stage=plugins.load("stages", self.stage),
            stage_options=self.stage_options,
            options=self.options,
            roles=preflight.roles_of(self.stage, self.options),
            cards=self.cards,
            load=self.load,
            batches=self.batches,
            out=out,
            seed=self.seed,
            track=track,
            shard=shard,
        )

    def load(self, role: str, saved: Path | None, dtype: torch.dtype) -> BackboneModule:
        """The network of a role, on the host. Raises TrajkitError where it takes other latents than the clips'."""
        start = self.starts[flag_of(preflight.roles_of(self.stage, self.options), role)]
        plugin = plugins.load("backbones", self.backbone)
        made = plugin.Backbone.load(str(saved or start.source), self.conditioning, dtype=dtype)
        channels, wanted = made.get_submodule("model").config.out_channels, self.cards["student"].latent[0]
        if channels != wanted:
            problem = f"makes latents of {channels} channels, the clips have {wanted}"
            raise TrajkitError(f"--{start.flag} {start.source}", problem, "encode the clips for this backbone")
        return made

    def batches(self, start_step: int, accumulate: int, rank: int, world: int) -> Iterator[Batch]:
        """The micro-batches of a process."""
        return data.batches(
            self.sources,
            seed=self.seed,
            micro=self.options.micro,
            accumulate=accumulate,
            rank=rank,
            world=world,
            start_step=start_step,
            workers=self.workers,
            scale=self.scale,
            only=self.only,
            latents=self.options.latents or None,
        )


def _plan(
    out: Path, *, stage: str, backbone: str, sources: tuple[Path, ...], only: Path | None, seed: int, workers: int,
    **given: Any,
) -> _Plan:  # fmt: skip
    """All checks, in the order of what they cost; nothing is written and no network is made."""
    plugins.load("backbones", backbone)
    options, own = preflight.settle(stage, backbone, given["config"], given["assigned"])
    loop.share(options, int(os.environ.get("WORLD_SIZE", "1")))
    roles = preflight.roles_of(stage, options)
    flags = {flag: given[flag] for flag in ("start", "teacher", "critic")}
    starts = preflight.starts(stage, roles, flags)
    conditioning = preflight.conditioning_of(given["conditioning"], starts, backbone, stage)
    keys = frozenset(files.read_text(only).split()) if only is not None else None
    latents = options.latents or None
    facts = data.facts(sources, only=keys, latents=latents)
    preflight.check_clips(facts, starts, stage, options, own)
    scale = preflight.scale_of(starts, options.translation_scale)
    scale = scale or data.translation_scale(sources, only=keys, latents=latents)
    named = {"stage": stage, "backbone": backbone, "conditioning": conditioning, **flags, "seed": seed}
    clips = {"sources": [str(one) for one in sources], "only": str(only) if only else None, "clips": facts.clips}
    clips["pairs"] = facts.pairs or None
    record = {"train": {**named, **clips}, "loop": as_dict(options), "stage": as_dict(own)}
    preflight.keep_record(out, record, write=False)
    shared = {
        "backbone": backbone,
        "conditioning": conditioning,
        "translation_scale": scale,
        "latent": tuple(facts.latent),
        "frames": facts.latents,
        "encoder": facts.encoder,
    }
    return _Plan(
        stage=stage,
        backbone=backbone,
        conditioning=conditioning,
        sources=sources,
        only=keys,
        options=options,
        stage_options=own,
        starts=starts,
        cards=preflight.cards(roles, stage, own, options, shared),
        scale=scale,
        seed=seed,
        workers=workers,
        record=record,
    )
