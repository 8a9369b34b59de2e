"""Milliseconds of CPU per frame of the renderers that need no GPU, one thread.

    python tests/bench/bench_render.py [--repeats 9]

Splats: random Gaussians of degree 3 in a box, seen from outside. The toy: its first room, textures painted beforehand.
Two workers: frames per second by the clock of one process, and of two at a time. Torch: the same projection, tiles
blended by torch operations, one thread.
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import splatting

from trajkit.rasterize import (
    ALPHA_CUT,
    ALPHA_TOP,
    BLUE,
    OPACITY,
    RED,
    STOP,
    TILE,
    A,
    B,
    C,
    Projected,
    X,
    Y,
    activate,
    project,
    rasterize,
)
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


def torch_ms(count: int, size: tuple[int, int]) -> float:
    """Median CPU time of three frames whose tiles torch blends; raises AssertionError where the picture differs."""
    import torch

    torch.set_num_threads(1)
    active, path = activate(splatting.blobs(count)), splatting.walk(4, *size)
    taken = []
    for index, pose in enumerate(path.world_to_camera):
        start = time.process_time()
        seen = project(active, path.camera(index), pose)
        picture = torch_blend(torch, seen, *size)
        taken.append(1000 * (time.process_time() - start))
    wanted = rasterize(active, path.camera(index), pose).rgb
    assert np.abs(picture - wanted).mean() < 1e-3, np.abs(picture - wanted).mean()
    return statistics.median(taken[1:])


def torch_blend(torch, seen: Projected, width: int, height: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The picture (H, W, 3): per tile all Gaussians at all pixels, front to back by a cumulative product."""
    table, ids, starts = torch.from_numpy(seen.table), torch.from_numpy(seen.ids.astype(np.int64)), seen.starts
    across = -(-width // TILE)
    out = torch.zeros(-(-height // TILE) * TILE, across * TILE, 3)
    offsets = torch.arange(TILE) + 0.5
    for tile in range(len(starts) - 1):
        rows = table[ids[starts[tile] : starts[tile + 1]]]
        left, top = tile % across * TILE, tile // across * TILE
        dx, dy = rows[:, X, None, None] - (left + offsets), rows[:, Y, None, None] - (top + offsets)[:, None]
        a, b, c = (rows[:, k, None, None] for k in (A, B, C))
        alpha = rows[:, OPACITY, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
        alpha = torch.where(alpha < ALPHA_CUT, 0.0, alpha.clamp(max=float(ALPHA_TOP)))
        left_over = torch.cumprod(1 - alpha, dim=0)
        weight = alpha * torch.cat([torch.ones_like(left_over[:1]), left_over[:-1]]) * (left_over > STOP)
        out[top : top + TILE, left : left + TILE] = torch.einsum("gyx,gc->yxc", weight, rows[:, RED : BLUE + 1])
    return out[:height, :width].numpy()


def draw_for(seconds: float, count: int, size: tuple[int, int]) -> int:
    """Number of frames drawn in so many seconds, kernels loaded beforehand."""
    active, path = activate(splatting.blobs(count)), splatting.walk(2, *size)
    rasterize(active, path.camera(0), path.world_to_camera[0])
    end, frames = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        rasterize(active, path.camera(0), path.world_to_camera[0])
        frames += 1
    return frames


def fps(workers: int, count: int, size: tuple[int, int], seconds: float = 5.0) -> float:
    """Frames per second of so many processes together."""
    with ProcessPoolExecutor(workers, get_context("forkserver")) as pool:
        return sum(pool.map(draw_for, [seconds] * workers, [count] * workers, [size] * workers)) / seconds


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
    for count in (50_000, 100_000, 200_000, 500_000, 1_000_000):
        print(f"splats, {count:>8,} Gaussians" + "".join(f"{splats_ms(count, size, repeats):10.0f}" for size in SIZES))
    for count in (50_000, 200_000):
        print(f"torch, {count:>9,} Gaussians" + "".join(f"{torch_ms(count, size):10.0f}" for size in SIZES))
    for workers in (1, 2):
        print(
            f"{workers} workers, 200,000: fps    " + "".join(f"{fps(workers, 200_000, size):10.1f}" for size in SIZES)
        )
    print("toy, exact, 2x2 at edges  " + "".join(f"{toy_ms(size, repeats):10.0f}" for size in SIZES))


if __name__ == "__main__":
    main()
