"""`trajkit pack`: clip folders -> a folder of shards."""

from pathlib import Path

import click

from trajkit import files
from trajkit.cli import REJECTED
from trajkit.commands._common import emit, executor_option, keep_resolved, progress, stage_options
from trajkit.pack import pack
from trajkit.shard_plan import SHARD_BYTES, SHARD_CLIPS, Plan, make_plan, shard_path, survey


@click.command("pack")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option(
    "--shard-clips",
    type=click.IntRange(1),
    default=SHARD_CLIPS,
    show_default=True,
    metavar="CLIPS",
    help="Most clips in a shard.",
)
@click.option(
    "--shard-bytes",
    type=click.IntRange(1),
    default=SHARD_BYTES,
    show_default=True,
    metavar="BYTES",
    help="Largest shard; a larger clip gets a shard of its own.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only the clips in this list, one key a line, such as CLIPS/filter/accepted.txt.",
)
@executor_option
@stage_options
def command(
    folders: tuple[Path, ...],
    out: Path,
    keys: Path | None,
    shard_clips: int,
    shard_bytes: int,
    seed: int,
    workers: int,
    executor: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Pack the clips of the folders CLIPS into WebDataset shards in the folder --out.

    \b
    trajkit pack clips --out shards

    Clips are shuffled over the shards by --seed and sorted by key inside each. Each shard is a plain tar with its
    index and checksum in a json beside it, which is written last. Run the same command again to go on after an
    interruption. Exit code 3: some clips were left out because they are not finished (no json).
    """
    sources, unfinished = survey(folders, files.read_text(keys).split() if keys else None)
    plan = make_plan(sources, seed=seed, shard_clips=shard_clips, shard_bytes=shard_bytes)
    if dry_run:
        _dry_run(plan, out, unfinished, as_json)
    else:
        indexes = progress(pack(plan, out, workers=workers, executor=executor), total=plan.record.shards, unit="shards")
        shards = {shard_path(out, index.shard).name: index.bytes for index in indexes}
        keep_resolved(out)
        counts = {"clips": plan.record.clips, "frames": plan.record.frames, "bytes": sum(shards.values())}
        line = f"{', '.join(f'{count} {name}' for name, count in counts.items())} in {len(shards)} shards in {out}"
        summary = {"out": str(out), "shards": list(shards), "unfinished": unfinished, **counts}
        emit(summary, as_json, [*_left_out(unfinished), line])
    return REJECTED if unfinished else 0


def _left_out(unfinished: list[str]) -> list[str]:
    return [f"left out {key}: not finished (it has an mp4 but no json)" for key in unfinished]


def _dry_run(plan: Plan, out: Path, unfinished: list[str], as_json: bool) -> None:
    options = {name: getattr(plan.record, name) for name in ("seed", "shard_clips", "shard_bytes")}
    work = [
        f"{shard_path(out, number).name}: {len(shard)} clips, {sum(source.packed_bytes for source in shard)} bytes"
        for number, shard in enumerate(plan.shards)
    ]
    lines = [f"{name}: {value}" for name, value in options.items()] + work + _left_out(unfinished)
    emit({"options": options, "work": work, "unfinished": unfinished}, as_json, lines)
