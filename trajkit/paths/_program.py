"""The key grammar (EBNF in docs/paths.md): text -> segments -> canonical text, and segments -> moves per frame."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from jaxtyping import Float64

from trajkit import motion
from trajkit.errors import TrajkitError
from trajkit.latents import FRAMES_PER_LATENT
from trajkit.paths._pace import EASES, eased

HOLD = "hold"
SMALLEST_FACTOR, LARGEST_FACTOR = 0.01, 10.0
MOST_LATENTS = 10_000.0
_ORDER = [key for key in motion.KEYS if key not in motion.ALIASES]  # the canonical names, in canonical order
_NUMBER = r"\d+(\.\d*)?|\.\d+"
_SHOWN = 80  # characters of a program that an error repeats


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Keys pressed together for a number of latents (4 frames each, a multiple of 0.25)."""

    presses: tuple[tuple[str, float], ...]  # (canonical key, speed factor) in canonical order; () holds still
    latents: float
    ease: str | None = None  # None: the caller's

    def __str__(self) -> str:
        keys = "+".join(key if factor == 1 else f"{key}@{_number(factor)}" for key, factor in self.presses)
        return f"{keys or HOLD}*{_number(self.latents)}" + (f"~{self.ease}" if self.ease else "")

    def move(self, step: float, turn_deg: float) -> Float64[np.ndarray, "6"]:
        """The whole segment's motion as one sum (motion.MOVE order), for `step` and `turn_deg` per latent."""
        total = np.zeros(6)
        for key, factor in self.presses:
            total += factor * motion.key_move(key, step, turn_deg)
        return total * self.latents


def text(program: Sequence[Segment]) -> str:
    """The canonical text of a program: minWM's letters, `*` counts, no spaces."""
    return ",".join(map(str, program))


def latents(program: Sequence[Segment]) -> float:
    """How long a program lasts, in latents of 4 frames."""
    return sum(segment.latents for segment in program)


def poses(
    program: Sequence[Segment],
    latent_times: Float64[np.ndarray, " n"],
    *,
    step: float,
    turn_deg: float,
    ease: str = "none",
) -> Float64[np.ndarray, "n 4 4"]:
    """camera_to_world (from the identity) at times, in latents, from the program's start; its end is held.

    One move of motion.integrate leads from each time to the next; a move never goes across the end of a segment.
    """
    edges = np.concatenate([[0.0], np.cumsum([segment.latents for segment in program])])
    totals = np.array([segment.move(step, turn_deg) for segment in program])
    times = np.union1d(latent_times, edges[edges < latent_times[-1]])
    number = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(program) - 1)
    fraction = np.clip((times - edges[number]) / np.diff(edges)[number], 0.0, 1.0)
    for index, segment in enumerate(program):
        inside = number == index
        fraction[inside] = eased(segment.ease or ease, fraction[inside])
    before = np.concatenate([np.zeros((1, 6)), np.cumsum(totals, axis=0)])
    moves = np.diff(before[number] + fraction[:, None] * totals[number], axis=0)
    return motion.integrate(moves)[np.searchsorted(times, latent_times)]


def parse(program: str) -> tuple[Segment, ...]:
    """The segments of a program. Raises TrajkitError that names the column (from 1) of what is wrong."""
    cursor = _Cursor(program)
    segments = []
    while True:
        while cursor.take(","):  # HY-WorldPlay's reader skips empty segments
            pass
        if cursor.ended:
            break
        segments.append(_segment(cursor))
        if not cursor.ended and not cursor.take(","):
            cursor.fail(f"unexpected {cursor.next!r}", "put a comma between segments, as in w*12,l*7")
    if not segments:
        cursor.fail("the program is empty", "write keys and latents, such as w*12,l*7", at=0)
    if latents(segments) > MOST_LATENTS:
        cursor.fail(f"the program lasts {latents(segments):g} latents", f"stay within {MOST_LATENTS:g}", at=0)
    return tuple(segments)


class _Cursor:
    """A place in the program's text."""

    def __init__(self, program: str) -> None:
        self.program, self.at = program, 0
        self.take("")

    def take(self, pattern: str) -> str:
        """The text that matches here, stepped over with the blanks after it; "" where nothing does."""
        found = re.compile(pattern).match(self.program, self.at)
        self.at = found.end() if found else self.at
        while self.at < len(self.program) and self.program[self.at].isspace():
            self.at += 1
        return found.group() if found else ""

    @property
    def ended(self) -> bool:
        return self.at >= len(self.program)

    @property
    def next(self) -> str:
        """What stands here, for an error: one word, one number or one character."""
        found = re.compile(r"\w+|.", re.DOTALL).match(self.program, self.at)
        return found.group() if found else "end of program"

    def fail(self, problem: str, remedy: str, *, at: int | None = None) -> NoReturn:
        shown = self.program if len(self.program) <= _SHOWN else self.program[: _SHOWN - 3] + "..."
        column = 1 + (self.at if at is None else at)
        raise TrajkitError(f"keys: {shown!r} column {column}", problem, remedy)


