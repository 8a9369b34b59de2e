"""Options from text: conversion, ranges, and errors that name the nearest key."""

from dataclasses import dataclass
from typing import Literal

import pytest

from trajkit import options
from trajkit.errors import TrajkitError
from trajkit.options import option


@dataclass(frozen=True, kw_only=True)
class Orbit:
    frames: int = 77  # no help: code sets it, users cannot
    turns: float = option(1.0, "Turns.", unit="turns", low=0)
    count: int = option(2, "How many.")
    ease: Literal["none", "in-out"] = option("none", "Speed profile.")
    loop: bool = option(False, "Close the path.")
    radius: float | None = option(None, "Radius.")


@dataclass(frozen=True, kw_only=True)
class Keys:
    program: str = option("w*4", "Moves.")
    step: float = option(0.08, "Step.")


def test_text_becomes_typed_values() -> None:
    found = options.parse(Orbit, "turns=0.5, count=3;ease=in-out,loop=yes,radius=2", where="--path orbit", frames=5)
    assert found == Orbit(frames=5, turns=0.5, count=3, ease="in-out", loop=True, radius=2.0)
    assert options.parse(Orbit, "radius=none", where="x").radius is None


def test_a_program_may_hold_commas() -> None:
    assert options.parse(Keys, "w*12,l*7;step=0.1", where="keys") == Keys(program="w*12,l*7", step=0.1)
    assert options.parse(Keys, ";step=0.1", where="keys") == Keys(step=0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("turn=1", "did you mean 'turns'"),
        ("frames=9", "unknown option 'frames'"),
        ("zzz=1", "keys are turns"),
        ("turns", "key=value"),
        ("turns=1,turns=2", "twice"),
        ("turns=fast", "not a number"),
        ("turns=-1", "out of range"),
        ("turns=nan", "out of range"),
        ("count=1.5", "whole number"),
        ("ease=out", "none, in-out"),
        ("loop=maybe", "true or false"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, words: str) -> None:
    with pytest.raises(TrajkitError, match=words) as caught:
        options.parse(Orbit, text, where="--path orbit")
    assert str(caught.value).startswith("--path orbit")


def test_as_dict_lists_what_users_can_set() -> None:
    assert list(options.as_dict(Orbit())) == ["turns", "count", "ease", "loop", "radius"]
