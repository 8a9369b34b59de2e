"""Comparing reports: `--against` another one, and `--fail-if` a condition on the headline numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from trajkit import files
from trajkit.curation.rules import Rule, compiled, parse
from trajkit.errors import TrajkitError, nearest

Headline = Mapping[str, float | int | None]


def broken(condition: str, headline: Headline) -> str:
    """Which values make the condition hold, such as "rejected_share is 0.35"; "" where it does not hold.

    The condition is one of `trajkit filter`'s language over the headline's names; where it cannot be told, because no
    clip gives a number, it counts as held. Raises TrajkitError for an unknown name or what is no condition.
    """
    where = "--fail-if"
    rule = Rule(name=where, verb="reject", condition=condition, missing="reject", tree=parse(condition, where))
    for name in rule.names:
        if name not in headline:
            raise TrajkitError(where, f"no headline number {name!r}", nearest(name, headline))
    types: dict[str, Any] = dict.fromkeys(headline, pl.Float64)
    row = pl.DataFrame({name: [value] for name, value in headline.items()}, schema=types)
    if row.select(compiled(rule, types)).item() is False:
        return ""
    return ", ".join(f"{name} is {_told(headline[name])}" for name in rule.names)


def _told(value: float | int | None) -> str:
    return "not known" if value is None else f"{value:.6g}"


def read_headline(path: Path) -> dict[str, float | int | None]:
    """The headline numbers of a report's JSON. Raises TrajkitError where it is none."""
    content: dict[str, Any] = files.read_json(path)
    headline = content.get("headline")
    if not str(content.get("schema", "")).startswith("trajkit.report/") or not isinstance(headline, dict):
        raise TrajkitError(path, "is no report", "give the JSON that trajkit report wrote, or a folder of clips")
    for name, value in headline.items():
        if not (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
            raise TrajkitError(
                path, f"headline {name} is {json.dumps(value)[:60]}, no number", "write the report again"
            )
    return headline


def deltas(now: Headline, before: Headline) -> dict[str, dict[str, float | None]]:
    """Before and change of each number that both reports know; the change is None where either is missing."""
    return {
        name: {"before": before[name], "now": value, "delta": _difference(value, before[name])}
        for name, value in now.items()
        if name in before
    }


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
