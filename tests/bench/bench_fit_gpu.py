"""trajkit's gsplat engine beside gsplat's own example trainer: same photos, poses, points, split and steps.

    python tests/bench/bench_fit_gpu.py prepare dl3dv:CAPTURE task.npz --longest 960   (needs pycolmap, no GPU)
    python tests/bench/bench_fit_gpu.py fit task.npz --engine gsplat [--engine gsplat:exposure=true] [--keep FOLDER]
    python tests/bench/bench_fit_gpu.py trainer task.npz --examples gsplat/examples [--steps 7000] [--shorten]

`trainer` runs simple_trainer.py of a checkout of gsplat (v1.5.3) with its default configuration; example_trainer.py
says what stands in for what it imports. Both are judged by the same renderer and measures, on the photos left out.
"""

import argparse
import dataclasses
import io
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from PIL import Image

from trajkit import options as options_
from trajkit import plugins, seeding
from trajkit.camera import Camera
from trajkit.engines import Task
from trajkit.fidelity import fidelity
from trajkit.fit import View
from trajkit.gaussians import Gaussians, write_ply
from trajkit.rasterize import activate, rasterize

HELD_OUT_EVERY = 8  # trajkit.reconstruct's, and simple_trainer.py's
QUALITY = 97  # of the photos' JPEG, at full colour resolution: what both trainers see


def prepare(spec: str, longest: int, out: Path) -> None:
    """Writes what is to be fitted, in a world whose origin is the points' median."""
    from trajkit.reconstruct import photo_views
    from trajkit.renderers.splats import near_plane
    from trajkit.scenes import open_scenes
    from trajkit.sparse import triangulate

    scene = next(open_scenes(spec))
    views = photo_views(scene, longest)
    fitted = [view for index, view in enumerate(views) if index % HELD_OUT_EVERY]
    points, colours = triangulate(fitted, scene.id)
    middle = np.median(points, axis=0)
    poses = np.array([view.world_to_camera for view in views])
    poses[:, :3, 3] += poses[:, :3, :3] @ middle
    photos = []
    for view in views:
        encoded = io.BytesIO()
        Image.fromarray(view.photo).save(encoded, "JPEG", quality=QUALITY, subsampling=0)
        photos.append(np.frombuffer(encoded.getvalue(), np.uint8))
    np.savez(
        out,
        photos=np.concatenate(photos),
        ends=np.cumsum([len(photo) for photo in photos]),
        world_to_camera=poses,
        lenses=np.array([[c.width, c.height, c.fx, c.fy, c.cx, c.cy] for c in (view.camera for view in views)]),
        points=points - middle,
        colours=colours,
        near=near_plane(scene),
    )


def read_task(path: Path) -> tuple[Task, list[View]]:
    """What `prepare` wrote: the task, and all views in their order."""
    with np.load(path, allow_pickle=False) as stored:
        found = dict(stored)
    views = []
    for k, (width, height, fx, fy, cx, cy) in enumerate(found["lenses"]):
        encoded = found["photos"][found["ends"][k - 1] if k else 0 : found["ends"][k]].tobytes()
        camera = Camera(width=int(width), height=int(height), fx=fx, fy=fy, cx=cx, cy=cy)
        views.append(View(np.asarray(Image.open(io.BytesIO(encoded))), camera, found["world_to_camera"][k]))
    task = Task(
        scene=None,  # type: ignore[arg-type]  # the GPU engine asks for neither its id nor its licence
        fitted=[view for k, view in enumerate(views) if k % HELD_OUT_EVERY],
        held=[view for k, view in enumerate(views) if k % HELD_OUT_EVERY == 0],
        points=found["points"],
        colours=found["colours"],
        near=float(found["near"]),
        rng=seeding.generator(0, "bench"),
    )
    return task, views


def judge(gaussians: Gaussians, held: list[View], near: float) -> dict:
    """Mean measures of the photos left out, rendered by trajkit's CPU rasteriser."""
    scores = [fidelity(activate(gaussians), view, near) for view in held]
    psnr_db, ssim, coverage = np.mean(scores, axis=0)
    return {
        "psnr_db": round(float(psnr_db), 3),
        "ssim": round(float(ssim), 4),
        "coverage": round(float(coverage), 4),
        "gaussians": len(gaussians),
        "by_photo_db": [round(score.psnr_db, 2) for score in scores],
    }


def fit(task: Task, spec: str, keep: Path | None) -> dict:
    """Measures of one fit by an engine of trajkit, and its seconds; `keep` gets its PLY and pictures beside photos."""
    name, text = options_.split_spec(spec)
    engine = plugins.load("engines", name)
    options = options_.parse(engine.Options, text, where=spec)
    engine.fit(task, dataclasses.replace(options, iterations=1))  # loads the kernels
    begun = time.perf_counter()
    gaussians = engine.fit(task, options)
    seconds = round(time.perf_counter() - begun, 1)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        write_ply(gaussians, keep / f"{name}.ply")
        for k in np.unique(np.linspace(0, len(task.held) - 1, 3).round().astype(int)):
            view = task.held[k]
            picture = rasterize(activate(gaussians), view.camera, view.world_to_camera, near=task.near).rgb
            pair = np.concatenate([view.photo, np.rint(picture.clip(0, 1) * 255).astype(np.uint8)], axis=1)
            Image.fromarray(pair).save(keep / f"{name}-{k}.png")
    return {"what": spec, "seconds": seconds} | judge(gaussians, task.held, task.near)


def main() -> None:
    """Prints one line of JSON a fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("prepare")
    one.add_argument("scene")
    one.add_argument("task", type=Path)
    one.add_argument("--longest", type=int, default=960)
    two = kinds.add_parser("fit")
    two.add_argument("task", type=Path)
    two.add_argument("--engine", action="append", default=[])
    two.add_argument("--keep", type=Path)
    three = kinds.add_parser("trainer")
    three.add_argument("task", type=Path)
    three.add_argument("--examples", type=Path, required=True)
    three.add_argument("--steps", type=int, default=7000)
    three.add_argument("--shorten", action="store_true", help="its own steps_scaler, so that its schedules shrink too")
    args = parser.parse_args()
    if args.kind == "prepare":
        prepare(args.scene, args.longest, args.task)
    elif args.kind == "fit":
        for spec in args.engine or ["gsplat"]:
            task, _ = read_task(args.task)
            print(json.dumps(fit(task, spec, args.keep)), flush=True)
    else:
        from example_trainer import train

        task, views = read_task(args.task)
        facts, gaussians, held = train(task, views, args.examples, args.steps, args.shorten)
        print(json.dumps(facts | judge(gaussians, held, 0.01)), flush=True)


if __name__ == "__main__":
    main()
