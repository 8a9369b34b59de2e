"""A program: writes one clip again and again, killed at every write step and at bytes of every file, then once more.

`python clip_killing.py FOLDER` prints how often it died. A folder that differs from an undisturbed one is an error.
"""

import os
import sys
from pathlib import Path

import killing
import tinyclips
import warm_packs  # noqa: F401 - once, not in each child

from trajkit import clip, video

BYTES = (0, 1, 100, 400, 900, 1100, 1500, 1700, 2000, 2200, 3000)


def write(folder: Path) -> None:
    """Two clips with depth."""
    tinyclips.real(folder, 2, depth=True)


def die(folder: Path, **kill: object) -> bool:
    """Whether a child that writes the clips, and kills itself at that point, died there."""
    child = os.fork()
    if child == 0:
        killing.arm(kill)
        write(folder)
        os._exit(0)
    return killing.was_killed(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def check(folder: Path, wanted: dict[str, str], where: str) -> None:
    """After a kill: what counts as done is whole; after a sweep and another run all is as if nothing had happened."""
    found = killing.tree(folder)
    done = clip.clip_keys(folder) if folder.is_dir() else []
    for key in done:
        clip.read_clip(folder, key)
        torn = [name for name in wanted if name.startswith(f"{key}.") and found.get(name) != wanted[name]]
        if torn:
            raise SystemExit(f"{where}: {torn} counts as done but differs")
    if folder.is_dir():
        clip.sweep(folder, {name.split(".")[0] for name in wanted})
        left = sorted(killing.tree(folder))
        if left != sorted(name for name in wanted if name.split(".")[0] in done):
            raise SystemExit(f"{where}: the sweep left {left}")
    write(folder)
    if killing.tree(folder) != wanted:
        raise SystemExit(f"{where}: the rerun gave other bytes")


def main(root: Path) -> None:
    """Kills until a run gets through."""
    video.versions()  # encodes: before the fork, not in each child
    write(root / "whole")
    wanted = killing.tree(root / "whole")
    deaths = 0
    for step in range(1, 1000):
        folder = root / f"step-{step}"
        died = die(folder, step=[str(folder), step])
        check(folder, wanted, f"step {step}")
        if not died:
            break
        deaths += 1
    for number in BYTES:
        folder = root / f"byte-{number}"
        deaths += die(folder, byte=number)
        check(folder, wanted, f"byte {number}")
    sys.stdout.write(str(deaths))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
