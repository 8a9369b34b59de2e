"""What the scoring of a clip says: one `Score` per metric, one `Verdict`, and the record that holds both.

`OUT/scores/<key>.json` is a `ScoreRecord`; the same numbers, without those per frame, are rows of the ledger.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from trajkit.members import STRICT, Key

SCHEMA: Final = "trajkit.score/1"
STATES = ("accepted", "rejected", "undetermined")
State = Literal["accepted", "rejected", "undetermined"]
Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One metric's word on one clip. `value` is None where the clip does not decide it, and `why` says so."""

    __pydantic_config__ = STRICT

    metric: str  # its plugin's name
    value: float | None
    unit: str  # "px", "deg", "share", ... "" = none
    better: Better
    version: str  # raised whenever the same clip may give another value
    per_frame: tuple[float | None, ...] = ()  # one per pose, in the metric's unit, or () where it has none
    values: dict[str, float] = field(default_factory=dict)  # further finite numbers, by name
    why: str = ""  # why there is no value


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One thing that speaks against a clip, or why nothing can be said. `value` and `threshold` are in `unit`."""

    __pydantic_config__ = STRICT

    metric: str
    message: str  # a clause for people, such as "cameras move points by 6.2 px more than the pictures allow"
    value: float | None = None
    threshold: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a clip's poses can be trained on."""

    __pydantic_config__ = STRICT

    state: State
    probability: float | None  # that the poses are good enough; None where it is not known
    low: float | None  # ends of the 90 % interval of the induced error, in pixels
    high: float | None
    reasons: tuple[Reason, ...] = ()  # never empty unless accepted
    frames: tuple[tuple[int, int], ...] = ()  # video frames to blame: first and last of each stretch


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRecord:
    """The content of `scores/<key>.json`."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.score/1"]
    key: Key
    clip: str  # SHA-256 over the members that were scored: poses and video
    calibration: str  # SHA-256 over what else it rests on: calibration, metrics' versions, mask, reference
    verdict: Verdict
    scores: tuple[Score, ...]
    about: dict[str, bool | int | float | str]  # what a report groups by: kind, source, motion, fps, focal, speed, ...
