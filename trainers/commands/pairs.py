"""`trajkit pairs`: encoded shards -> shards whose clips also carry a teacher's path, which `ode` learns from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from trajkit import files, plugins
from trajkit.errors import TrajkitError
from trajkit.options import build
from trajkit.shard_plan import make_plan

from .. import checkpoint, data, encoding, preflight
from ..backbones import BackboneModule
from ..card import Card, expect
from ..ode_pairs import Options, Pairs
from ..roles import Options as Loop
from .encode import device_of, dry_run_of, run, shard_options


@click.command("pairs")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARDS...")
@click.option("--teacher", required=True, metavar="CKPT", help="A run of the stage causal, or a folder of its weights.")
@click.option("--steps", type=int, default=48, show_default=True, metavar="N", help="Euler steps from noise to clip.")
@click.option("--shift", type=float, default=5.0, show_default=True, metavar="S", help="Of the levels, as in ode.")
@click.option(
    "--guidance", type=float, default=6.0, show_default=True, metavar="S", help="1 is none, at half the cost."
)
@click.option("--timesteps", default="1000 750 500 250", show_default=True, metavar="LIST", help="Kept, as in ode.")
@click.option("--precision", type=click.Choice(["bf16", "float32"]), help="[default: bf16 on cuda, else float32]")
@shard_options
def command(
    folders: tuple[Path, ...], out: Path, teacher: str, device: str, precision: str | None, keys: Path | None,
    shard_clips: int, shard_bytes: int, seed: int, workers: int, dry_run: bool, as_json: bool, **given: Any,
) -> int:  # fmt: skip
    """Follow the causal teacher CKPT from noise to its end for each clip in SHARDS; write shards with the paths.

    \b
    trajkit pairs encoded --teacher runs/causal --out pairs
    trajkit train ode pairs --backbone wan --start runs/causal --out runs/ode

    The teacher is given the true clip as its past, so that a path costs --steps passes of a whole clip (twice as many
    with guidance). Keys and all other members stay. Run the same command again to go on after an interruption. Exit
    code 3: clips were left out because they cannot be used; the ledger says why.
    """
    device = device_of(device)
    chosen = {"precision": precision or ("float32" if device == "cpu" else "bf16"), "seed": seed, **given}
    options = build(Options, chosen, where="trajkit pairs")
    only = frozenset(files.read_text(keys).split()) if keys else None
    folder, card = _teacher(teacher, folders, only)
    options = replace(options, first_frame=card.first_frame)
    sources = encoding.survey(folders, only)
    limits = {"seed": seed, "shard_clips": shard_clips, "shard_bytes": shard_bytes}
    if dry_run:
        dry_run_of(make_plan(sources, **limits), out, as_json)
        return 0
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    called = f"{card.backbone} {card.stage}, step {card.step}"
    name = f"{called}, {checkpoint.digest(folder)}"
    maker = Pairs(lambda: _network(folder, card, dtype), name, card.translation_scale, options, device)
    told = {"teacher": called, "guidance": f"{options.guidance:g}", "shift": f"{options.shift:g}"}
    plan = encoding.plan_of(sources, maker.identity, **limits)
    remedy = "compute in --precision bf16, or on a larger GPU"
    return run(maker, plan, out, told, workers=workers, as_json=as_json, remedy=remedy)


def _teacher(named: str, folders: tuple[Path, ...], only: frozenset[str] | None) -> tuple[Path, Card]:
    """The teacher's folder and card. Raises TrajkitError unless it is causal, and learned clips like those."""
    start = preflight.located("--teacher", named, "teacher")
    card, where = start.card, f"--teacher {start.source}"
    if card is None:
        raise TrajkitError(where, "has no trajkit.json: what it was trained for is not known", "give a run")
    expect(card, where, ("causal",))
    facts = data.facts(folders, only=only, latents=card.frames or None)  # longer clips give longer paths
    preflight.check_clips(facts, {"teacher": start}, "causal", Loop(chunk=card.chunk))
    return Path(start.source), card


def _network(folder: Path, card: Card, dtype: torch.dtype) -> BackboneModule:
    made: BackboneModule = plugins.load("backbones", card.backbone).Backbone.load(
        str(folder), card.conditioning, dtype=dtype
    )
    made.chunk = card.chunk
    return made.eval().requires_grad_(False)
