"""A stand-in for generators: the first picture, as a flat wall one unit away, seen along the path.

It is a program of its own, as the real ones are, so that plans, runs and collecting can be tried without weights:
`python -m trajkit.curation.attach.standin JOB OUT.mp4`. `fault` makes it misbehave as programs do.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from trajkit import __version__, files, video
from trajkit.options import option
from trajkit.trajectory import Trajectory

from .._jobs_record import CAMERA, MAX_CAMERA_BYTES, PICTURE, Job, read_prompt, read_record, trajectory_from_bytes

Array = np.ndarray
KIND = "generated"
GENERATOR = "stand-in"
LICENCE = "no terms beyond the footage's own"
FAULTS = ("none", "fail", "short", "hang", "garbage")
WALL = 1.0  # distance of the wall, in the path's unit
FPS = 24.0  # as HY-WorldPlay's videos have


@dataclass(frozen=True, kw_only=True)
class Options:
    """How it misbehaves."""

    fault: Literal["none", "fail", "short", "hang", "garbage"] = option("none", f"what goes wrong: {', '.join(FAULTS)}")


def write_job(folder: Path, job: Job, options: Options) -> tuple[str, ...]:
    """Needs no file beyond those that every job has."""
    return ()


def command(folder: Path, options: Options) -> list[str]:
    """This file as a program."""
    module = [sys.executable, "-m", "trajkit.curation.attach.standin"]
    prompt = f"--prompt={read_prompt(folder)}"
    return [*module, f"--seed={read_record(folder).seed}", prompt, f"--fault={options.fault}", str(folder)]


def output(folder: Path) -> Path:
    """Where it writes the video."""
    return folder / "making" / "gen.mp4"


def versions(options: Options) -> dict[str, str]:
    """What made the pictures."""
    return {"standin": __version__}


def pictures(first: UInt8[Array, "h w 3"], path: Trajectory) -> Iterator[UInt8[Array, "h w 3"]]:
    """What each camera sees of the wall: first picture <- frame is K1 (R + t n'/d) K^-1 inverted; black beyond it."""
    from PIL import Image

    image = Image.fromarray(first)
    wall = np.array([0.0, 0.0, 1.0 / WALL])
    for number, pose in enumerate(path.relative_to(0).world_to_camera):
        seen = pose[:3, :3] + np.outer(pose[:3, 3], wall)
        back = path.camera(0).matrix @ np.linalg.inv(seen) @ np.linalg.inv(path.camera(number).matrix)
        back /= back[2, 2]
        moved = image.transform(
            image.size, Image.Transform.PERSPECTIVE, back.ravel()[:8].tolist(), Image.Resampling.BICUBIC
        )
        yield np.asarray(moved)


def _program(arguments: list[str]) -> int:
    """Makes the job's video, or what a fault makes of it; returns the exit code."""
    from PIL import Image

    parser = argparse.ArgumentParser()
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    path = trajectory_from_bytes(files.read_bytes(given.folder / CAMERA, limit=MAX_CAMERA_BYTES), CAMERA)
    first, out = np.asarray(Image.open(given.folder / PICTURE).convert("RGB")), output(given.folder)
    sys.stdout.write(f"seed {given.seed}, prompt {given.prompt!r}\n")
    sys.stdout.flush()
    if given.fault == "fail":
        sys.stderr.write("CUDA out of memory\n")
        return 3
    if given.fault == "hang":
        time.sleep(3600)
    if given.fault == "garbage":
        out.write_bytes(bytes(range(256)) * 64)
    else:
        video.encode(pictures(first, path[:-1] if given.fault == "short" else path), out, FPS)
    return 0


if __name__ == "__main__":
    sys.exit(_program(sys.argv[1:]))
