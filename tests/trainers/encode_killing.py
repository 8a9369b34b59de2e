"""A program: encodes again and again, killed before write steps and at bytes of files, then once more.

`python encode_killing.py FOLDER STRIDE` takes every so many-th write step and prints how often it died. Bytes that
differ from an undisturbed run's are an error.
"""

import os
import shutil
import sys
from pathlib import Path

import av  # noqa: F401 - imported for the children
import encoded
import killing
import polars as pl  # noqa: F401
import tinyclips

BYTES = (0, 1100, 12000)


def die(clips: Path, out: Path, **kill: object) -> bool:
    """Whether a child that encodes, and kills itself at that point, died there.

    All runs are children of a process that has none of the threads that Polars and torch start.
    """
    child = os.fork()
    if child == 0:
        killing.arm(kill)
        encoded.toy(out, clips)
        os._exit(0)
    return killing.was_killed(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main(root: Path) -> None:
    """Kills until a run gets through."""
    clips, out, deaths = root / "clips", root / "out", 0
    tinyclips.real(clips, 3, frames=5)
    assert not die(clips, root / "whole")
    wanted = killing.tree(root / "whole")
    steps = range(1, 200, int(sys.argv[2]))
    kills = [{"step": [str(out), step]} for step in steps] + [{"byte": number} for number in BYTES]
    through = False
    for kill in kills:
        if through and "step" in kill:
            continue
        died = die(clips, out, **kill)
        deaths += died
        through = through or not died
        if die(clips, out) or killing.tree(out) != wanted:
            raise SystemExit(f"killed at {kill}: the rerun gave other bytes")
        shutil.rmtree(out)
    sys.stderr.write(str(deaths))


if __name__ == "__main__":
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the commands' own reports
    main(Path(sys.argv[1]))
