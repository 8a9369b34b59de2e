"""Which clips a report shows in detail: all of a small set; of a large one the worst, the median and random ones."""

from collections.abc import Iterable

import polars as pl

from trajkit.seeding import generator

from .rows import STATES, Tables

SHEET = 12  # clips of a contact sheet
EACH = 8  # random clips per reason


def worst(tables: Tables, count: int = SHEET) -> list[str]:
    """The clips least likely to have good poses, worst first."""
    return _sorted(tables).head(count)["key"].to_list()


def median(tables: Tables, count: int = SHEET) -> list[str]:
    """The clips around the middle of the order by probability, worst first."""
    known = _sorted(tables)
    start = max(0, (len(known) - count) // 2)
    return known.slice(start, count)["key"].to_list()


def worst_by_metric(tables: Tables, count: int = 3) -> dict[str, list[str]]:
    """For each metric, the clips with its worst values."""
    found = {}
    for metric, unit in tables.units.items():
        better = unit["better"]
        if better != "neither":
            rows = tables.metrics.filter(pl.col("metric") == metric).drop_nulls("value")
            found[metric] = (
                rows.sort("value", "key", descending=[better == "lower", False])["key"].head(count).to_list()
            )
    return found


def by_reason(tables: Tables, seed: int) -> dict[tuple[str, str], list[str]]:
    """For each (stage, code) of a reason, clips drawn at random."""
    found = {}
    reasons = tables.reasons.filter(pl.col("state") != "refused")
    for (stage, code), rows in reasons.select("stage", "code", "key").group_by("stage", "code", maintain_order=True):
        found[str(stage), str(code)] = _drawn(rows["key"].unique().sort().to_list(), EACH, seed, stage, code)
    return dict(sorted(found.items()))


def chosen(tables: Tables, limit: int, seed: int) -> dict[str, str]:
    """At most `limit` keys, the most telling first, and why each is there."""
    keys: dict[str, str] = {}
    _add(keys, worst(tables), "worst")
    _add(keys, median(tables), "median")
    metrics = worst_by_metric(tables)
    for rank in range(3):
        _add(keys, (found[rank] for found in metrics.values() if len(found) > rank), "worst of a metric")
    reasons = by_reason(tables, seed)
    for rank in range(EACH):
        _add(keys, (found[rank] for found in reasons.values() if len(found) > rank), "random of its reason")
    left, others = max(0, limit - len(keys)), tables.clips.filter(~pl.col("key").is_in(list(keys)))
    for state in STATES:
        every = others.filter(pl.col("state") == state)["key"].to_list()
        fair = -(-left * len(every) // max(len(others), 1))
        _add(keys, _drawn(every, fair, seed, state), "random")
    return dict(list(keys.items())[:limit])


def _sorted(tables: Tables) -> pl.DataFrame:
    return tables.clips.drop_nulls("probability").sort("probability", "key").select("key")


def _add(keys: dict[str, str], more: Iterable[str], why: str) -> None:
    for key in more:
        keys.setdefault(key, why)


def _drawn(keys: list[str], count: int, seed: int, *name: object) -> list[str]:
    if len(keys) <= count:
        return keys
    picked = generator(seed, "report", *name).choice(len(keys), count, replace=False)
    return [keys[int(k)] for k in sorted(picked)]
