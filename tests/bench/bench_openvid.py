"""Selecting from a table as large as OpenVid-1M's, and the memory that footage takes.

    python tests/bench/bench_openvid.py [--rows 1000000] [--archives 186] [--repeats 3]

Generates a table of that many rows and zip archives that hold every video it names (of a few bytes each), then runs
each task in a fresh process and prints the median of its wall seconds and its peak memory.
"""

import argparse
import csv
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from trajkit.curation import table
from trajkit.curation.footage import Footage
from trajkit.curation.sources import openvid

HEADER = "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,frame,fps,seconds"
WHERE = "seconds >= 4 and aesthetic_score > 6.9"  # some 2 % of the rows
WORDS = ("camera", "river", 'a "tall" tree', "sky,", "line\nbreak", "person", "slowly", "walks", "mountain", "über")
VIDEO_BYTES = 1 << 20


def make_table(path: Path, rows: int) -> list[str]:
    """A table in OpenVid-1M's columns with captions of its length; returns the names in it."""
    draw = random.Random(0)
    captions = [" ".join(draw.choices(WORDS, k=90)) for _ in range(1000)]
    motions = ("static", "pan_right", "undetermined")
    names = [f"{row:011d}_{row % 50}_0to{draw.randrange(60, 600)}.mp4" for row in range(rows)]
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER.split(","))
        for name in names:
            frames = int(name.rpartition("to")[2][:-4])
            scores = [round(draw.uniform(low, high), 6) for low, high in ((3, 7), (0, 20), (0.9, 1))]
            writer.writerow([name, draw.choice(captions), *scores, draw.choice(motions), frames, 30.0, frames / 30])
    return names


def make_archives(folder: Path, names: list[str], archives: int, content: bytes) -> None:
    """The videos, spread over as many archives."""
    folder.mkdir()
    for number in range(archives):
        with zipfile.ZipFile(folder / f"OpenVid_part{number}.zip", "w") as archive:
            for name in names[number::archives]:
                archive.writestr(zipfile.ZipInfo(name), content)


def select(root: Path) -> int:
    """Counts the rows that meet WHERE, with all of their columns."""
    rows = table.selected(table.open_table(root / "OpenVid-1M.csv"), WHERE)
    return sum(batch.height for batch in table.batches(rows, root))


def walk(root: Path, condition: str = "") -> int:
    """Counts the footage of a selection, the archives' directories read and names found in them."""
    return sum(isinstance(item, Footage) for item in openvid.footage(root, openvid.Options(where=condition)))


def opened(root: Path, count: int) -> int:
    """Opens that many videos one after the other; returns their bytes."""
    items = islice(openvid.footage(root, openvid.Options()), count)
    return sum(len(item.open()) for item in items if isinstance(item, Footage))  # type: ignore[arg-type]


TASKS: dict[str, tuple[str, Callable[[Path], int]]] = {
    "select": ("table: rows that meet the condition", select),
    "footage": ("the same rows, found in the archives", lambda root: walk(root, WHERE)),
    "all": ("all rows, found in the archives", walk),
    "10": ("10 videos of 1 MiB opened", lambda root: opened(root.with_name("videos"), 10)),
    "1000": ("1,000 videos of 1 MiB opened", lambda root: opened(root.with_name("videos"), 1000)),
}


def measure(task: str, root: Path) -> tuple[float, float, int]:
    """Wall seconds and peak MiB of the task in a process of its own, and what it counted."""
    command = [sys.executable, __file__, "--task", task, "--root", str(root)]
    seconds, peak, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(peak), int(count)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--archives", type=int, default=186)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        start = time.perf_counter()
        count = TASKS[arguments.task][1](arguments.root)
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, count)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "openvid"
        root.mkdir()
        names = make_table(root / "OpenVid-1M.csv", arguments.rows)
        make_archives(root / "archives", names, arguments.archives, b"")
        videos = root.with_name("videos")
        videos.mkdir()
        make_table(videos / "OpenVid-1M.csv", 1000)
        make_archives(videos / "archives", names[:1000], 4, random.Random(0).randbytes(VIDEO_BYTES))
        size = (root / "OpenVid-1M.csv").stat().st_size / 1e6
        print(f"{arguments.rows} rows, {size:.0f} MB, {arguments.archives} archives")
        for task, (title, _) in TASKS.items():
            runs = [measure(task, root) for _ in range(arguments.repeats)]
            seconds, peak = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
            print(f"{title:40} {runs[0][2]:>12} {seconds:7.2f} s {peak:7.0f} MiB")


if __name__ == "__main__":
    main()
