"""Milliseconds of CPU per frame of the renderers that need no GPU, one thread.

    python tests/bench/bench_render.py [--repeats 9]

Splats: random Gaussians of degree 3 in a box, seen from outside. The toy: its first room, textures painted beforehand.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import splatting

from trajkit.rasterize import activate, rasterize
from trajkit.renderers import toy
from trajkit.scenes import open_scenes

SIZES = ((832, 480), (256, 144))


def splats_ms(count: int, size: tuple[int, int], repeats: int) -> float:
    """Median CPU time of one frame."""
    active = activate(splatting.blobs(count))
    path = splatting.walk(repeats + 1, *size)
    taken = []
    for index, pose in enumerate(path.world_to_camera):
        start = time.process_time()
        rasterize(active, path.camera(index), pose)
        taken.append(1000 * (time.process_time() - start))
    return statistics.median(taken[1:])  # the first one loads the kernels


def toy_ms(size: tuple[int, int], repeats: int) -> float:
    """Median CPU time of one frame."""
    scene = next(open_scenes("toy:"))
    frames = toy.Renderer(scene, toy.Options()).frames(scene.seen.resized(*size)[: repeats + 1])
    taken = []
    while True:
        start = time.process_time()
        if next(frames, None) is None:
            return statistics.median(taken[1:])
        taken.append(1000 * (time.process_time() - start))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    print("CPU ms per frame          " + "".join(f"{w}x{h}".rjust(10) for w, h in SIZES))
    for count in (50_000, 100_000, 200_000, 500_000):
        print(f"splats, {count:>8,} Gaussians" + "".join(f"{splats_ms(count, size, repeats):10.0f}" for size in SIZES))
    print("toy, exact, 2x2 at edges  " + "".join(f"{toy_ms(size, repeats):10.0f}" for size in SIZES))


if __name__ == "__main__":
    main()
