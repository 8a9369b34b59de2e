"""`trajkit show`."""

from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.commands._common import emit, json_option


@click.command("show")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Where to write.")
@click.option("--scene", "scenes", multiple=True, metavar="SPEC", help="Scene whose cameras and points to show.")
@click.option(
    "--limit", type=click.IntRange(1, 500), default=48, show_default=True, metavar="CLIPS", help="Show at most so many."
)
@click.option(
    "--video-limit",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    metavar="MB",
    help="Videos that the page carries, together; clips beyond it show stills.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the points that are drawn.")
@click.option("--dry-run", is_flag=True, help="List the clips that would be shown; write nothing.")
@json_option
def command(
    paths: tuple[Path, ...],
    out: Path,
    scenes: tuple[str, ...],
    limit: int,
    video_limit: float,
    seed: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make a page and a contact sheet of clips and their cameras.

    PATH is a clip folder, a shard, or a folder of shards. FOLDER gets index.html, one file that opens anywhere
    without a network, and contact_sheet.png. Captured cameras and points come from PATH/scenes, or from --scene.

    \b
    trajkit show clips --out page
    trajkit show shards --scene dl3dv:scans/fox --out page
    """
    from trajkit.show import ShowOptions, find, select, show

    found = find(paths)
    if dry_run:
        keys = [one.key for one in select(found, limit)]
        emit({"total": len(found), "clips": keys, "out": str(out)}, as_json, [*keys, f"{len(keys)} of {len(found)}"])
        return 0
    options = ShowOptions(limit=limit, scenes=scenes, video_limit_bytes=round(video_limit * 1e6), seed=seed)
    shown = show(found, out, options)
    result = {
        "total": shown.total,
        "shown": shown.shown,
        "unreadable": shown.unreadable,
        "page": str(shown.page),
        "sheet": str(shown.sheet),
    }
    lines = [f"{len(shown.shown)} of {shown.total} clips", *shown.unreadable, str(shown.page), str(shown.sheet)]
    emit(result, as_json, lines)
    return REJECTED if shown.unreadable else 0
