"""Refused paths, as `render` leaves them in OUT/refused/: `<key>.json` says why, `<key>.camera.npz` holds the path."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import MAX_TEXT_BYTES, STRICT, Key, from_json, trajectory_from_bytes
from trajkit.trajectory import Trajectory

FOLDER = "refused"
MAX_CAMERA_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What was measured against which threshold, and the frame where it was worst."""

    value: float
    threshold: float
    frame: Annotated[int, Ge(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The content of `refused/<key>.json`."""

    __pydantic_config__ = STRICT

    version: Literal[1]
    key: Key
    scene: Key
    path: str  # spec of the sampler
    reason: Annotated[str, MinLen(1)]  # one line for people
    reasons: dict[str, Measure]  # by the name of what was measured, such as "clearance"
    tries: Annotated[int, Ge(0)]  # candidates that were drawn

    @property
    def measures(self) -> list[tuple[str, Measure]]:
        """The reasons along the path."""
        return sorted(self.reasons.items(), key=lambda pair: (pair[1].frame, pair[0]))


def refusals(folder: Path) -> list[Path]:
    """The jsons of a clip folder's refused paths, sorted."""
    return sorted((folder / FOLDER).glob("*.json"))


def read_refusal(path: Path) -> Refusal:
    """One json, checked. Raises TrajkitError, naming the file, for whatever does not fit."""
    found: Refusal = from_json(Refusal, files.read_bytes(path, limit=MAX_TEXT_BYTES), path)
    if found.key != path.stem:
        raise TrajkitError(path, f"says key {found.key}", "give it back its name, or render again")
    return found


def last_candidate(path: Path, refusal: Refusal) -> Trajectory:
    """The cameras in the npz beside the json; their scale is not told.

    Raises TrajkitError where it is missing, damaged, or too short for a frame that the json blames.
    """
    beside = path.with_suffix(".camera.npz")
    trajectory = trajectory_from_bytes(files.read_bytes(beside, limit=MAX_CAMERA_BYTES), beside)
    for name, measure in refusal.reasons.items():
        if measure.frame >= len(trajectory):
            problem = f"{name} blames frame {measure.frame} of {len(trajectory)}"
            raise TrajkitError(path, problem, "render again; json and camera.npz do not belong together")
    return trajectory


def counted_reasons(refused: Iterable[Refusal]) -> str:
    """Such as "clearance 4, unseen 3", most frequent first; a path that fails by two measures counts for both."""
    names = Counter(itertools.chain.from_iterable(one.reasons or ("other",) for one in refused))
    return ", ".join(f"{name} {count}" for name, count in sorted(names.items(), key=lambda pair: (-pair[1], pair[0])))
