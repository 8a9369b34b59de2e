"""`trajkit balance`: sampling weights over how cameras move."""

from pathlib import Path

import click

from trajkit.commands._common import emit, keep_resolved, stage_options

from ..balance import WEIGHTS, Balance, Coverage, balance, write

SHOWN = 20  # bins


@click.command("balance")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option(
    "--power",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="0 leaves the set as it is, 1 gives each bin the same share.",
)
@click.option(
    "--cap", type=click.FloatRange(1), default=10.0, show_default=True, help="Largest weight over the smallest."
)
@click.option(
    "--speeds", type=click.IntRange(1, 10), default=3, show_default=True, help="Speed bins, equally full by quantiles."
)
@stage_options
def command(
    folders: tuple[Path, ...], power: float, cap: float, speeds: int, out: Path, dry_run: bool, as_json: bool, **_: int
) -> None:
    """Weigh the accepted clips of the folders CLIPS so that rare camera motions are sampled more often.

    \b
    trajkit balance clips --out clips

    CLIPS are folders that trajkit score, and perhaps trajkit filter, wrote into; only their ledgers are read. Bins are
    motion x direction x turn x speed; speeds are compared among clips of one kind of scale. Writes OUT/weights.parquet
    with key, weight (they sum to one) and bin. --seed and --workers change nothing here.
    """
    found = balance(folders, power=power, cap=cap, speeds=speeds)
    if not dry_run:
        write(found, out)
        keep_resolved(out)
    result = {
        "clips": len(found.weights),
        "bins": found.bins.to_dicts(),
        "before": found.before._asdict(),
        "after": found.after._asdict(),
        "capped": found.capped,
        "weights": None if dry_run else str(out / WEIGHTS),
    }
    emit(result, as_json, _lines(found))


def _lines(found: Balance) -> list[str]:
    shown = list(found.bins.head(SHOWN).iter_rows())
    width = max(len("bin"), *(len(name) for name, *_ in shown))
    lines = [f"{'bin'.ljust(width)}   clips  before   after"]
    lines += [f"{name.ljust(width)}  {count:>6}  {before:6.1%}  {after:6.1%}" for name, count, before, after in shown]
    if len(found.bins) > SHOWN:
        lines.append(f"and {len(found.bins) - SHOWN} smaller bins")
    total = f"{len(found.weights)} clips in {len(found.bins)} bins, {found.capped} capped"
    return [*lines, total, _told("before", found.before), _told("after", found.after)]


def _told(name: str, one: Coverage) -> str:
    return (
        f"{name}: as good as {one.clips:.1f} clips and {one.bins:.1f} bins evenly sampled (entropy {one.entropy:.3f})"
    )
