"""Reading clips out of a shard, poses and all, against bare PyAV decoding of the same videos.

    python tests/bench/bench_read.py [--clips 6] [--repeats 7]

Interleaved repeats in one run; prints medians, and the ratio of throughputs. Pictures end as RGB arrays either way.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyclips

from trajkit import video
from trajkit.clip import Clip, write_clip
from trajkit.members import Provenance
from trajkit.pack import pack
from trajkit.scene import Frame
from trajkit.seeding import generator
from trajkit.shard_plan import make_plan, shard_path, survey
from trajkit.shards import open_shard

FRAMES, WIDTH, HEIGHT = 77, 832, 480


def moving_noise(key: str) -> list[Frame]:
    """Smooth noise that drifts: about as hard to code as a room."""
    coarse = generator(0, key).integers(0, 255, (HEIGHT // 8 + 20, WIDTH // 8 + 20, 3), np.uint8)
    wide = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    return [Frame(rgb=np.ascontiguousarray(wide[i : i + HEIGHT, 2 * i : 2 * i + WIDTH])) for i in range(FRAMES)]


def make_shard(folder: Path, count: int) -> Path:
    """One shard of `count` clips of 77 frames at 832x480."""
    for number in range(count):
        key = f"clip-{number}"
        clip = Clip(
            key=key,
            trajectory=tinyclips.trajectory(key, FRAMES, WIDTH, HEIGHT),
            fps=tinyclips.FPS,
            provenance=Provenance(kind="rendered", source="bench:"),
            licence="CC0-1.0",
        )
        write_clip(folder / "clips", clip, moving_noise(key))
    list(pack(make_plan(survey([folder / "clips"])[0], shard_clips=count), folder / "shards"))
    return shard_path(folder / "shards", 0)


def read_clips(shard: Path) -> int:
    """All clips through trajkit: index, poses, pictures."""
    frames = 0
    for clip in open_shard(shard):
        assert clip.video is not None
        frames += len(video.read(clip.video))
    return frames


def decode_bare(videos: list[bytes]) -> int:
    """The same videos through PyAV alone."""
    import av

    frames = 0
    for content in videos:
        with av.open(io.BytesIO(content)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        frames += len(np.stack(pictures))
    return frames


def timed(function: Callable[[], int]) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds, frames."""
    wall, cpu = time.perf_counter(), time.process_time()
    frames = function()
    return time.perf_counter() - wall, time.process_time() - cpu, frames


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shard = make_shard(Path(folder), arguments.clips)
        opened = open_shard(shard)
        videos = [bytes(opened.members(key)["mp4"]) for key in opened.keys]
        ours, bare = [], []
        for _ in range(arguments.repeats):
            ours.append(timed(lambda: read_clips(shard)))
            bare.append(timed(lambda: decode_bare(videos)))
    for name, runs in (("trajkit, from the shard", ours), ("bare PyAV, from memory", bare)):
        wall, cpu = (statistics.median(run[kind] for run in runs) for kind in (0, 1))
        print(f"{name:26} {runs[0][2] / wall:7.0f} frames/s  {1000 * cpu / runs[0][2]:6.2f} CPU ms/frame")
    ratios = [theirs[0] / mine[0] for mine, theirs in zip(ours, bare, strict=True)]
    cpu_ratios = [theirs[1] / mine[1] for mine, theirs in zip(ours, bare, strict=True)]
    wall, cpu = statistics.median(ratios), statistics.median(cpu_ratios)
    print(f"throughput ratio {wall:.2f} by the clock, {cpu:.2f} by CPU time (aim: 0.90)")


if __name__ == "__main__":
    main()
