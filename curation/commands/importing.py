"""`trajkit import`: published videos with poses -> a clip folder."""

from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.clip import Clip
from trajkit.commands._common import emit, executor_option, keep_resolved, progress, size_option, stage_options
from trajkit.scene import Rejected

from ..importing import ImportOptions, imported, open_set
from ..windows import Cut


@click.command("import")
@click.argument("spec", metavar="SET:FOLDER[;KEY=VALUE,...]")
@click.option("--frames", type=int, default=77, show_default=True, metavar="4N+1", help="Frames per clip.")
@click.option(
    "--fps", type=click.FloatRange(0, 240), default=16.0, show_default=True, metavar="HZ", help="0: the video's own."
)
@size_option("832x480")
@click.option(
    "--max-gap",
    "max_gap_s",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    metavar="S",
    help="Longest time between two poses that is bridged.",
)
@click.option(
    "--stride", type=click.IntRange(0), default=0, metavar="FRAMES", help="Between window starts.  [default: --frames]"
)
@click.option(
    "--window", type=click.Choice(["all", "middle", "first"]), default="all", show_default=True, help="Which windows."
)
@click.option(
    "--max-clips", type=click.IntRange(0), default=0, metavar="N", help="Most clips per video.  [default: no limit]"
)
@click.option("--sparse", is_flag=True, help="Keep the published poses alone, interpolate none.")
@click.option("--depth", is_flag=True, help="Also keep the set's depth, for the frames that have one.")
@executor_option
@stage_options
def command(
    spec: str,
    frames: int,
    fps: float,
    size: tuple[int, int],
    max_gap_s: float,
    stride: int,
    sparse: bool,
    out: Path,
    workers: int,
    executor: str,
    dry_run: bool,
    as_json: bool,
    seed: int,
    **fields: object,
) -> int:
    """Cut the posed videos of a published set into clips, each pose at the time of its frame.

    \b
    trajkit import spatialvid:/data/SpatialVID --window middle --out clips --workers 8
    trajkit import "re10k:cameras;videos=/data/videos" --out clips

    SET is one of `trajkit plugins imports`; docs/import.md has each one's layout, licence and traps. Scale and poses
    stay as published: judge them with `trajkit score` afterwards. Run the same command again to go on after an
    interruption. Exit code 3: some videos were rejected; OUT/ledger has the reasons.
    """
    cut = Cut(frames=frames, fps=fps, max_gap_s=max_gap_s, stride=stride, sparse=sparse)
    options = ImportOptions(cut=cut, width=size[0], height=size[1], **fields)  # type: ignore[arg-type]
    items = open_set(spec)
    if dry_run:
        listed = [(item.key, item.reason if isinstance(item, Rejected) else item.source) for item in items]
        emit({"videos": dict(listed), "out": str(out)}, as_json, [f"{key}  {told}" for key, told in listed])
        return 0
    keep_resolved(out)
    done: list[str] = []
    rejected: dict[str, str] = {}
    for result in progress(imported(items, options, out, workers=workers, executor=executor), total=None, unit="clips"):
        if isinstance(result, Clip):
            done.append(result.key)
        else:
            rejected[result.key] = result.reason
    lines = [f"rejected {key}: {reason}" for key, reason in rejected.items()]
    lines.append(f"{len(done)} clips of {frames} frames in {out}, {len(rejected)} rejected")
    emit({"out": str(out), "clips": done, "rejected": rejected}, as_json, lines)
    return REJECTED if rejected else 0
