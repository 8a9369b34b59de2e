"""`trajkit show`."""

from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError


@click.command("show")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to write; needed without --live.")
@click.option("--scene", "scenes", multiple=True, metavar="SPEC", help="Scene whose cameras and points to show.")
@click.option(
    "--limit",
    type=click.IntRange(1, 500),
    default=48,
    show_default=True,
    metavar="CLIPS",
    help="Show at most so many clips, and so many refused paths.",
)
@click.option(
    "--video-limit",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    metavar="MB",
    help="Videos that the page carries, together; clips beyond it show stills.",
)
@click.option("--live", is_flag=True, help="Also serve the scenes in 3D until Ctrl-C (needs trajkit[view]).")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Where --live listens.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the points that are drawn.")
@click.option("--dry-run", is_flag=True, help="List the clips that would be shown; write nothing.")
@json_option
def command(
    paths: tuple[str, ...],
    out: Path | None,
    live: bool,
    port: int,
    dry_run: bool,
    as_json: bool,
    video_limit: float,
    **fields: object,
) -> int:
    """Make a page and a contact sheet of clips and scenes: accepted and refused paths among the captured cameras.

    PATH is a clip folder, a shard, a folder of shards, or a scene such as splat:FILE.ply, dl3dv:FOLDER or toy:.
    FOLDER gets index.html, one file that opens anywhere without a network, and contact_sheet.png. Captured cameras
    and points come from PATH/scenes, or from --scene; refused paths from PATH/refused.

    \b
    trajkit show clips --out page
    trajkit show shards --scene dl3dv:scans/fox --out page
    trajkit show splat:scans/fox.ply --live
    """
    from trajkit.show import ShowOptions, find, gather, write
    from trajkit.show.found import select
    from trajkit.show.page import counted, headline

    options = ShowOptions(video_limit_bytes=round(video_limit * 1e6), **fields)  # type: ignore[arg-type]
    if out is None and not live:
        raise TrajkitError("trajkit show", "neither --out nor --live is given", "name a folder: --out page")
    found = find(paths)
    if dry_run:
        keys = [one.key for one in select(found.clips, options.limit)]
        work = {"total": len(found.clips), "clips": keys, "refused": len(found.refused), "scenes": len(found.scenes)}
        named = ((found.refused, "refused path"), (found.scenes, "scene"))
        more = [counted(len(some), word) for some, word in named if some]
        emit(work | {"out": str(out)}, as_json, [*keys, f"{len(keys)} of {len(found.clips)}", *more])
        return 0
    gathered = gather(found, options)
    clips = [one.id for one in gathered.exhibits if one.kind == "clip"]
    result: dict[str, object] = {
        "total": gathered.total,
        "shown": clips,
        "refused": gathered.tally,
        "unreadable": list(gathered.unreadable),
    }
    lines = [headline(gathered), gathered.tally, *gathered.unreadable]
    if out is not None:
        page, sheet = write(gathered, out, options)
        result |= {"page": str(page), "sheet": str(sheet)}
        lines += [str(page), str(sheet)]
    emit(result, as_json, filter(None, lines))
    if live:
        from trajkit.show.live import serve

        serve(gathered, port, say=lambda line: click.echo(line, err=True))
    return REJECTED if gathered.unreadable else 0
