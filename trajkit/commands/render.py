"""`trajkit render`: scenes x paths -> a clip folder."""

import dataclasses
from collections import Counter
from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.clip import Clip
from trajkit.commands._common import (
    emit,
    executor_option,
    gpus_option,
    keep_resolved,
    progress,
    size_option,
    stage_options,
    watch,
)
from trajkit.commands._types import Colour, Range
from trajkit.options import parse
from trajkit.render import check_options, render
from trajkit.render_scene import RenderOptions
from trajkit.safety import Accept
from trajkit.scene import Rejected, Scene
from trajkit.scenes import list_scenes


@click.command("render")
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
@click.option("--path", "paths", multiple=True, required=True, metavar="SPEC", help="Sampler; repeat to alternate.")
@click.option("--count", type=click.IntRange(1), default=4, show_default=True, metavar="CLIPS", help="Clips per scene.")
@click.option("--frames", type=int, default=77, show_default=True, metavar="4N+1", help="Frames per clip.")
@size_option("832x480")
@click.option("--fps", type=click.FloatRange(1, 240), default=16.0, show_default=True, metavar="HZ", help="Frame rate.")
@click.option(
    "--fov",
    "fov_deg",
    type=Range(5, 150),
    metavar="DEG|DEG..DEG",
    help="Vertical field of view, or a range to draw each clip's from.  [default: captured]",
)
@click.option(
    "--principal",
    type=click.Choice(["captured", "centre"]),
    default="captured",
    show_default=True,
    help="Principal point of a captured lens: where it was, or moved to the middle.",
)
@click.option(
    "--exposure",
    type=Range(-8, 8),
    default="0",
    show_default=True,
    metavar="STOPS|S..S",
    help="Brightness in stops, or a range to draw each clip's from.",
)
@click.option(
    "--background",
    type=Colour(),
    default="#000000",
    show_default=True,
    metavar="#RRGGBB",
    help="Behind what the scene does not cover.",
)
@click.option("--renderer", default="auto", show_default=True, metavar="SPEC", help="toy, splats, gsplat or auto.")
@click.option(
    "--engine", default="auto", show_default=True, metavar="SPEC", help="Reconstructs captures without splats."
)
@click.option(
    "--accept",
    default="",
    metavar="KEY=VALUE,...|off",
    help="Limits that a path must keep to, such as clearance=0.3,seen=0.8 (docs/paths.md); off: take any path.",
)
@click.option("--caption", default="", metavar="TEXT", help="Caption of every clip.  [default: none]")
@click.option("--depth", is_flag=True, help="Also keep z-depth (float16, scene units), with its measured error.")
@gpus_option
@executor_option
@stage_options
def command(
    scenes: tuple[str, ...],
    size: tuple[int, int],
    out: Path,
    workers: int,
    executor: str,
    gpus: float,
    accept: str,
    dry_run: bool,
    as_json: bool,
    **fields: object,
) -> int:
    """Render clips along sampled trajectories of each SCENE into the clip folder --out.

    \b
    trajkit render dl3dv:scans/abc --path spline --path "keys:w*12,l*7" --count 4 --out clips

    SCENE is SOURCE:PATH, such as toy:, dl3dv:FOLDER, colmap:MODEL or splat:FILE.ply. A capture without splats is
    reconstructed first. Each path is kept clear of surfaces and of what nobody photographed (--accept): slowed down,
    bent or drawn again where needed, else refused, with its reasons in OUT/refused. Run the same command again to go
    on after an interruption. `trajkit plugins paths` lists samplers with their options. Exit code 3: some scenes or
    clips were rejected.
    """
    limits = None if accept == "off" else parse(Accept, accept, where="--accept")
    options = RenderOptions(width=size[0], height=size[1], accept=limits, **fields)  # type: ignore[arg-type]
    check_options(options)
    found = list_scenes(scenes)
    if dry_run:
        return _dry_run(found, options, as_json)
    keep_resolved(out)
    done: list[Clip] = []
    rejected: list[Rejected] = []
    total = sum(options.count if isinstance(scene, Scene) else 1 for scene in found)
    results = render(found, options, out, workers=workers, executor=executor, gpus=gpus, watch=watch)
    for result in progress(results, total=total, unit="clips"):
        if isinstance(result, Rejected):
            rejected.append(result)
        else:
            done.append(result)
    refused = Counter(finding.code for one in rejected for finding in one.findings if finding.threshold is not None)
    summary = {
        "out": str(out),
        "clips": [clip.key for clip in done],
        "rejected": {one.key: one.reason for one in rejected},
        "refused_by": dict(refused),
        "repaired": sum(clip.checks.get("repair", "none") != "none" for clip in done),
    }
    lines = [f"rejected {one.key}: {one.reason}" for one in rejected]
    if refused:
        shares = (
            f"{name} {count} ({count / (len(done) + len(rejected)):.0%})" for name, count in refused.most_common()
        )
        lines.append(f"limits broken by refused paths: {', '.join(shares)}")
    lines.append(f"{len(done)} clips of {options.frames} frames in {out}, {len(rejected)} rejected")
    emit(summary, as_json, lines)
    return REJECTED if rejected else 0


def _dry_run(scenes: list[Scene | Rejected], options: RenderOptions, as_json: bool) -> int:
    work = [
        f"{scene.id} #{index} {options.paths[index % len(options.paths)]}"
        for scene in scenes
        if isinstance(scene, Scene)
        for index in range(options.count)
    ]
    rejected = {scene.key: scene.reason for scene in scenes if isinstance(scene, Rejected)}
    resolved = dataclasses.asdict(options)
    lines = [f"{name}: {value}" for name, value in resolved.items()] + work
    lines += [f"rejected {key}: {reason}" for key, reason in rejected.items()]
    emit({"options": resolved, "work": work, "rejected": rejected}, as_json, lines)
    return REJECTED if rejected else 0
