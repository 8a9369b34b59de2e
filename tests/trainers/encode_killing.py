"""A program: makes shards again and again, killed before write steps and at bytes of files, then once more.

`python encode_killing.py encode|pairs FOLDER STRIDE` takes every so many-th write step and prints how often it died.
Bytes that differ from an undisturbed run's are an error.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import av  # noqa: F401 - imported for the children
import encoded
import killing
import polars as pl  # noqa: F401
import tinyclips

from trajkit.trainers.backbones import toy
from trajkit.trainers.card import Card, write_card
from trajkit.trainers.commands.pairs import command as pairs_command

BYTES = (0, 1100, 12000)


def encode(root: Path, out: Path) -> None:
    """`trajkit encode`."""
    encoded.toy(out, root / "clips")


def teacher(folder: Path) -> None:
    """One for `pairs`; made before the first fork, so that its imports cost a child nothing."""
    toy.Backbone.random(toy.Options(heads=1, head_dim=12, layers=1, ffn=8, freq=8, patch=4), "none").save(folder)
    told = {"latent": (3, 12, 16), "frames": 2, "encoder": "toy", "translation_scale": 1.0, "chunk": 2}
    write_card(folder, Card(backbone="toy", conditioning="none", stage="causal", **told))


def pairs(root: Path, out: Path) -> None:
    """`trajkit pairs` on what `encode` made."""
    if not (root / "encoded").exists():
        encode(root, root / "encoded")
    given = [root / "encoded", "--teacher", root / "teacher", "--steps", 4, "--shard-clips", 2, "--out", out]
    assert not pairs_command.main([str(one) for one in given], standalone_mode=False)


def die(make: Callable[[Path, Path], None], root: Path, out: Path, **kill: object) -> bool:
    """Whether a child that makes shards, and kills itself at that point, died there.

    All runs are children of a process that has none of the threads that Polars and torch start.
    """
    child = os.fork()
    if child == 0:
        killing.arm(kill)
        make(root, out)
        os._exit(0)
    return killing.was_killed(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main(make: Callable[[Path, Path], None], root: Path, stride: int) -> None:
    """Kills until a run gets through."""
    out, deaths = root / "out", 0
    tinyclips.real(root / "clips", 3, frames=5)
    if make is pairs:
        teacher(root / "teacher")
    assert not die(make, root, root / "whole")
    wanted = killing.tree(root / "whole")
    kills = [{"step": [str(out), step]} for step in range(1, 200, stride)] + [{"byte": number} for number in BYTES]
    through = False
    for kill in kills:
        if through and "step" in kill:
            continue
        died = die(make, root, out, **kill)
        deaths += died
        through = through or not died
        if die(make, root, out) or killing.tree(out) != wanted:
            raise SystemExit(f"killed at {kill}: the rerun gave other bytes")
        shutil.rmtree(out)
    sys.stderr.write(str(deaths))


if __name__ == "__main__":
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the commands' own reports
    main({"encode": encode, "pairs": pairs}[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