def _segment(cursor: _Cursor) -> Segment:
    """segment = press, { "+", press }, ( "*" | "-" ), count, [ "~", ease ]."""
    presses: dict[str, float] = {}
    while True:
        key, factor = _press(cursor, presses)
        presses[key] = factor
        if not cursor.take(r"\+"):
            break
    if not cursor.take(r"[*-]"):
        cursor.fail(f"{cursor.next!r} where a count is due", "write *4 after the keys for 4 latents (16 frames)")
    count = _count(cursor)
    ease = _ease(cursor) if cursor.take("~") else None
    moving = sorted((item for item in presses.items() if item[0] != HOLD), key=lambda item: _ORDER.index(item[0]))
    return Segment(presses=tuple(moving), latents=count, ease=ease)


def _press(cursor: _Cursor, others: dict[str, float]) -> tuple[str, float]:
    """press = key, [ "@", factor ]; `others` are already pressed in this segment."""
    at = cursor.at
    word = cursor.take("[A-Za-z]+")
    if not word:
        cursor.fail(f"{cursor.next!r} where a key is due", f"start with one of {_key_names()}")
    key = motion.ALIASES.get(word.lower(), word.lower())
    if key not in _ORDER and key != HOLD:
        near = difflib.get_close_matches(key, [*motion.ALIASES, HOLD], n=1)
        cursor.fail(
            f"unknown key {word!r}", f"did you mean {near[0]!r}?" if near else f"use one of {_key_names()}", at=at
        )
    if key in others:
        cursor.fail(f"key {word!r} is pressed twice", f"keep one; {key}@2 is twice as fast", at=at)
    if HOLD in others or (key == HOLD and others):
        cursor.fail("hold stands still and cannot be combined", "drop hold, or make it a segment of its own", at=at)
    for other in others:
        if np.array_equal(motion.KEYS[other], -np.array(motion.KEYS[key])):
            cursor.fail(f"{word!r} undoes {other!r} in the same segment", "keep one of them", at=at)
    return key, _factor(cursor, key) if cursor.take("@") else 1.0


def _factor(cursor: _Cursor, key: str) -> float:
    at = cursor.at
    digits = cursor.take(_NUMBER)
    if not digits:
        cursor.fail(f"{cursor.next!r} where a speed factor is due", f"write {key}@0.5 for half speed")
    if key == HOLD:
        cursor.fail("hold has no speed", "drop the factor", at=at)
    if not SMALLEST_FACTOR <= float(digits) <= LARGEST_FACTOR:
        cursor.fail(
            f"speed factor {float(digits):g} is out of range",
            f"stay within {SMALLEST_FACTOR} to {LARGEST_FACTOR:g}",
            at=at,
        )
    return float(digits)


def _count(cursor: _Cursor) -> float:
    at = cursor.at
    digits = cursor.take(_NUMBER)
    if not digits:
        cursor.fail(f"{cursor.next!r} where a number of latents is due", "write a number such as 4 (16 frames)")
    count = float(digits)
    if not (0 < count <= MOST_LATENTS):
        cursor.fail(f"{count:g} latents", f"use more than 0 and at most {MOST_LATENTS:g}", at=at)
    if count * FRAMES_PER_LATENT % 1:
        cursor.fail(
            f"{count:g} latents is no whole number of frames", "use a multiple of 0.25 (a latent is 4 frames)", at=at
        )
    return count


def _ease(cursor: _Cursor) -> str:
    at = cursor.at
    name = cursor.take("[A-Za-z]+(-[A-Za-z]+)?").lower()
    if name not in EASES:
        cursor.fail(f"unknown ease {name!r}" if name else "the ease is missing", f"use {', '.join(EASES)}", at=at)
    return name


def _key_names() -> str:
    aliases = [f"{alias} (= {key})" for alias, key in motion.ALIASES.items()]
    return ", ".join([*_ORDER, *aliases, HOLD])


def _number(value: float) -> str:
    """Shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0")
