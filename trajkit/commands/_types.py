"""Kinds of option values that Click does not have."""

import re
from typing import Any

import click


class Range(click.ParamType):
    """A number, or LOW..HIGH to draw from: a (low, high) tuple within the bounds."""

    name = "range"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        first, dots, second = str(value).partition("..")
        try:
            low = float(first)
            high = float(second) if dots else low
        except ValueError:
            self.fail(f"{value!r} is neither a number nor LOW..HIGH", parameter, ctx)
        if not self.low <= low <= high <= self.high:
            self.fail(f"{value!r} is not within {self.low:g}..{self.high:g}, the lower end first", parameter, ctx)
        return low, high


class Colour(click.ParamType):
    """#RRGGBB as a tuple of three numbers 0..255."""

    name = "colour"

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(value)):
            self.fail(f"{value!r} is not a colour such as #ffffff", parameter, ctx)
        red, green, blue = bytes.fromhex(value[1:])
        return red, green, blue
