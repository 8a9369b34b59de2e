"""`trajkit reconstruct`: posed photos -> Gaussian splats."""

import functools
from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.commands._common import emit, executor_option, gpus_option, keep_resolved, stage_options, watch
from trajkit.errors import TrajkitError
from trajkit.files import locked
from trajkit.ledger import Ledger
from trajkit.options import as_dict, build
from trajkit.reconstruct import Options, ledger_rows, read_record, reconstruct
from trajkit.scene import Rejected, Scene
from trajkit.scenes import list_scenes
from trajkit.work import run


@click.command("reconstruct")
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
@click.option(
    "--engine", default="auto", show_default=True, metavar="SPEC", help="cpu, gsplat, nerfstudio or auto; with options."
)
@click.option(
    "--min-psnr", "min_psnr_db", default=16.0, show_default=True, metavar="DB", help="Least on held-out photos."
)
@click.option("--min-ssim", default=0.3, show_default=True, metavar="0..1", help="Least on held-out photos.")
@click.option("--min-coverage", default=0.6, show_default=True, metavar="0..1", help="Least on held-out photos.")
@executor_option
@gpus_option
@stage_options
def command(
    scenes: tuple[str, ...],
    out: Path,
    workers: int,
    executor: str,
    gpus: float,
    dry_run: bool,
    as_json: bool,
    seed: int,
    **fields: object,
) -> int:
    """Turn each posed capture SCENE into Gaussian splats: OUT/<scene>.ply, and how good they are in OUT/<scene>.json.

    \b
    trajkit reconstruct dl3dv:scans/abc --out splats

    SCENE is SOURCE:PATH, such as dl3dv:FOLDER or colmap:MODEL. Poses are kept as they are. Every eighth photo is held
    out and judges the result: PSNR, SSIM and the share that splats cover; a scene below a threshold is rejected. A
    scene whose record is there is not fitted again. `trajkit plugins engines` lists engines with their options.
    Exit code 3: some scenes were rejected.
    """
    options = build(Options, fields, where="trajkit reconstruct", seed=seed)
    found = list_scenes(scenes)
    usable = [scene for scene in found if isinstance(scene, Scene)]
    rejected = {scene.key: scene.reason for scene in found if isinstance(scene, Rejected)}
    if dry_run:
        resolved, names = as_dict(options) | {"seed": seed}, [scene.id for scene in usable]
        lines = [f"{name}: {value}" for name, value in resolved.items()] + names
        emit({"options": resolved, "work": names, "rejected": rejected}, as_json, lines)
        return REJECTED if rejected else 0
    with locked(out):
        keep_resolved(out)
        shown = watch if workers == 1 and executor == "local" else None
        work = functools.partial(reconstruct, options=options, folder=out, watch=shown)
        results = run(work, usable, workers, name=_name, executor=executor, gpus=gpus)
        done = {}
        for scene, result in zip(usable, results, strict=True):
            if isinstance(result, TrajkitError):
                rejected[scene.id] = str(result)
            else:
                done[scene.id] = read_record(out / f"{scene.id}.json")["psnr_held_out_db"]
            Ledger(out).append(f"reconstruct-{scene.id}", ledger_rows(scene, result, options, out))
    lines = [f"rejected {key}: {reason}" for key, reason in rejected.items()]
    lines += [f"{out / key}.ply: {psnr_db:.2f} dB on held-out photos" for key, psnr_db in done.items()]
    emit({"out": str(out), "psnr_held_out_db": done, "rejected": rejected}, as_json, lines)
    return REJECTED if rejected else 0


def _name(scene: Scene) -> str:
    return f"scene {scene.id}"
