"""`trajkit encode`: shards or clips -> shards whose clips carry latents and text."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

from trajkit import files
from trajkit.cli import REJECTED
from trajkit.commands._common import emit, keep_resolved, progress, size_option, stage_options
from trajkit.errors import TrajkitError
from trajkit.options import split_spec
from trajkit.shard_plan import SHARD_BYTES, SHARD_CLIPS, Plan, make_plan, shard_path

from .. import encoding
from ..encoders import DTYPES, Settings, encoder_class

F = TypeVar("F", bound=Callable[..., Any])


def shard_options(function: F) -> F:
    """The options of commands that add to the clips' latent files: where, in which shards, and every stage's."""
    most: dict[str, Any] = {"type": click.IntRange(1), "show_default": True}
    decorators = [
        click.option(
            "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto = a GPU where there is one."
        ),
        click.option("--shard-clips", default=SHARD_CLIPS, metavar="CLIPS", help="Most clips in a shard.", **most),
        click.option(
            "--shard-bytes", default=SHARD_BYTES, metavar="BYTES", help="Largest shard, latents not counted.", **most
        ),
        click.option(
            "--keys", type=click.Path(path_type=Path), metavar="FILE", help="Only these clips, one key a line."
        ),
        stage_options,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


@click.command("encode")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARDS...")
@click.option(
    "--encoder", required=True, metavar="SPEC", help="toy, wan:WEIGHTS or hunyuan:WEIGHTS (diffusers folder or hub id)."
)
@size_option("64x64")
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="float32", show_default=True, help="To compute in.")
@click.option("--tiling", is_flag=True, help="Encode pictures in tiles: less memory, slightly other latents.")
@shard_options
def command(
    folders: tuple[Path, ...],
    out: Path,
    encoder: str,
    size: tuple[int, int],
    device: str,
    dtype: str,
    tiling: bool,
    shard_clips: int,
    shard_bytes: int,
    keys: Path | None,
    seed: int,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Encode the clips in SHARDS (folders of shards or clips, or tars) into shards with latents in the folder --out.

    \b
    trajkit encode shards --encoder toy --size 64x64 --out encoded
    trajkit encode shards --encoder wan:Wan-AI/Wan2.1-T2V-1.3B-Diffusers --dtype bfloat16 --out encoded

    Keys and all other members stay. --size is that of the toy's pictures; the others encode pictures as they are. One
    clip is encoded at a time, --workers threads decode the next ones. Run the same command again to go on after an
    interruption. Exit code 3: clips were left out because they cannot be read; the ledger says why.
    """
    kind = encoder_class(encoder)
    sources = encoding.survey(folders, files.read_text(keys).split() if keys else None, kind.multiple)
    limits = {"seed": seed, "shard_clips": shard_clips, "shard_bytes": shard_bytes}
    if dry_run:
        dry_run_of(make_plan(sources, **limits), out, as_json)
        return 0
    device = device_of(device)
    settings = Settings(source=split_spec(encoder)[1], size=size, dtype=dtype, tiling=tiling)
    maker = encoding.Encode(kind(settings), settings, device)
    plan = encoding.plan_of(sources, maker.identity, **limits)
    remedy = "compute in --dtype bfloat16 or with --tiling, into another --out"
    return run(maker, plan, out, {"encoder": maker.encoder.id}, workers=workers, as_json=as_json, remedy=remedy)


def device_of(name: str) -> str:
    """The name of a device that is here; auto = a GPU where there is one. Raises TrajkitError for one that is not."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    number = re.fullmatch(r"cuda(?::(\d+))?", name)
    if name != "cpu" and not (number and int(number[1] or 0) < torch.cuda.device_count()):
        raise TrajkitError(f"--device {name}", "no such device here", "use cpu or auto, or see trajkit doctor")
    return name


def run(
    maker: encoding.Maker, plan: Plan, out: Path, told: dict[str, str], *, workers: int, as_json: bool, remedy: str
) -> int:
    """Makes the shards and reports them, with what is `told`; the exit code. `remedy` is for a GPU that is full."""
    shards = encoding.encode(plan, out, maker, workers=workers)
    try:
        made = list(progress(shards, total=plan.record.shards, unit="shards"))
    except torch.cuda.OutOfMemoryError:
        raise TrajkitError("GPU", "out of memory", remedy) from None
    keep_resolved(out)
    clips, names = sum(index.clips for index, _ in made), [shard_path(out, index.shard).name for index, _ in made]
    left_out = plan.record.clips - clips
    lines = [f"left out {row.key}: {row.reason}" for _, rows in made for row in rows]
    lines += [f"{left_out} clips are left out; {out}/ledger says why"] if left_out else []
    total = sum(index.bytes for index, _ in made)
    result = {"out": str(out), **told, "clips": clips, "left_out": left_out, "bytes": total, "shards": names}
    by = ", ".join(f"{what} {name}" for what, name in told.items())
    emit(result, as_json, [*lines, f"{clips} clips, {total} bytes in {len(names)} shards in {out}, {by}"])
    return REJECTED if left_out else 0


def dry_run_of(plan: Plan, out: Path, as_json: bool) -> None:
    """Prints how many clips each shard would hold."""
    work = {shard_path(out, number).name: len(shard) for number, shard in enumerate(plan.shards)}
    emit({"work": work}, as_json, [f"{name}: {clips} clips" for name, clips in work.items()])
