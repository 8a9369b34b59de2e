"""Imported by `killing.Kitchen`: loads what scoring needs, so that its forks need not; open verdicts are no failure."""

import sys

import cv2  # noqa: F401 - imported for the forks
import tracked
import warm_packs  # noqa: F401

from trajkit import cli, plugins
from trajkit.curation.score import measure

walk = tracked.walk(9)
measure(
    tracked.evidence(walk, tracked.tracks(walk, points=60)),
    [plugins.load("metrics", n) for n in plugins.names("metrics")],
)
run = cli.main


def main(arguments: list[str] | None = None) -> None:
    """The command line, which ends with 0 instead of 3."""
    try:
        run(arguments)
    except SystemExit as end:
        sys.exit(0 if end.code == cli.REJECTED else end.code)


cli.main = main
