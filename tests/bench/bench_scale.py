"""How time and memory grow with the number of scenes, rendered here and by Ray on this machine.

    python tests/bench/bench_scale.py [--scenes 1,3,10,30,100] [--sides local-1,local-2,ray-2] [--folder FOLDER]

Each scene, a round room of 20,000 dots in a PLY of its own, gives one clip of 9 frames at 160x96: what is measured is
the cost of a scene, not of pictures.
A side is an executor and its workers; the times hold the start and the end of its processes. Memory is the largest
sum of resident sets over the command's whole process tree, sampled 20 times a second: pages that processes share
count once for each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1])]

import killing
import numpy as np

from trajkit.gaussians import Gaussians, write_ply

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PATH, FRAMES, SIZE, DOTS = "orbit:turns=0.05", 9, "160x96", 20_000


class Cost(NamedTuple):
    """What one command took, and the clips that it made."""

    seconds: float
    peak_bytes: int
    clips: int


def resident_bytes(root: int) -> int:
    """Sum of the resident sets of a process and all that descend from it."""
    parents: dict[int, list[int]] = defaultdict(list)
    pages: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            pages[int(folder.name)] = int((folder / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        parents[parent].append(int(folder.name))
    total, family = 0, [root]
    while family:
        member = family.pop()
        total += pages.get(member, 0) * PAGE_BYTES
        family += parents[member]
    return total


def room(seed: int) -> Gaussians:
    """Opaque dots on a drum of radius 3 about the z axis, 5 high, with its floor and ceiling."""
    rng = np.random.default_rng(seed)
    angle, lid = rng.uniform(0, 2 * np.pi, DOTS), rng.random(DOTS) < 0.5
    radius = np.where(lid, 3 * np.sqrt(rng.random(DOTS)), 3)
    height = np.where(lid, rng.choice([-2.5, 2.5], DOTS), rng.uniform(-2.5, 2.5, DOTS))
    return Gaussians(
        means=np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1),
        log_scales=np.full((DOTS, 3), np.log(0.06)),
        quaternions_wxyz=np.tile([1.0, 0, 0, 0], (DOTS, 1)),
        logit_opacities=np.full(DOTS, 6.0),
        sh=rng.uniform(-1.7, 1.7, (DOTS, 1, 3)),
    )


def measure(scenes: list[Path], executor: str, workers: int, out: Path) -> Cost:
    """Renders these splats by the command line. Raises RuntimeError with what it said where it fails."""
    command = killing.trajkit(
        "render", *[f"splat:{path}" for path in scenes], "--path", PATH, "--count", 1, "--frames", FRAMES
    )
    command += ["--size", SIZE, "--executor", executor, "--workers", str(workers), "--json", "--out", str(out)]
    start, peak, ended = time.perf_counter(), 0, threading.Event()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=killing.environment(), stdout=pipe, stderr=pipe, text=True) as process:

        def sample() -> None:
            nonlocal peak
            while not ended.wait(0.05):
                peak = max(peak, resident_bytes(process.pid))

        sampler = threading.Thread(target=sample)
        sampler.start()
        told, errors = process.communicate()
        seconds = time.perf_counter() - start
        ended.set()
        sampler.join()
    if process.returncode not in (0, 3):  # 3: some paths were refused
        raise RuntimeError(f"exit code {process.returncode}: {errors}")
    return Cost(seconds, peak, len(json.loads(told)["clips"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default="1,3,10,30,100")
    parser.add_argument("--sides", default="local-1,local-2,ray-2")
    parser.add_argument("--folder", type=Path, help="where clips go meanwhile  [default: a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        out, counts = Path(folder) / "clips", [int(count) for count in options.scenes.split(",")]
        rooms = [Path(folder) / f"room-{number:03}.ply" for number in range(max(counts))]
        for number, path in enumerate(rooms):
            write_ply(room(number), path)
        measure(rooms[:1], "local", 1, out)  # compiles what numba keeps
        print(f"{'side':8} {'scenes':>6} {'clips':>6} {'seconds':>8} {'s/scene':>8} {'peak MB':>8}")
        for side in options.sides.split(","):
            executor, _, workers = side.partition("-")
            for scenes in counts:
                shutil.rmtree(out)
                cost = measure(rooms[:scenes], executor, int(workers), out)
                each, peak = cost.seconds / scenes, cost.peak_bytes / 1e6
                print(f"{side:8} {scenes:6} {cost.clips:6} {cost.seconds:8.1f} {each:8.2f} {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
