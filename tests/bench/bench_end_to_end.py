"""Frames per second of `render` from splats to finished clips, beside its rasteriser alone and its encoder alone.

    python tests/bench/bench_end_to_end.py [--splat FILE.ply] [--renderer gsplat] [--workers 1 4 8] [--clips 32]

All of a table come from one run on one machine. End to end counts from the first finished clip to the last, so that
starting processes (imports, kernels, splats to the GPU), which a long run pays once, does not count; it is told apart.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from splatting import blobs, splat_scene, walk

from trajkit import cuda, seeding, video
from trajkit.clip import Clip
from trajkit.gaussians import read_ply
from trajkit.ledger import Ledger
from trajkit.render import render
from trajkit.render_scene import RenderOptions, clip_lens, path_options, renderer_options
from trajkit.scene import Scene

FRAMES, WIDTH, HEIGHT = 77, 832, 480
PATH = "orbit:turns=0.05"


def rasteriser_fps(scene: Scene, spec: str, clips: int) -> float:
    """Pictures a second of the renderer alone, in one process: on a GPU left there, else as frames."""
    module, options = renderer_options(spec)
    renderer, path = module.Renderer(scene, options), walk(FRAMES, WIDTH, HEIGHT)

    def draw() -> None:
        if not hasattr(renderer, "pixels"):
            for _ in renderer.frames(path):
                pass
            return
        import torch

        for start in range(0, FRAMES, options.batch):
            renderer.pixels(path[start : start + options.batch])
        torch.cuda.synchronize()

    draw()
    begun = time.perf_counter()
    for _ in range(clips):
        draw()
    return FRAMES * clips / (time.perf_counter() - begun)


def encode_some(file: Path, clips: int) -> None:
    """Encodes the pictures in a file so many times; reading them is quick, since they are in the page cache."""
    pictures = np.load(file, allow_pickle=False)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(clips):
            video.encode(iter(pictures), Path(folder) / f"{number}.mp4", 16.0)


def encoder_fps(scene: Scene, spec: str, workers: int, clips: int) -> float:
    """Pictures a second of `workers` processes that encode pictures which are there."""
    module, options = renderer_options(spec)
    asked = RenderOptions(paths=(PATH,), frames=FRAMES, width=WIDTH, height=HEIGHT)
    sampler, sampler_options = path_options(PATH, asked, clip_lens(scene, asked, seeding.generator(0)))
    trajectory = sampler.sample(scene, sampler_options, seeding.generator(0))  # a clip such as `render` makes
    pictures = np.stack([frame.rgb for frame in module.Renderer(scene, options).frames(trajectory)])
    each = -(-clips // workers)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(workers, get_context("forkserver")) as pool:
        file = Path(folder) / "pictures.npy"
        np.save(file, pictures)
        list(pool.map(encode_some, [file] * workers, [1] * workers))  # imports
        begun = time.perf_counter()
        list(pool.map(encode_some, [file] * workers, [each] * workers))
    return FRAMES * each * workers / (time.perf_counter() - begun)


def end_to_end(scene: Scene, spec: str, workers: int, clips: int) -> tuple[float, float]:
    """Pictures a second between the first finished unit of clips and the last, and seconds until the first."""
    options = RenderOptions(
        paths=(PATH,), count=clips, frames=FRAMES, width=WIDTH, height=HEIGHT, renderer=spec, accept=None
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        moments = list(
            _moments(render(twins(scene, clips, workers), replace(options, count=4), Path(folder), workers=workers))
        )
    return FRAMES * (len(moments) - workers * 4) / (moments[-1] - moments[workers * 4 - 1]), moments[0] - begun


def twins(scene: Scene, clips: int, workers: int) -> list[Scene]:
    """The scene under as many names as make up the clips, four each, and one more for each worker to warm up on."""
    return [replace(scene, id=f"{scene.id}-{number}") for number in range(workers + -(-clips // 4))]


def _moments(results: Iterator[object]) -> Iterator[float]:
    for result in results:
        if not isinstance(result, Clip):
            raise SystemExit(str(result))
        yield time.perf_counter()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splat", type=Path)
    parser.add_argument("--renderer", default="gsplat" if cuda.usable() else "splats")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clips", type=int, default=8)
    asked = parser.parse_args()
    try:
        import polars  # noqa: F401
    except ImportError:
        Ledger.append = lambda *_: None  # type: ignore[method-assign]
        print("polars is not installed: no ledger is written")
    with tempfile.TemporaryDirectory() as folder:
        scene = splat_scene(read_ply(asked.splat) if asked.splat else blobs(200_000), Path(folder))
        raw = rasteriser_fps(scene, asked.renderer, asked.clips)
        print(f"{asked.renderer}, {os.cpu_count()} cores; rasteriser alone {raw:.0f} fps, one process")
        print("workers  encoder alone  end to end  of the slower  first clip after")
        for workers in asked.workers:
            encoder = encoder_fps(scene, asked.renderer, workers, asked.clips)
            whole, first = end_to_end(scene, asked.renderer, workers, asked.clips)
            line = (
                f"{workers:7}  {encoder:9.0f} fps  {whole:6.0f} fps  {whole / min(raw, encoder):13.2f}  {first:14.1f} s"
            )
            print(line, flush=True)


if __name__ == "__main__":
    main()
