"""Peak memory of `trajkit attach` on 10 and on 1,000 videos, and videos a second.

    python tests/bench/bench_attach.py [--videos 10 1000]

Videos: copies of one of 33 frames, 416x240, of a painted room seen by a still camera; clips: 17 frames of 208x120.
Each run is a process of its own; its peak is the kernel's (RUSAGE_CHILDREN).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import footagebank
import killing

ASKED = ("--frames", "17", "--size", "208x120", "--accept", "height=100,sharpness=0")


def run(count: int) -> None:
    """Prints what one run took; called in a process of its own, so that its child's peak is the only one."""
    with tempfile.TemporaryDirectory() as folder:
        first = footagebank.fill(Path(folder) / "bank", ("still",), broken=False) / "still.mp4"
        for number in range(1, count):
            os.link(first, first.with_name(f"still-{number}.mp4"))
        start = time.perf_counter()
        command = killing.trajkit("attach", f"videos:{first.parent}", *ASKED, "--out", str(Path(folder) / "clips"))
        subprocess.run(command, env=killing.environment(), check=True, capture_output=True)
        took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{count} videos: {peak:.0f} MB, {took:.1f} s, {count / took:.2f} videos/s", flush=True)


def main() -> None:
    """One process per count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return run(given.one)
    for count in given.videos:
        subprocess.run([sys.executable, __file__, "--one", str(count)], check=True)
    return None


if __name__ == "__main__":
    main()
