"""A program: imports two clips again and again, killed at write steps, then once more.

`python import_killing.py FOLDER` prints how often it died. A folder that differs from an undisturbed one is an error.
"""

import os
import sys
from pathlib import Path

import killing
import numpy as np
import warm_packs  # noqa: F401 - once, not in each child

from trajkit import video
from trajkit.camera import Camera
from trajkit.clip import clip_keys, read_clip
from trajkit.curation.importing import ImportOptions, imported, open_set
from trajkit.curation.windows import Cut
from trajkit.poses import lingbot
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

SIZE = (32, 24)


def publish(folder: Path) -> None:
    """A small set: ten frames of noise and their cameras."""
    folder.mkdir()
    lens = Camera.from_fov(*SIZE, 50)
    track = Trajectory.from_camera(np.tile(np.eye(4), (10, 1, 1)), lens, fps=16)
    lingbot.write(track, folder, lingbot.Options(width=32, height=24))
    video.encode((generator(0, n).integers(0, 255, (24, 32, 3), np.uint8) for n in range(10)), folder / "a.mp4", 16)


def write(root: Path, out: Path) -> None:
    """The import."""
    options = ImportOptions(cut=Cut(frames=5), width=32, height=24)
    list(imported(open_set(f"lingbot:{root}/set;width=32,height=24"), options, out))


def child(root: Path, out: Path, **kill: object) -> bool:
    """Whether a process that imports into `out` died there. The parent never does: Polars' threads outlive no fork."""
    process = os.fork()
    if process == 0:
        killing.arm(kill)
        write(root, out)
        os._exit(0)
    return killing.was_killed(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def main(root: Path) -> None:
    """Kills until a run gets through."""
    publish(root / "set")
    video.versions()  # encodes: before the fork
    child(root, root / "whole")
    wanted = killing.tree(root / "whole")
    deaths = 0
    for step in range(1, 1000, 7):
        out = root / f"step-{step}"
        died = child(root, out, step=[str(out), step])
        for key in clip_keys(out) if out.is_dir() else ():
            read_clip(out, key)
        child(root, out)
        if killing.tree(out) != wanted:
            raise SystemExit(f"step {step}: the rerun gave other bytes")
        if not died:
            break
        deaths += 1
    sys.stdout.write(str(deaths))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
