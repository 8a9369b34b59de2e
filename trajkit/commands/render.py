"""`trajkit render`: scenes x paths -> a clip folder."""

import dataclasses
from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.clip import Clip
from trajkit.commands._common import emit, keep_resolved, progress, size_option, stage_options, watch
from trajkit.render import RenderOptions, check_options, render
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
    type=click.FloatRange(5, 150),
    metavar="DEG",
    help="Vertical field of view.  [default: captured]",
)
@click.option("--renderer", default="auto", show_default=True, metavar="SPEC", help="toy, splats, gsplat or auto.")
@click.option("--caption", default="", metavar="TEXT", help="Caption of every clip.  [default: none]")
@click.option("--depth", is_flag=True, help="Also keep z-depth (float16, scene units).")
@stage_options
def command(
    scenes: tuple[str, ...],
    size: tuple[int, int],
    out: Path,
    workers: int,
    dry_run: bool,
    as_json: bool,
    **fields: object,
) -> int:
    """Render clips along sampled trajectories of each SCENE into the clip folder --out.

    \b
    trajkit render dl3dv:scans/abc --path spline --path "keys:w*12,l*7" --count 4 --out clips

    SCENE is SOURCE:PATH, such as toy:, dl3dv:FOLDER, colmap:MODEL or splat:FILE.ply. A capture without splats is
    reconstructed first. Run the same command again to go on after an interruption. `trajkit plugins paths` lists
    samplers with their options. Exit code 3: some scenes or clips were rejected.
    """
    options = RenderOptions(width=size[0], height=size[1], **fields)  # type: ignore[arg-type]
    check_options(options)
    found = list_scenes(scenes)
    if dry_run:
        return _dry_run(found, options, as_json)
    keep_resolved(out)
    done: list[Clip] = []
    rejected: list[Rejected] = []
    total = sum(options.count if isinstance(scene, Scene) else 1 for scene in found)
    results = render(found, options, out, workers=workers, watch=watch)
    for result in progress(results, total=total, unit="clips"):
        if isinstance(result, Rejected):
            rejected.append(result)
        else:
            done.append(result)
    summary = {"out": str(out), "clips": [clip.key for clip in done], "rejected": {r.key: r.reason for r in rejected}}
    lines = [f"rejected {r.key}: {r.reason}" for r in rejected]
    emit(summary, as_json, [*lines, f"{len(done)} clips of {options.frames} frames in {out}, {len(rejected)} rejected"])
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
