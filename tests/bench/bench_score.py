"""Where the CPU seconds of `trajkit score` go, and how they grow with frames and size.

    python tests/bench/bench_score.py [--clips FOLDER] [--repeats 3]

Without a folder: a painted room, filmed at several sizes and lengths. One thread; medians; no compilation.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import filmed
import tracked

from trajkit import plugins
from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.curation.evidence import Evidence

SIZES = ((416, 240, 25), (832, 480, 25), (1280, 720, 25), (416, 240, 77), (416, 240, 153))


def seconds(clip: Clip) -> tuple[float, float, float]:
    """CPU seconds of decoding and following points, of adjusting, and of all metrics on top."""
    evidence, moments = Evidence(clip), [time.process_time()]
    for step in (lambda: evidence.tracks, lambda: evidence.adjusted, lambda: [m.score(evidence) for m in metrics()]):
        step()
        moments.append(time.process_time())
    first, second, third = (b - a for a, b in itertools.pairwise(moments))
    return first, second, third


def metrics() -> list:
    return [plugins.load("metrics", name) for name in plugins.names("metrics")]


def row(name: str, clip: Clip, repeats: int) -> None:
    seconds(clip)  # compiles
    parts = [statistics.median(column) for column in zip(*(seconds(clip) for _ in range(repeats)), strict=True)]
    print(f"{name:28} {parts[0]:8.2f} {parts[1]:8.2f} {parts[2]:8.2f} {sum(parts):8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    print(f"{'CPU seconds':28} {'tracks':>8} {'adjust':>8} {'metrics':>8} {'sum':>8}")
    if asked.clips:
        for key in clip_keys(asked.clips):
            row(key, read_clip(asked.clips, key), asked.repeats)
        return
    with tempfile.TemporaryDirectory() as folder:
        for width, height, frames in SIZES:
            path = tracked.walk(frames).resized(width, height)
            clip = filmed.film(Path(folder), f"{width}-{frames}", path)
            row(f"{width}x{height}, {frames} frames", clip, asked.repeats)


if __name__ == "__main__":
    main()
