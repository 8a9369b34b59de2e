"""Frames a second of `reframe` end to end, beside decoding and encoding the same clips alone, and peak memory.

    python tests/bench/bench_reframe.py [--clips 3] [--repeats 5] [--memory]

Clips: 77 frames of 1280x720; made: 832x480. Bare: the source decoded and the finished pictures, which lie in memory,
encoded. Both in one process, one after the other in each repeat; CPU seconds, so that neighbours do not count; medians.
--memory tells the peak of a process that reframes 10 clips, and 1,000 (of 9 frames, 320x180 to 208x120).
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "curation")]

import numpy as np
from test_reframe import attached, shot_of, turn
from textured import texture

from trajkit import video
from trajkit.camera import Camera

SPEC = "kind=mixed,most_deg=12"
FRAMES = 77


def film(path: Path, width: int, height: int, frames: int, seed: int) -> None:
    """A still camera before a textured wall, with a square that wanders over it."""
    wall, square = texture(width, height, seed), texture(height // 4, height // 4, seed + 1)

    def picture(number: int) -> np.ndarray:
        shown = wall.copy()
        shown[height // 3 :][: len(square), 3 * number :][:, : len(square)] = square
        return shown

    video.encode((picture(number) for number in range(frames)), path, 16.0)


def reframed(source: Path, lens: Camera, size: tuple[int, int], frames: int, seed: int) -> Iterable[np.ndarray]:
    shot = shot_of([], lens, frames=lambda: video.stream(source))
    return (frame.rgb for frame in attached(shot, turn(SPEC, lens, size, frames=frames, seed=seed)).frames)


def cpu_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def speed(folder: Path, clips: int, repeats: int) -> None:
    lens, rows = Camera.from_fov(1280, 720, 45.0), []
    sources = [folder / f"{number}.mp4" for number in range(clips)]
    for number, source in enumerate(sources):
        film(source, lens.width, lens.height, FRAMES, number)
    for repeat in range(repeats + 1):  # the first one compiles
        decode = encode = whole = 0.0
        for number, source in enumerate(sources):
            made = list(reframed(source, lens, (832, 480), FRAMES, number))
            decode += cpu_s(lambda: sum(1 for _ in video.stream(source)))  # noqa: B023 - run at once
            encode += cpu_s(lambda: video.encode(iter(made), folder / "out.mp4", 16.0))  # noqa: B023
            stream = reframed(source, lens, (832, 480), FRAMES, number)
            whole += cpu_s(lambda: video.encode(stream, folder / "out.mp4", 16.0))  # noqa: B023
        if repeat:
            rows.append([FRAMES * clips / seconds for seconds in (decode, encode, decode + encode, whole)])
    decode, encode, bare, whole = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(row[3] / row[2] for row in rows)
    print(f"frames per CPU second: decode {decode:.1f}, encode {encode:.1f}, both {bare:.1f}, reframe {whole:.1f}")
    print(f"reframe / bare decode + encode: {ratio:.2f} ({clips} clips, {repeats} repeats)")


def peak_mib(clips: int) -> float:
    command = [sys.executable, __file__, "--child", str(clips)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(clips: int) -> None:
    lens = Camera.from_fov(320, 180, 45.0)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source.mp4"
        film(source, lens.width, lens.height, 9, 0)
        for number in range(clips):
            video.encode(reframed(source, lens, (208, 120), 9, number), Path(name) / "out.mp4", 16.0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
    elif asked.memory:
        print(f"peak memory: {peak_mib(10):.0f} MiB for 10 clips, {peak_mib(1000):.0f} MiB for 1,000")
    else:
        with tempfile.TemporaryDirectory() as name:
            speed(Path(name), asked.clips, asked.repeats)


if __name__ == "__main__":
    main()
