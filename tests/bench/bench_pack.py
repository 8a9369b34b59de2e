"""Packing against tar + sha256sum of the same files, and its peak memory with 100 and with 2,000 clips.

    python tests/bench/bench_pack.py [--clips 300] [--repeats 5] [--folder FOLDER]

Repeats are interleaved, so that a busy machine slows all alike; the files are in the page cache. trajkit syncs each
shard to the disk before it names it done; tar is measured without that (what counts) and with `sync FILE`.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

import tinyclips

from trajkit.pack import pack
from trajkit.shard_plan import make_plan, survey

MP4_BYTES = 1_500_000  # 77 frames at 832x480
SHARD_CLIPS = 100


def seconds(function, *arguments: object) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def with_trajkit(clips: Path, out: Path) -> None:
    """The whole stage: survey, plan, shards, indexes, ledger."""
    list(pack(make_plan(survey([clips])[0], shard_clips=SHARD_CLIPS), out))


def with_tar(clips: Path, out: Path, *, sync: bool = False) -> None:
    """The same files in as many tars, each summed."""
    out.mkdir()
    names = sorted(path.name for path in clips.iterdir())
    share = SHARD_CLIPS * 4
    for number, start in enumerate(range(0, len(names), share)):
        path = out / f"shard-{number:06d}.tar"
        listing = "\n".join(names[start : start + share])
        command = ["tar", "-cf", path, "-C", clips, "--files-from=-", "--format=ustar"]
        subprocess.run(command, input=listing, text=True, check=True)
        subprocess.run(["sha256sum", path], stdout=subprocess.DEVNULL, check=True)
        if sync:
            subprocess.run(["sync", path], check=True)


def with_tar_synced(clips: Path, out: Path) -> None:
    """The same, each synced too."""
    with_tar(clips, out, sync=True)


def throughput(folder: Path, count: int, repeats: int) -> None:
    """Prints both medians and their ratio."""
    clips = folder / "clips"
    tinyclips.hollow(clips, count, MP4_BYTES)
    size = sum(path.stat().st_size for path in clips.iterdir())
    with_tar(clips, folder / "warm")
    sides = {"tar": with_tar, "tar+sync": with_tar_synced, "trajkit": with_trajkit}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, function in sides.items():
            out = folder / name
            taken[name].append(seconds(function, clips, out))
            shutil.rmtree(out)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        spread = " ".join(f"{value:.2f}" for value in sorted(values))
        print(f"{name:8} {size / 1e6 / medians[name]:7.0f} MB/s   seconds: {spread}")
    for name in ("tar", "tar+sync"):
        ratio = medians[name] / medians["trajkit"]
        print(f"trajkit pack has {ratio:.2f} of the throughput of {name} + sha256sum (aim against tar: 0.70)")


def peak_memory_mb(clips: Path, out: Path) -> float:
    """Peak resident memory of `trajkit pack`, in a process of its own."""
    command = [sys.executable, str(HERE), "--measure", str(clips), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return float(said.splitlines()[-1])


def measure(clips: str, out: str) -> None:
    """Runs the command in this process and prints its peak."""
    from trajkit.cli import group

    group.main(["pack", clips, "--out", out], standalone_mode=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(folder: Path) -> None:
    """Prints the peaks for two numbers of clips and their ratio."""
    peaks = {}
    for count in (100, 2000):
        clips = folder / f"clips{count}"
        tinyclips.hollow(clips, count, 20_000)
        peaks[count] = statistics.median(peak_memory_mb(clips, folder / f"out{count}-{run}") for run in range(3))
        print(f"peak memory of packing {count:5} clips: {peaks[count]:6.1f} MB")
    print(f"ratio {peaks[2000] / peaks[100]:.3f} (aim: within 10%)")


def main() -> None:
    """Runs both parts in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="Where to work; default: the system's temporary folder.")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        throughput(Path(folder), arguments.clips, arguments.repeats)
        memory(Path(folder))


if __name__ == "__main__":
    main()
