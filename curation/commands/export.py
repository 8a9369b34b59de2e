"""`trajkit export`: clips in the layout of another trainer."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from trajkit import files
from trajkit.cli import REJECTED
from trajkit.commands._common import emit, keep_resolved, stage_options, watch
from trajkit.scene import Rejected

from ..exporting import export, make_plan
from ..exports import Exported

SHOWN = 5  # licences and losses, the most frequent ones


@click.command("export")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option("--to", "layout", required=True, metavar="NAME[:KEY=VALUE,...]", help="The layout, and its options.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only the clips in this list, one key a line, such as CLIPS/filter/accepted.txt.",
)
@stage_options
def command(
    folders: tuple[Path, ...],
    layout: str,
    keys: Path | None,
    out: Path,
    dry_run: bool,
    as_json: bool,
    **_: int,
) -> int:
    """Write clips in the layout that another trainer reads.

    \b
    trajkit export clips --to cameractrl --out cameractrl
    trajkit export clips --to colmap:every_nth=4,form=text --keys clips/filter/accepted.txt --out models

    CLIPS are clip folders, shards, or folders of shards; `trajkit plugins exports` lists the layouts. What a layout
    cannot hold of a clip is said, and stands in OUT/clips.jsonl; the clips' terms stand in OUT/LICENCES.txt. Run the
    same command again to go on after an interruption. --seed and --workers change nothing here. Exit code 3: some
    clips were left out, because they are damaged or the layout cannot hold them.
    """
    plan = make_plan(folders, layout, files.read_text(keys).split() if keys else None)
    if dry_run:
        lines = [f"{item.key}  {item.place}" for item in plan.items]
        emit({"clips": [item.key for item in plan.items], "to": plan.layout, "out": str(out)}, as_json, lines)
        return 0
    exported, rejected = export(plan, out, watch=watch)
    keep_resolved(out)
    told = {"out": str(out), "clips": exported.clips, "index": exported.index, "lost": dict(exported.lost)}
    reasons = {one.key: one.reason for one in rejected}
    licences = dict(getattr(exported, "licences", {}))
    emit({**told, "rejected": reasons, "licences": licences}, as_json, _lines(exported, rejected, licences, out))
    return REJECTED if rejected else 0


def _lines(exported: Exported, rejected: list[Rejected], licences: dict[str, int], out: Path) -> Iterable[str]:
    yield from (f"left out {one.key}: {one.reason}" for one in rejected)
    yield from _most("{}: under {}", Counter(licences))
    yield from _most("{}: the layout has no place for {}", Counter(exported.lost.values()))
    yield f"{exported.clips} clips in {out / exported.index}"


def _most(form: str, counts: Counter[str]) -> Iterable[str]:
    for text, count in counts.most_common(SHOWN):
        yield form.format(f"{count} clips", " ".join(text.split()))
    if len(counts) > SHOWN:
        yield f"... and {len(counts) - SHOWN} more kinds"
