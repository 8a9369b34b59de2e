"""Frames per second of the gsplat renderer on a GPU at 832x480: the rasteriser alone, and `frames()` with its copies.

    python tests/bench/bench_render_gpu.py [--splat FILE.ply]

Splats: random Gaussians of degree 3 in a box, seen from outside; and those of a file, moved and scaled to fit there.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from splatting import blobs, splat_scene, walk

from trajkit.gaussians import Gaussians, read_ply
from trajkit.renderers.gsplat import Options, Renderer
from trajkit.se3 import Similarity

FRAMES = 128


def about_the_origin(gaussians: Gaussians) -> Gaussians:
    """The splats moved and scaled so that half of them lie within 1.5 units of the origin."""
    middle = np.median(gaussians.means.astype(np.float64), axis=0)
    scale = 1.5 / float(np.median(np.linalg.norm(gaussians.means - middle, axis=1)))
    return gaussians.moved(Similarity(scale, np.eye(3), -scale * middle))


def fastest_fps(draw: Callable[[], object]) -> float:
    """Of three runs of FRAMES frames, after one that warms up."""
    seconds = []
    for _ in range(4):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        draw()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return FRAMES / min(seconds[1:])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splat", type=Path)
    given = parser.parse_args().splat
    scenes = {"random": [blobs(200_000), blobs(1_000_000)]}
    if given:
        scenes[given.name] = [about_the_origin(read_ply(given))]
    path = walk(FRAMES, 832, 480)
    print(f"{torch.cuda.get_device_name()}\nsplats               Gaussians  batch  rasteriser fps  frames() fps")
    for name, each in scenes.items():
        for gaussians in each:
            for batch in (1, 8, 32):
                with tempfile.TemporaryDirectory() as folder:
                    renderer = Renderer(splat_scene(gaussians, Path(folder)), Options(batch=batch))
                parts = [path[start : start + batch] for start in range(0, FRAMES, batch)]
                alone = fastest_fps(lambda: [renderer.pixels(part)[1].shape for part in parts])  # noqa: B023
                whole = fastest_fps(lambda: sum(1 for _ in renderer.frames(path)))  # noqa: B023
                print(f"{name:<20} {len(gaussians):>9,}  {batch:>5}  {alone:>14.0f}  {whole:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
